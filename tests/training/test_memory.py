"""What `relay plan --memory` foresees is what models really hold, and what it says of a batch holds for that batch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.preflight.memory.depths import GAP_MAX
from orchestrator.preflight.memory.measure import ALWAYS, XLA_FLAGS, environment
from orchestrator.preflight.memory.xla_buffer_plan import flags
from tests.training.harness import SMALL, small_inputs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def probe(question: str, *more: str, xla: tuple[str, ...] = ()) -> Any:
    """The answer of `memory_probe`, which runs with eight devices."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.memory_probe", question, *more]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(8, *XLA_FLAGS, *ALWAYS, *xla), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_stays_on_a_chip_is_foreseen_to_the_byte(mode: str, dtype: str) -> None:
    found = probe(f"held-{mode}", dtype)
    assert found["now"] == found["foreseen"]
    assert (found["now"]["masters"] > 0) == (dtype == "bfloat16")
    assert found["base_copied"] == (mode == "lora"), (
        "the frozen weights are on the chips twice after a step of an adapter"
    )


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_one_compilation_tells_what_another_batch_needs(kind: str) -> None:
    found = probe(f"line-{kind}")
    assert found["line"] == pytest.approx(found["compiled"], rel=0.05)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_plan_that_is_read_before_compiling_ends_is_that_of_the_compiled_program(kind: str, tmp_path: Path) -> None:
    found = probe(f"plan-{kind}", str(tmp_path), xla=flags(tmp_path))
    assert found["written"] == found["compiled"]
    assert all(found["written"])


@pytest.mark.nightly
def test_a_plan_from_few_layers_is_that_from_all_layers() -> None:
    """Three whole compilations; what is computed from them is tested in `tests/unit/test_memory_depths.py`."""
    found = probe("few-layers")
    assert found["few"]["sizes"] == found["all"]["sizes"]
    assert found["few"]["part"] == pytest.approx(found["all"]["part"], rel=GAP_MAX)


def test_the_cache_is_made_in_its_layout_as_foreseen() -> None:
    found = probe("cache")
    assert found["foreseen"] == [found["now"]] * 2
    assert found["now"] == found["whole"] / 8
    assert found["prompts"] == pytest.approx(found["now"] / 2, rel=0.05), "the prompts' own cache is half as wide"


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_a_model_of_any_size_is_planned_from_its_folder(family: str, tmp_path: Path) -> None:
    folder = small_inputs(tmp_path / "inputs") / "models" / SMALL[family]
    pipeline = tmp_path / "small.yaml"
    pipeline.write_text(
        f"""
name: small
model: {{kind: {family}, source: {folder}, mesh_fsdp: 2}}
stages:
- {{name: sft, kind: sft, steps: 1, options: {{batch: 4, max_seq_length: 32, mode: lora, lora_rank: 2}}}}
- {{name: grpo, kind: grpo, steps: 1, options: {{batch: 2, num_generations: 2, max_prompt_length: 16, max_completion_length: 16}}}}
- {{name: ask, kind: evaluate, steps: 1, options: {{batch: 4, max_prompt_length: 16, max_completion_length: 16}}}}
"""
    )
    command = ["--home", str(tmp_path / "home"), "plan", str(pipeline), "--memory", "--json"]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert [stage["names"] for stage in document["stages"]] == [["sft"], ["grpo"], ["ask"]]
    for stage in document["stages"]:
        assert stage["largest_batch"] > stage["batch"]
        assert all(phase["weights"] > 0 and phase["peak"] > phase["weights"] for phase in stage["phases"])
    again = CliRunner().invoke(main, command)
    assert json.loads(again.stdout) == document
    assert "3 of 3 programs were lowered before" in again.stderr and "of 4 lowered" not in again.stderr


@pytest.mark.parametrize("recipe", ["gemma2_2b", pytest.param("gemma3_1b", marks=pytest.mark.nightly)])
def test_a_published_recipe_fits_into_the_chips_it_names(recipe: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        main, ["--home", str(tmp_path), "plan", str(ROOT / "examples" / f"{recipe}.yaml"), "--memory", "--json"]
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["fits"]


def test_a_mesh_that_does_not_divide_a_weight_is_refused_before_anything_runs(tmp_path: Path) -> None:
    pipeline = tmp_path / "odd.yaml"
    pipeline.write_text(
        "name: odd\nmodel: {kind: gemma2-2b, mesh_fsdp: 1, mesh_tp: 7}\n"
        "stages:\n- {name: sft, kind: sft, steps: 1, options: {batch: 4}}\n"
    )
    ran = CliRunner().invoke(main, ["plan", str(pipeline), "--memory"])
    assert ran.exit_code == 2
    assert "cannot be split along 7 devices: change model.mesh_tp" in ran.output
