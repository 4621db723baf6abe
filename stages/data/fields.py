"""Reads the fields of a row, whatever a copy's format made of them: a value that does not fit makes the row unfit, no more."""

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
"""What Python's own readers raise for text that is too odd, too long or too deep."""
_BEGINS, _ENDS = ("[", "(", "{"), ("]", ")", "}")
_PRINTED = {"nan": "None", "array": "", "dtype": "", "object": ""}
"""NumPy's own words around what it prints, such as `array(['a'], dtype=object)` within an item, in Python's."""


class Unfit(ValueError):
    """This row is no example; the message says why in a few words, under which such rows are counted."""


def fields_of(row: Any) -> Row:
    """The row itself. Raises Unfit where it is no mapping of columns, as a line of JSON need not be."""
    if not isinstance(row, Mapping):
        raise Unfit("malformed: no columns")
    return row


def text_of(row: Row, column: str) -> str:
    """A column that has to hold text, white space around it included. Raises Unfit."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise Unfit(f"malformed: no {column}")
    return sound(value)


def text_or_none(row: Row, column: str) -> str:
    """A column that may hold text; empty where it does not: a missing value is None in Parquet and NaN in CSV."""
    value = row.get(column)
    return sound(value) if isinstance(value, str) else ""


def sound(text: str) -> str:
    """The text itself. Raises Unfit where it is no Unicode text: JSON can write half of a surrogate pair, nothing can encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit("malformed: not Unicode text") from None
    return text


def number_of(value: Any) -> float:
    """A finite number, or text that is one; NaN for anything else, such as `N/A`."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def items_of(row: Row, column: str) -> list[Any]:
    """A column that is a list, empty where there is none. CSV has it as text: JSON, Python or what NumPy prints. Raises Unfit."""
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
    """The list that a text writes, or None."""
    for reader in (json.loads, lambda text: ast.literal_eval(_with_commas(text))):
        try:
            found = reader(text)
        except _UNREADABLE:
            continue
        if isinstance(found, list):
            return found
    return None


def is_python(code: str) -> bool:
    """Whether Python can parse it."""
    return parsed(code) is not None


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of a program, or None; warnings about old escapes in it are its author's business."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except _UNREADABLE:
        return None


def _with_commas(text: str) -> str:
    r"""The text with commas between items that follow each other without one.

    A list in a CSV file that pandas wrote is a NumPy array, printed as `['a' 'b'\n 'c']`: Python reads that as one string.
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
