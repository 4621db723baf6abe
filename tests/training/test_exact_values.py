"""Equal means exactly equal: rational functions against Python's own fractions, and what is too large is never computed."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stages.rewards import judge_counts, same_value
from stages.rewards.expressions import read_expression
from stages.rewards.judging.algebra import equal
from stages.rewards.judging.building import OutOfBounds, built
from stages.rewards.mathematics import same_values

CLOSE = Fraction(1, 10**40)
numbers = st.integers(0, 99).map(lambda number: (str(number), Fraction(number))) | st.integers(0, 999).map(
    lambda number: (f"{number / 100:.2f}", Fraction(number, 100))
)


def joined(left: tuple[str, Fraction], right: tuple[str, Fraction], sign: str) -> tuple[str, Fraction]:
    """The operation as LaTeX, and its value by Python's fractions."""
    (one, value), (other, second) = left, right
    match sign:
        case "+":
            return f"({one}+{other})", value + second
        case "-":
            return f"{{{one}-{other}}}", value - second
        case "*":
            return rf"({one})\cdot({other})", value * second
        case "/":
            assume(second != 0)
            return rf"\frac{{{one}}}{{{other}}}", value / second
    assume(value != 0)
    return f"({one})^{{{sign}}}", value ** int(sign)


formulas: st.SearchStrategy[tuple[str, Fraction]] = st.recursive(
    numbers,
    lambda parts: st.builds(joined, parts, parts, st.sampled_from(["+", "-", "*", "/", "-2", "3"])),
    max_leaves=5,
)


def fraction(value: Fraction) -> str:
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


@pytest.mark.slow
@given(formulas)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_formula_equals_its_value_and_no_number_beside_it(formula: tuple[str, Fraction]) -> None:
    text, value = formula
    wanted, beside = fraction(value), fraction(value + CLOSE)
    assume(read_expression(text) and read_expression(beside))
    assert equal(f"{wanted} x", f"({text}) x")
    assert equal(rf"{wanted} + \sqrt{{2}}", rf"\sqrt{{2}} + {text}")
    assert not equal(f"{beside} x", f"({text}) x")
    assert not equal(rf"{beside} + \sqrt{{2}}", rf"\sqrt{{2}} + {text}")


@pytest.mark.parametrize(
    ("wanted", "given_"),
    [(r"\sqrt{2}", rf"\sqrt{{2}}+\frac{{1}}{{10^{{{digits}}}}}") for digits in (15, 16, 20, 50, 100, 250, 400, 2000)]
    + [("e^{-40}", "e^{-50}"), ("e^{-1000}", "e^{-1001}"), (r"\pi", r"\frac{355}{113}"), ("x", "x+10^{-300}")],
)
def test_two_values_that_differ_are_never_equal_however_close_they_are(wanted: str, given_: str) -> None:
    assert not equal(wanted, given_)
    assert not equal(given_, wanted)
    assert equal(wanted, wanted)


@pytest.mark.parametrize(
    "text",
    [
        *("9^{9^{9^9}}", "10^{10^{10}}", "2^{99999999}", "2^{-99999999}", "(1+10^{-9})^{10^9}", "0.5^{99999}"),
        *("100000!", "(10^6)!", "(-1)!", "0.5!", r"\binom{10^9}{10^8}", r"\binom{3}{5}", r"\binom{x}{10^6}", "1001!"),
        *("0^{-1}", "0^0", r"\frac{1}{0}", r"\frac{1}{1-1}", r"\sqrt[0]{2}", r"\sqrt[1000000]{2}", "2^{1/1000000}"),
        *("(x+y)^{100000}", "(x+y)^{-100000}", r"\log_1 x", r"\log_0 x"),
    ],
)
def test_what_has_no_value_or_none_that_can_be_written_down_is_refused_before_it_is_computed(text: str) -> None:
    tree = read_expression(text)
    assert tree is not None
    with pytest.raises(OutOfBounds):
        built(tree)


@pytest.mark.parametrize(("text", "value"), [("2^{6000}", 2**6000), (r"\binom{10^9}{2}", 10**9 * (10**9 - 1) // 2)])
def test_what_can_be_written_down_is_computed(text: str, value: int) -> None:
    tree = read_expression(text)
    assert tree is not None
    assert built(tree) == value


PIECES = (
    *"0123456789xyne+-*/^_=<>()[]{}|,.!'% ",
    *(
        r"\frac",
        r"\frac{",
        r"\sqrt{",
        r"\binom{",
        r"\log",
        r"\sin",
        r"\pi",
        r"\infty",
        r"\cup",
        r"\pm",
        r"^{",
        "10^",
        "9^9^",
    ),
    *(
        "99999999",
        "^{10^{10}}",
        "!",
        r"\{",
        r"\}",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"^\circ",
        r"\text{",
        "$",
        " cm",
    ),
)
hostile = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=60)


@pytest.mark.slow
@given(
    st.lists(hostile, min_size=20, max_size=20), st.sampled_from(["18", r"\sqrt{2}x", r"\{1, x\}", "(1, 2]", r"x < 5"])
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_an_answer_is_it_is_judged_and_the_judge_lives_on(texts: list[str], wanted: str) -> None:
    before = judge_counts()
    verdicts = same_values(texts, [wanted] * len(texts))
    assert len(verdicts) == len(texts)
    after = judge_counts()
    assert (after["lost"], max(1, before["started"])) == (before["lost"], max(1, after["started"]))
    assert same_value(f"{wanted}.", wanted)


@pytest.mark.parametrize(
    "text", ["2^{10}", r"\sqrt{2}", "x+1", r"\{1, 2\}", "(1, 2]", "1, 2", "3:4", r"\pm 3", "x=3, y=2"]
)
def test_an_answer_equals_itself_in_another_dress(text: str) -> None:
    for dress in ("${}$", r"\boxed{{{}}}", r"\[{}\]", "The answer is {}.", " {} ", "**{}**"):
        assert same_value(dress.format(text), text)
        assert same_value(text, dress.format(text))
