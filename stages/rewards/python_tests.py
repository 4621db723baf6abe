"""Whether a Python answer passes its tests: a frame for the judge, which runs it in a process without any rights."""

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
"""Processor time that an answer may have, in classes so coarse that a reference solution gets the same one on most machines."""
REFERENCE_FACTOR = 4
"""An answer may take so many times as long as the reference solution."""
_FENCED = re.compile(r"```[ \t]*(?:python|python3|py|py3)?[ \t\r]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
REMEDY = 'a Python problem\'s answer should be {"setup": "…", "tests": ["assert …", …]} as JSON'


@dataclass(frozen=True)
class PythonProblem:
    """What judges the answers to one problem."""

    setup: str
    tests: tuple[str, ...]
    reference: str = ""
    """A solution that passes, where there is one: an answer may take longer than a second where it does."""


Attempt = tuple[str, PythonProblem]
"""An answer's code, and the problem that it is to solve."""

_KNOWN: dict[Attempt, bool] = {}
"""The verdicts of the call before: a step's answers are judged for the reward, and again to be counted."""


def passed(answers: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Whether each answer's code passes all of its tests, `{"setup": "…", "tests": ["assert …"]}` in JSON.

    A `reference` beside them is a solution: where it takes long, so may an answer. Raises StageFailed where the tests are not
    of that form, or no judge can be started.
    """
    attempts = [_attempt(answer, tests) for answer, tests in zip(answers, wanted, strict=True)]
    verdicts = {attempt: _KNOWN[attempt] for attempt in attempts if attempt in _KNOWN}
    asked = list(dict.fromkeys(attempt for attempt in attempts if attempt and attempt not in verdicts))
    verdicts |= dict(zip(asked, _judged(asked), strict=True)) if asked else {}
    _KNOWN.clear()
    _KNOWN.update(verdicts)
    return [attempt is not None and verdicts[attempt] for attempt in attempts]


def code_of(answer: str) -> str | None:
    """The answer's code, out of its ``` fence where all of it is one; None where it cannot be code."""
    text = answer.strip()
    if text.startswith("```"):
        fenced = _FENCED.fullmatch(text)
        if fenced is None or _FENCE.search(fenced[1]):
            return None
        text = fenced[1]
    return text if text.strip() and len(text) <= CODE_CHARS_MAX and "\0" not in text else None


def _judged(attempts: Sequence[Attempt]) -> list[bool]:
    """Whether each passes within the first limit, or within that of its problem.

    Only where an answer met the first limit is its problem's reference timed: that says the same as timing all of them, and
    no verdict on a quick answer depends on how long anything took.
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
    """The processor time that answers to these problems may take, by what their references take (the judge remembers)."""
    references = [(code_of(problem.reference) or "", problem) for problem in problems]
    said = _ask(references, [LIMITS_S[-1]] * len(problems))
    return {problem: _limit_s(verdict) for problem, verdict in zip(problems, said, strict=True)}


def _limit_s(reference: JudgeVerdict) -> int:
    if reference.said != "1":
        return LIMITS_S[0]  # a reference that fails says nothing
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
