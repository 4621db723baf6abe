"""Code of a notebook: the modules of `stages` that its stages need, under a package name of the notebook's own.

A module is found by following imports from the pipeline's kinds of stages, and is taken as it is, except for names (of
the package, and of relay) and for records of a step's inputs, which only relay compares. What belongs to a session of
relay's (`OWN`) is replaced by the modules in `parts`.
"""

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import stages
from orchestrator.base.errors import BadInput
from orchestrator.views.notebook import parts

PACKAGE = "tunix_zero_cost"
"""Name of the package in the notebook."""
OWN = ("contract", "stage", "session.time_accounting", "session.accelerator")
"""Modules of `stages` whose names the notebook's module `stage` defines in their place."""
CALLED = {"rewards.judging.client": ("rewards.judging.server", "rewards.judging.algebra")}
"""Modules that another one starts by name in a process of its own."""
STAGE, RUN_STAGES = "stage", "run_stages"
PARTS = (STAGE, RUN_STAGES)

_OWN = re.compile(rf"\bstages\.(?:{'|'.join(map(re.escape, OWN))})\b")
_PACKAGES = "data|options|rewards|training|sft|grpo|curate|continued|evaluate"
_OTHER = re.compile(rf"\bstages\.(?=(?:{_PACKAGES})\b)")
_IMPORTED = re.compile(rf"\bfrom stages import (?=(?:{_PACKAGES}|{STAGE})\b)")

WORDS = {
    "The check, the error message, the JSON schema and the reference use": "The check and the error message use",
    "the pipeline's `model:` section": "`MODEL`",
    "the pipeline's `model:`": "`MODEL`",
    "`model:` in the pipeline": "`MODEL`",
    "the built-in stages' `options:` sections": "the stages",
    "the pipeline file": "the pipeline",
    "relay-data-": "data-sets-",
    "relay tries again": "run the notebook again",
    "what relay's `train` extra lists": "the packages of this notebook's cell for them",
    "begin a new run, which publishes it anew": "attach it anew",
    "inputs.files": "attached files",
    "inputs.datasets": "attached datasets",
    "For rehearsing a chain of sessions without JAX.": "It trains nothing.",
    "the kernel's log": "the notebook's output",
    "this relay": "this notebook",
    "relay": "this notebook",
    "rehearsals": "tests",
    "a rehearsal": "a test",
}
"""Words of relay's, with those that stand in a notebook; longer ones come first."""
_WORDS = re.compile("|".join(rf"(?<!\w){re.escape(word)}" for word in WORDS))


