"""Between the frozen values and the rows that hold them."""

import functools
import types
import typing
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from stages.contract import Cursor

Value = TypeVar("Value")


def to_row(value: Any) -> dict[str, Any]:
    """The value's fields as columns."""
    return {f.name: _column(getattr(value, f.name)) for f in fields(value)}


def from_row(kind: type[Value], row: Any) -> Value:
    """The value that a row holds; columns that it has no field for are passed over."""
    hints = _hints(kind)  # type: ignore[arg-type]
    return kind(**{f.name: _field(hints[f.name], row[f.name]) for f in fields(kind)})  # type: ignore[arg-type]


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _column(value: Any) -> Any:
    if isinstance(value, Cursor):
        return value.to_dict()
    if isinstance(value, StrEnum):
        return value.value
    return int(value) if isinstance(value, bool) else value


def _field(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if hint is Cursor:
        return Cursor.from_dict(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    return bool(value) if hint is bool else value
