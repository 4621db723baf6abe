"""`relay export`: from any verified checkpoint to a folder, or one sentence and nothing at all."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.loader import check
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.contract import Cursor, Manifest
from stages.formats.export_manifest import ExportManifest
from stages.session import packing
from stages.training import checkpoints
from stages.training.model import arrays_of
from state.facts.checkpoint import CheckpointPublished, PublishIntended
from state.facts.run import RunStarted
from state.facts.session import (
    Judgement,
    OutputCollected,
    PushConfirmed,
    PushIntended,
    SeenEnded,
    SeenRunning,
    SessionPlanned,
)
from state.store import Store
from tests.contract.local import AT_ONCE
from tests.contract.test_commands import relay
from tests.training.exports import Trained, trained
from tests.training.models import loaded

pytestmark = pytest.mark.slow  # each export is a process that imports JAX

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 1, tzinfo=UTC)
RUN = "tiny-1a2b"
SFT = {"data": ["gsm8k"], "mode": "lora", "lora_rank": 2}


@dataclass
class Laptop:
    """A home folder with a finished run of two sessions, whose checkpoints hold trained adapters."""

    root: Path
    model: Trained
    digests: tuple[str, ...]

    @property
    def home(self) -> Path:
        return self.root / "home"

    def export(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        (self.root / "here").mkdir(exist_ok=True)
        environ = {"PYTHONPATH": str(ROOT), **(environ or {})}
        return relay("export", *arguments, home=self.home, environ=environ, cwd=self.root / "here")

    def left(self) -> list[str]:
        """What is in the folder in which the command is typed."""
        return sorted(path.name for path in (self.root / "here").iterdir())


def laptop(root: Path, source: str = "", **options: object) -> Laptop:
    model = trained(root / "model", "gemma2", "transformers", **options)
    values = {**model.values, **({"source": source} if source else {})}
    stages = [{"name": "sft", "kind": "sft", "steps": 2, "options": SFT}]
    pipeline = check({"name": "tiny", "model": values, "stages": stages}, "tiny.yaml")
    store = Store.at(root / "home")
    home, later, parent = HomeLayout(root / "home"), [], None
    digests = []
    for number in (1, 2):
        name, key = f"{RUN}-c{number:04d}", {"number": number, "attempt": 1}
        folder = home.checkpoint(RUN, name)
        folder.mkdir(parents=True)
        state = model.checkpoint if number == 2 else _older(root)
        manifest = Manifest(
            run=RUN,
            session=number,
            attempt=1,
            token=f"{number:024d}",
            cursor=Cursor(stage="sft", step=number),
            parent=digests[-1] if digests else None,
            files=(packing.pack(state, folder / "state.bin"),),
            digests={"weights": f"{number}" * 64},
        )
        (folder / "manifest.json").write_bytes(manifest.to_json().encode())
        judgement = Judgement(outcome="yielded" if number == 1 else "finished", furthest=manifest.cursor)
        planned = SessionPlanned(
            **key,
            slug=f"{RUN}-s{number:04d}",
            token=manifest.token,
            start=Cursor(stage="sft", step=number - 1),
            parent=parent,
            budget_s=100.0,
            limit_s=200.0,
        )
        collected = OutputCollected(**key, judgement=judgement, checkpoint=name, manifest=manifest)
        told = [
            planned,
            PushIntended(**key),
            PushConfirmed(**key, kernel_version=1),
            SeenRunning(**key),
            SeenEnded(**key, worker="complete", message=""),
            collected,
            PublishIntended(**key),
            CheckpointPublished(**key),
        ]
        later += [(AT + timedelta(seconds=10 * number + index), fact) for index, fact in enumerate(told)]
        digests.append(manifest.digest)
        parent = name
    started = RunStarted(
        run=RUN,
        pipeline_name="tiny",
        owner="alice",
        accelerator="tpu",
        pipeline=pipeline.canonical(),
        pipeline_path="tiny.yaml",
        pipeline_digest=pipeline.digest,
    )
    store.begin_run(started, AT, later=later)
    return Laptop(root, model, tuple(digests))


def _older(root: Path) -> Path:
    """The state of an older checkpoint: another model's that no stage of relay trained."""
    folder = root / "older"
    folder.mkdir()
    (folder / "count.txt").write_text("1")
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return laptop(tmp_path_factory.mktemp("laptop"), adapters=2)


