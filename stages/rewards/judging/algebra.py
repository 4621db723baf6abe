"""What SymPy and math-verify (0.9) say of two expressions in LaTeX. Only the judge's processes use this.

math-verify's own limit on time is an alarm signal, which works in a main thread only and does not stop C code; it is
switched off, since the process around this has a limit of its own.
"""

import functools
import logging
from typing import Any

WARM = (r"\frac{1}{2}", r"\frac{\sqrt{3}}{2}", r"2\pi x", r"x^{2}+2x+1", r"(x+1)^{2}", r"x>5", r"\{1,2\}", r"0.5x")
"""Reading these once fills the parser's tables, which every case then finds filled."""


def equal(wanted: str, given: str) -> bool:
    """Whether two expressions are equal, exactly: a decimal is the fraction that it spells, so 3.141593 is not pi."""
    from math_verify import verify

    gold, found = _read(wanted), _read(given)
    return bool(gold and found and verify(gold, found, timeout_seconds=None))


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
        equal(text, text + "+0")
        equal(text, text)


@functools.cache
def _plain_latex() -> Any:
    """Neither units nor boxes are taken off, as that was done before; here `5 t` would become 5."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig

    steps = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    return LatexExtractionConfig(normalization_config=steps)


def _read(text: str) -> list[Any]:
    from math_verify import parse

    parsed = parse(f"${text}$", [_plain_latex()], fallback_mode="no_fallback", parsing_timeout=None)
    return [_exact(item) for item in parsed]


def _exact(parsed: Any) -> Any:
    from sympy import Basic, Float, Rational

    if not isinstance(parsed, Basic):
        return parsed
    return parsed.xreplace({number: Rational(str(number)) for number in parsed.atoms(Float)})


def _delimited(text: str) -> str:
    return f"${text}$" if "\\" in text and "$" not in text else text
