"""A local Kaggle that was served with a pipeline has what the pipeline mounts: relay init, relay check and a served Kaggle agree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rehearsal.laptop import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_first_pipeline_passes_its_check_against_a_kaggle_served_for_it(tmp_path: Path) -> None:
    relay = [sys.executable, "-m", "orchestrator", "--home", str(tmp_path / "home")]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    made = [*relay, "init", "mine.yaml", "--model", "tiny"]
    subprocess.run(made, cwd=tmp_path, env=environ, check=True, timeout=PATIENCE_S, capture_output=True)
    serving = subprocess.Popen(
        [*relay, "rehearse", "mine.yaml", "--serve"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout is not None
    try:
        exported: dict[str, str] = {}
        for line in serving.stdout:
            if line.startswith("# then"):
                break
            name, _, value = line.strip().removeprefix("export ").partition("=")
            exported[name] = value
        checked = subprocess.run(
            [*relay, "check", "mine.yaml"],
            cwd=tmp_path,
            env={**environ, **exported},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        serving.terminate()
        serving.communicate(timeout=PATIENCE_S)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "this account can read the model relay/tiny-gemma2/flax/base/1" in checked.stdout
    assert "no problem was found with mine: relay start mine.yaml" in checked.stdout
