"""Run a Python answer in a process of its own; the tests run in another process, and only values are exchanged.

This is the answer's side; the tests' side is `testing`. The answer's process never holds the tests, so it can neither
read the expected values nor claim that a test passed. It receives requests to call its functions and sends back values,
which `wire` converts to data. Values that are not plain data stay here and are referenced by number. Standard library
only: this runs inside the judge.
"""

import importlib
import marshal
import random
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from stages.rewards.judging.wire import Closed, decode, encode, receive, send

RESTORED = (list, dict, set, bytearray)
"""Argument types that a function may mutate; the changes are sent back to the caller."""
TEXT_CHARS_MAX = 10_000
"""Maximum length of an exception's message, in characters."""


def answer(fd: int, setup: str, code: str) -> None:
    """Run the code, then serve the requests of the tests until they end.

    The first message is `{"names": […]}`, the names in the answer's module, or `{}` if the code raised an exception.
    """
    random.seed(0)
    module = sys.modules["answer"] = types.ModuleType("answer")  # `dataclasses` looks the module up there
    scope = module.__dict__
    objects: list[Any] = []
    places: dict[int, int] = {}

    def reference(value: Any) -> Any:
        if id(value) not in places:
            places[id(value)] = len(objects)
            objects.append(value)
        return ["object", places[id(value)]]

    def other(tag: str, items: list[Any]) -> Any:
        return _decoded(tag, items, objects, scope)

    try:
        _run_setup(setup, scope)
        exec(compile(code, "<answer>", "exec", dont_inherit=True), scope)
    except BaseException:  # noqa: BLE001 an answer may raise anything, including SystemExit
        send(fd, {})
        return
    send(fd, {"names": [name for name in scope if not name.startswith("__")]})
    while True:
        asked = receive(fd)
        try:
            said = _performed(asked, scope, reference, other)
        except BaseException as error:  # noqa: BLE001
            said = _raised(error, reference)
        send(fd, said)


def _performed(asked: Mapping[str, Any], scope: dict[str, Any], reference: Any, other: Any) -> dict[str, Any]:
    arguments = [decode(item, other) for item in asked["arguments"]]
    keywords = {name: decode(item, other) for name, item in asked["keywords"].items()}
    if asked["what"] == "name":
        return {"value": encode(scope[asked["on"]], reference)}
    value = DOING[asked["what"]](*arguments, **keywords)
    changed = [
        [place, after]
        for given, sent in ((enumerate(arguments), asked["arguments"]), (keywords.items(), asked["keywords"]))
        for place, item in given
        if type(item) in RESTORED and (after := encode(item, reference)) != sent[place]
    ]
    return {"value": encode(value, reference), "changed": changed}


def _raised(error: BaseException, reference: Any) -> dict[str, Any]:
    """Describe an exception: its classes, most specific first, its arguments and its message."""
    kinds = [[kind.__module__, kind.__qualname__] for kind in type(error).__mro__ if issubclass(kind, BaseException)]
    return {"raised": kinds, "with": encode(list(error.args), reference), "text": str(error)[:TEXT_CHARS_MAX]}


DOING: dict[str, Callable[..., Any]] = {
    "call": lambda function, *arguments, **keywords: function(*arguments, **keywords),
    "get": getattr,
    "set": setattr,
    "item": lambda value, key: value[key],
    "put": lambda value, key, item: value.__setitem__(key, item),
    "drop": lambda value, key: value.__delitem__(key),
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "instance": isinstance,
    "subclass": issubclass,
}


def _decoded(tag: str, items: list[Any], objects: list[Any], scope: dict[str, Any]) -> Any:
    """Decode an argument from the tests that is not plain data."""

    def other(tag: str, items: list[Any]) -> Any:
        return _decoded(tag, items, objects, scope)

    match tag:
        case "object":
            return objects[items[0]]
        case "iterator":
            return iter([decode(item, other) for item in items])
        case "code":
            made = types.FunctionType(marshal.loads(bytes.fromhex(items[0])), scope)
            made.__defaults__, made.__kwdefaults__ = (decode(item, other) for item in items[1:])
            return made
        case "module":
            found: Any = importlib.import_module(items[0])
            for name in items[1].split("."):
                found = getattr(found, name)
            return found
        case "made":
            made = object.__new__(scope[items[0]])
            made.__dict__.update({key: decode(item, other) for key, item in items[1]})
            return made
    raise Closed


def _run_setup(setup: str, scope: dict[str, Any]) -> None:
    """Run the tests' setup. Ignore errors: it may need names that the answer defines only later."""
    try:
        exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
    except Exception:  # noqa: BLE001
        return
