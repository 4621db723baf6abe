"""Looks up what `relay explain` is asked for: a kind of stage, a key, an option, or a user's own function."""

import ast
import difflib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.reference.entries import Entry, keys, kinds, options_of
from stages.catalog import KINDS

Document = dict[str, Any]


def overview() -> Document:
    """Return every kind and every key, as JSON."""
    return {"name": "", "meaning": "", "kinds": kinds(), "entries": _documents(keys())}


def explain(name: str, folder: Path) -> Document:
    """Return the meaning of `name`, and the keys or options that belong to it, as JSON.

    `name` may be in the form of relay's error messages, such as `stages[0].options.beta`. A function of the user's own
    is searched in `folder`. Raises BadInput with the closest known name.
    """
    if ":" in name and name != "module:function":
        return _own_function(name, folder)
    asked = re.sub(r"\[\d+\]", "", name).removeprefix("stages.options.")
    meanings = kinds()
    if asked in meanings:
        options = options_of(asked) if asked in KINDS else []
        return {"name": asked, "meaning": meanings[asked], "entries": _documents(options)}
    found = [key for key in keys() if key.key == asked]
    if found:
        below = [key for key in keys() if key.key.startswith(f"{asked}.")] if asked != "model" else options_of("model")
        meaning = found[0].meaning if below else ""
        return {"name": asked, "meaning": meaning, "entries": _documents(below or found)}
    return _anywhere(asked) or _refuse(name, asked)


def names() -> list[str]:
    """List every name that `explain` knows, for shell completion."""
    return [*KINDS, *(key.key for key in keys()), *_options()]


def _options() -> dict[str, Entry]:
    """Return each option of each kind and of the model, by dotted name such as `grpo.beta`."""
    return {f"{owner}.{option.key}": option for owner in ("model", *KINDS) for option in options_of(owner)}


def _anywhere(asked: str) -> Document | None:
    """Look up an option of one kind (`grpo.beta`) or of all that have it (`beta`), or the last part of a key."""
    found = [key for key in keys() if key.key.rpartition(".")[2] == asked]
    alike: dict[Entry, list[str]] = {}
    for name, option in _options().items():
        if asked in (name, option.key):
            alike.setdefault(option, []).append(name)
    found += [replace(option, key=", ".join(places)) for option, places in alike.items()]
    return {"name": asked, "meaning": "", "entries": _documents(found)} if found else None


def _refuse(name: str, asked: str) -> Document:
    known = [*names(), *(option.key for option in _options().values())]
    close = difflib.get_close_matches(asked, known, n=1, cutoff=0.6)
    remedy = f"did you mean {close[0]}?" if close else "relay explain, alone, lists all there is"
    raise BadInput(f"{name} is no kind of stage, no key and no option: {remedy}")


def _documents(entries: Iterable[Entry]) -> list[Document]:
    return [entry.document() for entry in entries]


# --- the user's own ------------------------------------------------------------


def _own_function(name: str, folder: Path) -> Document:
    """Return a function's docstring; its file is parsed and never executed."""
    module, _, function = name.rpartition(":")
    path = _file_of(module, folder)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}: {path} cannot be read as text: {error}") from error
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{name}: {path} is not Python: {error}") from error
    defined = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    if function not in defined:
        close = difflib.get_close_matches(function, defined, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"it has {', '.join(defined) or 'none'}"
        raise BadInput(f"{name}: {path} has no function {function}: {remedy}")
    said = ast.get_docstring(defined[function]) or ast.get_docstring(tree)
    return {
        "name": name,
        "meaning": said or f"{path} says nothing about {function}: give it a docstring.",
        "entries": [],
    }


def _file_of(module: str, folder: Path) -> Path:
    """Return the file of a module, which is given as in a pipeline or as a file name."""
    if module.endswith(".py"):
        return folder / module
    stem = folder.joinpath(*module.split("."))
    for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if path.is_file():
            return path
    raise BadInput(
        f"{module}: there is no {stem.name}.py in {stem.parent.resolve()}: go where the pipeline lies, or name the file, as in "
        f"relay explain {module.replace('.', '/')}.py:FUNCTION"
    )
