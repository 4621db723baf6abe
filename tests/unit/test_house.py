"""The house's own rules: which package may import which, and what Kaggle's bare Python has to be able to import."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from stages.catalog import KINDS, UnknownKind, find

ROOT = Path(__file__).parents[2]
NEEDS_NO_JAX = [
    "contract",
    "session.bootstrap",
    "session.packages",
    "session.runner",
    "session.context",
    "session.order_check",
    "session.session_report",
    "session.last_exit",
    "session.failure_report",
    "session.progress",
    "session.session_output",
    "session.parent_checkpoint",
    "session.packing",
    "session.budget",
    "session.accelerator",
    "catalog",
    "options",
    "stage",
    "counting",
    "session.user_code",
    "training.state_io",
    "session.metrics",
    "session.compilation_cache",
    "session.tracing",
    "training.guards",
    "training.confidence",
    "training.model_files",
]
PROBE = """
import importlib, pkgutil, sys
TRAIN = {"jax", "jaxlib", "flax", "optax", "orbax", "tunix", "qwix", "numpy", "datasets", "sympy", "grain", "kagglehub", "tensorstore", "ml_dtypes"}
class OursAboveStages:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"orchestrator", "state", "kaggle_kernels"}:
            raise AssertionError(f"the kernel may not import {name}")
sys.meta_path.insert(0, OursAboveStages())
sys.path.insert(0, sys.argv[1])
import stages
for module in pkgutil.walk_packages(stages.__path__, "stages."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in TRAIN:
            raise
    else:
        print(module.name)
"""


@pytest.mark.slow
def test_imports_keep_to_the_contracts() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.fixture(scope="module")
def importable(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of `stages` that a Python with nothing but its standard library can import."""
    place = tmp_path_factory.mktemp("bare")
    shutil.copytree(ROOT / "stages", place / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    probe = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, str(place)], capture_output=True, text=True, check=False
    )
    assert probe.returncode == 0, probe.stderr
    return set(probe.stdout.split())


@pytest.mark.parametrize("name", NEEDS_NO_JAX)
def test_what_runs_every_session_imports_on_a_bare_python(name: str, importable: set[str]) -> None:
    assert f"stages.{name}" in importable


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_options_of_every_kind_can_be_checked_without_jax(kind: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stages import catalog\n"
        "catalog.find(sys.argv[2]).fit({}, 'stages.x'); print('jax' in sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(ROOT), kind]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    assert probe.stdout == "False\n", probe.stderr


@pytest.mark.parametrize("kind", ["", "sfd", "mine.stages", "mine:", ":train", "mine stages:train", "mine:train:now"])
def test_a_kind_that_cannot_be_is_refused_with_those_that_can(kind: str) -> None:
    with pytest.raises(UnknownKind, match=r"take one of counting, sft, .*, or package\.module:function"):
        find(kind)


def test_a_stage_of_the_users_own_gets_its_options_as_they_are() -> None:
    assert find("mine.stages:train").fit({"anything": 1}, "stages.mine") == {"anything": 1}
