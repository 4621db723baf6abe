"""Evaluation counts what it should, over all sessions, keeps what was answered, and leaves the model alone."""

import json
from pathlib import Path

import pytest

from stages.data import Example
from stages.evaluate import hard_ones, judged, rates, read, transcripts, written
from stages.training.checkpoints import read as read_state
from stages.training.generate import Completions
from tests.training.harness import ANSWERS, Chain, spec

SUMS = [
    Example(source="gsm8k", question="1+1", completion="short", answer="2"),
    Example(source="gsm8k", question="1+2", completion="short", answer="3"),
    Example(source="gsm8k", question="17+15", completion="longer than the others", answer="32"),
]
CODE = Example(
    source="mbpp", question="f", completion="c", answer='{"setup":"","tests":["assert f(1) == 2"]}', domain="python"
)


def shaped(answer: str) -> str:
    return f"<reasoning>so</reasoning><answer>{answer}</answer>"


def rows_of(*answers: str) -> list[dict[str, object]]:
    examples = [*SUMS, CODE][: len(answers)]
    given = Completions(list(answers), [False] * len(answers), list(range(3, 3 + len(answers))), 100)
    return judged(examples, given, hard_ones([*SUMS, CODE]))


@pytest.mark.slow
def test_rates_are_over_all_answers_and_each_set_has_its_own_with_an_interval() -> None:
    found = rates(rows_of(shaped("2"), "<answer>3</answer>", shaped("22"), shaped("def f(x): return x + 1")))
    assert found["format"] == 3 / 4
    assert found["accuracy"] == 3 / 4
    assert (found["gsm8k"], found["mbpp"]) == (2 / 3, 1.0)
    assert found["gsm8k_low"] < found["gsm8k"] < found["gsm8k_high"]
    assert (found["hard_accuracy"], found["asked"]) == (0.0, 4.0)
    assert (found["mean_length"], found["max_length"], found["truncated_share"]) == (4.5, 6.0, 0.0)


def test_a_problem_is_hard_when_its_solution_is_longer_than_the_median_of_its_set() -> None:
    assert hard_ones([*SUMS, CODE]) == {SUMS[2].key}


def test_no_problem_yet_is_no_success() -> None:
    assert rates([])["accuracy"] == 0.0
    assert (rates([])["accuracy_low"], rates([])["accuracy_high"]) == (0.0, 1.0)


def test_the_transcripts_that_are_kept_are_the_wrong_ones_first() -> None:
    rows = rows_of(shaped("2"), shaped("4"), shaped("32"))
    assert [row["wanted"] for row in transcripts(rows, 2)] == ["3", "2"]
    assert read(written(rows, rates(rows))) == rows
    assert json.loads(written(rows, rates(rows)).splitlines()[0])["accuracy"] == pytest.approx(2 / 3)


def test_a_quarter_of_the_transcripts_are_the_problems_asked_first_so_that_evaluations_can_be_compared() -> None:
    before = [{"key": str(number), "right": number in (0, 9), "disagree": {}} for number in range(40)]
    after = [{**row, "right": number not in (5, 30)} for number, row in enumerate(before)]
    kept = [{row["key"] for row in transcripts(rows, 8)} for rows in (before, after)]
    assert [len(keys) for keys in kept] == [8, 8]
    assert kept[0] & kept[1] >= {"0", "1"}, "one stayed right and one was learned"
    assert kept[1] >= {"5", "30"}, "what is wrong is kept too"
    assert [row["right"] for row in transcripts(after, 8)] == [False] * 2 + [True] * 6


@pytest.mark.slow
def test_an_evaluation_passes_the_model_on_as_it_came_and_leaves_its_transcripts(tmp_path: Path) -> None:
    chain = Chain(
        (
            spec("sft", "sft", 2, data=["gsm8k"], batch=4, max_seq_length=64, mode="lora", lora_rank=2),
            spec("ask", "evaluate", 3, **ANSWERS, batch=4, transcripts=5),
        )
    )
    record = chain.run(tmp_path)
    before, after = record.digests["sft-2"], record.digests["ask-3"]
    assert (before["weights"], before["adapter"]) == (after["weights"], after["adapter"])
    state = read_state(tmp_path / "ask-3")
    assert state.optimizer is None
    artifact = state.artifacts["transcripts-ask.jsonl"]
    assert json.loads(artifact.splitlines()[0])["asked"] == 12
    assert len(read(artifact)) == 5
    verdicts = [json.loads(line) for line in state.artifacts["verdicts-ask.jsonl"].splitlines()]
    assert len({verdict["key"] for verdict in verdicts}) == 12, "one for each problem, though five transcripts are kept"
    assert all(verdict.keys() == {"key", "set", "format", "right"} for verdict in verdicts)
    by_key = {verdict["key"]: verdict["right"] for verdict in verdicts}
    assert all(by_key[row["key"]] == row["right"] for row in read(artifact))
    assert sum(by_key.values()) == round(12 * json.loads(artifact.splitlines()[0])["accuracy"])


@pytest.mark.slow
def test_no_problem_is_asked_twice_however_many_steps_there_are(tmp_path: Path) -> None:
    chain = Chain((spec("ask", "evaluate", 4, **{**ANSWERS, "data": ["mbpp"], "max_prompt_length": 64}, batch=64),))
    record = chain.run(tmp_path)
    assert record.value("ask", 4, "asked") == record.value("ask", 3, "asked") == 100


@pytest.mark.slow
def test_an_evaluation_that_is_cut_after_its_last_problem_ends_like_one_that_is_not(tmp_path: Path) -> None:
    options = {**ANSWERS, "data": ["mbpp"], "max_prompt_length": 64, "batch": 64, "transcripts": 5}
    chain = Chain((spec("ask", "evaluate", 4, **options),))
    whole, cut = chain.run(tmp_path / "whole"), chain.run(tmp_path / "cut", {"ask": (3,)})
    assert cut.metrics == whole.metrics
    assert cut.digests["ask-4"] == whole.digests["ask-4"]
