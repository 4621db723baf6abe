"""Whether two expressions are equal, decided exactly by SymPy, and what math-verify (0.9) says alone. Only the judge's processes use this.

Numbers decide that two expressions differ (their difference, evaluated until fifteen of its own digits are certain); that
they are equal has to be proved. math-verify's own limit on time is an alarm signal, which works in a main thread only and does
not stop C code; it is switched off, since the process around this has a limit of its own.
"""

import logging
from collections.abc import Sequence
from typing import Any

import sympy
from sympy import S
from sympy.core.evalf import PrecisionExhausted

from stages.rewards.expressions import read_expression
from stages.rewards.judging.building import Bracketed, Comparison, as_set, built

DIGITS = 15
WORKING_DIGITS_MAX = 300
WARM = (
    r"\frac{1}{2}",
    r"\frac{\sqrt{3}}{2}",
    r"2\pi x",
    "x^2+2x+1",
    r"\sin x+\ln 2",
    "x>5",
    r"\{1,2\}",
    "0.5x",
    r"\sqrt{3+2\sqrt{2}}",
)
"""Comparing these once fills SymPy's tables, which every case then finds filled."""


def equal(wanted: str, given: str) -> bool:
    """Whether two texts are expressions that are equal. Raises what SymPy raises at what has no value."""
    gold, found = read_expression(wanted), read_expression(given)
    return gold is not None and found is not None and _same(built(gold), built(found))


def alone(wanted: str, given: str) -> bool:
    """What math-verify says in its usual way: both texts searched for the last thing that looks like mathematics."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    configs = [LatexExtractionConfig(), ExprExtractionConfig()]
    gold = parse(_delimited(wanted), configs, parsing_timeout=None)
    found = parse(_delimited(given), configs, parsing_timeout=None)
    return bool(gold and found and verify(gold, found, timeout_seconds=None))


def warm() -> None:
    """Fill the tables that all cases use."""
    logging.disable(logging.CRITICAL)  # the one place where the judge could write what an answer says
    for text in WARM:
        equal(text, text)
        alone(text, text)
    equal(r"(x+1)^2\sin^2 x+(x+1)^2\cos^2 x", "x^2+2x+1")
    equal(r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}")
    equal(r"x\le 3", r"x<3")


def _same(gold: Any, found: Any) -> bool:
    if isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr):
        return _equal_values(gold, found)
    if isinstance(gold, sympy.MatrixBase) and isinstance(found, sympy.MatrixBase):
        return gold.shape == found.shape and all(map(_equal_values, gold.flat(), found.flat()))
    if isinstance(gold, list) and isinstance(found, list):
        return _equal_comparisons(gold, found)
    if isinstance(gold, Bracketed) and isinstance(found, Bracketed) and "{}" not in (gold.brackets, found.brackets):
        alike = gold.brackets == found.brackets and len(gold.items) == len(found.items)
        return alike and all(map(_same, gold.items, found.items))
    if any(isinstance(one, sympy.Expr | sympy.MatrixBase) for one in (gold, found)):
        return False
    return bool(as_set(gold) == as_set(found))


# --- values -----------------------------------------------------------------


def _equal_values(gold: Any, found: Any) -> bool:
    if gold.has(S.NaN, S.ComplexInfinity) or found.has(S.NaN, S.ComplexInfinity):
        return False
    if gold == found:
        return True
    if gold.has(S.Infinity, S.NegativeInfinity) or found.has(S.Infinity, S.NegativeInfinity):
        return False
    difference = gold - found
    if difference == 0:
        return True
    if _is_certainly_not_zero(difference):
        return False
    positive = {name: sympy.Dummy(positive=True) for name in _never_negative(gold, found)}
    return _is_proved_zero(difference) or (bool(positive) and _is_proved_zero(difference.subs(positive)))


def _is_certainly_not_zero(difference: Any) -> bool:
    """Whether its value, at one point where it has variables, has digits that are certain."""
    names = sorted(difference.free_symbols, key=str)
    point = {
        name: sympy.Rational(sympy.prime(place + 3), 1 if name.is_integer else sympy.prime(place + 4))
        for place, name in enumerate(names)
    }
    try:
        value = difference.subs(point).evalf(DIGITS, maxn=WORKING_DIGITS_MAX, strict=True)
    except (PrecisionExhausted, ArithmeticError, ValueError, TypeError, NotImplementedError):
        return False
    return bool(value.is_number and value.is_finite and value.is_zero is False)


def _never_negative(gold: Any, found: Any) -> list[Any]:
    r"""The variables of which both expressions need that they are not negative, as they have no real value elsewhere: `x\sqrt{x}`."""
    names = gold.free_symbols | found.free_symbols
    below = [{other: -2 if other == name else 3 for other in names} for name in names]
    return [
        name
        for name, point in zip(names, below, strict=True)
        if all(one.subs(point).evalf(DIGITS).is_real is False for one in (gold, found))
    ]


def _is_proved_zero(difference: Any) -> bool:
    simpler = difference
    for step in (sympy.expand, sympy.radsimp, sympy.sqrtdenest, sympy.cancel, sympy.expand_log, sympy.simplify):
        simpler = step(simpler)
        if simpler == 0:
            return True
    variable = sympy.Dummy()
    return bool(simpler.is_algebraic and sympy.minimal_polynomial(simpler, variable) == variable)


# --- relations --------------------------------------------------------------


def _equal_comparisons(gold: Sequence[Comparison], found: Sequence[Comparison]) -> bool:
    """Whether the same is said in another order, turned round, or multiplied by a number."""
    left = list(gold)
    for one in found:
        other = next((other for other in left if _says_the_same(one, other)), None)
        if other is None:
            return False
        left.remove(other)
    return not left


def _says_the_same(one: Comparison, other: Comparison) -> bool:
    if one.sign != other.sign:
        return False
    these, those = one.large - one.small, other.large - other.small
    if these == 0 or those == 0:
        return bool(these == those)
    ratio = sympy.simplify(these / those)
    if not ratio.is_number or not ratio.is_finite or ratio.is_zero is not False:
        return False
    return one.sign in ("=", "!=") or bool(ratio.is_positive)


def _delimited(text: str) -> str:
    return f"${text}$" if "\\" in text and "$" not in text else text
