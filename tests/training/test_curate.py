"""Curating chooses what the model solves sometimes, says why, and continued training works on that."""

import hashlib
import json
from pathlib import Path

import pytest

from stages.curate import HARD_SUBSET, Tried, hard_keys, read, reasons, summary, written
from stages.options import Curate
from stages.stage import StageFailed
from stages.training.checkpoints import read as read_state
from tests.training.harness import ANSWERS, ROLLOUTS, Chain, spec

OPTIONS = Curate(num_generations=4, hard_min=1)


def tried(key: str, solved: int, label: str = "", solution_chars: int = 10) -> Tried:
    return Tried(key, "gsm8k", solved, 4, label, solution_chars)


def test_hard_is_what_was_solved_in_some_but_not_in_most_tries() -> None:
    found = reasons([tried("a", 0), tried("b", 1), tried("c", 2), tried("d", 3), tried("e", 4)], OPTIONS)
    assert found == {"b": "solved sometimes", "c": "solved sometimes"}


def test_too_few_of_them_are_filled_up_with_the_hardest_of_the_unsolved() -> None:
    all_tried = [
        tried("short", 0, "medium", 10),
        tried("long", 0, "medium", 90),
        tried("labelled", 0, "very hard", 5),
        tried("unlabelled", 0, "", 50),
        tried("sometimes", 2),
        tried("easy", 4, "very hard"),
    ]
    found = reasons(all_tried, Curate(num_generations=4, hard_min=3))
    assert list(found) == ["long", "labelled", "sometimes"]
    assert found["labelled"] == "never solved; label very hard, solution of 5 characters"
    assert len(reasons(all_tried, Curate(num_generations=4, hard_min=99))) == 5, "what is always solved is never hard"


def test_the_paper_says_rule_counts_reasons_and_hash_and_is_read_back() -> None:
    all_tried = [tried("a", 0), tried("b", 1), tried("c", 4)]
    artifact = written(all_tried, OPTIONS)
    about, *rows = artifact.splitlines(keepends=True)
    found = json.loads(about)
    assert (found["tried"], found["hard"], found["by_source"]) == (3, 1, {"gsm8k": 1})
    assert found["rows_sha256"] == hashlib.sha256("".join(rows).encode()).hexdigest()
    assert [json.loads(row)["reason"] for row in rows] == ["", "solved sometimes", ""]
    assert read(artifact) == all_tried
    assert hard_keys({HARD_SUBSET: artifact}) == {"b"}
    assert (read(""), hard_keys({})) == ([], set())


def test_metrics_are_of_all_problems_so_far() -> None:
    assert summary([tried("a", 0), tried("b", 1), tried("c", 4)], OPTIONS) == {
        "tried": 3,
        "hard": 1,
        "accuracy": 5 / 12,
    }
    assert summary([], OPTIONS) == {"tried": 0, "hard": 0, "accuracy": 0}


CURATE = spec("curate", "curate", 2, **ANSWERS, batch=3, num_generations=2, hard_min=4)


@pytest.mark.slow
def test_continued_training_works_on_the_chosen_problems_and_keeps_the_paper(tmp_path: Path) -> None:
    chain = Chain((CURATE, spec("continued", "continued", 1, **{**ROLLOUTS, "replay": 0.0})))
    chain.run(tmp_path)
    curated, continued = read_state(tmp_path / "curate-2"), read_state(tmp_path / "continued-1")
    keys = hard_keys(curated.artifacts)
    assert len(keys) == 4
    assert continued.artifacts == curated.artifacts
    assert len(read(curated.artifacts[HARD_SUBSET])) == 6, "two steps of three problems"


@pytest.mark.slow
def test_continued_training_without_a_choice_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="the curate stage before continued chose") as failed:
        Chain((spec("continued", "continued", 1, **ROLLOUTS),)).run(tmp_path)
    assert failed.value.cause == "no-hard-problems"
