"""Convert options from the pipeline file to a dataclass; each error is one sentence with the key and the remedy."""

import contextlib
import difflib
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

Options = TypeVar("Options")


def fit(kind: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """Return the dataclass with these values. Raises ValueError with one sentence: `where`, the key and the remedy."""
    if (mistake := next(mistakes(kind, values, where), None)) is not None:
        raise ValueError(mistake)
    known = _types(kind)
    return kind(**{key: _read(known[key], value, f"{where}.{key}") for key, value in values.items()})


def mistakes(kind: type[Any], values: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield one sentence for each mistake: unknown options first, then each value, then values that do not go together."""
    known, given, found = _types(kind), dict[str, Any](), False
    for key in values:
        if key not in known:
            found = True
            close = difflib.get_close_matches(key, known, n=1)
            remedy = f": did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"
            yield f"{where}.{key} is not an option{remedy}"
    for key in [key for key in values if key in known]:
        try:
            given[key] = _read(known[key], values[key], f"{where}.{key}")
            _check_rules(known[key], given[key], key, where)
        except ValueError as error:
            found = True
            yield str(error)
    if not found:
        try:
            kind(**given)
        except ValueError as error:
            yield f"{where}.{error}"


def _types(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}


def _check_rules(wanted: Any, value: Any, key: str, where: str) -> None:
    for rule in getattr(wanted, "__metadata__", ()):
        if not rule.fits(value):
            raise ValueError(f"{where}.{key} should be {rule.remedy}")


def _read(wanted: Any, value: Any, where: str) -> Any:
    if typing.get_origin(wanted) is typing.Annotated:
        wanted = typing.get_args(wanted)[0]
    match typing.get_origin(wanted) or wanted:
        case kind if kind is tuple:
            return _texts(value, where)
        case kind if kind is dict:
            return _numbers(value, where)
        case kind if kind is float:
            return _number(value, where)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{where} should be {wanted.__name__}, found {value!r}")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)  # also strings: YAML parses 3e-6, without a decimal point, as a string
            if math.isfinite(number):
                return number
    raise ValueError(f"{where} should be a number, found {value!r}")


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f"{where} should be a list of names, found {value!r}")


def _numbers(value: Any, where: str) -> dict[str, float]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where} should name numbers, such as {{correctness: 1.0}}, found {value!r}")
    return {key: _number(item, f"{where}.{key}") for key, item in value.items()}
