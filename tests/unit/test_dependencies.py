"""Dependencies: what is imported is declared where it is imported, and what is declared is imported or says why not."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from sys import stdlib_module_names

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
OURS = {"orchestrator", "state", "stages", "kaggle_kernels", "tests", "benchmarks"}

ON_TRAIN = (
    "orchestrator/app/answering",
    "orchestrator/app/metrics",
    "orchestrator/app/publish/hub_destination.py",
    "orchestrator/preflight/memory",
    "orchestrator/rehearsal/local_kaggle/stand_ins",
)
"""Places of `orchestrator` that may import the `train` extra; all others work without it."""

ORACLE = "tests/oracle/reads_exports.py"
"""Runs in the environment that `make oracle` makes."""

ON_KAGGLE = {"kaggle_secrets", "trackio", "wandb"}
"""Packages of Kaggle's image that no package index has, or that are used only where they are installed."""


def normal(name: str) -> str:
    """The name of a distribution in the form in which all its spellings are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: Iterable[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {normal(match[0]) for match in found if match}


GROUPS = {"main": named(PROJECT["dependencies"])} | {
    group: named(listed) for group, listed in PROJECT["optional-dependencies"].items()
}
REQUIREMENTS = {"oracle": named((ROOT / "tests/oracle/requirements.txt").read_text(encoding="utf-8").splitlines())}
"""What other environments than the project's own install."""


@cache
def distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


@cache
def outside(path: Path) -> frozenset[str]:
    """The packages of others that a file imports."""
    return frozenset({module.partition(".")[0] for module in modules(path)} - OURS - ON_KAGGLE - stdlib_module_names)


def modules(path: Path) -> Iterator[str]:
    """The modules that a file imports, by statement or by `import_module` with a name written out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(str(module))]):
                yield module


def imported(*places: str, but: tuple[str, ...] = ()) -> dict[str, str]:
    """The distributions that files below these places import, each with one file that does."""
    found: dict[str, str] = {}
    for place in places:
        for path in [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            if where.startswith(but):
                continue
            names = {name for package in outside(path) for name in distributions().get(package, [package])}
            found |= {normal(name): where for name in names}
    return found


PLACES = {
    ("orchestrator", "state", "kaggle_kernels"): ("main",),
    ON_TRAIN: ("main", "train"),
    ("stages",): ("train",),
    ("tests", "benchmarks", "examples"): ("main", "train", "dev"),
    ("mkdocs_hooks.py",): ("docs",),
    (ORACLE,): ("main", "train", "oracle"),
}
"""Places of the tree, and the groups of pyproject.toml from which each may import."""


@pytest.mark.slow
@pytest.mark.parametrize("places", PLACES, ids="+".join)
def test_what_is_imported_is_declared(places: tuple[str, ...]) -> None:
    allowed = set().union(*((GROUPS | REQUIREMENTS)[group] for group in PLACES[places]))
    found = imported(*places, but=() if places in (ON_TRAIN, (ORACLE,)) else (*ON_TRAIN, ORACLE))
    assert {name: where for name, where in found.items() if name not in allowed} == {}


def commented() -> set[str]:
    """The declared distributions that have a comment on their line."""
    return named(match[1] for match in re.finditer(r'^  "([^"]+)",[ ]*# \S', TEXT, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_what_is_declared_is_imported_or_has_its_reason_beside_it(group: str) -> None:
    places = {place for listed, groups in PLACES.items() if group in groups for place in listed}
    assert GROUPS[group] - set(imported(*places)) - commented() == set()


def test_every_dependency_has_its_version_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = named(line for line in lines if "==" in line)
    assert {name for group in GROUPS.values() for name in group} - pinned == set()
