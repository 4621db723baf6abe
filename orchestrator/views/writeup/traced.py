"""Values that know their name in a write-up's template, how they are printed, and where they come from. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.base.humanize import machine_time
from orchestrator.views.comparison_text import p_text, points_text

Source = Mapping[str, Any]
"""Origin of a value, in a form that a program can follow; the functions below make the forms that exist."""


class TracedNumber(float):
    """A number with its origin. Templates may compare it and compute with it; results of that have no origin."""

    name: str
    text: str
    source: Source

    def __new__(cls, value: float, name: str, text: str, source: Source) -> "TracedNumber":
        made = super().__new__(cls, value)
        made.name, made.text, made.source = name, text, source
        return made


class TracedText(str):
    """A text with its origin."""

    name: str
    source: Source

    def __new__(cls, value: str, name: str, source: Source) -> "TracedText":
        made = super().__new__(cls, value)
        made.name, made.source = name, source
        return made

    @property
    def text(self) -> str:
        """The text as it is printed."""
        return str(self)


Traced = TracedNumber | TracedText

# --- numbers by what they measure -----------------------------------------------------


def count(name: str, value: float, source: Source) -> TracedNumber:
    """Return a whole number, printed with commas between thousands."""
    return TracedNumber(value, name, f"{value:,.0f}", source)


def share(name: str, value: float, source: Source) -> TracedNumber:
    """Return a share of 0 to 1, printed as a percentage."""
    return TracedNumber(value, name, f"{100 * value:.1f} %", source)


def points(name: str, value: float, source: Source) -> TracedNumber:
    """Return a difference of two shares, printed in percentage points with its sign."""
    return TracedNumber(value, name, points_text(value), source)


def probability(name: str, value: float, source: Source) -> TracedNumber:
    """Return a p-value, printed as `p = 0.0073`."""
    return TracedNumber(value, name, p_text(value), source)


def measured(name: str, value: float, source: Source) -> TracedNumber:
    """Return a measurement, printed with four digits."""
    return TracedNumber(value, name, f"{value:.4g}", source)


def machine_s(name: str, value: float, source: Source) -> TracedNumber:
    """Return seconds, printed in hours and minutes."""
    return TracedNumber(value, name, machine_time(value), source)


def day(name: str, value: datetime, source: Source) -> TracedText:
    """Return a date, printed as `7 January 2030`."""
    return TracedText(f"{value.day} {value:%B %Y}", name, source)


def setting(name: str, value: Any, source: Source) -> Traced:
    """Return an option of the pipeline, printed as the pipeline file writes it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return TracedNumber(value, name, f"{value:,}" if isinstance(value, int) else f"{value:g}", source)
    if isinstance(value, list | tuple):
        return TracedText(", ".join(map(str, value)), name, source)
    return TracedText(str(value).lower() if isinstance(value, bool) else str(value), name, source)


# --- origins --------------------------------------------------------------------------


def row(table: str, column: str, **key: Any) -> Source:
    """Return the origin of a value in one row of the database, given by values of its columns."""
    return {"table": table, "column": column, "row": key}


def rows(table: str, columns: list[str], how: str, **where: Any) -> Source:
    """Return the origin of a value computed from several rows of the database."""
    return {"table": table, "columns": columns, "where": where, "computed": how}


def fact(number: int, kind: str, path: str) -> Source:
    """Return the origin of a value in a fact: its number in the log, its name, and the path of the value in it."""
    return {"fact": number, "name": kind, "path": path}


def artifact(name: str, path: str) -> Source:
    """Return the origin of a value in a file of the home folder, and the path of the value in it."""
    return {"file": name, "path": path}


def code(name: str) -> Source:
    """Return the origin of a value that relay itself defines, such as the default of an option."""
    return {"code": name}


def derived(how: str, *names: str) -> Source:
    """Return the origin of a value computed from other values of the write-up, given by their names."""
    return {"computed": how, "from": list(names)}
