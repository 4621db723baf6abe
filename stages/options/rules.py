"""What an option's value has to be, said once: the check, its sentence, the schema and the reference come from the same rule."""

import re
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Bounds of a number, or choices and a form for a text. Stands in a field's type: `Annotated[int, POSITIVE]`.

    A text has to be one of the choices, or to have the form where there is one. In a list that holds for each text, in a
    mapping for each name, and neither may be empty.
    """

    remedy: str
    """Completes `KEY should be …`."""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    form: str = "(?!)"
    """A regular expression for the whole text; by default none fits."""

    def fits(self, value: Any) -> bool:
        """Whether a value of the field's type keeps the rule; a number that is none (NaN) keeps no bounds."""
        if isinstance(value, (tuple, dict)):
            return bool(value) and all(self.fits(text) for text in value)
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
    """A number that is not below `least`; `why` follows a colon."""
    return Rule(remedy=f"at least {least:g}{why and ': '}{why}", least=least)


def not_negative(zero: str) -> Rule:
    """A number from 0 on; `zero` says what 0 does."""
    return Rule(remedy=f"not negative; 0 {zero}", least=0)


def one_of(*choices: str) -> Rule:
    """One of these texts."""
    return Rule(remedy=f"{', '.join(choices[:-1])} or {choices[-1]}", choices=choices)


class ValidatedOptions:
    """A dataclass of options that holds its fields to the rules in their types; ValueError names the key and the remedy."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # whoever inherits is a dataclass
            for rule in getattr(field.type, "__metadata__", ()):
                require(rule.fits(getattr(self, field.name)), field.name, rule.remedy)


def require(fits: bool, key: str, remedy: str) -> None:
    """Raise ValueError where an option does not fit; `fit` puts in front where the options stand."""
    if not fits:
        raise ValueError(f"{key} should be {remedy}")
