"""The losses and their gradients are those of the artifacts, computed here once more with NumPy in float64, however a batch is cut."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from stages.data import Example
from stages.options import Grpo, Sft
from stages.training.losses import (
    AnswerRows,
    PolicyBatch,
    PolicyLoss,
    TaughtBatch,
    TaughtLoss,
    answer_logprobs,
    frozen_logprobs,
    parts,
    taught_input,
)
from stages.training.model import Foundation
from stages.training.optimizers import measured, measurements
from stages.training.policy import DrawnAnswer, prompts_without_padding, token_arrays, weight_arrays
from stages.training.row_packing import ExampleSize, chosen
from stages.training.stage_data import tokens_of
from stages.training.steps import LatestMetrics
from stages.training.taught_batches import encode
from stages.training.widths import RowShape
from tests.training.models import loaded, written

LOSS, GRADIENT = 1e-5, 1e-4
"""Largest relative differences from float64."""
NOTHING = 1e-7
"""Largest difference of losses near zero, whose terms cancel. They are of the order of 1, so this is float32's rounding."""
TEMPERATURE = 0.8


WIDTH = 96


class Bigrams(nnx.Module):
    """The smallest language model: the logits of the next token are a row of a table. Compiles in no time."""

    def __init__(self, vocabulary: int = 12) -> None:
        noise = np.random.default_rng(1).normal(size=(vocabulary, vocabulary))
        self.table = nnx.Param(jnp.asarray(noise, jnp.float32))

    def __call__(
        self, tokens: Any, positions: Any, cache: Any, attention_mask: Any, at: Any = None
    ) -> tuple[Any, None]:
        logits = self.table[...][tokens]
        return logits if at is None else jnp.take_along_axis(logits, at[..., None], axis=1), None

    def head(self, hidden: Any) -> Any:
        """What is selected are logits already, so that the table trains whether or not the head does."""
        return hidden

    def positions_restart(self, width: int) -> bool:
        return True


@functools.cache
def foundation() -> Foundation:
    return loaded(written(Path(tempfile.mkdtemp()), "gemma2"), system="")


@functools.cache
def gemma() -> nnx.Module:
    """The small Gemma with larger weights than it is made with, so that its tokens differ in likelihood."""
    graph, state = nnx.split(foundation().model)
    return nnx.merge(graph, jax.tree.map(lambda leaf: 3 * leaf, state))


def flat(state: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in jax.tree.leaves(state)])


@jax.jit
def _logits(graph: Any, state: Any, tokens: Any, seen: Any) -> jax.Array:
    mask = jnp.tril(jnp.ones((WIDTH, WIDTH), bool))[None] & seen[None, None]
    return nnx.merge(graph, state)(tokens[None], jnp.arange(WIDTH)[None], None, mask)[0][0]


@jax.jit
def _pulled_back(graph: Any, state: Any, tokens: Any, seen: Any, by_logits: Any) -> Any:
    return jax.vjp(lambda leaves: _logits(graph, leaves, tokens, seen), state)[1](by_logits)[0]


