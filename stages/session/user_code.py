"""The user's own code: collected and checked on the user's machine without running it, shipped in
the order, imported in sessions.

The order contains source text: the module that a pipeline names, and everything that it
imports from the pipeline's folder.
"""

import ast
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.stage import StageFailed

SIZE_BYTES_MAX = 300_000
"""Size limit of all files as encoded in the order. Kaggle accepts kernels below 1,000,000 bytes,
which include relay's code."""

JAX = frozenset({"jax", "jaxlib", "flax", "optax", "orbax", "tunix", "qwix", "chex"})
"""Top-level packages that need JAX: a module that imports one of them does too."""

TAKEN = frozenset(
    {*sys.stdlib_module_names, *JAX, "__main__", "stages", "numpy", "scipy", "ml_dtypes", "absl", "datasets", "grain"}
)
"""Top-level module names that mean something else in a session; a user's file of that name would shadow it."""


class BadSource(ValueError):
    """Raised for code that cannot be shipped; the message is one sentence that names the file and the remedy."""


# --- on the user's machine ---------------------------------------------------


def gather(names: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Collect the files that the functions `package.module:function` need, by path relative to `folder`.

    `names` maps each function to the pipeline key that names it. Nothing is imported or run: definitions and imports
    are read from the syntax tree. Raises BadSource.
    """
    found: dict[str, str] = {}
    for name, key in names.items():
        module, _, function = name.partition(":")
        top = module.partition(".")[0]
        if top in TAKEN:
            raise BadSource(f"{key}: {name}: a session already has another module called {top}: rename yours")
        path = _file_of(module, folder)
        if path is None:
            raise BadSource(
                f"{key}: {name}: {_expected_files(module)} is not beside the pipeline: make it there, "
                "or correct the name"
            )
        _add(top, folder, found)
        defined = _defined(_parsed(path, found[path]))
        if not {function, "*"} & defined:
            raise BadSource(f"{key}: {name}: {path} has no function {function}: write it there, or correct the name")
    size_bytes = len(json.dumps(json.dumps(found)))
    if size_bytes > SIZE_BYTES_MAX:
        raise BadSource(
            f"{', '.join(found)} take {size_bytes:,} bytes and a kernel has room for {SIZE_BYTES_MAX:,}: "
            "put what is large into inputs.files or inputs.datasets"
        )
    return found


def _add(top: str, folder: Path, found: dict[str, str]) -> None:
    """Add a module or a whole package, and what they import from the same folder, to `found`."""
    fresh = [path for path in _files_below(top, folder) if path not in found]
    for path in fresh:
        found[path] = _text(path, folder)
    for path in fresh:
        for imported in sorted(_imports(ast.walk(_parsed(path, found[path])), path)):
            neighbour = imported.partition(".")[0]
            if neighbour not in TAKEN:
                _add(neighbour, folder, found)


def _files_below(top: str, folder: Path) -> list[str]:
    """Return the files of a top-level module of this folder, one or those of its package; empty if there is none."""
    package = folder / top
    if (package / "__init__.py").is_file():
        paths = (path.relative_to(folder) for path in sorted(package.rglob("*.py")))
        return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [f"{top}.py"] if (folder / f"{top}.py").is_file() else []


def _file_of(module: str, folder: Path) -> str | None:
    """Return the path of a module's code; a package takes precedence over a file of the same name, as in Python."""
    parts = module.split(".")
    if len(parts) > 1 and not (folder / parts[0] / "__init__.py").is_file():
        return None
    stem = "/".join(parts)
    return next((path for path in (f"{stem}/__init__.py", f"{stem}.py") if (folder / path).is_file()), None)


def _expected_files(module: str) -> str:
    top, dot, _ = module.partition(".")
    return f"{top}/ with an __init__.py and {module.replace('.', '/')}.py" if dot else f"{top}.py"


def _text(path: str, folder: Path) -> str:
    try:
        return (folder / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSource(f"{path} cannot be read as text: {error}") from error


def _parsed(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text, path)
    except SyntaxError as error:
        raise BadSource(f"{path}, line {error.lineno}: this is not Python: {error.msg}") from error
    except ValueError as error:  # a null character
        raise BadSource(f"{path}: this is not Python: {error}") from error


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a module's top level defines; `*` is included if it may define any name."""
    found: set[str] = set()
    for node in _top_level(tree):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.ImportFrom() | ast.Import():
                found |= {alias.asname or alias.name for alias in node.names}
            case ast.Assign():
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the statements that run when a module is imported."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop(0)
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            pending += ast.iter_child_nodes(node)


# --- requirements ------------------------------------------------------------


def needs_jax(module: str, sources: Mapping[str, str]) -> bool:
    """Return whether a module of `sources` imports JAX, directly or through `stages`; True for
    a module that is not in it."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if top in JAX:
            return True
        read = _imports_of_user_module(name, sources) if top != "stages" else _imports_of_stages_module(name)
        if read is None and name == module:
            return True
        if read is not None:
            pending += read
            pending += [name.rpartition(".")[0]] if "." in name else []
    return False


def _imports(nodes: Iterable[ast.AST], path: str) -> set[str]:
    """Return the dotted names that these statements import; `from a import b` may mean `a.b` and counts as both."""
    package = [*Path(path).parts[:-1]]
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base else set()
    return found


def _imports_of_user_module(name: str, sources: Mapping[str, str]) -> set[str] | None:
    """Return all imports of one of the user's modules, including those in functions; None if it is not in `sources`."""
    stem = name.replace(".", "/")
    for path in (f"{stem}/__init__.py", f"{stem}.py"):
        if path in sources:
            return _imports(ast.walk(ast.parse(sources[path])), path)
    return None


def _imports_of_stages_module(name: str) -> set[str] | None:
    """Return the top-level imports of a module of the package `stages`; None if there is no such module."""
    root, stem = Path(__file__).parents[2], name.replace(".", "/")
    for path in (f"{stem}/__init__.py", f"{stem}.py"):
        if (root / path).is_file():
            return _imports(_top_level(ast.parse((root / path).read_text(encoding="utf-8"))), path)
    return None


# --- in the session ----------------------------------------------------------


def unpack(sources: Mapping[str, str], place: Path) -> None:
    """Write the files below `place`, the first entry of the import path.

    Raises StageFailed `foreign-sources` if Python would import something else under one of their names.
    """
    for path, text in sources.items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    for top in sorted({Path(path).parts[0].removesuffix(".py") for path in sources}):
        found = _origin(top)
        if found is None or not Path(found).resolve().is_relative_to(place.resolve()):
            raise StageFailed("foreign-sources", f"another module called {top} is in the way, {found}: rename yours")


def _origin(top: str) -> str | None:
    """Return the path from which `import top` would load the module; None if it would fail."""
    spec = importlib.util.find_spec(top)
    return spec.origin if spec else None


def load(name: str) -> Callable[..., Any]:
    """Import the function named `package.module:function`; raises StageFailed `own-code` if there is none.

    Exceptions that the module raises during its import are passed on unchanged.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise StageFailed("own-code", f"{name} cannot be imported here: there is no module {error.name}") from error
    if not callable(found):
        raise StageFailed("own-code", f"{name} is not a function")
    chosen: Callable[..., Any] = found
    return chosen
