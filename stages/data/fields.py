"""Read the fields of a row from any file format; a value of the wrong type only makes the row unfit."""

import ast
import io
import json
import math
import tokenize
import warnings
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError)
"""Exceptions of Python's parsers for text that is malformed, too long or too deeply nested."""
_BEGINS, _ENDS = ("[", "(", "{"), ("]", ")", "}")
_PRINTED = {"nan": "None", "array": "", "dtype": "", "object": ""}
"""Replacements for words in NumPy's printed arrays, such as `array(['a'], dtype=object)`, to make them Python."""


class Unfit(ValueError):
    """The row cannot be used as an example. The message is a short reason, by which such rows are counted."""


def fields_of(row: Any) -> Row:
    """Return the row. Raises Unfit if it is not a mapping, for example a JSON line that is not an object."""
    if not isinstance(row, Mapping):
        raise Unfit("malformed: no columns")
    return row


def text_of(row: Row, column: str) -> str:
    """Return a required text column, not stripped. Raises Unfit if it is missing, blank or not text."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise Unfit(f"malformed: no {column}")
    return sound(value)


def text_or_none(row: Row, column: str) -> str:
    """Return an optional text column; empty if missing (None in Parquet, NaN in CSV)."""
    value = row.get(column)
    return sound(value) if isinstance(value, str) else ""


def sound(text: str) -> str:
    """Return the text. Raises Unfit if it cannot be encoded: JSON can contain half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit("malformed: not Unicode text") from None
    return text


def number_of(value: Any) -> float:
    """Convert to a finite float; NaN for anything else, such as `N/A`."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def items_of(row: Row, column: str) -> list[Any]:
    """Return a list column; empty if missing. In CSV it is JSON, Python or a printed NumPy array. Raises Unfit."""
    value = row.get(column)
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    ):
        return []
    if isinstance(value, str):
        value = read_list(value)
    if not isinstance(value, list):
        raise Unfit(f"malformed: {column} is no list")
    return value


def read_list(text: str) -> Any:
    """Parse a list from text in JSON, Python or NumPy notation; None if that fails."""
    for reader in (json.loads, lambda text: ast.literal_eval(_with_commas(text))):
        try:
            found = reader(text)
        except _UNREADABLE:
            continue
        if isinstance(found, list):
            return found
    return None


def is_python(code: str) -> bool:
    """Return True if Python can parse the code."""
    return parsed(code) is not None


def parsed(code: str) -> ast.Module | None:
    """Return the syntax tree of a program, or None. Warnings, such as about invalid escapes, are suppressed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except _UNREADABLE:
        return None


def _with_commas(text: str) -> str:
    r"""Insert commas between adjacent items without one.

    pandas writes a list to CSV as a printed NumPy array, `['a' 'b'\n 'c']`, which Python would parse as one string.
    """
    written, ended = [], False
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        value = token.type in (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
        if ended and (value or token.string in _BEGINS):
            written.append(",")
        if (value or token.type == tokenize.OP) and token.string != "=":
            written.append(_PRINTED.get(token.string, token.string))
            ended = bool(written[-1]) and (value or token.string in _ENDS)
    return " ".join(written)