def alone(row: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """A row by itself, without anything before it, and which of its tokens are attended to: all but padding."""
    tokens = np.concatenate([row, np.zeros(WIDTH - len(row), row.dtype)])
    return jnp.asarray(tokens), jnp.asarray(tokens != 0)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@dataclass
class ByHand:
    """A loss and its gradient: NumPy down to the logits of each unpadded row, and only from there on JAX."""

    loss: float
    gradient: np.ndarray


TokenLoss = Callable[[int, np.ndarray], tuple[float, np.ndarray]]
"""From (row, logarithms of its tokens' probabilities from the second on) to what it adds to the loss, and the derivative by each."""


def by_hand(model: nnx.Module, rows: list[np.ndarray], token_loss: TokenLoss, temperature: float = 1.0) -> ByHand:
    graph, state = nnx.split(model)
    loss, gradient = 0.0, np.zeros(len(flat(state)))
    for number, row in enumerate(rows):
        logits = np.asarray(_logits(graph, state, *alone(row)), np.float64)
        table = log_softmax(logits[: len(row) - 1] / temperature)
        places = (np.arange(len(row) - 1), row[1:])
        added, slope = token_loss(number, table[places])
        by_logits = np.zeros_like(logits)
        by_logits[: len(row) - 1] = -np.exp(table) * slope[:, None]
        by_logits[places] += slope
        loss += added
        gradient += flat(_pulled_back(graph, state, *alone(row), jnp.asarray(by_logits / temperature, jnp.float32)))
    return ByHand(loss, gradient)


def trained(model: nnx.Module, loss: Any, batch: Any, count: int) -> tuple[ByHand, float]:
    """Loss and gradient of one update of Tunix's trainer with the batch in so many parts, and the norm that it notes."""
    graph, state = nnx.split(model)
    copy = nnx.merge(graph, jax.tree.map(jnp.copy, state))
    config = TrainingConfig(eval_every_n_steps=9, gradient_accumulation_steps=count if count > 1 else None)
    metrics = LatestMetrics()
    trainer = PeftTrainer(copy, measured(optax.sgd(1.0)), config, metrics_logger=metrics)
    taught = isinstance(batch, TaughtBatch)
    trainer.with_loss_fn(loss, has_aux=not taught)
    trainer.with_gen_model_input_fn(taught_input if taught else lambda part: {"batch": part})
    trainer.is_managed_externally = True
    trainer.train(parts(batch, count))
    trainer.close()
    gradient = flat(state) - flat(nnx.state(copy))
    return ByHand(metrics.take("loss")["loss"], gradient), measurements(trainer.optimizer.opt_state)["grad_norm"]


def assert_same(found: ByHand, wanted: ByHand, norm: float, nothing: float = NOTHING) -> None:
    assert found.loss == pytest.approx(wanted.loss, rel=LOSS, abs=nothing)
    difference = np.linalg.norm(found.gradient - wanted.gradient)
    assert difference <= GRADIENT * np.linalg.norm(wanted.gradient)
    assert norm == pytest.approx(np.linalg.norm(wanted.gradient), rel=GRADIENT)


# --- supervised fine-tuning ---------------------------------------------------

TAUGHT = [("1 + 1", "2 " * count) for count in (1, 9, 3, 27, 2, 14, 5, 30)]
"""Completions of very different lengths."""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_sft_learns_the_mean_over_all_learnt_tokens_in_however_many_parts(count: int) -> None:
    model = Bigrams(foundation().tokenizer.size)
    assert_sft_as_written(model, count, shares_rows=False)
    assert_sft_as_written(model, count, shares_rows=count < 8)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "shares_rows"), [(1, False), (2, True)])
def test_sft_of_a_gemma_learns_the_mean_over_all_learnt_tokens(count: int, shares_rows: bool) -> None:
    assert_sft_as_written(gemma(), count, shares_rows=shares_rows)


def assert_sft_as_written(model: nnx.Module, count: int, *, shares_rows: bool) -> None:
    made = [Example(source="t", question=asked, completion=answer) for asked, answer in TAUGHT]
    encoded = [tokens_of(example, foundation()) for example in made]
    sizes = [ExampleSize(len(tokens), len(tokens) - asked) for tokens, asked in encoded]
    longest = ExampleSize(*map(max, zip(*sizes, strict=True)))
    layout = chosen([sizes], longest, WIDTH, multiple=count) if shares_rows else None
    options = Sft(batch=8, gradient_accumulation_steps=count, max_seq_length=WIDTH)
    batch = encode(made, dataclasses.replace(foundation(), model=model), options, layout)
    assert (batch.segments.max() > 1) is np.bool_(shares_rows)
    learnt = sum(size.learnt for size in sizes)

    def token_loss(row: int, logprobs: np.ndarray) -> tuple[float, np.ndarray]:
        chosen_ones = np.arange(1, sizes[row].length) >= encoded[row][1]
        return -float(logprobs[chosen_ones].sum()) / learnt, -chosen_ones.astype(float) / learnt

    found, norm = trained(model, TaughtLoss(), batch, count)
    assert_same(found, by_hand(model, [np.array(tokens) for tokens, _ in encoded], token_loss), norm)


# --- reinforcement learning -----------------------------------------------------

STOP, LONGEST = 1, 6
DRAWN = {
    "stopped answers": [[5, 6, 7, STOP], [8, STOP], [5, 5, 6, 6, STOP], [9, 8, STOP]] * 2,
    "an answer that is empty at once": [[STOP], [8, 9, STOP], [5, STOP], [9, 8, 7, STOP]] * 2,
    "truncated answers": [[5, 6, 7, 8, 9, 5], [8, STOP], [9, 9, 9, 9, 9, 9], [4, STOP]] * 2,
}
REWARDS = np.array([1.0, 0.0, 0.25, 0.5, 1.0, 1.0, 0.0, 0.0])
PROMPTS = np.array(
    [[0, 0, 2, 4], [0, 0, 2, 4], [0, 2, 5, 6], [0, 2, 5, 6], [2, 3, 4, 5], [2, 3, 4, 5], [0, 0, 0, 2], [0, 0, 0, 2]]
)


