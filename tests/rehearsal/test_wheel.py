"""The built wheel alone, in an empty environment, takes a new user from `relay init` to a report."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rehearsal.conftest import PIP, ROOT

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shell(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a program of an environment that holds the wheel and what it asks for, far from this checkout."""
    folder = tmp_path_factory.mktemp("user")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    own_pip = [str(folder / "venv" / "bin" / "python"), *PIP]
    subprocess.run(
        [*own_pip, "install", "--constraint", str(ROOT / "constraints.txt"), str(wheel)],
        check=True,
        capture_output=True,
    )

    def run(program: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KAGGLE_USERNAME": "somebody",
            "KAGGLE_KEY": "a-key-that-is-never-sent",
            "LANG": "C.UTF-8",
        }
        command = [str(folder / "venv" / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.mark.slow
def test_the_way_from_init_to_a_report_needs_nothing_but_the_wheel(shell: Shell, tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    assert shell("relay", "--version").stdout.startswith("relay, version ")
    assert "relay check gsm.yaml" in shell("relay", "init", "gsm.yaml", "--yes").stdout
    assert "✓ file" in shell("relay", *home, "check", "gsm.yaml", "--offline").stdout
    assert " of TPU (" in shell("relay", *home, "plan", "gsm.yaml").stdout
    assert "every invariant held" in shell("relay", "rehearse", "gsm.yaml", "--simulate", "2").stdout
    first = shell("relay", *home, "rehearse")
    assert "finished" in first.stdout
    assert "pip install 'relay-kaggle[train]' adds JAX and Tunix" in first.stderr
    assert "✓ file" in shell("relay", *home, "check", "examples/counting.yaml", "--offline").stdout
    assert "nothing to do" in shell("relay", *home, "status").stdout
    page = tmp_path / "report.html"
    shell("relay", *home, "report", "counting", "--output", str(page))
    assert "<h1" in page.read_text(encoding="utf-8")
    assert "completions" in shell("relay", "explain", "grpo").stdout
    assert '"$schema"' in shell("relay", "schema").stdout


@pytest.mark.slow
def test_training_that_needs_jax_is_refused_with_the_way_to_it(shell: Shell, tmp_path: Path) -> None:
    told = shell("relay", "--home", str(tmp_path / "home"), "rehearse", "tiny", status=2).stderr
    assert "pip install 'relay-kaggle[train]'" in told
    shell(
        "python", "-c", "import orchestrator, importlib.util as u; assert u.find_spec('jax') is None; orchestrator.open"
    )
