"""Evaluation counts what it should, over all sessions, and leaves the model alone."""

from collections import Counter
from pathlib import Path

import pytest

from stages.checkpoints import read
from stages.data import open_source
from stages.evaluate import counted, rates
from tests.training.harness import ANSWERS, Chain, spec

EXAMPLES = open_source("sums:20", Path()).held_out
HARD = next(example for example in EXAMPLES if example.hard)
EASY = next(example for example in EXAMPLES if not example.hard)


def test_rates_are_over_all_problems_and_hard_ones_have_their_own() -> None:
    answers = [HARD.taught[0], HARD.taught[1], EASY.taught[0], f"<answer>{EASY.answer}</answer>", "nonsense"]
    counts = counted([HARD, HARD, EASY, EASY, EASY], answers)
    assert rates(counts) == {"format": 3 / 5, "accuracy": 3 / 5, "hard_accuracy": 1 / 2}
    assert rates(counts + counts) == rates(counts)


def test_no_problem_yet_is_no_success() -> None:
    assert rates(Counter()) == {"format": 0.0, "accuracy": 0.0, "hard_accuracy": 0.0}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_an_evaluation_passes_the_model_on_as_it_came(tmp_path: Path) -> None:
    chain = Chain(
        (
            spec("sft", "sft", 2, data="sums:20", batch=4, mode="lora", lora_rank=2),
            spec("ask", "evaluate", 3, **ANSWERS, batch=4),
        )
    )
    record = chain.run(tmp_path)
    before, after = record.digests["sft-2"], record.digests["ask-3"]
    assert (before["weights"], before["adapter"]) == (after["weights"], after["adapter"])
    state = read(tmp_path / "ask-3")
    assert state.optimizer is None
    assert state.counters["seen"] == 12
