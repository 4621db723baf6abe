"""Conversion between dataclasses and plain JSON documents, compatible with newer and older
versions. Standard library only.

Every document carries `format`. A reader keeps unknown fields, writes them out again unchanged, and rejects a document
whose format is newer than its own.
"""

import functools
import json
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Self

from stages.safe_text import INTEGER_MAX, OddJson, quoted, read_json

FORMAT = 1

SCALARS = (str, int, float, bool)

KEY_CHARS_MAX = 80
"""Longest part of a key to quote in an error message, in characters."""


class ContractError(ValueError):
    """Raised for a document that cannot be read; the message is one sentence for the user."""


class NewerFormat(ContractError):
    """The document was written by a newer relay."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Base class of all values that travel as JSON."""

    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    """Fields that this version does not know, kept so that they survive rewriting the document."""

    absent_if_none: ClassVar[tuple[str, ...]] = ()
    """Fields that are left out if they are None, so that documents from before there were such fields keep their bytes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON value, including unknown fields."""
        hints = _hints(type(self))
        absent = {"extra", *(name for name in self.absent_if_none if getattr(self, name) is None)}
        known = {f.name: _plain(getattr(self, f.name), hints[f.name]) for f in fields(self) if f.name not in absent}
        return {**self.extra, **known}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Build the document from a JSON value; raises ContractError naming the field that does not fit."""
        read: Self = _document(cls, value, cls.__name__.lower())
        return read


@dataclass(frozen=True, kw_only=True)
class Versioned(Document):
    """Document that is stored on its own in a file or a log line."""

    kind: ClassVar[str]

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, ASCII. Equal documents give equal bytes."""
        return json.dumps(
            {"format": FORMAT, "document": self.kind, **self.to_dict()},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse one document; raises NewerFormat or ContractError with a sentence for the user."""
        try:
            value = read_json(text)
        except OddJson as error:
            raise ContractError(f"this {cls.kind} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ContractError(f"this {cls.kind} is not a JSON object")
        found = value.pop("format", None)
        named = value.pop("document", None)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise ContractError(f"this {cls.kind} does not say its format")
        if found > FORMAT:
            raise NewerFormat(
                f"this {cls.kind} has format {found}, and this relay reads up to {FORMAT}: update relay to go on"
            )
        if named != cls.kind:
            raise ContractError(f"expected a {cls.kind} and found {quoted(named)}")
        return cls.from_dict(value)


_type_hints = functools.cache(typing.get_type_hints)


def _hints(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = _type_hints(cls)
    return found


def _plain(value: Any, hint: Any = None) -> Any:
    if isinstance(value, Versioned):
        return {"format": FORMAT, "document": value.kind, **value.to_dict()}
    if isinstance(value, Document):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        inner = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None
        return {key: _plain(item, inner) for key, item in value.items()}
    if value is not None and float in (hint, *typing.get_args(hint)):
        return float(value)  # 60 and 60.0 compare equal, so they must serialise to equal bytes
    return value


def _document(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ContractError(f"{where} is not a JSON object")
    hints, known, required = _hints(cls), _known(cls), _required(cls)
    if missing := [name for name in required if name not in value]:
        raise ContractError(f"{where} lacks {', '.join(missing)}")
    given = {name: _read(hints[name], value[name], f"{where}.{name}") for name in known if name in value}
    extra = {name: item for name, item in value.items() if name not in known}
    return cls(extra=extra, **given)


@functools.cache
def _known(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if f.name != "extra")


@functools.cache
def _required(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)


def _read(hint: Any, value: Any, where: str) -> Any:
    if hint in SCALARS:
        return _scalar(hint, value, where)
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        inner = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        return None if value is None else _read(inner[0], value, where)
    if origin is tuple:
        return _items(typing.get_args(hint)[0], value, where)
    if origin is dict:
        return _mapping(typing.get_args(hint)[1], value, where)
    if is_dataclass(hint):
        return _nested(hint, value, where)
    return _scalar(hint, value, where)


def _items(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ContractError(f"{where} is not a list")
    return tuple(_read(hint, item, f"{where}[{index}]") for index, item in enumerate(value))


def _mapping(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError(f"{where} is not a JSON object")
    return {key: _read(hint, item, f"{where}.{key[:KEY_CHARS_MAX]}") for key, item in value.items()}


def _nested(hint: Any, value: Any, where: str) -> Any:
    if issubclass(hint, Versioned):
        return hint.from_json(json.dumps(value))
    return _document(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value, where)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ContractError(f"{where} should be {hint.__name__}, found {quoted(value)}")
    if hint is int and abs(value) > INTEGER_MAX:
        raise ContractError(f"{where} is too large a number")
    return value


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ContractError(f"{where} is too large a number") from error
