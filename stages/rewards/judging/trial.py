"""A Python answer on trial: the answer runs in one process, the tests in another, and only values go from one to the other.

The answer's process never holds the tests, so it can neither read what is expected nor say that a test has passed: it is
asked to call its functions with arguments and sends values back. The tests' process evaluates `assert f(2) == 5` with a
stand-in for `f`; what comes back is of a builtin type made there, so an object that claims to equal everything is worth
nothing. What is no plain value stays with the answer behind a `Stand`, which can be called and asked for attributes and
items, but compared only with itself. Standard library only: this runs inside the judge.
"""

import ast
import builtins
import importlib
import marshal
import random
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from stages.rewards.judging.wire import Closed, decode, encode, encode_function, receive, send

BUILTIN = frozenset(dir(builtins))
RESTORED = (list, dict, set, bytearray)
"""Arguments that a function may change for its caller to see."""


# --- the answer's process ---------------------------------------------------


def answer(fd: int, setup: str, code: str) -> None:
    """Run the code, then do what the tests ask until they are done."""
    random.seed(0)
    module = types.ModuleType("answer")
    scope = module.__dict__
    objects: list[Any] = []
    places: dict[int, int] = {}

    def reference(value: Any) -> Any:
        if id(value) not in places:
            places[id(value)] = len(objects)
            objects.append(value)
        return ["object", places[id(value)]]

    def other(tag: str, items: list[Any]) -> Any:
        return _given(tag, items, objects, scope)

    try:
        _try(setup, scope)
        exec(compile(code, "<answer>", "exec", dont_inherit=True), scope)
    except BaseException:  # noqa: BLE001 an answer may raise what it likes, SystemExit among it
        send(fd, {"names": []})
        return
    send(fd, {"names": [name for name in scope if not name.startswith("__")]})
    while True:
        asked = receive(fd)
        try:
            send(fd, _done(asked, scope, reference, other))
        except (Closed, OSError):
            return
        except BaseException as error:  # noqa: BLE001
            send(fd, {"raised": type(error).__name__, "with": str(error)[:200]})


def _done(asked: Mapping[str, Any], scope: dict[str, Any], reference: Any, other: Any) -> dict[str, Any]:
    arguments = [decode(item, other) for item in asked["arguments"]]
    keywords = {name: decode(item, other) for name, item in asked["keywords"].items()}
    if asked["what"] == "name":
        return {"value": encode(scope[asked["on"]], reference)}
    value = DOING[asked["what"]](*arguments, **keywords)
    changed = {
        place: after
        for place, item in enumerate(arguments)
        if type(item) in RESTORED and (after := encode(item, reference)) != asked["arguments"][place]
    }
    return {"value": encode(value, reference), "changed": changed}


DOING: dict[str, Callable[..., Any]] = {
    "call": lambda function, *arguments, **keywords: function(*arguments, **keywords),
    "get": getattr,
    "set": setattr,
    "item": lambda value, key: value[key],
    "put": lambda value, key, item: value.__setitem__(key, item),
    "has": lambda value, item: item in value,
    "iter": iter,
    "next": next,
    "len": len,
    "str": str,
    "repr": repr,
}


def _given(tag: str, items: list[Any], objects: list[Any], scope: dict[str, Any]) -> Any:
    """What the tests handed over that is no plain value."""
    match tag:
        case "object":
            return objects[items[0]]
        case "code":
            return types.FunctionType(marshal.loads(bytes.fromhex(items[0])), scope)
        case "module":
            found: Any = importlib.import_module(items[0])
            for name in items[1].split("."):
                found = getattr(found, name)
            return found
        case "made":
            made = object.__new__(scope[items[0]])
            made.__dict__.update(
                {key: decode(item, lambda tag, items: _given(tag, items, objects, scope)) for key, item in items[1]}
            )
            return made
    raise Closed


def _try(setup: str, scope: dict[str, Any]) -> None:
    """The tests' setup; it may need what only the answer defines, and is then of no use here."""
    try:
        exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
    except Exception:  # noqa: BLE001
        return


# --- the tests' process -----------------------------------------------------


