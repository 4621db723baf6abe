"""The tests' side of a trial: `assert f(2) == 5` is evaluated here, where the answer has never been, with a stand-in for `f`.

Whoever asks "is it 5" tells the answer what is expected, so nobody does: values come over and are compared here. Standard
library only: this runs inside the judge.
"""

import ast
import builtins
import importlib
import random
import symtable
import sys
import types
from collections.abc import Sequence
from typing import Any

from stages.rewards.judging.stands import AnswerProcess
from stages.rewards.judging.wire import receive

BUILTIN = frozenset(dir(builtins))


def passes(fd: int, setup: str, tests: Sequence[str]) -> bool:
    """Whether the answer's code ran to its end, its tests use something that it defines, and none of them raises."""
    random.seed(0)
    line = AnswerProcess(fd)
    try:
        scope = _scope(line, setup, tests)
        for test in tests:
            exec(compile(test, "<test>", "exec", dont_inherit=True), scope)
    except BaseException:  # noqa: BLE001 whatever a test raises, it has not passed
        return False
    return bool(tests) and not line.broken


def _scope(line: AnswerProcess, setup: str, tests: Sequence[str]) -> dict[str, Any]:
    """What the tests see: the answer's names that they use, and over them what their setup defines.

    Raises KeyError where the answer's code did not run to its end, NameError where the tests use nothing that it defines:
    they would be passed by whatever runs.
    """
    defined = set(receive(line.fd)["names"])
    used, bound = _names([setup, *tests])
    bound -= _passing([setup, *tests])
    library = _library(used - bound - BUILTIN, [setup, *tests])
    wanted = (used | bound) - library.keys()
    # A name of Python's own is the answer's only where the tests name nothing else of it: `sum` may be what was asked for,
    # and it may be what a test counts with.
    offered = (wanted & defined) - BUILTIN or wanted & defined
    if not offered - bound:
        raise NameError("the tests use nothing that the answer defines")
    module = sys.modules["tests"] = types.ModuleType("tests")
    line.scope = scope = module.__dict__
    scope.update(library)
    for name in sorted(offered):
        scope[name] = line.ask("name", name)
    exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
    return scope


def _names(texts: Sequence[str]) -> tuple[set[str], set[str]]:
    """The module's names that these texts use, and those that they define themselves."""
    used: set[str] = set()
    bound: set[str] = set()
    for text in texts:
        top = symtable.symtable(text, "<tests>", "exec")
        bound |= {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        tables = [top]
        while tables:
            table = tables.pop()
            tables += table.get_children()
            used |= {
                symbol.get_name()
                for symbol in table.get_symbols()
                if symbol.is_referenced() and (table is top or symbol.is_global())
            }
    return used, bound


def _passing(texts: Sequence[str]) -> set[str]:
    """Names within comprehensions, such as `x` in `[x for x in f(3)]`: from Python 3.12 on they look like the module's."""
    nodes = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.comprehension)]
    return {name.id for node in nodes for name in ast.walk(node.target) if isinstance(name, ast.Name)}


def _library(names: set[str], texts: Sequence[str]) -> dict[str, Any]:
    """Modules of Python's library that the tests use and nobody imports for them, such as `sys` in `sys.getsizeof(x)`.

    An answer's own object of that name would be asked what is expected; and it need not import what the tests need.
    """
    asked: dict[str, set[str]] = {name: set() for name in names & sys.stdlib_module_names}
    plain: set[str] = set()
    for node in (node for text in texts for node in ast.walk(ast.parse(text)) if asked):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Name) and child.id in asked:
                if isinstance(node, ast.Attribute):
                    asked[child.id].add(node.attr)
                else:
                    plain.add(child.id)
    modules = {name: importlib.import_module(name) for name in sorted(asked.keys() - plain)}
    return {name: module for name, module in modules.items() if all(hasattr(module, part) for part in asked[name])}