@dataclass(frozen=True)
class LibraryModule:
    """Module of the notebook's package: its dotted name without the package, and its source."""

    name: str
    is_package: bool
    text: str

    @property
    def path(self) -> str:
        """Path of its file, relative to the notebook's folder."""
        stem = f"{PACKAGE}/{self.name.replace('.', '/')}".rstrip("/")
        return f"{stem}/__init__.py" if self.is_package else f"{stem}.py"

    @property
    def group(self) -> str:
        """First part of its name: the section of the notebook that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def is_bare(self) -> bool:
        """True if the module holds nothing but its docstring."""
        return len(ast.parse(self.text).body) == 1

    @property
    def sentence(self) -> str:
        """First paragraph of its docstring, in one line."""
        text = ast.get_docstring(ast.parse(self.text)) or ""
        return " ".join(text.partition("\n\n")[0].split())


def library(kinds: Iterable[str], own: Mapping[str, str]) -> list[LibraryModule]:
    """Return the modules that stages of these kinds and the user's modules `own` need; each follows those it imports.

    Raises BadInput for a module of the user's that needs something of relay which a notebook does not have.
    """
    wanted = list(kinds)
    for path, text in own.items():
        needed = _modules_in(text)
        missing = [name for name in needed if not _is_shown(name) or _path_of(name) is None]
        if missing := missing or _missing_names(text):
            raise BadInput(
                f"{path} imports stages.{missing[0]}, which exists in relay's sessions only: a notebook cannot run it"
            )
        wanted += needed
    found: dict[str, LibraryModule] = {
        "": LibraryModule("", True, '"""Code of this notebook, written by its cells."""\n')
    }
    for name in (STAGE, *wanted, RUN_STAGES):
        _add(name, found, set())
    return list(found.values())


def _add(name: str, found: dict[str, LibraryModule], pending: set[str]) -> None:
    """Add a module to `found`, after those that it imports; `pending` are those that wait for it."""
    if name in found or name in pending or (name in OWN and name != STAGE):
        return
    file = _file_of(name)
    source = file.read_text(encoding="utf-8")
    above = name.rpartition(".")[0]
    for needed in (*([above] if above else []), *_modules_in(source), *CALLED.get(name, ())):
        _add(needed, found, pending | {name})
    found.setdefault(name, LibraryModule(name, file.name == "__init__.py", rewritten(source)))


def _file_of(name: str) -> Path:
    """Return the file of a module, of `parts` or of `stages`."""
    if name in PARTS:
        return Path(parts.__file__).with_name(f"{name}.py")
    file = _path_of(name)
    assert file is not None and _is_shown(name), f"stages.{name} has no place in a notebook"
    return file


def _missing_names(source: str) -> list[str]:
    """Return what a source imports from the modules `OWN` and the notebook's module in their place does not define."""
    stage = ast.parse(_file_of(STAGE).read_text(encoding="utf-8"))
    assigned = {
        target.id
        for node in stage.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known = assigned | {node.name for node in stage.body if isinstance(node, ast.ClassDef)}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").removeprefix("stages.") in OWN:
            module = str(node.module).removeprefix("stages.")
            found += [f"{module}.{alias.name}" for alias in node.names if alias.name not in known]
    return found


def rewritten(source: str) -> str:
    """Return a module's source with the notebook's names, and without records of inputs."""
    text = _OWN.sub(f"{PACKAGE}.{STAGE}", _without_records(source))
    text = _IMPORTED.sub(f"from {PACKAGE} import ", _OTHER.sub(f"{PACKAGE}.", text))
    return _WORDS.sub(lambda match: WORDS[match[0]], text)


def _without_records(source: str) -> str:
    """Return the source without statements that call `saw`; raises if one is all that its block holds."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="saw"))):
                for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[number] = ""
    text = "".join(lines)
    ast.parse(text)
    return text


def in_notebook(source: str) -> str:
    """Return the source of a user's module with the notebook's package; its words are the user's."""
    text = _OWN.sub(f"{PACKAGE}.{STAGE}", source)
    return _IMPORTED.sub(f"from {PACKAGE} import ", _OTHER.sub(f"{PACKAGE}.", text))


def _is_shown(name: str) -> bool:
    return name in OWN or re.match(rf"(?:{_PACKAGES})\b", name) is not None


@functools.cache
def _path_of(name: str) -> Path | None:
    """Return the file of a module of `stages`; None if there is no such module."""
    stem = Path(stages.__file__).parent.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _modules_in(source: str) -> list[str]:
    """Return the modules of `stages` that a source imports anywhere, without the name of the package."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module)):
                found |= dict.fromkeys(_imported(module, [alias.name for alias in node.names]))
            case ast.Import():
                names = [alias.name for alias in node.names]
                found |= {name.removeprefix("stages."): None for name in names if name.startswith("stages.")}
    return list(found)


def _imported(module: str, names: list[str]) -> Iterator[str]:
    """Yield the modules of `stages` that `from module import names` imports."""
    if module.partition(".")[0] != "stages":
        return
    inside = module.removeprefix("stages").removeprefix(".")
    if inside:
        yield inside
    for name in names:
        full = f"{inside}.{name}".removeprefix(".")
        if _path_of(full) is not None:
            yield full
