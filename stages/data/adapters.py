"""From a row of a data set to an Example: one function for each set, whose columns are those of its Hugging Face repository.

Whatever a row holds, such a function gives an Example or raises Unfit: one odd row among thousands never ends a stage.
"""

import ast
import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from stages.data.examples import Example, Quality
from stages.data.fields import (
    Row,
    Unfit,
    fields_of,
    is_python,
    items_of,
    number_of,
    parsed,
    read_list,
    sound,
    text_of,
    text_or_none,
)
from stages.data.overlap import TESTS_FOLLOW
from stages.data.prompts import plain
from stages.data.quality import is_english, is_refusal

ANSWERED_DIRECTLY = "I can answer this directly."
"""The reasoning of UltraFeedback's answers, which show none: the shape of an answer is taught all the same."""
WRITTEN_FOR_TESTS = "I write a function that passes these tests."
"""The reasoning of MBPP's solutions, which show none."""

_TAG = re.compile(r"</?(?:reasoning|answer)>")
_FENCE = "```"
_PYTHON = ("python", "py", "python3")
_CALCULATED = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")
_BOX = "\\boxed{"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def magpie(row: Row) -> Example:
    """A row of Magpie-Reasoning-V2, whose `response` is a thought, `</think>` and a final text.

    The opening `<think>` may be missing: R1's chat template writes it before the model does. A response that never closes its
    thought was cut off, and one with a second thought is two answers: both are unfit. The answer is the last `\\boxed{…}` of
    the final text where there is one; else the program in its only Python fence, where none names another language; else
    all of it. Only a boxed answer can be judged. Nobody has checked these answers: a model wrote them.
    """
    row = fields_of(row)
    question, response = _problem(row, "instruction"), text_of(row, "response")
    thought, final = _thought_and_final(response)
    boxed, code = last_boxed(final), only_python(final)
    answer = boxed if boxed is not None else code or final
    return Example(
        source="magpie",
        question=question,
        completion=taught(thought, answer),
        answer=boxed or "",
        domain="chat" if boxed is None else "math",
        difficulty=text_or_none(row, "difficulty"),
        code=all_python(final),
        quality=Quality(english=(text_or_none(row, "language") or "EN").upper() == "EN"),
    )


def ultrafeedback(row: Row) -> Example:
    """A row of ultrafeedback_binarized (`prompt`, `chosen`, `rejected` and their scores) or of openbmb's UltraFeedback.

    The latter has an `instruction` and four `completions` with an `overall_score` each: the best is taught, the first of equals, and
    its margin is what it is above the worst. Without any score nobody knows which is best, so such a row is unfit.
    """
    row = fields_of(row)
    if "completions" in row:
        question = _problem(row, "instruction")
        answer, score, margin = _best(items_of(row, "completions"))
    else:
        question, answer = _problem(row, "prompt"), _said(row, "chosen")
        score = number_of(row.get("score_chosen"))
        margin = 0.0 if answer == _said_or_none(row, "rejected") else score - number_of(row.get("score_rejected"))
    return Example(
        source="ultrafeedback",
        question=question,
        completion=taught(ANSWERED_DIRECTLY, answer),
        domain="chat",
        code=all_python(answer),
        quality=Quality(is_english(question), is_refusal(answer), score, _one_nan(margin)),
    )


def gsm8k(row: Row) -> Example:
    """A row of GSM8K: a solution with the calculator's notes (`<<48/2=24>>`, removed), and `#### 42` at its end."""
    row = fields_of(row)
    solution, mark, number = text_of(row, "answer").rpartition("####")
    answer = number.strip().removeprefix("$").replace(",", "")
    if not mark:
        raise Unfit("malformed: no ####")
    if not _NUMBER.fullmatch(answer):
        raise Unfit("malformed: no number after ####")
    if " ** " in solution:
        raise Unfit("a solution of the socratic configuration")
    return Example(
        source="gsm8k",
        question=_problem(row, "question"),
        completion=taught(_CALCULATED.sub("", solution).strip(), answer),
        answer=answer,
    )


def mbpp(row: Row) -> Example:
    """A row of MBPP: `full` has `text` and `test_setup_code`, `sanitized` has `prompt` and `test_imports`.

    The tests are part of the question, as in the paper's own prompt (arXiv:2108.07732): they name the function.
    """
    row = fields_of(row)
    tests = [test.strip() for test in _texts(row, "test_list")]
    setup = "\n".join(_texts(row, "test_imports")) or text_or_none(row, "test_setup_code")
    code = text_of(row, "code").replace("\r\n", "\n").strip("\n")
    if not tests or not all(is_python(piece) for piece in (setup, code, *tests)):
        raise Unfit("malformed: code or tests are not Python")
    if not all(_asserts(test) for test in tests):
        raise Unfit("malformed: a test that asserts nothing")
    text = _problem(row, "text" if row.get("text") else "prompt")
    return Example(
        source="mbpp",
        question=question_with(text, tests),
        completion=taught(WRITTEN_FOR_TESTS, code),
        answer=tests_of(setup, tests, code),
        domain="python",
        code=code,
    )


