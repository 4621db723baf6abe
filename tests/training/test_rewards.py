"""What answers are worth, case by case; a hostile answer is worth nothing and does no harm."""

from typing import Any

import pytest

from stages.rewards import answer_of, correct, correctness_reward, same_value, structure_reward, well_formed


def worked(answer: str) -> str:
    return f"<reasoning>so</reasoning><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("completion", "fits"),
    [
        (worked("19"), True),
        ("  <reasoning>7+12\n=19</reasoning>\n<answer> 19 </answer>\n", True),
        ("<reasoning>1 < 2</reasoning><answer>2</answer>", True),
        ("", False),
        ("19", False),
        ("<reasoning>so</reasoning>", False),
        ("<answer>19</answer>", False),
        ("<answer>19</answer><reasoning>so</reasoning>", False),
        ("<reasoning>so</reasoning><answer>19", False),
        ("<reasoning>so<answer>19</answer>", False),
        ("<reasoning></reasoning><answer>19</answer>", False),
        ("<reasoning>so</reasoning><answer> \n </answer>", False),
        ("The answer: " + worked("19"), False),
        (worked("19") + "!", False),
        ("<reasoning>so</reasoning>therefore<answer>19</answer>", False),
        (worked("18") + "<answer>19</answer>", False),
        ("<reasoning>a</reasoning>" + worked("19"), False),
        ("<reasoning><answer>19</answer></reasoning>", False),
        ("<reasoning><reasoning>so</reasoning><answer>19</answer>", False),
        ("<Reasoning>so</Reasoning><answer>19</answer>", False),
    ],
)
def test_structure_is_one_reasoning_one_answer_and_nothing_else(completion: str, fits: bool) -> None:
    assert well_formed(completion) is fits
    assert structure_reward(["?"], [completion]) == [1.0 if fits else 0.0]


@pytest.mark.parametrize(
    ("given", "wanted", "equal"),
    [
        ("19", "19", True),
        (" 19\n", "19", True),
        ("019", "19", True),
        ("+19", "19", True),
        ("19.0", "19", True),
        ("38/2", "19", True),
        ("1,234", "1234", True),
        ("-5", "-5.00", True),
        ("50%", "1/2", True),
        ("0.1", "1/10", True),
        ("-0", "0", True),
        ("x", "x", True),
        ("18", "19", False),
        ("1 9", "19", False),
        ("12,34", "1234", False),
        ("7+12", "19", False),
        ("20-1", "19", False),
        ("--19", "19", False),
        ("19.", "19", False),
        ("1/0", "19", False),
        ("0/0", "0", False),
        ("1/2/3", "1/6", False),
        ("1e3", "1000", False),
        ("٣", "3", False),
        ("", "19", False),
        ("nineteen", "19", False),
    ],
)
def test_values_are_equal_literally_or_as_numbers(given: str, wanted: str, equal: bool) -> None:
    assert same_value(given, wanted) is equal


@pytest.mark.parametrize(
    "hostile",
    ["9" * 1_000_000, "9**9**9**9", "__import__('os').getcwd()", "0." + "0" * 100_000, "1/" * 50, "\x00", "oo"],
)
def test_hostile_answers_are_worth_nothing(hostile: str) -> None:
    assert not correct(worked(hostile), "19")


def test_only_one_closed_answer_counts() -> None:
    assert answer_of("<answer>1</answer><answer>2</answer>") is None
    assert answer_of("<answer>1") is None
    assert answer_of("</answer>1<answer>") is None
    assert answer_of("1") is None
    assert answer_of("no reasoning, but <answer> 1 </answer>") == "1"


def test_rewards_take_what_tunix_hands_them() -> None:
    columns: dict[str, Any] = {"answer": ["19", 19, "20"], "trajectory_ids": ["a", "b", "c"], "mode": "train"}
    completions = [worked("19"), worked("19.0"), worked("19")]
    assert correctness_reward(["?"] * 3, completions, **columns) == [1.0, 1.0, 0.0]
    assert structure_reward(["?"] * 3, completions, **columns) == [1.0, 1.0, 1.0]