def answers(drawn: list[list[int]]) -> list[DrawnAnswer]:
    return [DrawnAnswer("", np.array(row, np.int32), truncated=row[-1] != STOP) for row in drawn]


def rows_of(drawn: list[list[int]]) -> AnswerRows:
    shape = RowShape(PROMPTS.shape[1] + LONGEST, LONGEST)
    return AnswerRows(**token_arrays(prompts_without_padding(PROMPTS, 0), answers(drawn), shape, 0))


def policy_batch(model: nnx.Module, drawn: list[list[int]], options: Grpo) -> PolicyBatch:
    rows = rows_of(drawn)
    now = np.asarray(frozen_logprobs(model, rows, TEMPERATURE))
    noise = np.random.default_rng(3).normal(scale=0.3, size=(3, *now.shape)).astype(np.float32)
    return PolicyBatch(
        rows,
        **weight_arrays(answers(drawn), REWARDS, options),
        reference=now + noise[0],
        old=now + noise[1] if options.num_iterations > 1 else None,
        sampler=now + noise[2],
    )


def wanted_policy(model: nnx.Module, drawn: list[list[int]], options: Grpo, batch: PolicyBatch) -> ByHand:
    """GRPO's loss as the artifacts write it."""
    cut = [row[-1] != STOP for row in drawn]
    learns = [not (options.mask_truncated_completions and late) for late in cut]
    tokens = sum(len(row) for row, yes in zip(drawn, learns, strict=True) if yes)
    rows = [np.array([t for t in prompt if t] + row) for prompt, row in zip(PROMPTS.tolist(), drawn, strict=True)]
    low, high = 1 - options.epsilon, 1 + (options.epsilon_high or options.epsilon)

    def token_loss(row: int, logprobs: np.ndarray) -> tuple[float, np.ndarray]:
        length = len(drawn[row])
        slope = np.zeros(len(logprobs))
        group = REWARDS[row // 2 * 2 : row // 2 * 2 + 2]
        advantage = REWARDS[row] - group.mean()
        if options.scale_rewards == "group":
            advantage /= np.sqrt(((group - group.mean()) ** 2).sum() / (len(group) - 1)) + 1e-6
        each = {
            "grpo": 1 / (length * sum(learns)),
            "dapo": 1 / tokens,
            "dr_grpo": 1 / (len(drawn) * LONGEST),
        }[options.loss_type]
        if not learns[row]:
            return 0.0, slope
        now = logprobs[-length:]
        old = now if batch.old is None else np.asarray(batch.old[row, :length], np.float64)
        behind = np.asarray(batch.reference[row, :length], np.float64) - now
        ratio = np.exp(now - old)
        free, held = ratio * advantage, np.clip(ratio, low, high) * advantage
        weight = np.exp(old - np.asarray(batch.sampler[row, :length], np.float64))
        weight = np.minimum(weight, options.importance_cap) if options.importance_cap else 1.0
        loss = -np.minimum(free, held) * weight + options.beta * (np.exp(behind) - behind - 1)
        slope[-length:] = each * (-np.where(free <= held, free, 0.0) * weight + options.beta * (1 - np.exp(behind)))
        return float(each * loss.sum()), slope

    return by_hand(model, rows, token_loss, TEMPERATURE)


VARIANTS = [
    Grpo(loss_type="grpo"),
    Grpo(loss_type="dapo"),
    Grpo(loss_type="dr_grpo", scale_rewards="none"),
    Grpo(loss_type="grpo", mask_truncated_completions=True),
    Grpo(loss_type="dapo", mask_truncated_completions=True),
    Grpo(loss_type="dr_grpo", mask_truncated_completions=True),
    Grpo(loss_type="dapo", epsilon_high=0.28, num_iterations=2),
    Grpo(loss_type="grpo", scale_rewards="none", beta=0.5, num_iterations=2),
    Grpo(importance_cap=1.1),
    Grpo(importance_cap=1.1, num_iterations=2),
]


def told(options: Grpo) -> str:
    changed = {name: value for name, value in vars(options).items() if value != getattr(Grpo(), name)}
    return " ".join(f"{name}={value}" for name, value in changed.items()) or "default"


def assert_as_written(model: nnx.Module, drawn: list[list[int]], options: Grpo, count: int) -> None:
    changes = {
        "num_generations": 2,
        "batch": 4,
        "gradient_accumulation_steps": count,
        "max_completion_length": LONGEST,
        "temperature": TEMPERATURE,
    }
    settled = dataclasses.replace(options, **changes)
    batch = policy_batch(model, drawn, settled)
    found, norm = trained(model, PolicyLoss.of(settled), batch, count)
    nothing = NOTHING if isinstance(model, Bigrams) else LOSS  # a Gemma's logits are rounded in every layer
    assert_same(found, wanted_policy(model, drawn, settled, batch), norm, nothing)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("options", VARIANTS, ids=told)
def test_grpo_learns_what_its_paper_says_in_however_many_parts(options: Grpo, count: int) -> None:
    for drawn in DRAWN.values():
        assert_as_written(Bigrams(), drawn, options, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_grpo_learns_what_its_paper_says_of_a_gemma(count: int) -> None:
    """The whole model is trained, its embedding, which is the head too, among the rest."""
    options = Grpo(loss_type="grpo", num_iterations=2, mode="full")
    assert_as_written(gemma(), DRAWN["truncated answers"], options, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_told_of_a_batch_is_its_mean_over_learnt_tokens(count: int) -> None:
    """Divergence by the estimator of arXiv:2402.03300, equation 4; share of clipped ratios; log-probability."""
    sizes = {"num_generations": 2, "batch": 4, "gradient_accumulation_steps": count, "max_completion_length": LONGEST}
    options = Grpo(**sizes, temperature=TEMPERATURE, num_iterations=2)
    drawn, model = DRAWN["truncated answers"], Bigrams()
    batch = policy_batch(model, drawn, options)
    told = [PolicyLoss.of(options)(model, part)[1] for part in parts(batch, count)]

    now, learnt = np.asarray(frozen_logprobs(model, batch.rows, TEMPERATURE), np.float64), np.asarray(batch.learnt)
    old, sampler = np.asarray(batch.old, np.float64), np.asarray(batch.sampler, np.float64)
    behind, ratio, drift = np.asarray(batch.reference, np.float64) - now, np.exp(now - old), old - sampler
    above = np.asarray(batch.advantages)[:, None] > 0
    clipped = np.where(above, ratio > 1.2, ratio < 0.8) & (np.asarray(batch.advantages)[:, None] != 0)
    wanted = {
        "kl": np.exp(behind) - behind - 1,
        "sampler_kl": np.exp(drift) - drift - 1,
        "clipped_share": clipped,
        "logprob": now,
    }
    assert 0 < clipped[learnt].mean() < 1
    for name, values in wanted.items():
        assert np.mean([float(part[name]) for part in told]) == pytest.approx(values[learnt].mean(), rel=1e-5), name


def test_the_stop_token_is_learnt_where_one_was_drawn_and_only_there() -> None:
    drawn = [[5, STOP], [5, 6, 7, 8, 9, 5]] * 4
    options = Grpo(num_generations=2, batch=4, max_completion_length=LONGEST)
    batch = PolicyBatch(rows_of(drawn), **weight_arrays(answers(drawn), REWARDS, options))
    assert batch.learnt[:2].tolist() == [[True, True, False, False, False, False], [True] * 6]
    assert batch.rows.answers[0].tolist() == [5, STOP, 0, 0, 0, 0]


@pytest.mark.slow
def test_logprobs_of_padded_rows_are_those_of_each_row_alone() -> None:
    drawn = [
        *DRAWN["truncated answers"][:6],
        [5, 0, 7, STOP],
        [0, 4, STOP],
    ]  # padding may be drawn, too: nothing attends to it
    found = answer_logprobs(gemma(), jax.tree.map(jnp.asarray, rows_of(drawn)), TEMPERATURE)
    for number, (prompt, row) in enumerate(zip(PROMPTS.tolist(), drawn, strict=True)):
        tokens = np.array([t for t in prompt if t] + row)
        logits = np.asarray(_logits(*nnx.split(gemma()), *alone(tokens)), np.float64)[: len(tokens) - 1]
        wanted = log_softmax(logits / TEMPERATURE)[np.arange(len(tokens) - 1), tokens[1:]][-len(row) :]
        np.testing.assert_allclose(np.asarray(found)[number, : len(row)], wanted, rtol=1e-5, atol=2e-5)


def test_parts_of_a_batch_are_its_rows_in_order() -> None:
    batch = TaughtBatch(np.arange(12).reshape(4, 3), *[np.arange(4)] * 4, weights=np.arange(4.0))
    found = list(parts(batch, 2))
    assert [part.weights.tolist() for part in found] == [[0, 1], [2, 3]]
    assert np.concatenate([part.tokens for part in found]).tolist() == batch.tokens.tolist()