def question_with(text: str, tests: Sequence[str]) -> str:
    """A programming problem and the tests that its solution has to pass."""
    return "\n".join((text, TESTS_FOLLOW, *tests))


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


def only_python(text: str) -> str:
    """The program in a text's only Python fence; empty where there is another, or a fence that names another language."""
    fences = _fences(text)
    marked = [code for language, code in fences if language in _PYTHON]
    unmarked = [code for language, code in fences if not language]
    if len(marked) + len(unmarked) < len(fences):
        return ""
    found = marked or unmarked
    code = found[0].strip("\n") if len(found) == 1 else ""
    return code if is_python(code) and (marked or _is_program(code)) else ""


def all_python(text: str) -> str:
    """What stands in a text's fences, but for those that name another language than Python."""
    return "\n".join(code for language, code in _fences(text) if language in ("", *_PYTHON))


def last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{…}` whose braces are balanced; None where there is none.

    An escaped brace (`\\{`) is an ordinary character.
    """
    opened: list[int] = []
    begin, end = -1, -1
    for brace in _BRACE.finditer(text) if _BOX in text else ():
        if brace[0] == "{":
            opened.append(brace.end())
        elif brace[0] == "}" and opened:
            inside = opened.pop()
            if inside > begin and text.endswith(_BOX, 0, inside):
                begin, end = inside, brace.start()
    return text[begin:end].strip() if begin >= 0 else None


def _fences(text: str) -> list[tuple[str, str]]:
    """The fences of a text: the language that each names, in lower case, and what is in it, without the fence's own indentation.

    Raises Unfit where the last one is never closed: such a text was cut off.
    """
    found: list[tuple[str, str]] = []
    language: str | None = None
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        before, mark, rest = line.strip().partition(_FENCE)
        if language is None and mark and not before and "`" not in rest:
            language, lines = (rest.casefold().split() or [""])[0], []
        elif language is not None and mark and not before and not rest:
            found.append((language, textwrap.dedent("\n".join(lines))))
            language = None
        else:
            lines.append(line)
    if language is not None:
        raise Unfit("malformed: a fence that is never closed")
    return found


def _thought_and_final(response: str) -> tuple[str, str]:
    before, end, final = response.partition("</think>")
    thought = before.strip().removeprefix("<think>").strip()
    if not end:
        raise Unfit("malformed: no </think>")
    if "<think>" in thought or "<think>" in final or "</think>" in final:
        raise Unfit("malformed: more than one thought")
    return thought, final.strip()


def _problem(row: Row, column: str) -> str:
    """What is asked. Raises Unfit where it has one of our tags within."""
    question = text_of(row, column).strip()
    if _TAG.search(question):
        raise Unfit("malformed: has our tags within")
    return question


def _texts(row: Row, column: str) -> list[str]:
    items = items_of(row, column)
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise Unfit(f"malformed: {column} is no list of texts")
    return [sound(item) for item in items]


def _said(row: Row, column: str) -> str:
    """What the assistant said, in a column of one question and its answer; a flattened copy has the answer alone."""
    value = row.get(column)
    messages = read_list(value) if isinstance(value, str) else value
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        return sound(value).strip()
    messages = messages if isinstance(messages, list) else []
    said = [m.get("content") for m in messages if isinstance(m, Mapping) and m.get("role") == "assistant"]
    if not said or not isinstance(said[-1], str):
        raise Unfit("malformed: no answer of the assistant")
    if len(said) > 1:
        raise Unfit("malformed: more than one question")
    return sound(said[-1]).strip()


def _said_or_none(row: Row, column: str) -> str | None:
    try:
        return _said(row, column)
    except Unfit:
        return None


def _best(completions: list[Any]) -> tuple[str, float, float]:
    """The response with the highest overall score, the first of equals; this score, and how far it is above the lowest."""
    given = [c for c in completions if isinstance(c, Mapping) and isinstance(c.get("response"), str)]
    if not given:
        raise Unfit("malformed: no answer of the assistant")
    scored = [(number_of(c.get("overall_score")), str(c["response"])) for c in given]
    scored = [(score, response) for score, response in scored if not math.isnan(score)]
    if not scored:
        raise Unfit("no score")
    score, response = max(scored, key=lambda pair: pair[0])
    margin = score - min(score for score, _ in scored) if len(scored) > 1 else math.nan
    return sound(response).strip(), score, margin


def _one_nan(number: float) -> float:
    """The number; always the same object for NaN, so that equal rows make equal examples."""
    return math.nan if math.isnan(number) else number


def _asserts(test: str) -> bool:
    tree = parsed(test)
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _is_program(code: str) -> bool:
    """Whether something in a fence without a name defines, imports or assigns: output such as `5` is Python, too."""
    tree = parsed(code)
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.For, ast.While)
    return tree is not None and any(isinstance(node, kinds) for node in tree.body)
