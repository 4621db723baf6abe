"""Extracts the docstring below each field of a class from its source, since Python does not keep it."""

import ast
import inspect
import textwrap
from typing import Any


def meanings(kind: type[Any]) -> dict[str, str]:
    """Return each field's docstring, in one line; a redeclared field keeps its inherited docstring."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] in ("orchestrator", "stages"):
            found |= _field_docstrings(base)
    return found


def summary(kind: type) -> str:
    """Return the class's own docstring in one line."""
    return " ".join((kind.__doc__ or "").split())


def _field_docstrings(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(said))):
                found[name] = " ".join(said.split())
    return found
