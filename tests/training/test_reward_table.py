"""Every row of the tables in docs/rewards.md, which is the one place where the cases are written down."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages.rewards import correct, correctness_reward, judgements, same_value, structure_reward, well_formed

PAGE = Path(__file__).parents[2] / "docs" / "rewards.md"
SECTION = re.compile(r"^### (.+)$", re.MULTILINE)
EDGE = re.compile(r"^(`+)( ?)(.*)\2\1$", re.DOTALL)


def text_of(cell: str) -> str:
    """What stands in a table's cell, without the marks of code."""
    cell = cell.strip().replace(r"\|", "|").replace("⏎", "\n")
    found = EDGE.match(cell)
    return found[3] if found else cell


def tables() -> dict[str, list[list[str]]]:
    """The rows of each section, below its heading."""
    parts = SECTION.split(PAGE.read_text("utf-8"))
    return {
        title: [
            [text_of(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in body.splitlines()
            if line.startswith("|")
        ][2:]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


TABLES = tables()
STRUCTURE, PYTHON = TABLES.pop("Structure"), TABLES.pop("Python")
OTHERWISE = TABLES.pop("Where math-verify says otherwise")
MATH = [row for rows in TABLES.values() for row in rows]


def worked(answer: str) -> str:
    return f"<reasoning>so</reasoning><answer>{answer}</answer>"


def test_there_are_as_many_cases_as_were_promised() -> None:
    assert len(MATH) >= 300
    assert len(OTHERWISE) >= 20
    assert len(STRUCTURE) >= 40
    assert len(PYTHON) >= 40
    assert all(row[-2] in ("yes", "no") and row[-1] for row in MATH + STRUCTURE + PYTHON)


def marked(rows: list[list[str]]) -> list[Any]:
    """The rows, each that waits for a limit as a slow one."""
    return [pytest.param(*row, marks=[pytest.mark.slow] if "limit" in row[-1] else []) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "wanted", "right", "because"), marked(MATH))
def test_a_mathematical_answer_is_judged_as_the_table_says(answer: str, wanted: str, right: str, because: str) -> None:
    assert same_value(answer, wanted) is (right == "yes"), because
    assert correct(worked(answer), wanted) is (right == "yes"), because


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "wanted", "relay", "math_verify", "because"), OTHERWISE)
def test_math_verify_says_otherwise_where_the_table_says_so(
    answer: str, wanted: str, relay: str, math_verify: str, because: str
) -> None:
    assert {relay, math_verify} == {"yes", "no"}, because
    assert same_value(answer, wanted) is (relay == "yes"), because
    assert judgements(worked(answer), wanted)["math_verify"] is (math_verify == "yes"), because


@pytest.mark.parametrize(("completion", "fits", "because"), STRUCTURE)
def test_a_structure_is_judged_as_the_table_says(completion: str, fits: str, because: str) -> None:
    assert well_formed(completion) is (fits == "yes"), because
    assert structure_reward(["?"], [completion]) == [1.0 if fits == "yes" else 0.0], because


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "test", "right", "because"), marked(PYTHON))
def test_a_python_answer_is_judged_as_the_table_says(answer: str, test: str, right: str, because: str) -> None:
    wanted = json.dumps({"setup": "", "tests": [test]})
    rewards = correctness_reward(["?"], [worked(answer)], answer=[wanted], domain=["python"])
    assert rewards == [1.0 if right == "yes" else 0.0], because
