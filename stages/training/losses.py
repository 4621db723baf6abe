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
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

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
class PolicyBatch:
    """Generated and judged answers, one per row; every array has one entry per row, so that a
    batch can be split into parts.

    `prompts` (rows × prompt positions, padded on the left) and `answers` (rows × answer positions, padded on the right;
    the stop token is the last one of an answer), int32; `lengths`: tokens of each answer; `learnt` (rows × answer
    positions, bool); `advantages`; `row_weight`: weight of each learnt token of a row; `token_weight`: the same for
    means over all tokens. `reference` and `old` (rows × answer positions): log-probabilities under the reference model
    and under the policy that generated the answers. `reference` is None without a reference; `old` is None if the batch
    is used for one update only, where the old policy is the current one.
    """

    prompts: Any
    answers: Any
    lengths: Any
    learnt: Any
    advantages: Any
    row_weight: Any
    token_weight: Any
    reference: Any = None
    old: Any = None


@dataclass(frozen=True)
class PolicyLoss:
    """The clipped objective of GRPO (arXiv:2402.03300, equation 3), with DAPO's separate upper bound
    (arXiv:2503.14476, section 3.1).

    Tunix's trainer calls it with the model and a `PolicyBatch`. It returns the loss and metrics: `kl` (only with a
    reference), the mean divergence from the reference in nats per token by the estimator of equation 4 (never
    negative); `clipped_share`, the share of learnt tokens whose ratio was clipped; `logprob`, the mean log-probability
    of the learnt tokens at the sampling temperature.
    """

    epsilon_low: float
    epsilon_high: float
    beta: float
    temperature: float
    padding: int = 0
    """Id of the token for padding."""

    @classmethod
    def of(cls, options: Grpo, padding: int = 0) -> "PolicyLoss":
        """Create the loss that the stage's options describe."""
        high = options.epsilon_high or options.epsilon
        return cls(options.epsilon, high, options.beta, options.temperature, padding)

    def __call__(self, model: nnx.Module, batch: PolicyBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return (loss, metrics), each a weighted sum over the rows."""
        logprobs = answer_logprobs(model, batch.prompts, batch.answers, batch.lengths, self.temperature, self.padding)
        old = jax.lax.stop_gradient(logprobs) if batch.old is None else batch.old
        ratio = jnp.exp(jnp.clip(logprobs - old, -LOG_RATIO_MAX, LOG_RATIO_MAX))
        advantages = batch.advantages[:, None]
        unclipped = ratio * advantages
        clipped = jnp.clip(ratio, 1 - self.epsilon_low, 1 + self.epsilon_high) * advantages
        token_loss = -jnp.minimum(unclipped, clipped)
        kl = jnp.zeros_like(logprobs)
        if batch.reference is not None:
            log_ratio = jnp.clip(batch.reference - logprobs, max=LOG_RATIO_MAX)
            kl = jnp.exp(log_ratio) - log_ratio - 1
            token_loss += self.beta * kl

        def summed(values: jax.Array, row_weight: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(batch.learnt, values, 0.0) * row_weight[:, None])

        metrics = {
            **({} if batch.reference is None else {"kl": summed(kl, batch.token_weight)}),
            "clipped_share": summed((clipped < unclipped).astype(jnp.float32), batch.token_weight),
            "logprob": summed(logprobs, batch.token_weight),
        }
        return summed(token_loss, batch.row_weight), jax.lax.stop_gradient(metrics)


def answer_logprobs(
    model: nnx.Module,
    prompts: jax.Array,
    answers: jax.Array,
    lengths: jax.Array,
    temperature: float | jax.Array,
    padding: int = 0,
) -> jax.Array:
    """Return the log-probability of each token of the answers (rows × answer positions,
    float32) at the sampling temperature.

    The distribution is the softmax of all logits divided by the temperature. With `top_k`, answers are sampled from a
    truncated and renormalised distribution, which is not corrected for; TRL and Tunix do the same. Values after an
    answer's end are meaningless. A padding token that was generated within an answer counts for the positions, but is
    not attended to, as in Tunix's sampler.
    """
    tokens = jnp.concatenate([prompts, answers], axis=1)
    generated = jnp.arange(answers.shape[1]) < lengths[:, None]
    positions = build_positions_from_mask(jnp.concatenate([prompts != padding, generated], axis=1))
    attended = make_causal_attn_mask(jnp.concatenate([prompts != padding, generated & (answers != padding)], axis=1))
    logits, _ = model(tokens, positions=positions, cache=None, attention_mask=attended)
    return logprobs_of(logits[:, -answers.shape[1] - 1 : -1].astype(jnp.float32) / temperature, answers)


def _logprobs_of_state(
    graph: Any,
    state: Any,
    prompts: jax.Array,
    answers: jax.Array,
    lengths: jax.Array,
    temperature: jax.Array,
    *,
    padding: int,
) -> jax.Array:
    return answer_logprobs(nnx.merge(graph, state), prompts, answers, lengths, temperature, padding)


# Jitted once at module level, so that each shape is compiled once.
_jitted_logprobs = jax.jit(_logprobs_of_state, static_argnames=("padding",))


def frozen_logprobs(
    model: nnx.Module,
    batch: PolicyBatch,
    temperature: float,
    mesh: jax.sharding.Mesh | None = None,
    padding: int = 0,
) -> jax.Array:
    """Compute `answer_logprobs` of a model that is not being trained: the reference, or the policy before its update.

    Rows are sharded along the mesh's `fsdp` axis if their number is divisible by it, as Tunix's trainer does.
    """
    graph, state = nnx.split(model)
    prompts, answers, lengths = (jnp.asarray(array) for array in (batch.prompts, batch.answers, batch.lengths))
    if mesh is not None:
        spread = len(lengths) % mesh.shape["fsdp"] == 0
        layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*["fsdp"] * spread))
        prompts, answers, lengths = (jax.device_put(array, layout) for array in (prompts, answers, lengths))
    return _jitted_logprobs(graph, state, prompts, answers, lengths, jnp.float32(temperature), padding=padding)


def logprobs_of(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the natural logarithm of each token's probability (rows × positions, float32), given logits
    (rows × positions × vocabulary)."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1).squeeze(-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1)
