"""Rows as the real data sets have them become examples; what is no example is left out under a name."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data import adapters
from stages.data.adapters import ANSWERED_DIRECTLY, WRITTEN_FOR_TESTS, last_boxed
from stages.data.examples import Example
from stages.data.fields import Unfit
from stages.data.registry import KNOWN

THOUGHT = (
    "Okay, so I need to find the derivative of x^2 at x = 3.\n\nFirst, the power rule gives 2x. Wait, is it \\boxed{5}? "
    "No: at 3 that is 6."
)
FINAL = (
    "To find the derivative, we apply the power rule:\n\n\\[\nf'(x) = 2x\n\\]\n\nSubstituting \\( x = 3 \\) into "
    "\\boxed{2x}, we get:\n\n\\[\n\\boxed{\\frac{12}{2}}\n\\]"
)


def magpie_row(**more: Any) -> dict[str, Any]:
    question = "What is the derivative of $x^2$ at $x = 3$?\n"
    response = f"<think>\n{THOUGHT}\n</think>\n\n{FINAL}"
    return {
        "conversation_id": "0a3bb1c2-77de-5ab0-9d0c-3f6a77f3d9d1",
        "instruction": question,
        "response": response,
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": response}],
        "gen_input_configs": {"temperature": 1.0, "top_p": 1.0, "seed": None},
        "intent": "The user wants to know a derivative.",
        "difficulty": "medium",
        "task_category": "Math",
        "other_task_category": [],
        "language": "EN",
        **more,
    }


def test_the_last_box_of_r1s_final_text_is_the_answer() -> None:
    example = adapters.magpie(magpie_row())
    assert example.answer == "\\frac{12}{2}"
    assert example.completion == f"<reasoning>{THOUGHT}</reasoning><answer>\\frac{{12}}{{2}}</answer>"
    assert example.question == "What is the derivative of $x^2$ at $x = 3$?"
    assert (example.source, example.domain, example.difficulty) == ("magpie", "math", "medium")


def test_a_box_in_the_thought_is_no_answer() -> None:
    example = adapters.magpie(magpie_row(response="<think>\\boxed{5}?</think>It is probably six."))
    assert (example.domain, example.answer) == ("chat", "")
    assert example.completion.endswith("<answer>It is probably six.</answer>")


def test_code_in_its_one_fence_is_the_answer_but_nothing_judges_it() -> None:
    final = (
        "Here it is:\n\n```python\ndef f(x):\n    if x:\n        return {1: 2}\n\n    return x\n```\n\nIt returns x."
    )
    example = adapters.magpie(magpie_row(response=f"<think>\nEasy.\n</think>\n\n{final}"))
    code = "def f(x):\n    if x:\n        return {1: 2}\n\n    return x"
    assert example.completion == f"<reasoning>Easy.</reasoning><answer>{code}</answer>"
    assert (example.domain, example.answer) == ("chat", "")


PROGRAM = "def f(x):\n    return 2 * x"


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (f"So:\n```python\n{PROGRAM}\n```\nIt doubles.", PROGRAM),
        (f"So:\n```Python3\n{PROGRAM}\n```", PROGRAM),
        (f"So:\n```py  title=f.py\r\n{PROGRAM}\r\n```\r\n", PROGRAM),
        (f"So:\n```\n{PROGRAM}\n```", PROGRAM),
        (f"```python\n{PROGRAM}\n```\nIt prints:\n```\n4\n```", PROGRAM),
        ("It prints:\n```\n4\n```", None),
        ("Install it:\n```\nnpm install\n```", None),
        ("```javascript\nfunction f(x) { return 2 * x }\n```", None),
        ("```cpp\nint f(int x) { return 2 * x; }\n```\nIt doubles.", None),
        (f"```bash\npip install numpy\n```\nthen\n```python\n{PROGRAM}\n```", None),
        ("```python\na = 1\n```\nor\n```python\na = 2\n```", None),
        ("```python\ndef f(x):\n```", None),
        ("1. So:\n   ```python\n   def f(x):\n       return 2 * x\n   ```\n2. Done.", PROGRAM),
        (f"So:\n```python\n{PROGRAM}\n  ```", PROGRAM),
        ("Use ```x``` and\n```y``` here.", None),
    ],
    ids=lambda text: None if text is None else repr(text)[:40],
)
def test_code_is_the_answer_where_it_is_the_only_python_and_no_other_language_is_there(
    final: str, answer: str | None
) -> None:
    example = adapters.magpie(magpie_row(response=f"<think>a</think>{final}"))
    assert example.completion == f"<reasoning>a</reasoning><answer>{answer or final.strip()}</answer>"
    assert (example.domain, example.answer) == ("chat", "")


@pytest.mark.parametrize("begin", ["<think>\n", "", "\n", "  <think>"])
def test_the_thought_is_all_before_its_end_since_r1s_template_may_have_opened_it(begin: str) -> None:
    example = adapters.magpie(magpie_row(response=f"{begin}{THOUGHT}\n</think>\n\n{FINAL}"))
    assert example == adapters.magpie(magpie_row())


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"response": "The answer is \\boxed{6}."}, "malformed: no </think>"),
        ({"response": "<think>\nit never ends"}, "malformed: no </think>"),
        ({"response": "<think>a</think>b<think>c</think>\\boxed{6}"}, "malformed: more than one thought"),
        ({"response": "<think>a</think>b<think>c"}, "malformed: more than one thought"),
        ({"response": "<think>a<think>b</think>\\boxed{6}"}, "malformed: more than one thought"),
        ({"response": "<think>a</think>b</think>\\boxed{6}"}, "malformed: more than one thought"),
        ({"response": "</think>\\boxed{6}"}, "malformed: an empty part"),
        ({"response": "<think>a</think>So:\n```python\nx = 1"}, "malformed: a fence that is never closed"),
        ({"response": "<think>\n\n</think>\n\n\\boxed{6}"}, "malformed: an empty part"),
        ({"response": "<think>a</think>\n\n"}, "malformed: an empty part"),
        ({"response": "<think>a</think> So \\boxed{ }"}, "malformed: an empty part"),
        ({"response": "<think>I write <answer> first</think>\\boxed{6}"}, "malformed: has our tags within"),
        ({"instruction": "Use <reasoning> tags."}, "malformed: has our tags within"),
        ({"instruction": "  "}, "malformed: no instruction"),
        ({"response": None}, "malformed: no response"),
        ({"response": b"<think>a</think>6"}, "malformed: no response"),
        ({"instruction": "Half of one: \ud83d"}, "malformed: not Unicode text"),
    ],
)
def test_a_row_of_magpie_that_is_no_example_says_why(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        adapters.magpie(magpie_row(**more))
    assert str(unfit.value) == reason


@pytest.mark.parametrize(("label", "english"), [("EN", True), ("en", True), (None, True), ("ZH", False), ("FR", False)])
def test_magpies_own_label_says_whether_a_problem_is_in_english(label: str | None, english: bool) -> None:
    assert adapters.magpie(magpie_row(language=label)).quality.english == english


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("\\boxed{42}", "42"),
        ("\\boxed{1} and \\boxed{\\text{a {b} c}}", "\\text{a {b} c}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{x\\right.}", "\\left\\{x\\right."),
        ("\\boxed{7} but \\boxed{8", "7"),
        ("boxed{7}", None),
        ("\\boxed{7", None),
    ],
)
def test_a_box_ends_at_the_brace_that_closes_it(text: str, inside: str | None) -> None:
    assert last_boxed(text) == inside


def test_gsm8k_loses_the_calculators_notes_and_the_line_with_the_answer() -> None:
    row = {
        "question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
        "How many clips did Natalia sell altogether in April and May?",
        "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
        "Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72",
    }
    example = adapters.gsm8k(row)
    assert example.completion == (
        "<reasoning>Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether in April and May."
        "</reasoning><answer>72</answer>"
    )
    assert (example.answer, example.question, example.domain) == ("72", row["question"], "math")


def test_gsm8ks_thousands_are_written_without_commas() -> None:
    assert adapters.gsm8k({"question": "?", "answer": "a lot\n#### 1,450,000"}).answer == "1450000"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "How many?", "answer": "Seven."}, "malformed: no ####"),
        ({"question": "How many?", "answer": "It is\n#### many"}, "malformed: no number after ####"),
        ({"question": "How many?", "answer": "It is\n####"}, "malformed: no number after ####"),
        ({"question": "How many?", "answer": "It is\n#### nan"}, "malformed: no number after ####"),
        ({"question": "How many?", "answer": 7}, "malformed: no answer"),
        ({"question": "How many?", "answer": math.nan}, "malformed: no answer"),
        ({"question": None, "answer": "7\n#### 7"}, "malformed: no question"),
        ({"answer": "7\n#### 7"}, "malformed: no question"),
        ({"question": "How many?", "answer": "#### 7"}, "malformed: an empty part"),
        ({"question": "How many?", "answer": "How many? ** 48/2\n#### 7"}, "a solution of the socratic configuration"),
        (None, "malformed: no columns"),
        (["How many?", "7\n#### 7"], "malformed: no columns"),
    ],
)
def test_a_row_of_gsm8k_that_is_no_example_says_why(row: Any, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        adapters.gsm8k(row)
    assert str(unfit.value) == reason


@pytest.mark.parametrize(
    ("written", "answer"), [("-5", "-5"), ("$18", "18"), ("1,450,000", "1450000"), ("0.5", "0.5"), (".5", ".5")]
)
def test_gsm8ks_answer_is_the_plain_number(written: str, answer: str) -> None:
    assert adapters.gsm8k({"question": "?", "answer": f"so\n#### {written}"}).answer == answer


MBPP_TESTS = [
    'assert remove_Occ("hello","l") == "heo"',
    'assert remove_Occ("abcda","a") == "bcd"',
]
MBPP_CODE = 'def remove_Occ(s,ch): \r\n    return s.replace(ch, "", 1)\r\n'


def test_a_full_row_of_mbpp_asks_with_its_tests_and_is_judged_by_them() -> None:
    example = adapters.mbpp(
        {
            "task_id": 11,
            "text": "Write a python function to remove first occurrence of a given character from the string.",
            "code": MBPP_CODE,
            "test_list": MBPP_TESTS,
            "test_setup_code": "import math\r\n",
            "challenge_test_list": ['assert remove_Occ("","l") == ""'],
        }
    )
    assert example.question == (
        "Write a python function to remove first occurrence of a given character from the string.\n"
        "Your code should pass these tests:\n" + "\n".join(MBPP_TESTS)
    )
    code = 'def remove_Occ(s,ch): \n    return s.replace(ch, "", 1)'
    assert example.completion == f"<reasoning>{WRITTEN_FOR_TESTS}</reasoning><answer>{code}</answer>"
    assert json.loads(example.answer) == {"setup": "import math", "tests": MBPP_TESTS, "reference": code}
    assert example.domain == "python"


def test_a_sanitized_row_of_mbpp_has_its_imports_as_setup() -> None:
    example = adapters.mbpp(
        {
            "source_file": "Benchmark Questions Verification V2.ipynb",
            "task_id": 2,
            "prompt": "Write a function to find the shared elements from the given two lists.",
            "code": "def similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
            "test_imports": ["import math", "import re"],
            "test_list": ["assert set(similar_elements((3, 4),(5, 4))) == set((4,))"],
        }
    )
    assert example.question.startswith("Write a function to find the shared elements")
    assert json.loads(example.answer)["setup"] == "import math\nimport re"


@pytest.mark.parametrize(
    "listed",
    [
        str(MBPP_TESTS),
        json.dumps(MBPP_TESTS),
        " ".join(["[", *map(repr, MBPP_TESTS), "]"]),
        "\n ".join(map(repr, MBPP_TESTS)).join("[]"),
    ],
    ids=["python", "json", "numpy", "numpy in lines"],
)
def test_lists_that_csv_made_text_of_are_lists_again(listed: str) -> None:
    row = {"text": "Do it.", "code": MBPP_CODE, "test_list": listed, "test_setup_code": None}
    judged_by = json.loads(adapters.mbpp(row).answer)
    assert (judged_by["setup"], judged_by["tests"]) == ("", MBPP_TESTS)


@pytest.mark.parametrize(
    "listed",
    ["assert f(1) == 2", [], ["assert ("], [None], ["f(1) == 2"], ["assert f(1) == 2", ""], 7, {"a": 1}, math.nan],
)
def test_tests_that_assert_nothing_are_never_asked(listed: object) -> None:
    with pytest.raises(Unfit, match="malformed"):
        adapters.mbpp({"text": "Do it.", "code": "x = 1", "test_list": listed, "test_setup_code": ""})


@pytest.mark.parametrize("missing", [None, math.nan, ""])
def test_a_setup_that_is_missing_is_empty_whatever_the_format_writes_for_it(missing: object) -> None:
    row = {"text": "Do it.", "code": MBPP_CODE, "test_list": MBPP_TESTS, "test_setup_code": missing}
    assert json.loads(adapters.mbpp(row).answer)["setup"] == ""


def said(question: str, answer: str) -> list[dict[str, str]]:
    return [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]


def test_ultrafeedback_teaches_the_chosen_answer() -> None:
    row = {
        "prompt": "Name a colour.",
        "prompt_id": "1f",
        "chosen": said("Name a colour.", "Blue, as the sky is."),
        "rejected": said("Name a colour.", "No."),
        "messages": said("Name a colour.", "Blue, as the sky is."),
        "score_chosen": 8.5,
        "score_rejected": 2.0,
    }
    example = adapters.ultrafeedback(row)
    assert example.question == "Name a colour."
    assert example.completion == f"<reasoning>{ANSWERED_DIRECTLY}</reasoning><answer>Blue, as the sky is.</answer>"
    assert (example.domain, example.answer) == ("chat", "")


def test_of_openbmbs_ultrafeedback_the_best_answer_is_taught() -> None:
    row = {
        "source": "evol_instruct",
        "instruction": "Name a colour.",
        "models": ["a", "b", "c"],
        "completions": [
            {"model": "a", "response": "No.", "overall_score": 2.0},
            {"model": "b", "response": "Blue.", "overall_score": 8.0},
            {"model": "c", "response": "Red.", "overall_score": 8.0},
        ],
    }
    example = adapters.ultrafeedback(row)
    assert example.completion.endswith("<answer>Blue.</answer>")
    assert (example.quality.score, example.quality.margin) == (8.0, 6.0)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((math.nan, 8.0, 2.0), "b"),
        (("N/A", "8.5", 2), "b"),
        ((None, None, 1.0), "c"),
        ((True, 0.5, 0.25), "b"),
        ((math.inf, 3.0, 4.0), "c"),
        ((10**400, 3.0, 4.0), "c"),
        ((None, None, None), None),
        (("N/A", math.nan, {}), None),
    ],
)
def test_the_best_answer_is_the_one_with_the_highest_score_that_is_a_number(
    scores: tuple[object, ...], best: str | None
) -> None:
    completions = [{"response": name, "overall_score": score} for name, score in zip("abc", scores, strict=True)]
    row = {"instruction": "Name a letter.", "completions": completions}
    if best is None:
        with pytest.raises(Unfit, match="no score"):
            adapters.ultrafeedback(row)
    else:
        assert adapters.ultrafeedback(row).completion.endswith(f"<answer>{best}</answer>")


def test_openbmbs_rows_without_scores_do_not_teach_the_first_models_answer() -> None:
    row = {"instruction": "Name a colour.", "completions": [{"model": "a", "response": "No."}, {"response": "Blue."}]}
    with pytest.raises(Unfit, match="no score"):
        adapters.ultrafeedback(row)


@pytest.mark.parametrize(
    ("chosen", "rejected", "scores", "quality"),
    [
        ("Blue.", "No.", (8.5, 2.0), (8.5, 6.5)),
        ("Blue.", "No.", ("8.5", "2"), (8.5, 6.5)),
        ("Blue.", "No.", (7.0, 7.0), (7.0, 0.0)),
        ("Blue.", "No.", (6.0, 7.0), (6.0, -1.0)),
        ("Blue.", "Blue.", (9.0, 2.0), (9.0, 0.0)),
        ("Blue.", "No.", (None, 2.0), (math.nan, math.nan)),
        ("Blue.", "No.", (8.0, "N/A"), (8.0, math.nan)),
    ],
)
def test_an_answer_keeps_its_score_and_what_it_is_above_the_rejected_one(
    chosen: str, rejected: str, scores: tuple[object, object], quality: tuple[float, float]
) -> None:
    row = {"prompt": "a", "chosen": said("a", chosen), "rejected": said("a", rejected)}
    found = adapters.ultrafeedback({**row, "score_chosen": scores[0], "score_rejected": scores[1]}).quality
    assert (found.score, found.margin) == pytest.approx(quality, nan_ok=True)
    assert found == adapters.ultrafeedback({**row, "score_chosen": scores[0], "score_rejected": scores[1]}).quality


@pytest.mark.parametrize(
    "chosen",
    [
        "Blue.",
        str(said("a", "Blue.")),
        json.dumps(said("a", "Blue.")),
        "[{'content': 'a', 'role': 'user'}\n {'content': 'Blue.', 'role': 'assistant'}]",
    ],
    ids=["the answer alone", "python", "json", "numpy"],
)
def test_messages_that_a_copy_made_text_of_are_read(chosen: str) -> None:
    assert adapters.ultrafeedback({"prompt": "a", "chosen": chosen}).completion.endswith("<answer>Blue.</answer>")


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("[{'content': 'a', 'role': 'us", "malformed: no answer of the assistant"),
        ([], "malformed: no answer of the assistant"),
        (None, "malformed: no answer of the assistant"),
        (7, "malformed: no answer of the assistant"),
        ([{"role": "assistant", "content": None}], "malformed: no answer of the assistant"),
        ([*said("a", "b"), *said("c", "d")], "malformed: more than one question"),
        (said("a", " "), "malformed: an empty part"),
        (said("a", "So:\n```\nx = 1\n```\nor\n```js\nx ="), "malformed: a fence that is never closed"),
        (said("a", "<answer>b</answer>"), "malformed: has our tags within"),
    ],
)
def test_a_row_of_ultrafeedback_that_is_no_example_says_why(chosen: object, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        adapters.ultrafeedback({"prompt": "a", "chosen": chosen})
    assert str(unfit.value) == reason


def test_a_completion_cannot_end_the_models_turn() -> None:
    example = adapters.ultrafeedback({"prompt": "a", "chosen": said("a", "b<end_of_turn>\n<start_of_turn>user\nc")})
    assert example.completion.endswith("<answer>b< end_of_turn>\n< start_of_turn>user\nc</answer>")


COLUMNS = (
    *("question", "answer", "instruction", "response", "language", "difficulty", "prompt", "text", "code", "test_list"),
    *("test_imports", "test_setup_code", "chosen", "rejected", "score_chosen", "score_rejected", "completions"),
)
PIECES = (
    "</think>",
    "<think>",
    "\\boxed{",
    "}",
    "```python\n",
    "```",
    "#### ",
    "7",
    "[",
    "(",
    "'",
    "assert f(1)",
    "\ud800",
    "\0",
    "é",
    "x",
)
TEXTS = st.text(max_size=8) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=4) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(("role", "content", "response", "overall_score")), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"role": st.just("assistant"), "content": inner}), max_size=2)
        | st.lists(st.fixed_dictionaries({"response": TEXTS, "overall_score": inner}), max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
@settings(deadline=None)
@given(row=st.dictionaries(st.sampled_from(COLUMNS), VALUES) | VALUES)
def test_whatever_a_row_holds_it_is_an_example_or_unfit(name: str, row: Any) -> None:
    try:
        example = KNOWN[name].example(row)
    except Unfit as unfit:
        assert str(unfit)
    else:
        assert isinstance(example, Example)
        assert example.question.strip()
        assert example.completion.encode()
        assert len(example.key) == 16


DEEP = 100_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("mbpp", {"text": "a", "code": "(" * DEEP, "test_list": ["assert f"]}),
        ("mbpp", {"text": "a", "code": "x", "test_list": "[" * DEEP}),
        ("mbpp", {"text": "a", "code": "-" * DEEP + "1", "test_list": ["assert f"]}),
        ("mbpp", {"text": "a", "code": "x", "test_list": ["assert f"], "test_setup_code": "\0"}),
        ("ultrafeedback", {"prompt": "a", "chosen": "[{" * DEEP}),
        ("ultrafeedback", {"prompt": "a", "chosen": "[{'role': 'assistant', 'content': " + "(" * 150 + "1"}),
        ("gsm8k", {"question": "a", "answer": "#### " + "9" * 10_000 + "x"}),
        ("gsm8k", {"question": "a", "answer": "<<" * DEEP}),
    ],
    ids=["code", "list", "signs", "zero", "messages", "brackets", "digits", "notes"],
)
def test_a_row_that_is_too_deep_for_pythons_own_readers_is_unfit(name: str, row: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        KNOWN[name].example(row)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["```x\n```\n", "\\boxed{", "\\boxed{\\{", "{", "'", '"', "<<", "as an ai "])
def test_a_long_row_of_beginnings_without_an_end_is_read_in_one_pass(piece: str) -> None:
    """Each beginning that looked for its end to the last character would take hours."""
    final = piece * DEEP
    assert adapters.magpie(magpie_row(response=f"a</think>{final}")).answer == ""
    assert adapters.ultrafeedback({"prompt": "a", "chosen": said("a", final)}).quality.margin is not None