@pytest.mark.parametrize("layout", ["safetensors", "peft", "tunix"])
def test_the_newest_checkpoint_is_exported_in_every_format(desk: Laptop, layout: str, tmp_path: Path) -> None:
    done = desk.export("tiny", "--format", layout, "--to", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'out'} holds {RUN} at sft step 2 as {layout} in float32: ")
    manifest = ExportManifest.from_json((tmp_path / "out" / "export.json").read_bytes())
    assert (manifest.checkpoint, manifest.contents) == (desk.digests[1], {"weights": "2" * 64})
    packing.verify_files(tmp_path / "out", manifest.files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    if layout == "safetensors":
        found = arrays_of(loaded({"kind": "gemma2", "source": str(tmp_path / "out")}).model)
        assert checkpoints.tree_digest(found) == checkpoints.tree_digest(arrays_of(desk.model.merged.model))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "there is no run nobody"),
        (("tiny", "--checkpoint", "c0007"), f"--checkpoint c0007: {RUN} has no such verified checkpoint"),
        (("tiny", "--to", "there/out"), "there is not a folder: create it first"),
        (("tiny", "--checkpoint", "sft:1"), "holds no model that relay's own stages trained"),
        (("tiny", "--base", "."), "here holds no model: neither *.safetensors with"),
    ],
)
def test_bad_input_is_one_sentence_and_creates_nothing(desk: Laptop, arguments: tuple[str, ...], said: str) -> None:
    done = desk.export(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert desk.left() == []


def test_an_existing_target_is_refused_and_kept(desk: Laptop, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = desk.export("tiny", "--to", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_that_trained_all_weights_has_no_adapter_to_export(tmp_path: Path) -> None:
    done = laptop(tmp_path, adapters=0, full=True).export("tiny", "--format", "peft")
    assert done.returncode == 2
    assert "the run trained all weights" in done.stderr
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == []


def test_checkpoint_and_base_model_are_fetched_from_kaggle(tmp_path: Path) -> None:
    ref = "google/gemma-2/flax/tiny-it/1"
    desk = laptop(tmp_path, source=ref)
    folder = HomeLayout(desk.home).checkpoint(RUN, f"{RUN}-c0002")
    files = [folder / "manifest.json", folder / "state.bin"]
    sandbox = ScriptedSandbox(lambda *_: Played(ends_after_s=1.0))
    with LocalKaggle(tmp_path / "kaggle", SystemClock(), AT_ONCE, NO_FAULTS, sandbox, owner="alice") as kaggle:
        environ = kaggle.environment()
        with kaggle.world.at_now() as now:
            from orchestrator.rehearsal.local_kaggle.datasets import Describe

            stored = {path.name: Content.of_bytes(path.read_bytes(), now) for path in files}
            kaggle.world.datasets.create("alice", f"{RUN}-c0002", Describe(title=f"{RUN}-c0002"), stored, now)
            model = desk.model.root / "tiny-it"
            kaggle.world.offer_model(ref, {p.name: Content.of_bytes(p.read_bytes(), now) for p in model.iterdir()})
        (folder / "state.bin").write_bytes(b"rotten")
        without = desk.export("tiny")
        assert without.returncode == 2
        assert desk.left() == []
        done = desk.export("tiny", environ=environ)
        assert done.returncode == 0, done.stderr
        assert f"{RUN}-c0002: brought back, every byte verified" in done.stderr
    again = desk.export("tiny", "--to", "again")
    assert again.returncode == 0, "the base model's files stay in the home folder"
    exports = [
        json.loads((tmp_path / "here" / name / "export.json").read_bytes()) for name in (f"{RUN}-safetensors", "again")
    ]
    assert exports[0] == exports[1]
    assert exports[0]["base_model"] == ref
