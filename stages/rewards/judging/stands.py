"""What the tests of a Python answer hold in the place of its values that are not plain, and the line to the answer's process.

Everything that arrives here was sent by a process which the answer may have taken over. It is made into data of types that
are made here, or into a `Stand`; what cannot be so made breaks the line, and a case whose line is broken is not passed,
whatever its tests catch. Standard library only: this runs inside the judge.
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
"""Methods behind Python's operators that would show the answer the expected value, or by which such a method is had."""


class AnswerProcess:
    """Asks the answer's process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.scope: dict[str, Any] = {}
        self.broken = False
        """Whether the answer's process ended, met a limit, or sent what is no message. No test may make good for that."""

    def ask(self, what: str, on: str = "", *arguments: Any, **keywords: Any) -> Any:
        """The value that came back, or the exception that was raised there."""
        try:
            named = {name: encode(item, self._hand) for name, item in keywords.items()}
            handed = [encode(item, self._hand) for item in arguments]
            send(self.fd, {"what": what, "on": on, "arguments": handed, "keywords": named})
            said = receive(self.fd)
            if "raised" not in said:
                for place, after in said.get("changed", []):
                    _restore(
                        keywords[place] if isinstance(place, str) else arguments[place], decode(after, self._stand)
                    )
                return decode(said["value"], self._stand)
            error = self._error(said["raised"], decode(said["with"], self._stand), str(said["text"]))
        except BaseException:
            self.broken = True
            raise
        raise error

    def _stand(self, tag: str, items: list[Any]) -> Any:
        if tag != "object" or type(items[0]) is not int:
            raise Closed
        return Stand(self, items[0])

    def _hand(self, value: Any) -> Any:
        """What the answer gets for a value that is not plain."""
        if type(value) is Stand:
            return ["object", _place(value)]
        kind = type(value)
        if self.scope.get(kind.__name__) is kind:  # a class of the setup, which the answer's process has too
            return ["made", kind.__name__, [[key, encode(item, self._hand)] for key, item in vars(value).items()]]
        if isinstance(value, (Iterator, KeysView, ValuesView, ItemsView)):
            items = [encode(item, self._hand) for item in value]
            return ["iterator" if isinstance(value, Iterator) else "l", *items]
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and module not in ("tests", "answer"):
            return ["module", module, name]
        return encode_function(value, self._hand)

    def _error(self, names: list[list[str]], arguments: list[Any], text: str) -> BaseException:
        """What the answer raised, as an exception of the nearest of its classes that there is here."""
        for kind in self._kinds(names):
            made = [error for values in (arguments, [text]) if (error := _made(kind, values)) is not None]
            if made:
                return next((error for error in made if str(error) == text), made[0])
        return RuntimeError(text)

    def _kinds(self, names: list[list[str]]) -> Iterator[type[BaseException]]:
        """The exception's classes: of the setup, of Python, and of modules of its library that the tests import."""
        for module, name in names:
            library = sys.modules.get(module) if module.partition(".")[0] in sys.stdlib_module_names else None
            for place in (self.scope if module == "answer" else {}, vars(builtins), vars(library) if library else {}):
                kind = place.get(name)
                if type(kind) is type and issubclass(kind, BaseException):
                    yield kind


class Stand:
    """Stands for a value of the answer's that is not plain.

    It can be called, iterated, and asked for attributes, items, length, truth, text and instances, none of which tells the
    answer what is expected. It equals itself alone. What would show the answer the expected value is refused: `==`, order
    and arithmetic with plain values, also by their methods' names; `in` looks through its items here. A method of the answer's
    that a test calls by any other name is shown its arguments, as every function is.
    """

    def __init__(self, line: AnswerProcess, place: int) -> None:
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "place", place)

    def __getattribute__(self, name: str) -> Any:
        if name in REFUSED:
            raise TypeError(f"{name} of a value that is not plain would be shown what is expected")
        return _ask(self, "get", name)  # all others, so that `f.__doc__` is the answer's

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
        return _ask(self, "bool")  # no more than a function which returns True could say

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


def _made(kind: type[BaseException], values: list[Any]) -> BaseException | None:
    """An exception of this class; some cannot be made from what they keep as their arguments, but without `__init__`."""
    for make in (kind, lambda *values: kind.__new__(kind, *values)):
        with contextlib.suppress(Exception):
            return make(*values)
    return None


def _restore(argument: Any, after: Any) -> None:
    """Let the caller see what a function did to its argument."""
    if type(argument) is not type(after) or type(argument) not in (list, dict, set, bytearray):
        raise Closed
    if isinstance(argument, (list, bytearray)):
        argument[:] = after
    else:
        argument.clear()
        argument.update(after)
