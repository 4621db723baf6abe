"""Whether an answer is right: literally, or as a number that SymPy finds equal.

The text to judge was written by a model that is paid for fooling us. So nothing of it is evaluated: a short text that is
one number (sign, thousands, decimals, a fraction, per cent) is read by a fixed grammar, and everything else is wrong. In
particular `7+12` is no answer to `7+12`.
"""

import re
from collections.abc import Sequence
from typing import Any

from stages.rewards.structure import answer_of

_LENGTH_MAX = 40
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = rf"{_WHOLE}(?:\.[0-9]+)?"
_NUMBER = re.compile(rf"(?P<sign>[+-]?)\s*(?P<above>{_DECIMAL})(?:\s*/\s*(?P<below>{_DECIMAL}))?\s*(?P<percent>%?)")


def correctness_reward(
    prompts: Sequence[str], completions: Sequence[str], *, answer: Sequence[Any], **columns: Any
) -> list[float]:
    """1 for each completion whose answer equals its row of `answer`, else 0. Tunix's calling form."""
    return [1.0 if correct(text, str(wanted)) else 0.0 for text, wanted in zip(completions, answer, strict=True)]


def correct(completion: str, wanted: str) -> bool:
    """Whether the completion's one answer is `wanted`."""
    given = answer_of(completion)
    return given is not None and same_value(given, wanted)


def same_value(given: str, wanted: str) -> bool:
    """Whether two texts are equal, or are numbers of the same value."""
    given, wanted = given.strip(), wanted.strip()
    if given == wanted:
        return True
    left, right = _value(given), _value(wanted)
    return left is not None and right is not None and bool(left == right)


def _value(text: str) -> Any:
    """The exact number, or None where the text is none."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if found is None:
        return None
    from sympy import Rational  # only when needed: it takes half a second to import

    below = Rational((found["below"] or "1").replace(",", ""))
    if below == 0:
        return None
    value = Rational(found["above"].replace(",", "")) / below
    value = value / 100 if found["percent"] else value
    return -value if found["sign"] == "-" else value
