"""Losses of SFT and of reinforcement learning: sums over tokens, with weights computed for the whole batch.

A batch that does not fit into memory is computed in parts (micro-batches), whose gradients Optax averages. A loss that
divides by a property of its own part (number of learnt tokens or of non-empty answers) would then differ from that of
the whole batch. So no loss here divides: rows or tokens have weights, which `stages.training.policy` and
`stages.training.taught_batches` compute from the whole batch and multiply by the number of parts. Splitting a batch then only changes the order of summation,
and the mean of the parts' losses is the batch's loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from tunix.sft.utils import make_causal_attn_mask

from stages.options import Grpo
from stages.training.selective import token_logprobs

LOG_RATIO_MAX = 20.0
"""Bound on the logarithm of the policy's ratio, which keeps its exponential finite; Tunix uses the same."""


def parts(batch: Any, count: int) -> Iterator[Any]:
    """Yield `count` parts of a batch with equal numbers of rows, in order."""
    rows = len(jax.tree.leaves(batch)[0]) // count
    for number in range(count):
        yield jax.tree.map(lambda leaf, first=number * rows: leaf[first : first + rows], batch)


# --- supervised fine-tuning -------------------------------------------------


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TaughtBatch:
    """Rows of worked examples, one after another in a row, padded on the right.

    `tokens`, `segments` and `positions` (rows × positions, int32): `segments` is the number of a token's example within
    its row, from 1, and 0 for padding; `positions` are those that the model is given. `at` (rows × selected, int32) are
    the places in the row whose next token is learnt, `targets` (the same shape, int32) are those next tokens and
    `weights` (float32) their weights in the loss; rows with fewer learnt tokens are filled up with weights of 0.
    """

    tokens: Any
    segments: Any
    positions: Any
    at: Any
    targets: Any
    weights: Any


def taught_input(batch: TaughtBatch) -> dict[str, Any]:
    """Return the arguments of `TaughtLoss` besides the model, as Tunix's trainer requires.

    A token attends to those of its own example up to itself; padding attends to padding, so that no row of the mask is
    empty.
    """
    segments = batch.segments
    causal = jnp.tril(jnp.ones((segments.shape[1], segments.shape[1]), bool))
    attention_mask = (segments[:, :, None] == segments[:, None, :]) & causal
    return {"batch": batch, "attention_mask": attention_mask}


@dataclass(frozen=True)
class TaughtLoss:
    """The weighted sum of the learnt tokens' negative log-probabilities.

    Tunix's trainer calls it with the model and what `taught_input` returns. Logits are computed of the positions
    `batch.at` alone, in chunks.
    """

    head_trains: bool = True
    """Whether the head's weights are trained, as in `mode: full`: see `token_logprobs`."""

    def __call__(self, model: nnx.Module, batch: TaughtBatch, attention_mask: jax.Array) -> jax.Array:
        """Return the loss, a scalar in nats. `attention_mask` is rows × positions × positions."""
        hidden, _ = model(batch.tokens, batch.positions, None, attention_mask, at=batch.at)
        logprobs = token_logprobs(model.head, hidden, batch.targets, head_trains=self.head_trains)
        return -jnp.sum(jnp.where(batch.weights > 0, logprobs, 0.0) * batch.weights)


# --- reinforcement learning -------------------------------------------------


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AnswerRows:
    """Prompts, each directly followed by its answer, one per row; every array has one entry per row.

    `tokens` (rows × positions, int32, padded on the right): prompt and answer, the stop token last. `starts`: tokens of
    each prompt, none of which is padding. `answers` (rows × answer positions, padded on the right, int32): the answer
    alone. `lengths`: tokens of each answer.
    """

    tokens: Any
    starts: Any
    answers: Any
    lengths: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PolicyBatch:
    """Generated and judged answers; every array has one entry per row, so that a batch can be split into parts.

    `learnt` (rows × answer positions, bool); `advantages`; `row_weight`: weight of each learnt token of a row;
    `token_weight`: the same for means over all tokens. `reference`, `old` and `sampler` (rows × answer positions):
    log-probabilities under the reference model, under the policy that generated the answers, and of the same policy as
    the sampler computed them. `reference` is None without a reference; `old` is None if the batch is used for one update
    only, where the old policy is the current one; `sampler` is None if the sampler does not return them.
    """

    rows: AnswerRows
    learnt: Any
    advantages: Any
    row_weight: Any
    token_weight: Any
    reference: Any = None
    old: Any = None
    sampler: Any = None


