"""Serialize plain Python values as JSON, so that untrusted code can send only data, never objects of its own classes.

A number, a string, a list, … arrives as exactly that builtin type, even if it was a subclass with its own `__eq__`.
`Counter`, `OrderedDict`, `defaultdict` and named tuples are rebuilt from the library's classes. Everything else
(functions, instances, iterators) stays in its process and is sent as a reference. Standard library only.
"""

import builtins
import collections
import datetime
import decimal
import fractions
import functools
import json
import marshal
import os
import struct
import types
from collections.abc import Callable
from typing import Any

MESSAGE_BYTES_MAX = 8 * 2**20
INT_BITS_MAX = 60
"""Maximum size in bits of integers sent as JSON numbers. Longer ones are sent in hexadecimal, because Python limits the
length of decimal integers."""


class Closed(Exception):
    """The other side has closed the connection or sent an invalid message."""


def send(fd: int, value: Any) -> None:
    """Write one message of plain JSON."""
    send_text(fd, json.dumps(value, separators=(",", ":")))


def send_text(fd: int, text: str) -> None:
    """Write one message that is already encoded as JSON."""
    data = text.encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> Any:
    """Read one message. Raises Closed at the end of the stream or for an invalid message."""
    (size,) = struct.unpack(">I", exactly(fd, 4))
    if size > MESSAGE_BYTES_MAX:
        raise Closed
    try:
        return json.loads(exactly(fd, size))
    except (ValueError, RecursionError) as error:
        raise Closed from error


def exactly(fd: int, size: int) -> bytes:
    """Read exactly `size` bytes. Raises Closed if there are fewer."""
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 16))
        if not part:
            raise Closed
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def encode(value: Any, reference: Callable[[Any], Any]) -> Any:
    """Encode a value as JSON; `reference` encodes values that are not plain data. Uses `type`: `__class__` may lie."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, int):
        whole = int.__index__(value)
        return whole if whole.bit_length() <= INT_BITS_MAX else ["i", hex(whole)]
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, str):
        return str.__str__(value)
    return _encode_container(value, kind, reference)


def _encode_container(value: Any, own: type, reference: Callable[[Any], Any]) -> Any:
    fields = getattr(own, "_fields", None)
    if issubclass(own, tuple) and type(fields) is tuple and len(fields) == len(value):
        return ["n", own.__name__, list(fields), *(encode(item, reference) for item in tuple.__iter__(value))]
    for kind, tag in SEQUENCES.items():
        if issubclass(own, kind):
            return [tag, *(encode(item, reference) for item in kind.__iter__(value))]
    if issubclass(own, dict):
        kind = own if own in MAPPINGS else dict
        pairs = [[encode(key, reference), encode(item, reference)] for key, item in kind.items(value)]
        if kind is collections.defaultdict:
            return [MAPPINGS[kind], encode(value.default_factory, reference), *pairs]
        return [MAPPINGS[kind], *pairs]
    return _encode_exact(value, reference)


def _encode_exact(value: Any, reference: Callable[[Any], Any]) -> Any:
    kind: type[Any] = type(value)
    if kind is type and value in BUILTIN_TYPES.values():
        return ["T", value.__name__]
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
    if kind in VIEWS:
        return [VIEWS[kind], *(encode(item, reference) for item in value)]
    if kind in (datetime.date, datetime.datetime, datetime.time):
        return ["w", kind.__name__, value.isoformat()]
    if kind is datetime.timedelta:
        return ["y", value.days, value.seconds, value.microseconds]
    return reference(value)


SEQUENCES: dict[Any, str] = {list: "l", tuple: "t", set: "s", frozenset: "f", collections.deque: "e"}
VIEWS: dict[Any, str] = {type({}.keys()): "k", type({}.items()): "v"}
"""Views of a dictionary that Python compares as sets. Its values equal nothing, so they stay a reference."""
BUILT: dict[str, Callable[..., Any]] = {tag: kind for kind, tag in SEQUENCES.items()} | {
    "k": lambda keys: dict.fromkeys(keys).keys(),
    "v": lambda pairs: dict(pairs).items(),
}
"""What makes a value of the items that follow its tag."""
BUILTIN_TYPES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
MAPPINGS: dict[Any, str] = {
    dict: "d",
    collections.Counter: "C",
    collections.OrderedDict: "O",
    collections.defaultdict: "D",
}
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
    "T": lambda name: BUILTIN_TYPES[name],
}
WHEN: dict[str, Any] = {"date": datetime.date, "datetime": datetime.datetime, "time": datetime.time}


def decode(value: Any, other: Callable[[str, list[Any]], Any]) -> Any:
    """Decode a value from `encode`; `other` decodes side-specific tags. May raise any exception for invalid input."""
    if not isinstance(value, list):
        return value
    tag, *items = value
    if tag in BUILT:
        return BUILT[tag](decode(item, other) for item in items)
    for kind, name in MAPPINGS.items():
        if tag == name:
            made = kind(decode(items.pop(0), other)) if kind is collections.defaultdict else kind()
            for key, item in items:
                made[decode(key, other)] = decode(item, other)
            return made
    if tag == "n":
        name, fields, *items = items
        return _named(name, tuple(fields))(*(decode(item, other) for item in items))
    if tag in READ:
        return READ[tag](*items)
    return other(tag, items)


@functools.lru_cache(maxsize=32)
def _named(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields)


def encode_function(value: Any, reference: Callable[[Any], Any]) -> Any:
    """Encode a test's function without closure as its code and default arguments. Raises TypeError for others."""
    if isinstance(value, types.FunctionType) and not value.__closure__:
        defaults = [encode(value.__defaults__, reference), encode(value.__kwdefaults__, reference)]
        return ["code", marshal.dumps(value.__code__).hex(), *defaults]
    raise TypeError(f"{type(value).__name__} cannot be handed to an answer")
