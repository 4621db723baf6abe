"""Run the tests of a Python answer: `assert f(2) == 5` is evaluated in this process, with a proxy for `f`.

The answer's code never runs here. Asking it "is it 5" would reveal the expected value, so values are fetched and
compared here. Standard library only: this runs inside the judge.
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
    """Return True if the answer's code ran without an exception, the tests use a name it defines, and none raises."""
    random.seed(0)
    line = AnswerProcess(fd)
    try:
        scope = _scope(line, setup, tests)
        for test in tests:
            exec(compile(test, "<test>", "exec", dont_inherit=True), scope)
    except BaseException:  # noqa: BLE001 any exception means that the test failed
        return False
    return bool(tests) and not line.broken


def _scope(line: AnswerProcess, setup: str, tests: Sequence[str]) -> dict[str, Any]:
    """Return the tests' namespace: the answer's names that they use, overridden by what their setup defines.

    Raises KeyError if the answer's code raised an exception, and NameError if the tests use no name that it defines:
    any code would pass them.
    """
    defined = set(receive(line.fd)["names"])
    used, bound = _names([setup, *tests])
    bound -= _passing([setup, *tests])
    library = _library(used - bound - BUILTIN, [setup, *tests])
    wanted = (used | bound) - library.keys()
    # A builtin's name refers to the answer only if the tests use no other name of it: `sum` may be the function under
    # test, or the builtin that a test uses.
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
    """Return (global names that the texts use, names that they define)."""
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
    """Return targets of comprehensions, such as `x` in `[x for x in f(3)]`. From Python 3.12 on they look global."""
    nodes = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.comprehension)]
    return {name.id for node in nodes for name in ast.walk(node.target) if isinstance(name, ast.Name)}


def _library(names: set[str], texts: Sequence[str]) -> dict[str, Any]:
    """Import standard library modules that the tests use without an import, such as `sys` in `sys.getsizeof(x)`.

    They must not come from the answer: its object of that name would learn the expected value, and the answer need not
    import what the tests need.
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
