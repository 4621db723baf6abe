"""A data file of the user's own: found in the mounts by name, split once and for all, and refused with the line that does not fit."""

import json
from pathlib import Path

import pytest

from stages.data import open_source


def line(number: int, **more: object) -> str:
    sample = {"prompt": f"{number}+1=?", "answer": str(number + 1), "completion": f"<answer>{number + 1}</answer>"}
    return json.dumps({**sample, **more})


def mounted(inputs: Path, *lines: str) -> Path:
    folder = inputs / "datasets" / "me" / "gsm-3f9a-inputs"
    folder.mkdir(parents=True)
    (folder / "problems.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return inputs


def test_problems_are_split_by_their_prompt_and_hard_ones_are_told(tmp_path: Path) -> None:
    inputs = mounted(tmp_path, *(line(n, hard=n % 2 == 0) for n in range(100)))
    source = open_source("problems.jsonl", inputs)
    assert len(source.train) + len(source.held_out) == 100
    assert len(source.held_out) > 5
    assert not {e.prompt for e in source.train} & {e.prompt for e in source.held_out}
    assert source.hard == tuple(e for e in source.train if e.hard)
    assert source.train[0].taught[0].startswith("<answer>")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "problems.jsonl, line 2: this is not JSON"),
        ("[]", "problems.jsonl, line 2: this is not an object"),
        (line(1, answer=2), "problems.jsonl, line 2: answer is missing or not text"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        open_source("problems.jsonl", mounted(tmp_path, line(0), wrong))


def test_a_file_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"problems\.jsonl is in none of the mounted inputs"):
        open_source("problems.jsonl", tmp_path)


def test_too_few_problems_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        open_source("problems.jsonl", mounted(tmp_path, line(0)))
