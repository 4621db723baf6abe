"""Converts YAML to frozen dataclasses and back, with a one-sentence error for anything that does not fit."""

from dataclasses import MISSING, asdict, fields
from enum import StrEnum
from typing import Any, TypeVar

from orchestrator.base.errors import BadInput

T = TypeVar("T")


def known(cls: type[Any], value: Any, where: str) -> dict[str, Any]:
    """Return a mapping after checking that its keys are fields of `cls`. Raises BadInput."""
    if not isinstance(value, dict):
        raise BadInput(f"{where}: should be a mapping, found {value!r}")
    names = [f.name for f in fields(cls)]
    for key in value:
        if key not in names:
            raise BadInput(f"{where}: unknown key {key!r}; use one of: {', '.join(names)}")
    return value


def whole(value: Any, where: str) -> int:
    """Return a value after checking that it is a whole number. Raises BadInput."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{where}: should be a whole number, found {value!r}")
    return value


def entries(cls: type[T], value: Any, where: str) -> tuple[T, ...]:
    """Convert a list of mappings to instances of `cls`. Raises BadInput."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadInput(f"{where}: should be a list, found {value!r}")
    return tuple(_entry(cls, item, f"{where}[{index}]") for index, item in enumerate(value))


def plain(value: Any) -> dict[str, Any]:
    """Convert an instance to a mapping that `entries` reads back, omitting fields with default values."""
    defaults = {f.name: f.default for f in fields(value) if f.default is not MISSING}
    given = {key: item.value if isinstance(item, StrEnum) else item for key, item in asdict(value).items()}
    return {key: item for key, item in given.items() if key not in defaults or item != defaults[key]}


def _entry(cls: Any, value: Any, where: str) -> Any:
    given = known(cls, value, where)
    for f in fields(cls):
        if f.default is MISSING and f.name not in given:
            raise BadInput(f"{where}: lacks {f.name}")
    read = {f.name: _read(f.type, given[f.name], f"{where}.{f.name}") for f in fields(cls) if f.name in given}
    try:
        return cls(**read)
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from error


def _read(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        allowed = [member.value for member in kind]
        if value not in allowed:
            raise BadInput(f"{where}: {value!r} is not one of: {', '.join(allowed)}")
        return kind(value)
    if not _fits(kind, value):
        raise BadInput(f"{where}: {value!r} does not fit")
    return value


def _fits(kind: Any, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    fits: dict[Any, bool] = {str: isinstance(value, str), float: number, int: number and isinstance(value, int)}
    fits[int | None] = value is None or fits[int]
    fits[float | None] = value is None or fits[float]
    return fits[kind]
