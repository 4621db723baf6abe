"""What is taken for the answer of a completion, and what remains of it once only its writing was tidied."""

import pytest

from stages.rewards.normalize import CHARS_MAX, tidy, whole_group
from stages.rewards.structure import answer_of, structure_reward, well_formed
from tests.unit.core.situations import row

GOOD = "<reasoning>because</reasoning><answer>4</answer>"


@pytest.mark.parametrize(
    ("completion", "shaped", "answer"),
    [
        row("one reasoning, then one answer", GOOD, True, "4"),
        row("white space around", f"\n{GOOD.replace('><', '> <')}\n", True, "4"),
        row("white space within", GOOD.replace("4", " 4\n"), True, "4"),
        row("text before", f"So {GOOD}", False, "4"),
        row("text between", GOOD.replace("><", ">so<"), False, "4"),
        row("text behind", f"{GOOD} done", False, "4"),
        row("a blank answer", GOOD.replace("4", " "), False, ""),
        row("blank reasoning", GOOD.replace("because", " "), False, "4"),
        row("no reasoning", "<answer>4</answer>", False, "4"),
        row("the answer first", "<answer>4</answer><reasoning>because</reasoning>", False, "4"),
        row("two answers", f"{GOOD}<answer>5</answer>", False, None),
        row("an answer that is not closed", "<reasoning>because</reasoning><answer>4", False, None),
        row("an answer that is closed first", "</answer>4<answer>", False, None),
        row("no answer", "4", False, None),
        row("other tags are text", GOOD.replace("4", "<b>4</b>"), True, "<b>4</b>"),
    ],
)
def test_an_answer_is_what_stands_in_the_one_answer_block(completion: str, shaped: bool, answer: str | None) -> None:
    assert well_formed(completion) is shaped
    assert answer_of(completion) == answer
    assert structure_reward([""], [completion, GOOD]) == [1.0 if shaped else 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        row("nothing to tidy", "x+1", "x+1"),
        row("spaces around", "  42 \n", "42"),
        row("a sentence's end", "42.", "42"),
        row("a space before it", "42 .", "42"),
        row("three dots are a value's", "0.33..", "0.33.."),
        row("dollars", "$42$", "42"),
        row("two dollars", "$$42$$", "42"),
        row("money", r"\$42", "$42"),
        row("two formulas", "$a$ and $b$", "a and b"),
        row("parentheses of LaTeX", r"\(42\)", "42"),
        row("brackets of LaTeX", r"\[42\]", "42"),
        row("bold", "**42**", "42"),
        row("code", "`42`", "42"),
        row("braces", "{42}", "42"),
        row("a set keeps its braces", "{1, 2}", "{1, 2}"),
        row("two groups are not one", "{1}{2}", "{1}{2}"),
        row("a large style", r"\displaystyle 42", "42"),
        row("one within another", r"$\boxed{**42**}$", "42"),
        row("a box", r"\boxed{42}", "42"),
        row("a box in a sentence", r"it is \boxed{42} here", "it is 42 here"),
        row("a box that is not closed", r"\boxed{42", r"\boxed{42"),
        row("a box with braces in it", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        row("a lead-in", "The answer is 42", "42"),
        row("a lead-in in capitals", "FINAL ANSWER: 42", "42"),
        row("an equals sign", "= 42", "42"),
        row("GSM8K's mark", "#### 42", "42"),
        row("a lead-in to nothing", "The answer is", "The answer is"),
        row("a minus", "\u22125", "-5"),
        row("a fraction's sign", "1½", "1 1/2"),
        row("raised digits", "x²", "x^{2}"),
        row("lowered digits", "x₁", "x_{1}"),
        row("a root's sign", "√12", r"\sqrt{12}"),
        row("an unknown sign stays", "→", "→"),
        row("grouped thousands", "1 234 567", "1234567"),
        row("short fractions", r"\frac12", r"\frac{1}{2}"),
        row("one of many fractions", r"\dfrac{1}{2}", r"\frac{1}{2}"),
        row("brackets that grow", r"\left(1\right)", "(1)"),
        row("a percent sign", r"5\%", "5%"),
        row("degrees", r"90^{\circ}", r"90^\circ"),
        row("words for the reals", "All Reals", r"\mathbb{R}"),
        row("words for nothing", "the empty set", r"\emptyset"),
        row("as long as may be", "1" * CHARS_MAX, "1" * CHARS_MAX),
        row("longer", "1" * (CHARS_MAX + 1), None),
        row("blank", "  ", None),
        row("only dollars", "$$", "$$"),
        row("a control character", "4\x002", None),
        row("a line end and a tab are spaces", "4\n+\t2", "4 + 2"),
        row("digits of another script", "٤", None),
    ],
)
def test_an_answer_is_tidied_without_a_change_of_its_value(text: str, tidied: str | None) -> None:
    assert tidy(text) == tidied


@pytest.mark.parametrize(
    ("text", "opening", "whole"),
    [
        row("one group", "(a)", 0, True),
        row("a group in a group", "([a]{b})", 0, True),
        row("two groups", "(a)(b)", 0, False),
        row("the second of two", "(a)(b)", 3, True),
        row("not closed", "((a)", 0, False),
        row("text behind", "(a)b", 0, False),
    ],
)
def test_a_group_is_whole_if_its_end_is_the_texts(text: str, opening: int, whole: bool) -> None:
    assert whole_group(text, opening) is whole
