"""Which changes make a run go on elsewhere, what may change with the platform, and what is said of the numbers before."""

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.core.commands import Append
from orchestrator.core.decide import decide
from orchestrator.core.moving import devices_problem, moves, number_lines
from orchestrator.core.pipeline_change import change
from orchestrator.core.plan import limits_for
from orchestrator.core.retention import prunable
from orchestrator.pipeline.loader import check
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site
from stages.numerics import Numerics
from state.facts.checkpoint import CheckpointCarried
from state.model.left_platform import LeftPlatform
from state.model.run_state import Run, RunState
from state.model.snapshot import Snapshot
from tests.unit.core.situations import NOW, checkpoint, gained, run, state, step

KAGGLE: dict[str, Any] = {
    "name": "gsm",
    "accelerator": "cpu",
    "session": {"limit_s": 600},
    "stages": [{"name": "one", "kind": "counting", "steps": 100}],
}
SLURM = KAGGLE | {"platform": "slurm", "slurm": {"shared": "/scratch/relay"}}
SFT = [{"name": "one", "kind": "sft", "steps": 100, "options": {}}]
ON_TPU: dict[str, Any] = {
    "name": "gsm",
    "model": {"kind": "gemma3-1b", "source": "google/gemma-3/flax/gemma3-1b-it/1", "mesh_fsdp": 2},
    "stages": SFT,
}
ON_GPUS: dict[str, Any] = {
    **ON_TPU,
    "model": {"kind": "gemma3-1b", "source": "google/gemma-3-1b-it", "mesh_fsdp": 2},
    "accelerator": "NvidiaTeslaT4",
    "platform": "slurm",
    "slurm": {"shared": "/scratch/relay", "gpus": 2},
    "session": {"limit_s": 3600},
}
THERE = "me@cluster"


def pipeline(value: dict[str, Any], **changes: Any) -> Pipeline:
    return check({**value, **changes}, "p.yaml")


def of(value: dict[str, Any], **changes: Any) -> Run:
    return run(pipeline=pipeline(value).canonical(), **changes)


@pytest.mark.parametrize(
    ("before", "after", "owner", "moved"),
    [
        pytest.param(KAGGLE, KAGGLE, "", False, id="the same"),
        pytest.param(KAGGLE, KAGGLE | {"session": {"limit_s": 700}}, "", False, id="another limit"),
        pytest.param(KAGGLE, SLURM, THERE, True, id="to a cluster"),
        pytest.param(SLURM, KAGGLE, "me", True, id="to Kaggle"),
        pytest.param(SLURM, SLURM | {"slurm": {"shared": "/other"}}, "", True, id="another folder"),
        pytest.param(
            SLURM, SLURM | {"slurm": {"shared": "/scratch/relay", "login": "b"}}, "", False, id="another login"
        ),
        pytest.param(
            SLURM, SLURM | {"slurm": {"shared": "/scratch/relay", "login": "b"}}, THERE, True, id="another cluster"
        ),
        pytest.param(
            SLURM, SLURM | {"slurm": {"shared": "/scratch/relay", "partition": "b"}}, "", False, id="a partition"
        ),
    ],
)
def test_a_run_goes_on_elsewhere_where_its_files_would_not_be_seen(
    before: dict[str, Any], after: dict[str, Any], owner: str, *, moved: bool
) -> None:
    assert moves(of(before), pipeline(after), owner) is moved


def trained(value: dict[str, Any], numerics: Numerics | None = None, **changes: Any) -> RunState:
    """A run of that pipeline with one checkpoint, which holds that record."""
    one = checkpoint(1, step(50, "one"))
    if numerics is not None:
        one = replace(one, manifest=json.dumps({"numerics": numerics.to_dict()}))
    return state(gained(1), of=of(value, **changes), checkpoints=(one,))


def test_machine_and_place_of_the_model_change_with_the_platform_and_not_alone() -> None:
    known = trained(ON_TPU)
    new, lines = change(known, pipeline(ON_GPUS), THERE)
    assert new == pipeline(ON_GPUS)
    assert 'platform: "kaggle" → "slurm"' in lines
    with pytest.raises(BadInput, match="accelerator cannot change"):
        change(known, pipeline(ON_TPU, accelerator="NvidiaTeslaT4"))
    with pytest.raises(BadInput, match="model cannot change"):
        change(known, pipeline(ON_TPU, model={**ON_TPU["model"], "source": "google/gemma-3/flax/gemma3-1b-it/2"}))
    with pytest.raises(BadInput, match="model cannot change"):
        change(known, pipeline(ON_GPUS, model={**ON_GPUS["model"], "dtype": "float32"}), THERE)
    with pytest.raises(BadInput, match="seed cannot change"):
        change(known, pipeline(ON_GPUS, seed=7), THERE)


