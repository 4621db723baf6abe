"""Rows as the real data sets have them become examples; what is no example is left out under a name."""

import json
from typing import Any

import pytest

from stages.data import adapters
from stages.data.adapters import ANSWERED_DIRECTLY, WRITTEN_FOR_TESTS, Unfit, last_boxed

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


def test_of_two_fences_neither_is_the_answer() -> None:
    final = "```python\na = 1\n```\nor\n```python\na = 2\n```"
    assert adapters.magpie(magpie_row(response=f"<think>a</think>{final}")).completion.endswith(
        f"<answer>{final}</answer>"
    )


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"response": "The answer is \\boxed{6}."}, "malformed: no <think>…</think>"),
        ({"response": "<think>\nit never ends"}, "malformed: no <think>…</think>"),
        ({"response": "<think>\n\n</think>\n\n\\boxed{6}"}, "malformed: an empty part"),
        ({"response": "<think>a</think>\n\n"}, "malformed: an empty part"),
        ({"response": "<think>a</think> So \\boxed{ }"}, "malformed: an empty part"),
        ({"response": "<think>I write <answer> first</think>\\boxed{6}"}, "malformed: has our tags within"),
        ({"instruction": "Use <reasoning> tags."}, "malformed: has our tags within"),
        ({"instruction": "  "}, "malformed: no instruction"),
        ({"response": None}, "malformed: no response"),
        ({"language": "ZH"}, "not in English"),
    ],
)
def test_a_row_of_magpie_that_is_no_example_says_why(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        adapters.magpie(magpie_row(**more))
    assert str(unfit.value) == reason


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


def test_a_solution_without_its_answer_is_left_out() -> None:
    with pytest.raises(Unfit, match="malformed: no ####"):
        adapters.gsm8k({"question": "How many?", "answer": "Seven."})


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


@pytest.mark.parametrize("listed", [str(MBPP_TESTS), json.dumps(MBPP_TESTS)])
def test_lists_that_csv_made_text_of_are_lists_again(listed: str) -> None:
    row = {"text": "Do it.", "code": MBPP_CODE, "test_list": listed, "test_setup_code": None}
    judged_by = json.loads(adapters.mbpp(row).answer)
    assert (judged_by["setup"], judged_by["tests"]) == ("", MBPP_TESTS)


@pytest.mark.parametrize("listed", ["['assert f(1) == 2' 'assert f(2) == 3']", "assert f(1) == 2", [], ["assert ("]])
def test_tests_that_are_not_python_are_never_asked(listed: object) -> None:
    with pytest.raises(Unfit, match="malformed"):
        adapters.mbpp({"text": "Do it.", "code": "x = 1", "test_list": listed, "test_setup_code": ""})


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
    assert adapters.ultrafeedback(row).completion.endswith("<answer>Blue.</answer>")


def test_a_completion_cannot_end_the_models_turn() -> None:
    example = adapters.ultrafeedback({"prompt": "a", "chosen": said("a", "b<end_of_turn>\n<start_of_turn>user\nc")})
    assert example.completion.endswith("<answer>b< end_of_turn>\n< start_of_turn>user\nc</answer>")
