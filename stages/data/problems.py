"""Problems from the user's own JSON Lines files, uploaded with the run as a dataset, identified by name and digest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from stages.data.adapters import question_with, tests_of
from stages.data.examples import Domain, Example
from stages.data.fields import is_python
from stages.data.mounted import files_called
from stages.data.prompts import plain
from stages.stage import StageFailed

HELD_OUT_ONE_IN = 5
"""Inverse share of problems that are held out: one in five."""
TEXTS = ("prompt", "answer", "completion", "difficulty", "setup", "reference")


def problems_in(inputs: Path, name: str, sha256: str = "") -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return (training, held-out) problems of the mounted file `name`, split by a hash of the question.

    Each line is an object with `prompt`, and `completion` for SFT or `answer` for grading, or both. In the `domain`
    `python`, `tests` (a list of assert statements) replaces `answer`; optional are `setup` and `reference`, a solution
    that passes: the time limit of a completion is a multiple of its run time.
    Raises ValueError with one sentence that names file, line and field, and StageFailed `data-missing` if no mounted
    file of this name has the digest recorded when the run began.
    """
    found = files_called(name, inputs, sha256)
    if found:
        return read_problems(found[0])
    if not sha256:
        raise ValueError(f"data: {name} is in none of the mounted inputs: list it under inputs.files")
    others = files_called(name, inputs)
    what = "is mounted with another content than the run began with" if others else "of inputs.files is not mounted"
    remedy = "begin a new run, which publishes it anew" if others else "look whether Kaggle still has it"
    reason = f"data: {name} {what} (SHA-256 {sha256[:12]}…): relay tries again; if it stays so, {remedy}"
    raise StageFailed("data-missing", reason, transient=True)


def read_problems(path: Path) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return the problems of one file, as `problems_in` does. Raises OSError if it cannot be read."""
    name = path.name
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data: {name} is not UTF-8 text ({error.reason} at byte {error.start}): save it as such"
        ) from error
    examples = [_example(name, line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    train = tuple(example for example in examples if not _held_out(example.question))
    held_out = tuple(example for example in examples if _held_out(example.question))
    if not train or not held_out:
        raise ValueError(f"data: {name} has too few problems to hold any out: {len(examples)}; add some")
    return train, held_out


def _held_out(question: str) -> bool:
    return hashlib.sha256(question.encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def _example(name: str, line: str, where: str) -> Example:
    value = _object(line, where)
    domain = _domain(value, where)
    tests = _tests(value, where)
    question = value["prompt"].strip()
    if domain == "python":
        answer = tests_of(value.get("setup", ""), tests, value.get("reference", "")) if tests else ""
        question = question_with(question, tests) if tests else question
    else:
        answer = value.get("answer", "").strip()
    completion = plain(value.get("completion", ""))
    if not answer and not completion:
        wanted = "tests" if domain == "python" else "answer"
        raise ValueError(
            f"data: {where}: there is neither {wanted} nor completion, so nothing to grade or to train on: add one"
        )
    return Example(
        source=name,
        question=question,
        completion=completion,
        answer=answer,
        domain=domain,
        difficulty=value.get("difficulty", ""),
        code=_program(completion) if domain == "python" else "",
    )


def _program(completion: str) -> str:
    """Return the program between the completion's answer tags; the whole completion if there are none."""
    return completion.rpartition("<answer>")[2].partition("</answer>")[0]


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"data: {where}: this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"data: {where}: this is not an object")
    for field in TEXTS:
        if not isinstance(value.get(field, ""), str):
            raise ValueError(f"data: {where}: {field} is not text: put it in quotation marks")
        if any("\ud800" <= character <= "\udfff" for character in value.get(field, "")):
            raise ValueError(
                f"data: {where}: {field} has half of a surrogate pair, which is not a valid character: replace it"
            )
    if not value.get("prompt", "").strip():
        raise ValueError(f"data: {where}: prompt is missing or empty")
    return value


def _domain(value: Mapping[str, Any], where: str) -> Domain:
    domain: Any = value.get("domain", "python" if "tests" in value else "math")
    if domain not in get_args(Domain):
        raise ValueError(f"data: {where}: domain is {domain!r}; there are {', '.join(get_args(Domain))}")
    chosen: Domain = domain
    return chosen


def _tests(value: Mapping[str, Any], where: str) -> list[str]:
    tests = value.get("tests", [])
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise ValueError(f"data: {where}: tests is not a list of assert statements")
    for field, text in (("setup", value.get("setup", "")), *(("tests", test) for test in tests)):
        if not is_python(text):
            raise ValueError(
                f"data: {where}: {field} is not valid Python, so every answer would be graded as wrong: {text[:60]!r}"
            )
    return tests