def test_a_run_of_which_a_second_session_still_runs_stays() -> None:
    twin = replace(gained(1), twin=2, twin_at=NOW)
    with pytest.raises(BadInput, match="the platform can change once it has ended"):
        change(state(twin, of=of(KAGGLE)), pipeline(SLURM), THERE)


def test_a_model_that_is_split_over_more_devices_than_are_there_is_refused() -> None:
    assert not devices_problem(pipeline(ON_GPUS))
    assert "a session there has 1" in devices_problem(
        pipeline(ON_GPUS, accelerator="cpu", slurm={"shared": "/scratch/relay"})
    )


TPU = Numerics(machine={"chip": "TPU v5 lite", "platform": "tpu"}, packages={"jax": "0.0.1", "click": "0.0.1"})
GPU = Numerics(machine={"chip": "A100", "platform": "gpu"}, packages={"jax": "0.0.1", "click": "0.0.1"})


def test_what_is_known_to_differ_in_numbers_is_said_before() -> None:
    known, old, new = trained(ON_TPU, TPU), pipeline(ON_TPU), pipeline(ON_GPUS, exactness="strict")
    other, there, consequence = number_lines(known, known.head, old, new)
    assert other.startswith("Other bits are possible: accelerator TpuV5E8 → NvidiaTeslaT4; devices 8 → 2; ")
    assert "jax 0.0.1 → " in other
    assert "click" not in other, "it computes nothing"
    assert "computed with chip TPU v5e" in there
    assert "ends before its first step" in consequence


def test_another_number_of_processes_is_said_to_change_numbers() -> None:
    on_nodes = pipeline(ON_GPUS, slurm={"shared": "/scratch/relay", "gpus": 2, "nodes": 2})
    other = number_lines(trained(ON_TPU, TPU), trained(ON_TPU, TPU).head, pipeline(ON_TPU), on_nodes)[0]
    assert "devices 8 → 2; processes 1 → 2" in other


def test_what_sessions_had_there_before_is_said_exactly() -> None:
    known = trained(ON_TPU, TPU)
    earlier = replace(trained(ON_TPU, GPU).checkpoints[0], session=1)
    site = Site.of(pipeline(ON_GPUS)).canonical()
    back = replace(
        known,
        run=replace(known.run, left_platforms=(LeftPlatform(owner=THERE, accelerator="gpu", site=site),)),
        sessions=(gained(1), gained(2, platform=1)),
        checkpoints=(earlier, replace(known.checkpoints[0], name="r-0001-c0002", session=2, platform=1)),
    )
    lines = number_lines(back, back.head, pipeline(ON_TPU), pipeline(ON_GPUS))
    assert any(
        line.startswith("Sessions of this run there differed in: chip TPU v5e → A100; platform") for line in lines
    )


def test_nothing_is_said_to_change_where_nothing_can() -> None:
    assert number_lines(trained(KAGGLE), None, pipeline(KAGGLE), pipeline(SLURM)) == (
        "No stage computes with JAX: every number stays the same.",
    )
    assert number_lines(trained(ON_TPU), None, pipeline(ON_TPU), pipeline(ON_GPUS)) == (
        "No step has been computed yet, so no number changes.",
    )


def test_a_parent_that_is_published_elsewhere_is_carried_over_before_anything_else() -> None:
    left = LeftPlatform(owner="me", accelerator="cpu", site=Site.of(pipeline(KAGGLE)).canonical())
    known = trained(SLURM, left_platforms=(left,))
    command = decide(Snapshot(state=known), pipeline(SLURM), limits_for(pipeline(SLURM)), NOW)
    assert command == Append((CheckpointCarried(number=1, attempt=1),))


def test_only_the_user_has_copies_deleted_where_the_run_was_before() -> None:
    checkpoints = tuple(checkpoint(n, step(n, "one")) for n in range(1, 5))
    left = LeftPlatform(owner="me", accelerator="cpu", site=Site.of(pipeline(KAGGLE)).canonical())
    known = state(*map(gained, range(1, 5)), of=of(SLURM, left_platforms=(left,)), checkpoints=checkpoints)
    assert [c.name for c in prunable(known, 2)] == ["r-0001-c0001", "r-0001-c0002"]
    assert prunable(known, 2, everywhere=False) == ()


def test_a_site_reads_back_and_reaches_the_same_files() -> None:
    there = pipeline(SLURM | {"slurm": {"shared": "/scratch/relay", "login": "b", "partition": "long"}})
    site = Site.parse(Site.of(there).canonical())
    assert site == Site.of(there)
    assert (site.pipeline.slurm.login, site.pipeline.slurm.shared) == ("b", "/scratch/relay")
    assert Site.parse(Site.of(pipeline(KAGGLE)).canonical()).pipeline.platform == "kaggle"