def passes(fd: int, setup: str, tests: list[str]) -> bool:
    """Whether there are tests and none of them raises."""
    line = Line(fd)
    try:
        scope = _scope(line, setup, tests)
        for test in tests:
            exec(compile(test, "<test>", "exec", dont_inherit=True), scope)
    except BaseException:  # noqa: BLE001 whatever a test raises, it has not passed
        return False
    return bool(tests)


def _scope(line: "Line", setup: str, tests: list[str]) -> dict[str, Any]:
    """What the tests see: the answer's names that they use, and over them what their setup defines."""
    trees = [ast.parse(text) for text in (setup, *tests)]
    wanted = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    defined = set(receive(line.fd)["names"])
    # A name of Python's own is the answer's only where the tests name nothing else of it: `sum` may be what was asked for,
    # and it may be what a test counts with.
    offered = (wanted & defined) - BUILTIN or wanted & defined
    module = types.ModuleType("tests")
    line.scope = scope = module.__dict__
    for name in sorted(offered):
        scope[name] = line.ask("name", name)
    exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
    return scope


class Line:
    """Asks the answer's process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.scope: dict[str, Any] = {}

    def ask(self, what: str, on: str = "", *arguments: Any, **keywords: Any) -> Any:
        """The value that came back, or the exception that was raised there."""
        named = {name: encode(item, self._hand) for name, item in keywords.items()}
        handed = [encode(item, self._hand) for item in arguments]
        send(self.fd, {"what": what, "on": on, "arguments": handed, "keywords": named})
        said = receive(self.fd)
        if "raised" in said:
            _raise(str(said["raised"]), str(said["with"]))
        for place, after in said.get("changed", {}).items():
            _restore(arguments[int(place)], decode(after, self._stand))
        return decode(said["value"], self._stand)

    def _stand(self, tag: str, items: list[Any]) -> Any:
        if tag != "object" or type(items[0]) is not int:
            raise Closed
        return Stand(self, items[0])

    def _hand(self, value: Any) -> Any:
        """What the answer gets for a value that is not plain."""
        if isinstance(value, Stand):
            return ["object", value._place]
        kind = type(value)
        if self.scope.get(kind.__name__) is kind:  # a class of the setup, which the answer's process has too
            return ["made", kind.__name__, [[key, encode(item, self._hand)] for key, item in vars(value).items()]]
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and module not in ("tests", "answer"):
            return ["module", module, name]
        return encode_function(value)


class Stand:
    """Stands for a value of the answer's that is not plain. Equal to itself only, and neither true nor false."""

    _place: int
    _line: Line

    def __init__(self, line: Line, place: int) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_place", place)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._line.ask("call", "", self, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return self._line.ask("get", "", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._line.ask("set", "", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._line.ask("item", "", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._line.ask("put", "", self, key, value)

    def __contains__(self, value: Any) -> Any:
        return self._line.ask("has", "", self, value) is True

    def __iter__(self) -> Any:
        return self._line.ask("iter", "", self)

    def __next__(self) -> Any:
        return self._line.ask("next", "", self)

    def __len__(self) -> Any:
        return self._line.ask("len", "", self)

    def __str__(self) -> str:
        return str(self._line.ask("str", "", self))

    def __repr__(self) -> str:
        return str(self._line.ask("repr", "", self))

    def __bool__(self) -> NoReturn:
        raise TypeError("a value that is not plain is neither true nor false")

    def __eq__(self, value: object) -> bool:
        if isinstance(value, Stand) and value._place == self._place:
            return True
        raise TypeError("a value that is not plain is compared with nothing")

    __hash__ = object.__hash__


def _raise(name: str, message: str) -> NoReturn:
    """What the answer raised, as the builtin exception of that name."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        raise kind(message)
    raise RuntimeError(f"{name}: {message}")


def _restore(argument: Any, after: Any) -> None:
    """Let the caller see what a function did to its argument."""
    if type(argument) is not type(after):
        raise Closed
    if isinstance(argument, (list, bytearray)):
        argument[:] = after
    else:
        argument.clear()
        argument.update(after)
