"""Plain Python values as JSON, so that what comes from judged code is data and never an object of its own making.

A number, a text, a list, … arrives as exactly that builtin type, whatever subclass with whatever `__eq__` it was. Everything
else (functions, instances, iterators) stays where it is and travels as a reference. Standard library only.
"""

import collections
import datetime
import decimal
import fractions
import json
import marshal
import os
import struct
import types
from collections.abc import Callable
from typing import Any

MESSAGE_BYTES_MAX = 8 * 2**20
INT_BITS_MAX = 60
"""Longer whole numbers travel as hexadecimal: Python refuses to read long decimal ones."""


class Closed(Exception):
    """The other side is gone, or has sent what is no message."""


def send(fd: int, value: Any) -> None:
    """Write one message of plain JSON."""
    data = json.dumps(value, separators=(",", ":")).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> Any:
    """Read one message; raises Closed at its end, and where it is not one."""
    (size,) = struct.unpack(">I", exactly(fd, 4))
    if size > MESSAGE_BYTES_MAX:
        raise Closed
    try:
        return json.loads(exactly(fd, size))
    except (ValueError, RecursionError) as error:
        raise Closed from error


def exactly(fd: int, size: int) -> bytes:
    """So many bytes, without reading further; raises Closed where there are fewer."""
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 16))
        if not part:
            raise Closed
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def encode(value: Any, reference: Callable[[Any], Any]) -> Any:
    """The value as JSON; `reference` answers for what is not plain."""
    match value:
        case None | bool() | str() if type(value) in (type(None), bool, str):
            return value
        case int() if type(value) is not bool:
            whole = int.__index__(value)
            return whole if whole.bit_length() <= INT_BITS_MAX else ["i", hex(whole)]
        case float():
            return float.__float__(value)
        case str():
            return str.__str__(value)
    return _encode_container(value, reference)


def _encode_container(value: Any, reference: Callable[[Any], Any]) -> Any:
    for kind, tag in SEQUENCES.items():
        if isinstance(value, kind):
            return [tag, *(encode(item, reference) for item in kind.__iter__(value))]
    if isinstance(value, dict):
        pairs = dict.items(value)
        return ["d", *([encode(key, reference), encode(item, reference)] for key, item in pairs)]
    return _encode_exact(value, reference)


def _encode_exact(value: Any, reference: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind in (bytes, bytearray):
        return ["b" if kind is bytes else "B", value.hex()]
    if kind is complex:
        return ["c", value.real, value.imag]
    if kind is fractions.Fraction:
        return ["q", hex(value.numerator), hex(value.denominator)]
    if kind is decimal.Decimal:
        return ["m", str(value)]
    if kind is range:
        return ["r", value.start, value.stop, value.step]
    if kind in (datetime.date, datetime.datetime, datetime.time):
        return ["w", kind.__name__, value.isoformat()]
    if kind is datetime.timedelta:
        return ["y", value.days, value.seconds, value.microseconds]
    return reference(value)


SEQUENCES: dict[Any, str] = {list: "l", tuple: "t", set: "s", frozenset: "f", collections.deque: "e"}
READ: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "b": bytes.fromhex,
    "B": bytearray.fromhex,
    "c": complex,
    "q": lambda above, below: fractions.Fraction(int(above, 16), int(below, 16)),
    "m": decimal.Decimal,
    "r": range,
    "w": lambda kind, text: WHEN[kind].fromisoformat(text),
    "y": datetime.timedelta,
}
WHEN: dict[str, Any] = {"date": datetime.date, "datetime": datetime.datetime, "time": datetime.time}


def decode(value: Any, other: Callable[[str, list[Any]], Any]) -> Any:
    """The value of `encode`; `other` reads what only one side can. Raises Closed where it is none."""
    if not isinstance(value, list):
        return value
    tag, *items = value
    for kind, name in SEQUENCES.items():
        if tag == name:
            return kind(decode(item, other) for item in items)
    if tag == "d":
        return {decode(key, other): decode(item, other) for key, item in items}
    if tag in READ:
        return READ[tag](*items)
    return other(tag, items)


def encode_function(value: Any) -> Any:
    """A function of the tests' own that needs nothing around it, as its code."""
    if isinstance(value, types.FunctionType) and not value.__closure__:
        return ["code", marshal.dumps(value.__code__).hex()]
    raise TypeError(f"{type(value).__name__} cannot be handed to an answer")
