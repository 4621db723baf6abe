"""The recipes for Kaggle start here as they would there: their kernels, pins, mounts, model files, data files and meshes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaggle_kernels.build import SIZE_BYTES_MAX
from orchestrator.pipeline.loader import load

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = ("gemma2_2b", "gemma3_1b")
KINDS = ("sft", "grpo", "curate", "continued", "evaluate")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_asks_only_what_training_leaves_out_and_continues_with_what_was_curated(name: str) -> None:
    pipeline = load(EXAMPLES / f"{name}.yaml")
    assert pipeline.model_sources == (pipeline.model["source"],)
    kinds = [stage.kind for stage in pipeline.stages]
    assert kinds.index("curate") < kinds.index("continued")
    assert kinds[0] == kinds[-1] == "evaluate"
    for stage in pipeline.stages:
        rows = (
            stage.options["batch"]
            * stage.options.get("num_generations", 1)
            // stage.options.get("gradient_accumulation_steps", 1)
        )
        assert rows % pipeline.model["mesh_fsdp"] == 0, f"{stage.name}: a part of a batch is split over the mesh"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma2_2b", pytest.param("gemma3_1b", marks=pytest.mark.nightly)])
def test_one_step_of_each_kind_of_stage_runs_with_a_small_model_in_place_of_the_large_one(
    name: str, tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    recipe: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    first = [next(stage for stage in recipe["stages"] if stage["kind"] == kind) for kind in KINDS]
    pipeline = tmp_path / f"{name}.yaml"
    pipeline.write_text(yaml.safe_dump({**recipe, "stages": first}), encoding="utf-8")

    home = tmp_path / "home"
    command = [sys.executable, "-m", "orchestrator", "--home", str(home)]
    done = subprocess.run(
        [*command, "rehearse", str(pipeline), "--short"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **compiled_programs},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    told = subprocess.run([*command, "status", "--json"], capture_output=True, text=True, check=True)
    run = json.loads(told.stdout)["runs"][0]
    assert [session["outcome"] for session in run["sessions"]] == ["finished"]

    (kaggle,) = (home / "kaggle").glob("*/*/v1/kaggle")
    source = (kaggle / "src" / "script.py").read_bytes()
    assert len(source) < SIZE_BYTES_MAX
    assert (kaggle / "input" / "models" / recipe["model"]["source"]).is_dir()
    log = subprocess.run([*command, "logs", run["id"]], capture_output=True, text=True, check=True).stdout
    assert "it stands in for one with" in log
    assert "data gsm8k mbpp" in log and "data magpie:5000 ultrafeedback:1000" in log
