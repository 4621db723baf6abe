"""Proxies for values of a Python answer that are not plain data, used by its tests, and the connection to its process.

The answer may have taken control of the process that sends these messages. They are decoded only to data of types
created here or to a `Stand`; anything else breaks the connection, and a case with a broken connection fails, whatever
exceptions its tests catch. Standard library only: this runs inside the judge.
"""

import builtins
import contextlib
import sys
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from stages.rewards.judging.wire import Closed, decode, encode, encode_function, receive, send

_OPERATORS = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
_UNARY = (
    "eq ne lt le gt ge contains hash neg pos abs invert int float complex index round trunc floor ceil format "
    "getattribute getattr instancecheck subclasscheck subclasshook"
)
REFUSED = frozenset(f"__{name}__" for name in _UNARY.split()) | {
    f"__{side}{name}__" for name in _OPERATORS.split() for side in ("", "r", "i")
}
"""Special methods that would reveal the expected value to the answer, or that give access to such a method."""


class AnswerProcess:
    """Connection to the answer's process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.scope: dict[str, Any] = {}
        self.broken = False
        """True once the answer's process has ended, exceeded a limit, or sent an invalid message. The case then
        fails."""

    def ask(self, what: str, on: str = "", *arguments: Any, **keywords: Any) -> Any:
        """Send a request. Return the resulting value, or raise the exception raised by the answer."""
        try:
            named = {name: encode(item, self._encode_other) for name, item in keywords.items()}
            handed = [encode(item, self._encode_other) for item in arguments]
            send(self.fd, {"what": what, "on": on, "arguments": handed, "keywords": named})
            said = receive(self.fd)
            if "raised" not in said:
                for place, after in said.get("changed", []):
                    _copy_changes(
                        keywords[place] if isinstance(place, str) else arguments[place], decode(after, self._proxy)
                    )
                return decode(said["value"], self._proxy)
            error = self._error(said["raised"], decode(said["with"], self._proxy), str(said["text"]))
        except BaseException:
            self.broken = True
            raise
        raise error

    def _proxy(self, tag: str, items: list[Any]) -> Any:
        if tag != "object" or type(items[0]) is not int:
            raise Closed
        return Stand(self, items[0])

    def _encode_other(self, value: Any) -> Any:
        """Encode an argument that is not plain data for the answer's process."""
        if type(value) is Stand:
            return ["object", _place(value)]
        kind = type(value)
        if self.scope.get(kind.__name__) is kind:  # a class of the setup, which the answer's process defines too
            return [
                "made",
                kind.__name__,
                [[key, encode(item, self._encode_other)] for key, item in vars(value).items()],
            ]
        if isinstance(value, (Iterator, KeysView, ValuesView, ItemsView)):
            items = [encode(item, self._encode_other) for item in value]
            return ["iterator" if isinstance(value, Iterator) else "l", *items]
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and module not in ("tests", "answer"):
            return ["module", module, name]
        return encode_function(value, self._encode_other)

    def _error(self, names: list[list[str]], arguments: list[Any], text: str) -> BaseException:
        """Rebuild the answer's exception as an instance of its most specific class that exists here."""
        for kind in self._kinds(names):
            made = [error for values in (arguments, [text]) if (error := _created_error(kind, values)) is not None]
            if made:
                return next((error for error in made if str(error) == text), made[0])
        return RuntimeError(text)

    def _kinds(self, names: list[list[str]]) -> Iterator[type[BaseException]]:
        """Yield the exception's classes found in the setup, in builtins or in imported standard library modules."""
        for module, name in names:
            library = sys.modules.get(module) if module.partition(".")[0] in sys.stdlib_module_names else None
            for place in (self.scope if module == "answer" else {}, vars(builtins), vars(library) if library else {}):
                kind = place.get(name)
                if type(kind) is type and issubclass(kind, BaseException):
                    yield kind


class Stand:
    """Proxy for a value of the answer that is not plain data.

    It supports calls, iteration, attributes, items, length, truth value, text and instance checks, none of which
    reveals the expected value to the answer. It equals only itself. Operations that would reveal the expected value are
    refused: `==`, ordering and arithmetic with plain values, also by their methods' names; `in` compares the items on
    this side. Methods that a test calls by any other name receive their arguments, as functions do.
    """

    def __init__(self, line: AnswerProcess, place: int) -> None:
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "place", place)

    def __getattribute__(self, name: str) -> Any:
        if name in REFUSED:
            raise TypeError(f"{name} of a value that is not plain would be shown what is expected")
        return _ask(self, "get", name)  # all other names, so that `f.__doc__` is the answer's

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set", name, value)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _line(self).ask("call", "", self, *arguments, **keywords)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "put", key, value)

    def __delitem__(self, key: Any) -> None:
        _ask(self, "drop", key)

    def __iter__(self) -> Any:
        return _ask(self, "iter")

    def __next__(self) -> Any:
        return _ask(self, "next")

    def __len__(self) -> Any:
        return _ask(self, "len")

    def __bool__(self) -> Any:
        return _ask(self, "bool")  # reveals no more than a function that returns True

    def __str__(self) -> str:
        return str(_ask(self, "str"))

    def __repr__(self) -> str:
        return str(_ask(self, "repr"))

    def __instancecheck__(self, value: Any) -> bool:
        return type(value) is Stand and _line(self).ask("instance", "", value, self) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return type(value) is Stand and _line(self).ask("subclass", "", value, self) is True

    def __eq__(self, value: object) -> bool:
        if type(value) is Stand:
            return _place(value) == _place(self)
        if value is None:
            return False
        raise TypeError("a value that is not plain is compared with no plain one")

    def __hash__(self) -> int:
        return hash(_place(self))


def _line(stand: Stand) -> AnswerProcess:
    line: AnswerProcess = object.__getattribute__(stand, "line")
    return line


def _place(stand: Stand) -> int:
    place: int = object.__getattribute__(stand, "place")
    return place


def _ask(stand: Stand, what: str, *arguments: Any) -> Any:
    return _line(stand).ask(what, "", stand, *arguments)


def _created_error(kind: type[BaseException], values: list[Any]) -> BaseException | None:
    """Create an exception of this class, without `__init__` if that rejects the arguments; None if both fail."""
    for make in (kind, lambda *values: kind.__new__(kind, *values)):
        with contextlib.suppress(Exception):
            return make(*values)
    return None


def _copy_changes(argument: Any, after: Any) -> None:
    """Copy a function's changes of an argument back to the caller's object."""
    if type(argument) is not type(after) or type(argument) not in (list, dict, set, bytearray):
        raise Closed
    if isinstance(argument, (list, bytearray)):
        argument[:] = after
    else:
        argument.clear()
        argument.update(after)
