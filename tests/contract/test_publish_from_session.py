"""`relay publish` of a run with an export stage: what the stage left in its session's output, fetched and compared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.loader import check
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from stages.contract import Cursor, FileEntry, Manifest
from stages.formats.export_manifest import ExportManifest
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
from tests.contract.local import until
from tests.contract.publishing import BASE, PLACES, STARTED, Desk, desk, made_up

EXPORTED = "gsm-2b3c"
SLUG = f"{EXPORTED}-s0001"
STAGES = [
    {"name": "grpo", "kind": "grpo", "steps": 400},
    {"name": "out", "kind": "export", "steps": 1, "options": {"format": "tunix"}},
]


def record(home: Path, artifact: str) -> None:
    """Write a run whose only session ended and exported."""
    pipeline = check({"name": "two", "model": {"source": BASE}, "stages": STAGES}, "two.yaml")
    key = {"number": 1, "attempt": 1}
    manifest = Manifest(
        run=EXPORTED,
        session=1,
        attempt=1,
        token="t",
        cursor=Cursor(stage="out", step=1),
        parent=None,
        files=(FileEntry(path="state.bin", size_bytes=3, sha256="0" * 64),),
    )
    planned = SessionPlanned(
        **key, slug=SLUG, token="t", start=Cursor(stage="grpo", step=0), parent=None, budget_s=9.0, limit_s=10.0
    )
    judgement = Judgement(outcome="finished", furthest=manifest.cursor)
    facts = [
        planned,
        PushIntended(**key),
        PushConfirmed(**key, kernel_version=1),
        SeenRunning(**key),
        SeenEnded(**key, worker="complete", message=""),
        OutputCollected(**key, judgement=judgement, checkpoint=f"{EXPORTED}-c0001", manifest=manifest),
    ]
    started = replace(STARTED, run=EXPORTED, pipeline_name="two", pipeline=pipeline.canonical())
    now = SystemClock().now()
    later = [(now + timedelta(milliseconds=index), fact) for index, fact in enumerate(facts)]
    Store.at(home).begin_run(started, now, later=later)
    folder = HomeLayout(home).artifacts(EXPORTED)
    folder.mkdir(parents=True)
    (folder / "export-out.json").write_text(artifact)


@contextmanager
def exported(root: Path, **spoilt: bytes) -> Iterator[Desk]:
    """A desk with that run; `spoilt` files of the output have these bytes instead, `__` standing for a slash."""
    folder = made_up(root / "left", run=EXPORTED)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files |= {name.replace("__", "/"): content for name, content in spoilt.items()}
    manifest = ExportManifest.from_json((folder / "export.json").read_bytes())
    left = tuple((0.0, f"relay/exports/out/{name}", content) for name, content in files.items())
    with desk(root / "desk", played=Played(ends_after_s=0.0, files=left)) as here:
        record(here.home, json.dumps({"layout": manifest.layout, "weights_sha256": manifest.weights_sha256}))
        save = Save(slug=f"rehearsal/{SLUG}", text="print()", title=SLUG)
        here.kaggle.world.save_kernel(save)
        world = here.kaggle.world
        until(lambda: (session := world.kernels.session("rehearsal", SLUG, None)) and not session.live)
        yield here


@pytest.mark.slow
def test_it_is_fetched_published_and_not_kept(tmp_path: Path) -> None:
    with exported(tmp_path) as here:
        done = here.relay("publish", EXPORTED, "--model", "rehearsal/gsm")
        assert done.exit_code == 0, done.stderr
        assert f"fetched the export that out left in the output of {SLUG}" in done.stderr
        assert done.stdout.startswith(f"Model ID  {PLACES['tunix']}/1\n")
        with here.kaggle.world.at_now() as now:
            stored = here.kaggle.world.models.files(f"{PLACES['tunix']}/1", now)
        weights = stored["2b/d/0a1b"].read()
        assert weights == (tmp_path / "left" / "jax/2b/d/0a1b").read_bytes()
        assert list(HomeLayout(here.home).exports(EXPORTED).iterdir()) == []


@pytest.mark.slow
def test_what_was_published_is_neither_fetched_nor_sent_again(tmp_path: Path) -> None:
    with exported(tmp_path) as here:
        command = ("publish", EXPORTED, "--model", "rehearsal/gsm")
        first = here.relay(*command)
        sent = len(here.made())
        again = here.relay(*command)
        assert (again.exit_code, again.stdout) == (0, first.stdout), again.stderr
        assert "the same weights were published before: nothing is exported or sent" in again.stderr
        assert "fetched the export" not in again.stderr
        assert (here.versions(), len(here.made())) == ([1], sent)
        assert here.relay(*command, "--variation", "mine").stdout.startswith("Model ID  rehearsal/gsm/jax/mine/1\n")


def test_damaged_bytes_of_it_are_not_published(tmp_path: Path) -> None:
    with exported(tmp_path, jax__2b__d__0a1b=b"rotten") as here:
        done = here.relay("publish", EXPORTED, "--model", "rehearsal/gsm")
        assert (done.exit_code, here.versions(), here.made()) == (1, [], [])
        assert "0a1b is not what was promised" in done.stderr
