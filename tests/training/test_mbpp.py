"""The judge of Python answers on all of the real MBPP: each reference solution is right, and none is with its functions emptied."""

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from stages.data import adapters
from stages.data.examples import Example
from stages.rewards import answer_of, correctness_reward
from tests.real import real_data

SPECIAL = (123, 737, 787, 794, 126, 367, 596, 601, 927)
"""Rows that a judge gets wrong: slow, true without being `True`, with a builtin's name, a setup that needs the answer, names of
a library that nobody imports, a class of the answer's own."""


def rows() -> list[Mapping[str, Any]]:
    full = real_data("mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    sanitized = json.loads(real_data("sanitized-mbpp.json").read_text(encoding="utf-8"))
    return [*map(json.loads, full), *sanitized]


def wrong(examples: list[tuple[int, Example]], answers: list[str], expected: float) -> list[int]:
    completions = [f"<reasoning>so</reasoning><answer>{answer}</answer>" for answer in answers]
    rewards = correctness_reward(
        [], completions, answer=[e.answer for _, e in examples], domain=[e.domain for _, e in examples]
    )
    return [number for (number, _), reward in zip(examples, rewards, strict=True) if reward != expected]


class Emptied(ast.NodeTransformer):
    """Functions that do nothing."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.body = [ast.Pass()]
        return node


def emptied(code: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a `"\w"`
        return ast.unparse(Emptied().visit(ast.parse(code)))


def check(examples: list[tuple[int, Example]]) -> None:
    codes = [answer_of(example.completion) or "" for _, example in examples]
    assert wrong(examples, codes, 1.0) == []
    assert wrong(examples, [f"\n```python\n{code}\n```\n" for code in codes], 1.0) == []
    assert wrong(examples, [emptied(code) for code in codes], 0.0) == []
    assert wrong(examples, ["pass"] * len(examples), 0.0) == []


def test_a_sample_of_references_is_right_and_emptied_wrong() -> None:
    every = rows()
    quick = [row for row in every if row["task_id"] in SPECIAL and row["task_id"] != 123]
    examples = [(row["task_id"], adapters.mbpp(row)) for row in [*quick, *every[::100]]]
    check(examples)
    original = [row["code"] for row in [*quick, *every[::100]]]
    assert any("\r\n" in code for code in original)
    assert wrong(examples, original, 1.0) == []


@pytest.mark.slow
def test_every_reference_of_mbpp_is_right_and_every_emptied_one_wrong() -> None:
    every = rows()
    assert len(every) == 974 + 427
    check([(row["task_id"], adapters.mbpp(row)) for row in every])
