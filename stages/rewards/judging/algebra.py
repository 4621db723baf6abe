"""Exact equality of expressions by SymPy, and the verdict of math-verify (0.9). Used only in the judge's processes.

A numerical difference, evaluated until fifteen of its digits are certain, shows that two expressions differ; equality
has to be proved symbolically. math-verify's own timeout is an alarm signal, which works only in a main thread and does
not stop C code. It is switched off, since the process has a time limit of its own.
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
"""Expressions compared once at start to fill SymPy's caches, which forked cases then share."""


def equal(wanted: str, given: str) -> bool:
    """Return True if both texts are expressions and are equal. Raises SymPy's errors for undefined values."""
    gold, found = read_expression(wanted), read_expression(given)
    return gold is not None and found is not None and _same(built(gold), built(found))


def alone(wanted: str, given: str) -> bool:
    """Return math-verify's verdict in its default mode, which searches both texts for the last mathematical part."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    configs = [LatexExtractionConfig(), ExprExtractionConfig()]
    gold = parse(_delimited(wanted), configs, parsing_timeout=None)
    found = parse(_delimited(given), configs, parsing_timeout=None)
    return bool(gold and found and verify(gold, found, timeout_seconds=None))


def warm() -> None:
    """Fill SymPy's caches, which all cases share."""
    logging.disable(logging.CRITICAL)  # nothing of an answer's content may reach a log
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
    """Return True if the value, at one point if there are variables, is certainly not zero."""
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
    r"""Return the variables for whose negative values neither expression is real, such as x in `x\sqrt{x}`."""
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
    """Return True if the relations are the same up to order, direction and constant factors."""
    left = list(gold)
    for one in found:
        other = next((other for other in left if _same_comparison(one, other)), None)
        if other is None:
            return False
        left.remove(other)
    return not left


def _same_comparison(one: Comparison, other: Comparison) -> bool:
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
