"""What counts as the same question: equal words, or thirteen of them in a row."""

import pytest

from stages.data.overlap import TOKENS, WORDS, WORDS_MIN, HeldOut


def asked(question: str) -> HeldOut:
    found = HeldOut()
    found.add("gsm8k", question)
    return found


@pytest.mark.parametrize("other", ["what is 2 + 3", "WHAT  IS\n2+3 ?", "What, is: 2 (3)!"])
def test_case_white_space_and_punctuation_make_no_difference(other: str) -> None:
    assert asked("What is 2 + 3?").by(other) == "gsm8k (text)"


@pytest.mark.parametrize("other", ["What is 2 + 4?", "What is 2 + 3 + 4?", "What is 3 + 2?"])
def test_a_short_question_overlaps_only_with_its_equal(other: str) -> None:
    assert asked("What is 2 + 3?").by(other) == ""


def test_thirteen_words_in_a_row_overlap_and_twelve_do_not() -> None:
    words = [f"w{number}" for number in range(20)]
    held_out = asked(" ".join(words))
    assert WORDS == 13
    assert held_out.by(" ".join(["so", *words[4:17], "then"])) == "gsm8k (text)"
    assert held_out.by(" ".join(["so", *words[4:16], "then"])) == ""
    assert held_out.by(" ".join(["so", *words[8:20]])) == ""


def test_the_first_set_that_asks_is_named() -> None:
    found = asked("What is 2 + 3?")
    found.add("mbpp", "What is 2 + 3?")
    assert found.by("what is 2 + 3") == "gsm8k (text)"


TESTS = "Your code should pass these tests:\nassert {name}([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]) == {result}"


def test_neither_the_tests_of_a_problem_nor_the_words_before_them_are_compared() -> None:
    held_out = HeldOut()
    held_out.add("mbpp", f"Write a function to sort a list.\n{TESTS.format(name='sort', result='[1]')}")
    assert held_out.by(f"Write a function to sum up a list.\n{TESTS.format(name='total', result='91')}") == ""
    assert held_out.by(f"Write a function to sort a list!\n{TESTS.format(name='order', result='[2]')}") == "mbpp (text)"
    assert held_out.by("Write a function to sort a list.") == "mbpp (text)"


def test_a_question_that_begins_with_the_words_before_tests_is_compared_as_it_is() -> None:
    held_out = asked("Your code should pass these tests: 1 2 3")
    assert held_out.by("Your code should pass these tests: 4 5 6") == ""
    assert held_out.by("Your code should pass these tests: 1, 2, 3.") == "gsm8k (text)"


@pytest.mark.parametrize(
    ("words", "overlaps"), [(7, False), (WORDS_MIN, True), (12, True)], ids=["seven", "eight", "twelve"]
)
def test_all_of_a_short_held_out_text_within_a_longer_one_overlaps_from_eight_words_on(
    words: int, overlaps: bool
) -> None:
    text = " ".join(f"w{number}" for number in range(words))
    assert bool(asked(text).by(f"You know Python well. {text}, and explain it.")) == overlaps
    assert asked(f"You know Python well. {text}, and explain it.").by(text) == ""


LOOP = "total = 0\nfor i in range(len(xs)):\n    if xs[i] % 2 == 0:\n        total += xs[i] * 3\nreturn total - xs[0]"


@pytest.mark.parametrize(
    ("code", "overlaps"),
    [
        (LOOP, True),
        (f"# The same.\n{LOOP}  # So it is.\nprint(1)", True),
        (LOOP.replace(" = ", "="), True),
        (LOOP.replace("% 2 == 0", "% 2 == 1").replace("* 3", "* 4"), False),
        ("", False),
    ],
    ids=["equal", "comments", "spaces", "other numbers", "none"],
)
def test_thirty_tokens_of_a_program_in_a_row_overlap_whatever_is_asked(code: str, overlaps: bool) -> None:
    held_out = HeldOut()
    held_out.add("mbpp", "Add the even ones.", LOOP)
    assert TOKENS == 30
    assert held_out.by("Sum up what two divides.", code) == ("mbpp (code)" if overlaps else "")


def test_a_short_program_overlaps_only_with_its_equal_and_both_reasons_are_told() -> None:
    held_out = HeldOut()
    held_out.add("mbpp", "Double it.", "def f(x):\n    return 2 * x")
    assert held_out.by("Twice!", "def f(x): return 2 * x") == "mbpp (code)"
    assert held_out.by("Double it!", "def f(x): return 2 * x") == "mbpp (text and code)"
    assert held_out.by("Twice!", "def f(x): return 2 * x + 1") == ""


def test_what_no_judge_decides_overlaps_only_with_its_equal() -> None:
    task = "Given the following text, write one sentence of at most twenty words that sums it up:"
    held_out = HeldOut()
    held_out.add("ultrafeedback", f"{task} Bees fly.", LOOP, judged=False)
    assert held_out.by(f"{task} Cows do not.") == ""
    assert held_out.by(f"{task} bees  fly!") == "ultrafeedback (text)"
    assert held_out.by("Explain it.", f"{LOOP}\nprint(1)") == ""
    assert held_out.by("Explain it.", LOOP) == "ultrafeedback (code)"
