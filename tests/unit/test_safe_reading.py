"""Nothing that came from elsewhere is read by a reader that can run it: no pickle, no marshal, YAML by the safe loader alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from orchestrator.base import safe_yaml
from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from stages.training.state_io import ARRAYS_NAME, load_state, save_state

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("orchestrator", "state", "stages", "kaggle_kernels") for path in (ROOT / folder).rglob("*.py")
)
RUNNING_READERS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "dbm"}
FROM_TESTS_TO_ANSWER = {"stages/rewards/judging/wire.py", "stages/rewards/judging/python_runner.py"}
"""The judge hands functions of a problem's tests to the fenced process of an answer, which runs code anyway; never back."""


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_sources_to_look_at() -> None:
    assert len(SOURCES) > 150


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_imports_a_reader_that_can_run_what_it_reads(path: Path) -> None:
    imported: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    found = imported & RUNNING_READERS
    assert not found or (found == {"marshal"} and name_of(path) in FROM_TESTS_TO_ANSWER)


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_yaml_is_read_safely_and_arrays_without_pickles(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "YAML":
            assert [ast.unparse(given.value) for given in node.keywords] in (["'rt'"], ["'safe'"])
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if owner == "yaml":
            safe = node.func.attr in ("safe_load", "safe_dump") or given.get("Loader") in (
                "UniqueKeys",
                "yaml.SafeLoader",
            )
            assert safe, f"{name_of(path)}:{node.lineno}"
        if node.func.attr == "load" and owner in ("np", "numpy"):
            assert given.get("allow_pickle") == "False", f"{name_of(path)}:{node.lineno}"


def test_the_reader_of_pipelines_makes_no_objects() -> None:
    assert issubclass(safe_yaml.UniqueKeys, yaml.SafeLoader)
    with pytest.raises(BadInput):
        loader.parse("name: !!python/object/apply:os.getcwd []", "p.yaml")


def test_an_array_file_that_holds_objects_is_not_opened(tmp_path: Path) -> None:
    save_state(tmp_path, {"weights": np.zeros(3)})
    np.savez(tmp_path / ARRAYS_NAME, a0=np.array([{"anything": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_state(tmp_path, {"weights": np.zeros(3)})
