"""Conversion between the frozen values and their database rows."""

import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from stages.contract import Cursor
from state.model.left_platform import LeftPlatform
from state.model.run_origin import RunOrigin
from state.sql import Row, document, moment, stamp

Value = TypeVar("Value")


def to_row(value: Any) -> dict[str, Any]:
    """Return the value's fields as columns."""
    return {f.name: _column(getattr(value, f.name)) for f in fields(value)}


def to_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as SQLite stores them."""
    return {name: _column(value) for name, value in values.items()}


def from_row(kind: type[Value], row: Row) -> Value:
    """Parse a row into a value; ignores columns without a field."""
    readers = _readers(kind)  # type: ignore[arg-type]
    return kind(**{name: row[name] if read is None else read(row[name]) for name, read in readers})


@functools.cache
def _readers(kind: type[Any]) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """Return (field, converter) for each field, None for no conversion. Cached per type, since it is slow per row."""
    hints = typing.get_type_hints(kind)
    return tuple((f.name, _reader(hints[f.name])) for f in fields(kind))


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        read = _reader(next(arm for arm in typing.get_args(hint) if arm is not type(None)))
        return None if read is None else lambda value: None if value is None else read(value)
    if hint is Cursor:
        return _cursor
    if hint is RunOrigin:
        return _origin
    if hint == tuple[LeftPlatform, ...]:
        return _left
    if hint is datetime:
        return moment
    if typing.get_origin(hint) is dict:
        return document
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return bool if hint is bool else None


@functools.lru_cache(maxsize=4096)  # a session begins where the one before it ended, so most occur three times
def _cursor(column: str | None) -> Cursor | None:
    found = document(column)
    return None if found is None else Cursor.from_dict(found)


def _origin(column: str | None) -> RunOrigin | None:
    found = document(column)
    return None if found is None else RunOrigin.from_dict(found)


def _left(column: str) -> tuple[LeftPlatform, ...]:
    return tuple(LeftPlatform.from_dict(value) for value in document(column))


def _column(value: Any) -> Any:
    match value:
        case tuple():
            return json.dumps([each.to_dict() for each in value])
        case datetime():
            return stamp(value)
        case Cursor() | RunOrigin():
            return json.dumps(value.to_dict())
        case dict():
            return json.dumps(value)
        case StrEnum():
            return value.value
        case bool():
            return int(value)
        case _:
            return value
