"""Validation rules of options. The check, the error message, the JSON schema and the reference use the same rule."""

import re
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Bounds of a number, or choices and a pattern for a string. Used in a field's type: `Annotated[int, POSITIVE]`.

    A string must be one of the choices or match the pattern. In a list each string is checked, in a mapping each key;
    neither may be empty unless the rule says so.
    """

    remedy: str
    """End of the error message `KEY should be …`."""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    form: str = "(?!)"
    """Regular expression for the whole string; the default matches nothing."""
    empty: bool = False
    """True if a list or mapping may be empty."""

    def fits(self, value: Any) -> bool:
        """Return True if a value of the field's type satisfies the rule. NaN satisfies no bounds."""
        if isinstance(value, (tuple, dict)):
            return (bool(value) or self.empty) and all(self.fits(text) for text in value)
        if isinstance(value, str):
            return value in self.choices or re.fullmatch(self.form, value) is not None
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )


POSITIVE = Rule(remedy="positive", above=0)
NOT_NEGATIVE = Rule(remedy="not negative", least=0)
SHARE = Rule(remedy="a share between 0 and 1", least=0, most=1)


def at_least(least: float, why: str = "") -> Rule:
    """Return a rule for numbers from `least`; `why` is appended to the message after a colon."""
    return Rule(remedy=f"at least {least:g}{why and ': '}{why}", least=least)


def not_negative(zero: str) -> Rule:
    """Return a rule for numbers from 0; `zero` tells what 0 means."""
    return Rule(remedy=f"not negative; 0 {zero}", least=0)


def one_of(*choices: str) -> Rule:
    """Return a rule for one of these strings."""
    return Rule(remedy=f"{', '.join(choices[:-1])} or {choices[-1]}", choices=choices)


class ValidatedOptions:
    """Base of option dataclasses, which validates fields by the rules in their types. ValueError: key and remedy."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            for rule in getattr(field.type, "__metadata__", ()):
                require(rule.fits(getattr(self, field.name)), field.name, rule.remedy)


def require(fits: bool, key: str, remedy: str) -> None:
    """Raise ValueError unless `fits`; `reading.fit` prepends the location of the options."""
    if not fits:
        raise ValueError(f"{key} should be {remedy}")
