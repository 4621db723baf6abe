"""The stage `probe`: a session that writes, and one that says what became of it."""

import gzip
import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.probe.trial import trial_dataset, trial_files
from stages.contract import PROBE, Cursor, StageSpec
from stages.options import Probe as ProbeOptions
from stages.probing.findings import ProbeReport
from stages.probing.machine import finding_of_internet
from stages.probing.mounts import VERSION_FILE, count_tensors, findings_of_mounts
from stages.session import accelerator
from tests.unit.counting_runs import Kaggle, kaggle, next_order, order

MODEL = "me/some-model/jax/base/1"
TRIAL = [f"{name}:{sha256}" for name, sha256 in trial_dataset("me").sha256.items()]


def stages(*models: str) -> tuple[StageSpec, ...]:
    options = {"models": list(models), "trial": TRIAL}
    return tuple(
        StageSpec(name=part, kind="probe", steps=1, options={"part": part, **options}) for part in ("write", "read")
    )


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks anything of the network."""
    monkeypatch.setenv(accelerator.STAND_IN, "1")


def safetensors(path: Path, *, cut: int = 0) -> None:
    table = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(table)) + table + bytes(8)
    path.write_bytes(content[: len(content) - cut])


def probed(root: Path, place: str, change: Callable[[Path], object], *models: str) -> ProbeReport:
    """What two sessions find; the second one's mounts are changed by `change`."""
    world: Kaggle = kaggle(root / "kaggle")
    asked = order(stages=stages(*models), start=Cursor(stage="write", step=0), stop_at=Cursor(stage="write", step=1))
    status, report = world.run(asked)
    assert (status, report.outcome, report.reached) == (0, "yielded", Cursor(stage="write", step=1))
    world.publish(world.folders()[-1], place.format(slug="checkpoint"))
    trial = world.inputs / place.format(slug="trial")
    trial.mkdir(parents=True)
    for name, content in trial_files().items():
        (trial / name).write_bytes(content)
    model = world.inputs / "models" / MODEL
    model.mkdir(parents=True)
    safetensors(model / "model.safetensors")
    change(world.inputs)
    shutil.rmtree(world.working / "relay")
    status, report = world.run(next_order(asked, report, stop_at=None))
    assert (status, report.outcome) == (0, "finished")
    return ProbeReport.from_json((world.working / "relay" / "artifacts" / PROBE).read_bytes())


def verdicts(report: ProbeReport) -> dict[str, str]:
    return {finding.key: finding.verdict for finding in report.findings}


@pytest.mark.parametrize("place", ["{slug}", "datasets/me/{slug}"])
def test_a_kaggle_as_assumed_confirms_what_the_sessions_can_see(place: str, tmp_path: Path) -> None:
    report = probed(tmp_path, place, lambda inputs: None, MODEL)
    found = verdicts(report)
    seen = ("sentinel-mounted", "mount-layout", "unknown-suffix-kept", "model-mounted")
    assert {key: found[key] for key in seen} == dict.fromkeys(seen, "confirmed")
    (model,) = (finding for finding in report.findings if finding.key == "model-mounted")
    assert (model.numbers, "with 1 arrays" in model.detail) == ({"files": 1.0}, True)
    assert report.notes["uploaded files"].count("unchanged") == len(TRIAL)
    assert not any("me" in finding.detail.replace("named", "").split() for finding in report.findings), "no names"


def test_what_depends_on_kaggles_machine_stays_unknown_in_a_rehearsal(tmp_path: Path) -> None:
    found = verdicts(probed(tmp_path, "{slug}", lambda inputs: None))
    own = ("script-path-read-only", "python-version", "output-size", "scratch-space", "internet")
    assert {key: found[key] for key in own} == dict.fromkeys(own, "unknown")
    assert "model-mounted" not in found, "the pipeline has none"


def rewrite(inputs: Path) -> None:
    next(inputs.rglob("relay-trial.relay")).write_bytes(b"rewritten")


def unpack(inputs: Path) -> None:
    path = next(inputs.rglob("relay-trial.txt.gz"))
    (path.parent / "relay-trial.txt").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def move(inputs: Path) -> None:
    (inputs / "elsewhere").mkdir()
    (inputs / "checkpoint").rename(inputs / "elsewhere" / "checkpoint")


@pytest.mark.parametrize(
    ("change", "key", "detail"),
    [
        (rewrite, "unknown-suffix-kept", "relay-trial.relay is changed"),
        (move, "mount-layout", "mounted as another place, 2 folders deep and as {slug}"),
        (lambda inputs: shutil.rmtree(inputs / "models"), "model-mounted", "1 of 1 models are not mounted"),
    ],
)
def test_a_kaggle_that_differs_is_refuted_by_name(change: Any, key: str, detail: str, tmp_path: Path) -> None:
    report = probed(tmp_path, "{slug}", change, MODEL)
    assert [(f.key, f.detail) for f in report.findings if f.verdict == "refuted"] == [(key, detail)]


ONE, TWO = b"version one\n", b"version two\n"


@pytest.mark.parametrize(
    ("content", "verdict", "detail"),
    [
        (TWO, "confirmed", "a source of version 1 mounts version 2 of 2"),
        (ONE, "refuted", "a source of version 1 mounts version 1 of 2"),
        (b"other", "refuted", "the mounted version is none of those uploaded"),
        (None, "refuted", "a source with a version mounted nothing"),
    ],
)
def test_the_mounted_version_of_a_dataset_is_told(
    content: bytes | None, verdict: str, detail: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "datasets" / "me" / "versions").mkdir(parents=True)
        (tmp_path / "datasets" / "me" / "versions" / VERSION_FILE).write_bytes(content)
    versions = tuple(hashlib.sha256(each).hexdigest() for each in (ONE, TWO))
    (found,) = (
        each
        for each in findings_of_mounts(tmp_path, ProbeOptions(part="read", versions=versions))
        if each.key == "dataset-version-mounts"
    )
    assert (found.verdict, found.detail) == (verdict, detail)


def test_what_became_of_packed_files_is_noted_and_refutes_nothing(tmp_path: Path) -> None:
    report = probed(tmp_path, "{slug}", unpack)
    assert ".txt.gz unpacked" in report.notes["uploaded files"]
    assert "refuted" not in verdicts(report).values()


def test_a_model_whose_file_is_cut_is_no_model(tmp_path: Path) -> None:
    safetensors(tmp_path / "whole.safetensors")
    safetensors(tmp_path / "cut.safetensors", cut=1)
    assert count_tensors(tmp_path / "whole.safetensors") == 1
    with pytest.raises(ValueError, match="its size is not the one"):
        count_tensors(tmp_path / "cut.safetensors")


def test_internet_that_the_pipeline_does_not_want_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(accelerator.STAND_IN)
    assert finding_of_internet(asked=False).verdict == "unknown"
