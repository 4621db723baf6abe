"""Convert expression trees to SymPy objects, exactly and within size limits. Used only in the judge's processes.

A decimal becomes an exact fraction; no floats are used. A power, factorial or binomial coefficient that is too large is
rejected before it is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import S

from stages.rewards.trees import Node

BITS_MAX = 20_000
"""Maximum size of a number in bits: about 6,000 decimal digits."""
FACTORIAL_MAX = 1000
EXPONENT_MAX = 200
"""Maximum exponent of a sum, which bounds the number of terms after expansion."""


class OutOfBounds(ValueError):
    """The expression has no value, or a value that is too large."""


@dataclass(frozen=True)
class Comparison:
    """Relation: `=` or `!=` between two terms, or `<` or `<=` between the smaller and the larger one."""

    sign: str
    small: Any
    large: Any


@dataclass(frozen=True)
class Bracketed:
    """A tuple, an interval or a set; only the context distinguishes them."""

    brackets: str
    items: tuple[Any, ...]


def built(node: Node) -> Any:
    """Return a SymPy object, a `Bracketed` or a list of `Comparison`. Raises ValueError or an error of SymPy."""
    operation, *operands = node
    return _OPERATIONS[operation](*operands)


def as_set(thing: Any) -> Any:
    """Convert a `Bracketed`, comparisons of one variable with numbers, or a set to a SymPy set."""
    if isinstance(thing, Bracketed):
        if thing.brackets == "{}":
            return sympy.FiniteSet(*thing.items)
        if len(thing.items) != 2:
            raise OutOfBounds("an interval has two ends")
        begin, end = thing.brackets[0], thing.brackets[1]
        return sympy.Interval(*thing.items, left_open=begin == "(", right_open=end == ")")
    if isinstance(thing, list):
        if len(set[Any]().union(*(one.large.free_symbols | one.small.free_symbols for one in thing))) != 1:
            raise OutOfBounds("not the values of one variable")
        return sympy.Intersection(*(_SOLVED[one.sign](one.small, one.large).as_set() for one in thing))
    if not isinstance(thing, sympy.Set):
        raise OutOfBounds("no set")
    return thing


_SOLVED: dict[str, Any] = {"=": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le}


def _value(node: Node) -> Any:
    value = built(node)
    if not isinstance(value, sympy.Expr | sympy.MatrixBase) or value in (S.NaN, S.ComplexInfinity):
        raise OutOfBounds("no value")
    return value


def _scalar(node: Node) -> Any:
    value = _value(node)
    if isinstance(value, sympy.MatrixBase):
        raise OutOfBounds("a matrix")
    return value


def _quotient(above: Node, below: Node) -> Any:
    divisor = _scalar(below)
    if divisor == 0:
        raise OutOfBounds("a division by zero")
    return _value(above) / divisor


def _power(base: Node, exponent: Node) -> Any:
    return _raised(_scalar(base), _scalar(exponent))


def _raised(base: Any, exponent: Any) -> Any:
    if base == 0 and not exponent.is_positive:
        raise OutOfBounds("zero to the power of zero or less")
    if base.is_Rational and exponent.is_Rational:
        bits = max(int(base.p).bit_length(), int(base.q).bit_length())
        if bits * abs(exponent) > BITS_MAX or exponent.q > EXPONENT_MAX:
            raise OutOfBounds("a number that is too long")
    elif exponent.is_Rational and not base.is_Atom and abs(exponent) > EXPONENT_MAX:
        raise OutOfBounds("a power of too many terms")
    return sympy.Pow(base, exponent)


def _root(under: Node, degree: Node) -> Any:
    """Return the real root; of a negative number only odd roots are real."""
    base, index = _scalar(under), _scalar(degree)
    if not index.is_Integer or not 2 <= index <= EXPONENT_MAX:
        raise OutOfBounds("no root")
    if base.is_negative and index % 2:
        return -_raised(-base, sympy.Rational(1, index))
    return _raised(base, sympy.Rational(1, index))


def _factorial(of: Node) -> Any:
    number = _scalar(of)
    if number.is_number and not (number.is_Integer and 0 <= number <= FACTORIAL_MAX):
        raise OutOfBounds("no factorial, or too large a one")
    return sympy.factorial(number)


def _binomial(above: Node, below: Node) -> Any:
    whole, part = _scalar(above), _scalar(below)
    if whole.is_Integer and part.is_Integer:
        if not 0 <= part <= whole or min(part, whole - part) * int(whole).bit_length() > BITS_MAX:
            raise OutOfBounds("no binomial coefficient, or too large a one")
    elif whole.is_number or (part.is_number and not 0 <= part <= 20):
        raise OutOfBounds("no binomial coefficient that is known")
    return sympy.binomial(whole, part)


def _name(name: str) -> Any:
    """Return a real variable; `n` is an integer."""
    return sympy.Symbol(name, integer=True) if name == "n" else sympy.Symbol(name, real=True)


def _called(name: str, argument: Node, base: Node | None = None) -> Any:
    r"""Apply a function. `\log` without a base gets a symbolic one, since both e and 10 are common."""
    value = _scalar(argument)
    if name != r"\log":
        return _FUNCTIONS[name](value)
    below = sympy.Symbol("base of log", positive=True) if base is None else _scalar(base)
    if below in (0, 1):
        raise OutOfBounds("no logarithm")
    return sympy.log(value) / sympy.log(below)


_FUNCTIONS: dict[str, Any] = {
    r"\ln": sympy.log,
    r"\arcsin": sympy.asin,
    r"\arccos": sympy.acos,
    r"\arctan": sympy.atan,
} | {"\\" + name: getattr(sympy, name) for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"]}


def _relation(signs: str, *terms: Node) -> list[Comparison]:
    values = [_scalar(term) for term in terms]
    return [_comparison(*one) for one in zip(signs.split(), values[:-1], values[1:], strict=True)]


def _comparison(sign: str, left: Any, right: Any) -> Comparison:
    if sign in (">", r"\ge"):
        left, right = right, left
    return Comparison({">": "<", r"\ge": "<=", r"\le": "<=", r"\ne": "!="}.get(sign, sign), left, right)


def _group(brackets: str, *items: Node) -> Bracketed:
    return Bracketed(brackets, tuple(built(item) for item in items))


def _of_sets(operation: Any) -> Callable[[Node, Node], Any]:
    return lambda left, right: operation(as_set(built(left)), as_set(built(right)))


_CONSTANTS = {"e": S.Exp1, "i": S.ImaginaryUnit, "pi": S.Pi, "oo": S.Infinity}
_SETS = {
    "N": S.Naturals,
    "Z": S.Integers,
    "Q": S.Rationals,
    "R": S.Reals,
    "C": S.Complexes,
    "": S.EmptySet,
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "number": sympy.Rational,
    "name": _name,
    "constant": _CONSTANTS.__getitem__,
    "set": _SETS.__getitem__,
    "mixed": lambda whole, part: _scalar(whole) + _scalar(part),
    "negative": lambda of: -_value(of),
    "+": lambda left, right: _value(left) + _value(right),
    "-": lambda left, right: _value(left) - _value(right),
    "*": lambda left, right: _value(left) * _value(right),
    "/": _quotient,
    "^": _power,
    "root": _root,
    "factorial": _factorial,
    "binomial": _binomial,
    "degree": lambda of: _scalar(of) * S.Pi / 180,
    "absolute": lambda of: sympy.Abs(_scalar(of)),
    "floor": lambda of: sympy.floor(_scalar(of)),
    "ceil": lambda of: sympy.ceiling(_scalar(of)),
    "call": _called,
    "apply": lambda name, argument: sympy.Function(name)(_scalar(argument)),
    "relation": _relation,
    "group": _group,
    "matrix": lambda *rows: sympy.Matrix([[_scalar(item) for item in row[1:]] for row in rows]),
    "union": _of_sets(sympy.Union),
    "intersection": _of_sets(sympy.Intersection),
    "without": _of_sets(sympy.Complement),
}
