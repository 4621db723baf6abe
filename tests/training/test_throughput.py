"""What a step tells besides its loss: the learning rate that it was made with, and the counts that rates are made of."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from stages.options import Asking, Sft
from stages.training.checkpoints import read
from stages.training.generate import Generator
from stages.training.model import arrays_of, load
from stages.training.optimizers import learning_rates
from stages.training.stage_data import prompt
from tests.training.harness import ANSWERS, TINY, Chain, shared_inputs, spec
from tests.training.test_evaluation import SUMS

pytestmark = pytest.mark.slow


def rate(options: Sft, steps: int, step: int) -> float:
    """The learning rate of a step as the options describe it, in numbers of 64 bits."""
    peak, done, warmup = options.learning_rate, step - 1, min(options.warmup_steps, steps - 1)
    if done < warmup:
        return peak / (warmup + 1) + (peak - peak / (warmup + 1)) * done / warmup
    share = (done - warmup) / max(1, steps - warmup)
    match options.schedule:
        case "linear":
            return peak * (1 + (options.min_lr_ratio - 1) * share)
        case "cosine":
            return peak * (options.min_lr_ratio + (1 - options.min_lr_ratio) * (1 + math.cos(math.pi * share)) / 2)
        case _:
            return peak


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 10), (7, 0), (40, 10), (40, 39)])
def test_each_step_has_the_learning_rate_that_the_options_describe(schedule: str, steps: int, warmup: int) -> None:
    options = Sft(learning_rate=3e-4, schedule=schedule, warmup_steps=warmup, min_lr_ratio=0.1)
    wanted = [rate(options, steps, step) for step in range(1, steps + 1)]
    np.testing.assert_allclose(
        learning_rates(options, steps), wanted, rtol=1e-5
    )  # the schedule takes differences of numbers of 32 bits


def test_the_learning_rate_that_is_told_is_the_one_that_the_step_was_made_with(tmp_path: Path) -> None:
    """AdamW's first update moves a weight by the rate itself, whatever its gradient is."""
    sft = spec(
        "sft", "sft", 20, data=["gsm8k"], max_seq_length=64, batch=4, learning_rate=2e-3, warmup_steps=7, clip_norm=1e9
    )
    record = Chain((sft,)).run(tmp_path, {"sft": (1,)})
    before = arrays_of(load(TINY, shared_inputs(), tmp_path).model)
    after = read(tmp_path / "sft-1").weights.base
    assert after is not None
    moved = max(float(np.abs(np.asarray(before[name]) - after[name]).max()) for name in after)
    assert record.value("sft", 1, "learning_rate") == pytest.approx(2e-3 / 8)
    assert moved == pytest.approx(record.value("sft", 1, "learning_rate"), rel=1e-3)
    assert record.value("sft", 8, "learning_rate") == pytest.approx(2e-3)
    assert record.value("sft", 1, "examples") == 4


def test_answers_are_counted_in_tokens_with_their_prompts_and_no_padding(tmp_path: Path) -> None:
    foundation = load(TINY, shared_inputs(), tmp_path)
    asked = [dataclasses.replace(SUMS[0], question=question) for question in ("1 + 1?", "What is 12 + 34?")]
    answers = Generator(foundation, Asking(max_prompt_length=32, max_completion_length=8)).greedy(asked, 4)
    pieces = foundation.tokenizer
    prompts = [len(pieces.encode(prompt(example, foundation))) + 1 for example in asked]  # the beginning is a token too
    assert answers.tokens == sum(prompts) + sum(answers.lengths)
    assert all(1 <= length <= 8 for length in answers.lengths)
    assert [length for length, cut in zip(answers.lengths, answers.cut, strict=True) if cut] == [8] * sum(answers.cut)


@pytest.mark.parametrize("kind", ["evaluate", "curate"])
def test_a_stage_that_asks_tells_of_lengths_and_counts(kind: str, tmp_path: Path) -> None:
    record = Chain((spec("ask", kind, 1, **ANSWERS, batch=2),)).run(tmp_path)
    found = {name: float.fromhex(value) for name, value in record.metrics["ask-1"].items()}
    assert found["examples"] == 2
    assert 1 <= found["mean_length"] <= found["max_length"] <= ANSWERS["max_completion_length"]
    assert 0 <= found["truncated_share"] <= 1
    assert found["tokens"] > 2 * found["mean_length"]
    assert "learning_rate" not in found, "nothing is learnt"