@dataclass(frozen=True)
class PolicyLoss:
    """The clipped objective of GRPO (arXiv:2402.03300, equation 3), with DAPO's separate upper bound
    (arXiv:2503.14476, section 3.1).

    Tunix's trainer calls it with the model and a `PolicyBatch`. It returns the loss and metrics: `kl` (only with a
    reference), the mean divergence from the reference in nats per token by the estimator of equation 4 (never
    negative); `sampler_kl` (only with the sampler's log-probabilities), the mean divergence of the old policy from what
    the sampler drew from, by the same estimator; `clipped_share`, the share of learnt tokens whose ratio was clipped;
    `logprob`, the mean log-probability of the learnt tokens at the sampling temperature.
    """

    epsilon_low: float
    epsilon_high: float
    beta: float
    temperature: float
    padding: int = 0
    """Id of the token for padding."""
    importance_cap: float = 0.0
    """Bound on the weight of a token, its probability under the old policy by that under the sampler; 0: no weights.
    Needs `PolicyBatch.sampler`."""
    head_trains: bool = True
    """Whether the embedding or output weights are trained. If not, False computes their products once instead of twice."""

    @classmethod
    def of(cls, options: Grpo, padding: int = 0) -> "PolicyLoss":
        """Create the loss that the stage's options describe."""
        high = options.epsilon_high or options.epsilon
        return cls(
            epsilon_low=options.epsilon,
            epsilon_high=high,
            beta=options.beta,
            temperature=options.temperature,
            padding=padding,
            importance_cap=options.importance_cap,
            head_trains=options.mode == "full",
        )

    def __call__(self, model: nnx.Module, batch: PolicyBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return (loss, metrics), each a weighted sum over the rows."""
        logprobs = answer_logprobs(model, batch.rows, self.temperature, self.padding, head_trains=self.head_trains)
        old = jax.lax.stop_gradient(logprobs) if batch.old is None else batch.old
        ratio = jnp.exp(jnp.clip(logprobs - old, -LOG_RATIO_MAX, LOG_RATIO_MAX))
        advantages = batch.advantages[:, None]
        unclipped = ratio * advantages
        clipped = jnp.clip(ratio, 1 - self.epsilon_low, 1 + self.epsilon_high) * advantages
        token_loss = -jnp.minimum(unclipped, clipped)
        if self.importance_cap:
            token_loss *= importance_weights(old, batch.sampler, self.importance_cap)
        token_metrics = {"clipped_share": (clipped < unclipped).astype(jnp.float32), "logprob": logprobs}
        if batch.reference is not None:
            token_metrics["kl"] = divergence(logprobs, batch.reference)
            token_loss += self.beta * token_metrics["kl"]
        if batch.sampler is not None:
            token_metrics["sampler_kl"] = divergence(batch.sampler, old)

        def summed(values: jax.Array, row_weight: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(batch.learnt, values, 0.0) * row_weight[:, None])

        metrics = {name: summed(values, batch.token_weight) for name, values in token_metrics.items()}
        return summed(token_loss, batch.row_weight), jax.lax.stop_gradient(metrics)


def divergence(drawn_from: jax.Array, other: jax.Array) -> jax.Array:
    """Return an estimate of the divergence KL(drawn_from ‖ other) at each token (nats, never negative), from the
    log-probabilities of tokens that were drawn from the first (arXiv:2402.03300, equation 4)."""
    log_ratio = jnp.clip(other - drawn_from, max=LOG_RATIO_MAX)
    return jnp.expm1(log_ratio) - log_ratio


def importance_weights(old: jax.Array, sampler: jax.Array, cap: float) -> jax.Array:
    """Return the truncated importance weight of each token, min(π_old / π_sampler, cap), given log-probabilities.

    It corrects for a sampler that computes other probabilities than the trainer (Yao et al. 2025, "Your Efficient RL
    Framework Secretly Brings You Off-Policy RL Training"). As in TRL (`vllm_importance_sampling_cap`) it multiplies the
    clipped objective, not the divergence from the reference.
    """
    return jnp.minimum(jnp.exp(jnp.clip(old - sampler, max=LOG_RATIO_MAX)), cap)


def answer_logprobs(
    model: Any, rows: AnswerRows, temperature: float | jax.Array, padding: int = 0, *, head_trains: bool = False
) -> jax.Array:
    """Return the log-probability of each token of the answers (rows × answer positions,
    float32) at the sampling temperature.

    The distribution is the softmax of all logits divided by the temperature. With `top_k`, answers are sampled from a
    truncated and renormalised distribution, which is not corrected for; TRL and Tunix do the same. Values after an
    answer's end are meaningless. A padding token that was generated within an answer counts for the positions, but is
    not attended to, as in Tunix's sampler. Logits are computed only where they predict an answer's token, and in chunks:
    see `stages.training.selective.token_logprobs`, also for `head_trains`.
    """
    count, width = rows.tokens.shape
    places = jnp.arange(width)
    generated_or_asked = places < (rows.starts + rows.lengths)[:, None]
    attended = make_causal_attn_mask(generated_or_asked & (rows.tokens != padding))
    predicting = jnp.minimum(rows.starts[:, None] - 1 + jnp.arange(rows.answers.shape[1]), width - 1)
    positions = jnp.broadcast_to(places, (count, width))
    hidden, _ = model(rows.tokens, positions, None, attended, at=predicting)
    return token_logprobs(model.head, hidden, rows.answers, temperature, head_trains=head_trains)


def _logprobs_of_state(graph: Any, state: Any, rows: AnswerRows, temperature: jax.Array, *, padding: int) -> jax.Array:
    return answer_logprobs(nnx.merge(graph, state), rows, temperature, padding)


# Jitted once at module level, so that each shape is compiled once.
_jitted_logprobs = jax.jit(_logprobs_of_state, static_argnames=("padding",))


def frozen_logprobs(
    model: nnx.Module,
    rows: AnswerRows,
    temperature: float,
    mesh: jax.sharding.Mesh | None = None,
    padding: int = 0,
) -> jax.Array:
    """Compute `answer_logprobs` of a model that is not being trained: the reference, or the policy before its update.

    Returns before the device has computed them. Rows are sharded along the mesh's `fsdp` axis if their number is
    divisible by it, as Tunix's trainer does.
    """
    graph, state = nnx.split(model)
    rows = jax.tree.map(jnp.asarray, rows)
    if mesh is not None:
        spread = len(rows.lengths) % mesh.shape["fsdp"] == 0
        layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*["fsdp"] * spread))
        rows = jax.device_put(rows, layout)
    return _jitted_logprobs(graph, state, rows, jnp.float32(temperature), padding=padding)


def logprobs_of(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the natural logarithm of each token's probability (rows × positions, float32), given logits
    (rows × positions × vocabulary)."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1).squeeze(-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1)
