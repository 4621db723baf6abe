"""What is kept of a drawn answer, and which of the drawn groups a step of reinforcement learning learns from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.catalog import KINDS
from stages.grpo import Sampled, chosen_groups
from stages.options import Grpo
from stages.training.generate import answer_of_tokens
from stages.training.policy import DrawnAnswer
from stages.training.sampler import DrawnTokens
from stages.training.tokenizer import Tokenizer
from tests.training import harness
from tests.training.harness import TINY, Record, SmallContext, spec


@pytest.mark.parametrize(
    ("tokens", "text", "truncated"),
    [
        ([7, 8, 1], "7 8", False),
        ([7, 107], "7", False),  # either stop ends an answer, and it is kept which one it was
        ([1], "", False),  # empty at once
        ([7, 8, 9, 7], "7 8 9 7", True),
        ([7, 0, 9, 1], "7 0 9", False),  # padding that was drawn is a token as others are
    ],
)
def test_an_answer_ends_with_its_stop_token_or_was_truncated(tokens: list[int], text: str, truncated: bool) -> None:
    class Pieces(Tokenizer):
        def __init__(self) -> None: ...
        def decode(self, ids: list[int], **_: Any) -> str:
            return " ".join(map(str, ids))

    found = answer_of_tokens(DrawnTokens(tokens, [-0.5] * len(tokens)), [1, 107], Pieces())
    assert (found.tokens.tolist(), found.truncated, found.text) == (tokens, truncated, text)
    assert found.logprobs is not None
    assert found.logprobs.tolist() == [-0.5] * len(tokens)


def drawn(name: str, *worth: float) -> Sampled:
    """A round of groups of two; the answers' texts say which they are."""
    answers = [DrawnAnswer(f"{name}{number}", np.array([1]), truncated=False) for number in range(len(worth))]
    metrics = {"accuracy": float(np.mean(worth)), "max_length": len(worth), "tokens": 10.0, "idle_groups": 9.0}
    return Sampled(np.arange(len(worth))[:, None], answers, np.array(worth), metrics)


@pytest.mark.parametrize(
    ("rounds", "texts", "idle"),
    [
        ([drawn("a", 1, 0, 0, 1)], ["a0", "a1", "a2", "a3"], 0.0),
        ([drawn("a", 1, 1, 0, 1)], ["a0", "a1", "a2", "a3"], 0.5),  # nothing else was drawn
        ([drawn("a", 1, 1, 0, 1), drawn("b", 0, 0, 1, 0)], ["a2", "a3", "b2", "b3"], 0.0),
        ([drawn("a", 1, 1, 0, 0), drawn("b", 0, 0, 1, 0)], ["a0", "a1", "b2", "b3"], 0.5),  # one is still missing
        ([drawn("a", 1, 1, 0, 1), drawn("b", 0, 1, 1, 0)], ["a2", "a3", "b0", "b1"], 0.0),  # one too many
    ],
)
def test_a_step_learns_from_the_first_groups_that_teach_something(
    rounds: list[Sampled], texts: list[str], idle: float
) -> None:
    found = chosen_groups(rounds, Grpo(num_generations=2, batch=2, dynamic_sampling=1))
    assert [answer.text for answer in found.answers] == texts
    assert found.metrics["idle_groups"] == idle
    assert found.metrics["sampled_groups"] == 2 * len(rounds)
    assert found.metrics["tokens"] == 10.0 * len(rounds)
    assert found.prompts[:, 0].tolist() == [int(text[1:]) for text in texts]


ROLLOUTS = {**harness.ROLLOUTS, "rewards": {"tests.training.odd_rewards:by_hash": 1.0}, "learning_rate": 1e-3}


def run(tmp_path: Path, steps: int = 2, **options: Any) -> tuple[Record, SmallContext]:
    """One stage of so many steps, and the context that it had."""
    record = Record()
    stage = spec("grpo", "grpo", steps, **{**ROLLOUTS, **options})
    context = SmallContext(stage, TINY, 0, tmp_path, record, None, steps, harness.shared_inputs(), plan=(stage,))
    KINDS["grpo"].load()(context)
    return record, context


def shapes_told(context: SmallContext, shapes: int) -> None:
    """All shapes are left before the first step, and each step may only leave fewer.

    How long the answers are, and so which shapes a step needs, depends on the last bits of the processor that drew them.
    """
    first, *after = context.shapes_left
    assert first == shapes
    assert len(after) == 2
    assert after[0] < first
    assert after[1] <= after[0]


@pytest.mark.slow
def test_parts_of_a_batch_change_neither_what_is_drawn_nor_the_first_gradient(tmp_path: Path) -> None:
    """Although each part has a shape of its own; the session is told how many shapes are left to compile."""
    longer = {"steps": 2, "max_completion_length": 64}
    whole, context = run(tmp_path / "whole", **longer)
    assert any(line.startswith("rows are padded to 64 or 88 tokens, and their ") for line in context.lines)
    shapes_told(context, 2)
    cut, context = run(tmp_path / "cut", **longer, gradient_accumulation_steps=4)
    shapes_told(context, 2)
    assert cut.seen["grpo-1-rollouts"] == whole.seen["grpo-1-rollouts"]
    for metric in ("loss", "kl", "logprob", "grad_norm"):
        expected = whole.value("grpo", 1, metric)
        assert cut.value("grpo", 1, metric) == pytest.approx(expected, rel=1e-4, abs=1e-6), metric


@pytest.mark.slow
def test_dynamic_sampling_puts_other_groups_in_the_place_of_those_that_teach_nothing(tmp_path: Path) -> None:
    rare = {"rewards": {"tests.training.odd_rewards:now_and_then": 1.0}}
    once = run(tmp_path / "once", **rare)[0]
    again, context = run(tmp_path / "again", **rare, dynamic_sampling=3)
    assert once.value("grpo", 1, "idle_groups") > again.value("grpo", 1, "idle_groups")
    assert again.value("grpo", 1, "sampled_groups") > 4
    assert again.seen["grpo-1-batch"] == once.seen["grpo-1-batch"]  # the first round is the same
    assert context.record.seen.keys() >= {"grpo-1-batch1", "grpo-1-rollouts1"}


@pytest.mark.slow
def test_steps_whose_answers_are_all_left_out_are_idle_and_no_fault_of_the_adapter(tmp_path: Path) -> None:
    record, _ = run(tmp_path, steps=4, mask_truncated_completions=True, max_completion_length=1)
    truncated = [step for step in range(1, 5) if record.value("grpo", step, "truncated_share") == 1.0]
    for step in truncated:
        assert record.value("grpo", step, "idle_groups") == 1.0
        assert record.value("grpo", step, "grad_norm") == 0.0
    assert truncated
