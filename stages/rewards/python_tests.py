"""Grade Python answers by their tests, which the judge runs in sandboxed processes."""

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.rewards.judging.client import JUDGES, JudgeVerdict, Question
from stages.stage import StageFailed

CODE_CHARS_MAX = 20_000
LIMITS_S = (1, 4, 16)
"""Processor time limits in seconds. They are coarse, so that a reference solution gets the same one on most
machines."""
REFERENCE_FACTOR = 4
"""Ratio of an answer's time limit to the run time of the reference solution."""
_FENCED = re.compile(r"```[ \t]*(?:python|python3|py|py3)?[ \t\r]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
REMEDY = 'a Python problem\'s answer should be {"setup": "…", "tests": ["assert …", …]} as JSON'


@dataclass(frozen=True)
class PythonProblem:
    """Tests that grade the answers to one problem."""

    setup: str
    tests: tuple[str, ...]
    reference: str = ""
    """Solution that passes the tests; empty if unknown. If it is slow, answers get a higher time limit."""


Attempt = tuple[str, PythonProblem]
"""An answer's code and its problem."""

_KNOWN: dict[Attempt, bool] = {}
"""Verdicts of the previous call: a step's answers are graded once for the reward and again for the metrics."""


def passed(answers: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Return for each answer whether its code passes all tests, given as JSON `{"setup": "…", "tests": ["assert …"]}`.

    An optional `reference` is a solution; if it is slow, answers get a higher time limit. Raises StageFailed if the
    tests do not have that form, or if no judge can be started.
    """
    attempts = [_attempt(answer, tests) for answer, tests in zip(answers, wanted, strict=True)]
    verdicts = {attempt: _KNOWN[attempt] for attempt in attempts if attempt in _KNOWN}
    asked = list(dict.fromkeys(attempt for attempt in attempts if attempt and attempt not in verdicts))
    verdicts |= dict(zip(asked, _judged(asked), strict=True)) if asked else {}
    _KNOWN.clear()
    _KNOWN.update(verdicts)
    return [attempt is not None and verdicts[attempt] for attempt in attempts]


def code_of(answer: str) -> str | None:
    """Return the answer's code, without an enclosing ``` fence; None if it cannot be code."""
    text = answer.strip()
    if text.startswith("```"):
        fenced = _FENCED.fullmatch(text)
        if fenced is None or _FENCE.search(fenced[1]):
            return None
        text = fenced[1]
    return text if text.strip() and len(text) <= CODE_CHARS_MAX and "\0" not in text else None


def _judged(attempts: Sequence[Attempt]) -> list[bool]:
    """Return for each attempt whether it passes within the first time limit or within that of its problem.

    A problem's reference is timed only if an answer exceeded the first limit. The result is the same as with timing all
    of them, and verdicts on fast answers do not depend on any timing.
    """
    said = _ask(attempts, [LIMITS_S[0]] * len(attempts))
    slow = [attempt for attempt, verdict in zip(attempts, said, strict=True) if verdict.limit and attempt[1].reference]
    limits = _limits_s(list(dict.fromkeys(problem for _, problem in slow)))
    again = [attempt for attempt in slow if limits[attempt[1]] > LIMITS_S[0]]
    right = {attempt: verdict.said == "1" for attempt, verdict in zip(attempts, said, strict=True)}
    later = _ask(again, [limits[problem] for _, problem in again])
    right |= {attempt: verdict.said == "1" for attempt, verdict in zip(again, later, strict=True)}
    return [right[attempt] for attempt in attempts]


def _limits_s(problems: Sequence[PythonProblem]) -> dict[PythonProblem, int]:
    """Return the time limit of each problem from the run time of its reference, which the judge's client caches."""
    references = [(code_of(problem.reference) or "", problem) for problem in problems]
    said = _ask(references, [LIMITS_S[-1]] * len(problems))
    return {problem: _limit_s(verdict) for problem, verdict in zip(problems, said, strict=True)}


def _limit_s(reference: JudgeVerdict) -> int:
    if reference.said != "1":
        return LIMITS_S[0]  # a failing reference gives no information
    return next((limit_s for limit_s in LIMITS_S if reference.cpu_s * REFERENCE_FACTOR <= limit_s), LIMITS_S[-1])


def _ask(attempts: Sequence[Attempt], limits_s: Sequence[int]) -> list[JudgeVerdict]:
    questions = [
        Question(
            json.dumps({"cpu_s": limit_s}),
            (
                json.dumps({"setup": problem.setup, "code": code}),
                json.dumps({"setup": problem.setup, "tests": problem.tests}),
            ),
        )
        for (code, problem), limit_s in zip(attempts, limits_s, strict=True)
    ]
    return JUDGES["python"].ask(questions) if questions else []


def _attempt(answer: str, wanted: str) -> Attempt | None:
    code, problem = code_of(answer), _problem(wanted)
    return (code, problem) if code is not None and problem.tests else None


@functools.lru_cache(maxsize=1024)
def _problem(wanted: str) -> PythonProblem:
    try:
        read: Any = json.loads(wanted)
        setup, tests, reference = read["setup"], read["tests"], read.get("reference", "")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StageFailed("bad-answer", f"{REMEDY}, found {wanted[:80]!r}") from error
    if not isinstance(tests, list) or not all(isinstance(text, str) for text in (setup, reference, *tests)):
        raise StageFailed("bad-answer", f"{REMEDY}, found {wanted[:80]!r}")
    return PythonProblem(setup, tuple(tests), reference)
