"""From a row of a data set to an Example: one function for each set, whose columns are those of its Hugging Face repository."""

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stages.data.examples import Example
from stages.data.prompts import plain

Row = Mapping[str, Any]

ANSWERED_DIRECTLY = "I can answer this directly."
"""The reasoning of UltraFeedback's answers, which show none: the shape of an answer is taught all the same."""
WRITTEN_FOR_TESTS = "I write a function that passes these tests."
"""The reasoning of MBPP's solutions, which show none."""

_TAG = re.compile(r"</?(?:reasoning|answer)>")
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)
_FENCED = re.compile(r"^```(?:python|py|python3)[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_CALCULATED = re.compile(r"<<[^<>]*>>")
_BOX = "\\boxed{"


class Unfit(ValueError):
    """This row is no example; the message says why in a few words, under which such rows are counted."""


def magpie(row: Row) -> Example:
    """A row of Magpie-Reasoning-V2, whose `response` is `<think>…</think>` and a final text.

    The answer is the last `\\boxed{…}` of the final text where there is one; else code in its one fence; else all of it.
    Only a boxed answer can be judged. Nobody has checked these answers: a model wrote them.
    """
    question, response = _text(row, "instruction"), _text(row, "response")
    if str(row.get("language") or "EN").upper() != "EN":
        raise Unfit("not in English")
    parts = _THOUGHT.fullmatch(response)
    if parts is None:
        raise Unfit("malformed: no <think>…</think>")
    thought, final = (part.strip() for part in parts.groups())
    boxed = last_boxed(final)
    fenced = _FENCED.findall(final)
    answer = boxed if boxed is not None else fenced[0].strip("\n") if len(fenced) == 1 else final
    return Example(
        source="magpie",
        question=question,
        completion=taught(thought, answer),
        answer=boxed or "",
        domain="chat" if boxed is None else "math",
        difficulty=str(row.get("difficulty") or ""),
    )


def ultrafeedback(row: Row) -> Example:
    """A row of ultrafeedback_binarized (`prompt`, `chosen`) or of openbmb's UltraFeedback (`instruction`, `completions`)."""
    if "completions" in row:
        question, answer = _text(row, "instruction"), _best(_items(row, "completions"))
    else:
        question, answer = _text(row, "prompt"), _last_said(_items(row, "chosen"))
    return Example(
        source="ultrafeedback", question=question, completion=taught(ANSWERED_DIRECTLY, answer), domain="chat"
    )


def gsm8k(row: Row) -> Example:
    """A row of GSM8K: a solution with the calculator's notes (`<<48/2=24>>`, removed), and `#### 42` at its end."""
    solution, mark, number = _text(row, "answer").rpartition("####")
    answer = number.strip().replace(",", "")
    if not mark:
        raise Unfit("malformed: no ####")
    return Example(
        source="gsm8k",
        question=_text(row, "question"),
        completion=taught(_CALCULATED.sub("", solution).strip(), answer),
        answer=answer,
    )


def mbpp(row: Row) -> Example:
    """A row of MBPP: `full` has `text` and `test_setup_code`, `sanitized` has `prompt` and `test_imports`.

    The tests are part of the question, as in the paper's own prompt (arXiv:2108.07732): they name the function.
    """
    tests = [str(test).strip() for test in _items(row, "test_list")]
    setup = "\n".join(str(line) for line in _items(row, "test_imports")) or str(row.get("test_setup_code") or "")
    code = _text(row, "code").replace("\r\n", "\n")
    if not tests or not all(is_python(piece) for piece in (setup, code, *tests)):
        raise Unfit("malformed: code or tests are not Python")
    text = _text(row, "text" if row.get("text") else "prompt")
    return Example(
        source="mbpp",
        question=question_with(text, tests),
        completion=taught(WRITTEN_FOR_TESTS, code.strip("\n")),
        answer=tests_of(setup, tests, code.strip("\n")),
        domain="python",
    )


def question_with(text: str, tests: Sequence[str]) -> str:
    """A programming problem and the tests that its solution has to pass."""
    return "\n".join((text, "Your code should pass these tests:", *tests))


def tests_of(setup: str, tests: Sequence[str], reference: str = "") -> str:
    """What judges code: the same text for the same tests and solution, so that examples can be compared.

    `reference` is a solution that passes; an answer may take a multiple of its time.
    """
    judges: dict[str, Any] = {"setup": setup.replace("\r\n", "\n").strip(), "tests": list(tests)}
    return json.dumps(judges | ({"reference": reference} if reference else {}), ensure_ascii=False, sort_keys=True)


def taught(reasoning: str, answer: str) -> str:
    """The completion in the shape that is taught. Raises Unfit where a part is empty or has one of our tags within."""
    if not reasoning.strip() or not answer.strip():
        raise Unfit("malformed: an empty part")
    if _TAG.search(reasoning) or _TAG.search(answer):
        raise Unfit("malformed: has our tags within")
    return f"<reasoning>{plain(reasoning)}</reasoning><answer>{plain(answer)}</answer>"


def last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{…}` whose braces are balanced; None where there is none."""
    begin = text.rfind(_BOX)
    while begin >= 0:
        inside = _balanced(text[begin + len(_BOX) :])
        if inside is not None:
            return inside.strip()
        begin = text.rfind(_BOX, 0, begin)
    return None


def _balanced(text: str) -> str | None:
    """The text up to the brace that closes what was open before it; an escaped brace (`\\{`) is an ordinary character."""
    depth, escaped = 1, False
    for place, character in enumerate(text):
        if not escaped and character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[:place]
        escaped = character == "\\" and not escaped
    return None


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise Unfit(f"malformed: no {column}")
    if _TAG.search(value):
        raise Unfit("malformed: has our tags within")
    return value.strip() if column != "code" else value


def _items(row: Row, column: str) -> list[Any]:
    """A column that is a list; CSV has it as text, in the notation of JSON or of Python."""
    value = row.get(column)
    if isinstance(value, str):
        value = _read(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unfit(f"malformed: {column} is no list")
    return value


def _read(text: str) -> Any:
    for reader in (json.loads, ast.literal_eval):
        try:
            return reader(text)
        except (ValueError, SyntaxError):
            continue
    return text


def _last_said(messages: list[Any]) -> str:
    said = [m.get("content") for m in messages if isinstance(m, Mapping) and m.get("role") == "assistant"]
    if not said or not isinstance(said[-1], str):
        raise Unfit("malformed: no answer of the assistant")
    return said[-1].strip()


def _best(completions: list[Any]) -> str:
    """The response with the highest overall score, the first of equals."""
    given = [c for c in completions if isinstance(c, Mapping) and isinstance(c.get("response"), str)]
    if not given:
        raise Unfit("malformed: no answer of the assistant")
    return str(max(given, key=lambda c: float(c.get("overall_score") or 0.0))["response"]).strip()


def is_python(code: str) -> bool:
    """Whether the text can be read as Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old `"\d"` in somebody's code is Python, if not its best
            ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True
