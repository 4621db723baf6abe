"""What is read as an expression and how, and that whatever is read in two ways or only in part is not read at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards.answers import read_answer
from stages.rewards.expressions import read_expression
from stages.rewards.normalize import tidy
from stages.rewards.symbols import COMMANDS
from stages.rewards.trees import Node, functions_of, has_variables, is_one_term

ONE, TWO, THREE = (("number", digit) for digit in "123")
X, Y = ("name", "x"), ("name", "y")
HALF = ("/", ONE, TWO)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-2^2", ("negative", ("^", TWO, TWO))),
        ("2^3^2", ("^", TWO, ("^", THREE, TWO))),
        ("1-2-3", ("-", ("-", ONE, TWO), THREE)),
        ("2xy", ("*", ("*", TWO, X), Y)),
        ("1/2x", ("*", HALF, X)),
        (r"2\frac{1}{2}", ("mixed", TWO, HALF)),
        (r"2^3\frac{1}{2}", ("*", ("^", TWO, THREE), HALF)),
        (r"2\frac{x}{2}", ("*", TWO, ("/", X, TWO))),
        (r"\frac{1}2", HALF),
        ("x^12", ("^", X, ("number", "12"))),
        ("1,234x", ("*", ("number", "1234"), X)),
        ("(1,234)", ("group", "()", ONE, ("number", "234"))),
        ("x'_{12}", ("name", "x'_12")),
        ("f'(x)", ("apply", "f'", X)),
        ("h(x)", ("*", ("name", "h"), X)),
        (r"30^\circ", ("degree", ("number", "30"))),
        (r"\sin 2x\cos y", ("*", ("call", r"\sin", ("*", TWO, X)), ("call", r"\cos", Y))),
        (r"\sin^{-1} x", ("call", r"\arcsin", X)),
        (r"\sin^2 x", ("^", ("call", r"\sin", X), TWO)),
        (r"\log_2 x", ("call", r"\log", X, TWO)),
        ("|x-|y||", ("absolute", ("-", X, ("absolute", Y)))),
        ("1<x<3", ("relation", "< <", ONE, X, THREE)),
        (r"\begin{pmatrix}1&2\\3&x\end{pmatrix}", ("matrix", ("row", ONE, TWO), ("row", THREE, X))),
    ],
)
def test_an_expression_is_read_as_it_is_meant(text: str, tree: Node) -> None:
    assert read_expression(text) == tree


@pytest.mark.parametrize(
    "text",
    [
        *("", "2 3", "x2", "(2)3", r"\frac{1}{2}3", "--5", "2+", "*2", "2**", "(2", "2)", "[2)", "{2", "()", "x^"),
        *("204_5", r"\frac12", r"\sqrt16", "1/2/3", "a/bc", "3!!", "2^3!", "x^2^", "f^2(x)", r"\tan^{-2}_3 x", "2^3_4"),
        *(
            "2'",
            "x_1'",
            "2\\",
            r"\circ",
            r"x^\circ2",
            r"\unknown",
            r"\sin x(x+1)",
            r"\mathbb{R",
            r"\begin{pmatrix}1&2\\3\end{pmatrix}",
        ),
        *(
            "hello",
            "is",
            "x is y",
            "é",
            "x≈2",
            r"x\approx 2",
            "2…",
            "5%",
            "x:y",
            '"x"',
            "x?",
            "1 2/3 x",
            r"A\cup B\cap C",
        ),
        *("1," * 20, "(" * 30 + "1" + ")" * 30, "^".join("2" * 90), "-" * 50 + "1", "|" * 60, r"\sin" * 40, "9" * 61),
    ],
)
def test_what_has_no_reading_or_two_is_not_read(text: str) -> None:
    assert read_expression(text) is None


@pytest.mark.parametrize("text", ["2^{10}", r"\sqrt{16}", "7!", r"-2\cdot\frac{3!}{4}", r"\binom{5}{2}", r"1\frac12"])
def test_numbers_multiplied_and_raised_are_one_term(text: str) -> None:
    tidied = tidy(text)
    tree = read_expression(tidied or "")
    assert tree is not None
    assert is_one_term(tree)
    assert not has_variables(tree)


@pytest.mark.parametrize("text", ["7+12", "2^{5+5}", r"\sqrt{9-5}", "2x", r"\sin 30^\circ", "|-2|", "(1,2)", "1=1"])
def test_sums_functions_and_variables_are_no_term_of_numbers(text: str) -> None:
    tree = read_expression(text)
    assert tree is not None
    assert not is_one_term(tree)


def test_functions_are_told_by_their_families() -> None:
    tree = read_expression(r"\sin x+\cos y+\frac{\ln 2}{2}")
    assert tree is not None
    assert functions_of(tree) == {"trigonometric", "logarithm"}


PIECES = [
    *sorted(COMMANDS),
    *"0123456789xyfe+-*/^_=<>()[]{}|,.;:!'&% ",
    r"\{",
    r"\}",
    r"\\",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=400))
def test_no_text_is_too_strange_to_be_read_or_refused(text: str) -> None:
    tidied = tidy(text)
    read_expression(text)
    if tidied is not None:
        assert read_answer(tidied) is not None


@pytest.mark.parametrize(
    "space",
    [
        *"\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000 ~",
        r"\,",
        r"\;",
        r"\:",
        r"\ ",
        "{,}",
        r",\!",
        r",\! ",
    ],
)
def test_every_kind_of_space_may_group_thousands(space: str) -> None:
    assert tidy(f"12{space}345{space}678") == "12345678"


@pytest.mark.parametrize("gone", ["\u200b", "\u2060", "\ufeff"])
def test_characters_without_width_are_no_matter(gone: str) -> None:
    assert tidy(f"{gone}18{gone}") == "18"


@pytest.mark.parametrize("minus", "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d")
def test_every_dash_is_a_minus(minus: str) -> None:
    assert tidy(f"{minus}18") == "-18"
