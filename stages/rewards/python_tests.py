"""Whether a Python answer passes its tests: a frame for the judge, which runs it in a process without any rights."""

import json
import re
from collections.abc import Sequence
from typing import Any

from stages.rewards.judging.client import JUDGES, Question
from stages.stage import StageFailed

CODE_CHARS_MAX = 20_000
_FENCED = re.compile(r"```[ \t]*(?:python|python3|py)?[ \t]*\n(.*?)\n?```", re.DOTALL)
_KNOWN: dict[Question | None, bool] = {}
"""The verdicts of the call before: a step's answers are judged for the reward, and again to be counted."""
REMEDY = 'a Python problem\'s answer should be {"setup": "…", "tests": ["assert …", …]} as JSON'


def passed(answers: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    """Whether each answer's code passes all of its tests, `{"setup": "…", "tests": ["assert …"]}` in JSON.

    Raises StageFailed where the tests are not of that form, or no judge can be started.
    """
    questions = [_question(answer, tests) for answer, tests in zip(answers, wanted, strict=True)]
    verdicts = {question: _KNOWN[question] for question in questions if question in _KNOWN}
    asked = list(dict.fromkeys(question for question in questions if question and question not in verdicts))
    said = JUDGES["python"].ask(asked) if asked else []
    verdicts |= {question: one.said == "1" for question, one in zip(asked, said, strict=True)}
    _KNOWN.clear()
    _KNOWN.update(verdicts)
    return [question is not None and verdicts[question] for question in questions]


def code_of(answer: str) -> str | None:
    """The answer's code, out of its ``` fence where all of it is one; None where it cannot be code."""
    text = answer.strip()
    if "```" in text:
        fenced = _FENCED.fullmatch(text)
        if fenced is None or "```" in fenced[1]:
            return None
        text = fenced[1]
    return text if text.strip() and len(text) <= CODE_CHARS_MAX and "\0" not in text else None


def _question(answer: str, wanted: str) -> Question | None:
    code, (setup, tests) = code_of(answer), _tests(wanted)
    if code is None or not tests:
        return None
    return Question(json.dumps({"kind": "python", "setup": setup, "code": code}), json.dumps(tests))


def _tests(wanted: str) -> tuple[str, list[str]]:
    try:
        read: Any = json.loads(wanted)
        setup, tests = read["setup"], read["tests"]
    except (ValueError, TypeError, KeyError) as error:
        raise StageFailed("bad-answer", f"{REMEDY}, found {wanted[:80]!r}") from error
    if not isinstance(setup, str) or not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise StageFailed("bad-answer", f"{REMEDY}, found {wanted[:80]!r}")
    return setup, tests
