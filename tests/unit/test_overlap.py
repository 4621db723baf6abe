"""What counts as the same question: equal words, or thirteen of them in a row."""

import pytest

from stages.data.overlap import WORDS, Asked


def asked(question: str) -> Asked:
    found = Asked()
    found.add("gsm8k", question)
    return found


@pytest.mark.parametrize("other", ["what is 2 + 3", "WHAT  IS\n2+3 ?", "What, is: 2 (3)!"])
def test_case_white_space_and_punctuation_make_no_difference(other: str) -> None:
    assert asked("What is 2 + 3?").by(other) == "gsm8k"


@pytest.mark.parametrize("other", ["What is 2 + 4?", "What is 2 + 3 + 4?", "What is 3 + 2?"])
def test_a_short_question_overlaps_only_with_its_equal(other: str) -> None:
    assert asked("What is 2 + 3?").by(other) == ""


def test_thirteen_words_in_a_row_overlap_and_twelve_do_not() -> None:
    words = [f"w{number}" for number in range(20)]
    held_out = asked(" ".join(words))
    assert WORDS == 13
    assert held_out.by(" ".join(["so", *words[4:17], "then"])) == "gsm8k"
    assert held_out.by(" ".join(["so", *words[4:16], "then"])) == ""
    assert held_out.by(" ".join(["so", *words[8:20]])) == ""


def test_the_first_set_that_asks_is_named() -> None:
    found = asked("What is 2 + 3?")
    found.add("mbpp", "What is 2 + 3?")
    assert found.by("what is 2 + 3") == "gsm8k"
