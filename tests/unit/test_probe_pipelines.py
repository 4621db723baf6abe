"""The pipelines that `relay probe` derives: what they share with the user's, and what not."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.probe.derived import machine_pipeline, measuring_pipeline
from orchestrator.core.durations import estimate_durations
from orchestrator.core.estimates import TimeSource
from orchestrator.core.plan import limits_for
from orchestrator.core.run_history import RunHistory
from orchestrator.pipeline.environments import DEFAULT, ENVIRONMENTS, TRAINING_PINS, lock_of
from orchestrator.pipeline.loader import load, parse
from orchestrator.pipeline.measured import measured_stages
from orchestrator.pipeline.model import NAME_CHARS_MAX, Pipeline
from stages.contract import Cursor
from stages.session.package_lock import LockedPackage, PackageLock

TEXT = """
name: learns
accelerator: TpuV5E8
internet: false
model: {kind: gemma2-2b, source: google/gemma-2/flax/gemma2-2b-it/1, mesh_fsdp: 8}
inputs: {datasets: [me/rows], models: [me/other/jax/base/2], wheels: me/relay-wheels-1}
stages:
  - {name: sft, kind: sft, steps: 100, options: {batch: 8, learning_rate: 0.1}}
  - {name: ask, kind: evaluate, steps: 10}
"""
PATH = Path("learns.yaml")
COUNTING = "name: counts\nsession: {limit_s: 6, margin_s: 1}\nstages: [{name: a, kind: counting, steps: 5}]\n"
TRIAL = {"relay-trial.bin": "0" * 64}


def pipeline(text: str = TEXT, *changes: tuple[str, str]) -> Pipeline:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, "learns.yaml")


def machine(trained: Pipeline) -> Pipeline:
    return machine_pipeline(trained, PATH, "me/relay-trial-1", TRIAL, trained.model_sources)


def test_the_probe_of_kaggle_mounts_what_the_pipeline_does_and_uses_no_quota() -> None:
    found = machine(pipeline())
    assert (found.hardware.quota, found.needs_jax, found.internet, found.seed) == ("", False, False, 0)
    assert set(found.model_sources) == {"google/gemma-2/flax/gemma2-2b-it/1", "me/other/jax/base/2"}
    assert found.dataset_sources == ("me/rows", "me/relay-trial-1", "me/relay-wheels-1")
    assert set(found.pins) == set(TRAINING_PINS), "the packages of a CPU, without the accelerator's"
    assert found.stages[1].options["trial"] == [f"relay-trial.bin:{'0' * 64}"]


def test_its_first_session_ends_after_the_first_stage() -> None:
    found = machine(pipeline())
    assert found.stop_after(found.beginning) == Cursor(stage="write", step=1)
    assert found.stop_after(Cursor(stage="write", step=1)) is None


def test_the_measurement_has_every_stage_in_full_on_the_pipelines_accelerator() -> None:
    trained = pipeline()
    found = measuring_pipeline(trained, PATH)
    assert measured_stages(found) == trained.stages
    assert (found.accelerator, found.model, found.pins) == (trained.accelerator, trained.model, trained.pins)
    assert found.model_sources == trained.model_sources
    assert (found.total_steps, found.on_timeout, found.session.attempts) == (2, "park", 1)
    assert found.session.limit_s is not None and found.session.limit_s <= 1800, "Kaggle ends it at the latest then"


def test_a_pipeline_without_jax_mounts_no_model_and_installs_nothing() -> None:
    found = measuring_pipeline(pipeline(COUNTING), PATH)
    assert (found.model_sources, found.pins, found.lock) == ((), (), "")


def test_a_named_environment_is_that_of_the_probe() -> None:
    found = pipeline(TEXT, ("internet: false", "environment: tunix-0.1.5"))
    assert measuring_pipeline(found, PATH).pins == found.pins
    assert set(machine(found).pins) == set(ENVIRONMENTS["tunix-0.1.5"])


@pytest.mark.parametrize(("name", "line"), [(DEFAULT, ""), ("tunix-0.1.5", "environment: tunix-0.1.5\n")])
def test_a_probe_installs_from_the_lock_of_its_machine(name: str, line: str) -> None:
    trained = pipeline(TEXT + line)
    assert measuring_pipeline(trained, PATH).lock == trained.lock == lock_of(name, "tpu")
    assert machine(trained).lock == lock_of(name, "cpu")


def test_a_lock_file_is_that_of_the_probe_even_if_it_changes_meanwhile(tmp_path: Path) -> None:
    lock = PackageLock("3.12", "x86_64-manylinux_2_31", 7, ("steady",), (LockedPackage("steady", "1.0", ("0" * 64,)),))
    (tmp_path / "my.lock.txt").write_text(lock.text, encoding="utf-8")
    (tmp_path / "learns.yaml").write_text(TEXT + "environment: my.lock.txt\n", encoding="utf-8")
    trained = load(tmp_path / "learns.yaml")
    (tmp_path / "my.lock.txt").unlink()
    for found in (machine_pipeline(trained, PATH, "me/relay-trial-1", TRIAL, ()), measuring_pipeline(trained, PATH)):
        assert (found.lock, found.pins, found.texts["my.lock.txt"]) == (lock.text, ("steady",), lock.text)


@pytest.mark.parametrize("derive", [machine, lambda trained: measuring_pipeline(trained, PATH)])
def test_a_name_stays_until_the_pipeline_changes(derive: Any) -> None:
    long = ("name: learns", f"name: {'l' * NAME_CHARS_MAX}")
    names = {derive(pipeline(TEXT, *changes)).name for changes in ((), (), (long,), (("batch: 8", "batch: 9"),))}
    # what the stages do changes the measurement alone: the other probe installs and mounts the same
    assert len(names) == (2 if derive is machine else 3)
    assert all(len(name) <= NAME_CHARS_MAX for name in names)


@pytest.mark.parametrize(("text", "poll_s"), [(TEXT, 30.0), (COUNTING, 0.6)])
def test_a_short_session_on_kaggle_is_polled_as_rarely_as_a_long_one(text: str, poll_s: float) -> None:
    trained = pipeline(text)
    assert limits_for(machine(trained)).poll_s == poll_s
    assert limits_for(measuring_pipeline(trained, PATH)).poll_s == poll_s


def test_a_forecast_uses_what_the_probe_measured() -> None:
    trained, reported = pipeline(), {"sft.first_step_s": 90.0, "sft.step_s": 6.0, "save_s": 20.0}
    derived = measuring_pipeline(trained, PATH)
    earlier = RunHistory(
        run="learns-measure-1", pipeline=derived, sessions=(), checkpoints=(), steps=(), reported={(1, 1): reported}
    )
    found = estimate_durations(trained, earlier=[earlier])
    assert (found.step_s["sft"].usual_s, found.step_s["sft"].words) == (
        6.0,
        "measured by relay probe in learns-measure-1",
    )
    assert (found.first_s["sft"].usual_s, found.save_s.usual_s) == (84.0, 20.0)
    assert found.step_s["ask"].words == (
        "computed by relay's model of the work (calibrated by sft of learns-measure-1; 1.1 to 70 % of the peak of a TPU v5e, where nothing was measured)"
    ), "which the probe did not reach"
    other = estimate_durations(pipeline(TEXT, ("batch: 8", "batch: 9")), earlier=[earlier])
    assert other.step_s["sft"].source is TimeSource.SCALED, "another batch takes another time"
    assert 6.0 <= other.step_s["sft"].usual_s < 6.8
