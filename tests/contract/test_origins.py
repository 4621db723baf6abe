"""Runs that begin from another run's checkpoint, against the local Kaggle: warm starts, forks and sweeps."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import orchestrator
from kaggle_kernels import build
from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import BadInput
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.contract import Manifest
from state.model.run_state import RunState
from state.store import Store
from tests.contract.test_commands import relay

pytestmark = pytest.mark.slow  # real sessions, one after the other

ROOT = Path(__file__).parents[2]
STAGE: dict[str, Any] = {"name": "one", "kind": "counting", "steps": 8}
PIPELINE: dict[str, Any] = {
    "name": "count",
    "accelerator": "cpu",
    "session": {"limit_s": 60, "margin_s": 5, "save_interval_s": 30},
    "fork_points": ["one", "two"],  # three sessions, however slow this machine is
    "stages": [STAGE, *({"name": name, "kind": "counting", "steps": 6} for name in ("two", "three"))],
}


@dataclass
class Ran:
    """A finished run, and the Kaggle that has its datasets."""

    kaggle: LocalKaggle
    relay: orchestrator.Relay
    run: str

    def state(self, run: str) -> RunState:
        return Store.at(self.relay.home).load(run)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A relay command in a process of its own."""
        environ = {"PYTHONPATH": str(ROOT), "COLUMNS": "160", **self.kaggle.environment()}
        return relay(*arguments, home=self.relay.home, environ=environ)

    def kernel(self, slug: str) -> Save:
        """What was pushed last as this kernel."""
        return self.kaggle.world.kernels.find(self.kaggle.owner, slug).newest.save

    def datasets(self, prefix: str = "") -> list[str]:
        """The datasets of checkpoints and files on Kaggle."""
        return sorted(each.slug for each in self.kaggle.world.datasets.all() if each.slug.startswith(prefix))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    root, clock = tmp_path_factory.mktemp("origins"), SystemClock()
    with LocalKaggle(root / "k", clock, Rules.brisk(60.0), NO_FAULTS, ProcessSandbox(root / "k", clock)) as kaggle:
        relay = orchestrator.open(root / "home", environ=kaggle.environment())
        run = relay.start(PIPELINE)
        assert relay.run(run)["state"] == "finished"
        yield Ran(kaggle, relay, run)


def test_a_warm_start_begins_with_the_checkpoints_state_at_step_0(ran: Ran) -> None:
    warm = PIPELINE | {"name": "warm", "fork_points": [], "stages": [STAGE | {"steps": 5}]}
    run = ran.relay.start(warm, origin=f"{ran.run}:two:6", weights_only=True)
    assert ran.relay.run(run)["state"] == "finished"
    state = ran.state(run)
    origin = state.run.origin
    assert origin is not None
    theirs = next(c for c in ran.state(ran.run).checkpoints if c.digest == origin.digest)
    assert (origin.run, origin.checkpoint, origin.keeps) == (ran.run, theirs.name, "weights")
    assert state.sessions[0].start.step == 0
    assert state.checkpoints[0].parent == theirs.digest
    assert ran.datasets(run) == [c.name for c in state.checkpoints], "nothing of the other run was copied"


@pytest.mark.parametrize(
    ("origin", "weights_only", "said"),
    [
        ("nobody", True, "there is no run nobody"),
        ("{run}:one:7777", True, "no such verified checkpoint: its verified checkpoints are"),
        ("{run}", False, "keeps no optimizer state|wrote no model"),
        ("./exported", True, "sessions cannot mount a folder"),
        ("bob/{run}-c0001", True, "the dataset belongs to bob"),
        ("{owner}/count", True, "relay's datasets of checkpoints have names such as"),
        ("{owner}/lost-0000-c0001", True, "Kaggle has no complete dataset lost-0000-c0001"),
    ],
)
def test_what_a_run_cannot_begin_with_is_refused_and_nothing_is_made(
    ran: Ran, origin: str, weights_only: bool, said: str
) -> None:
    before = ran.relay.runs()
    with pytest.raises(BadInput, match=said):
        ran.relay.start(
            PIPELINE | {"name": "cold"},
            origin=origin.format(run=ran.run, owner=ran.kaggle.owner),
            weights_only=weights_only,
        )
    assert ran.relay.runs() == before


def test_a_warm_start_begins_from_a_dataset_of_a_run_that_this_home_does_not_have(ran: Ran, tmp_path: Path) -> None:
    theirs = ran.state(ran.run).checkpoints[0]
    elsewhere = orchestrator.open(tmp_path / "home", environ=ran.kaggle.environment())
    warm = PIPELINE | {"name": "away", "fork_points": [], "stages": [STAGE | {"steps": 3}]}
    named = f"{ran.kaggle.owner}/{theirs.place}"
    with pytest.raises(BadInput, match="wrote no model"):
        elsewhere.start(warm, origin=named)
    run = elsewhere.start(warm, origin=named, weights_only=True)
    assert elsewhere.run(run)["state"] == "finished"
    state = Store.at(elsewhere.home).load(run)
    assert state.checkpoints[0].parent == theirs.digest
    assert ran.kernel(state.sessions[0].slug).dataset_sources == (named,)
    assert [path.name for path in (tmp_path / "home" / "runs").iterdir()] == [run], "no run seems lost"


TUNED: dict[str, Any] = {
    "name": "tuned",
    "accelerator": "cpu",
    "model": {"kind": "gemma2-2b", "sha256": "a" * 64, "dtype": "float32"},
    "stages": [{"name": "sft", "kind": "sft", "steps": 5, "options": {"data": ["gsm8k"]}}],
}
PUBLISHED = "rehearsal/gsm/jax/2b/1"


def test_a_run_begins_with_a_published_export_in_place_of_the_base_model(ran: Ran) -> None:
    ran.kaggle.world.offer_model(PUBLISHED, {"tokenizer.model": Content.of_bytes(b"t", SystemClock().now())})
    run = ran.relay.start(TUNED, origin=PUBLISHED)
    try:
        model = json.loads(ran.state(run).run.pipeline)["model"]
        assert (model["kind"], model["source"], model["dtype"]) == ("gemma2-2b", PUBLISHED, "float32")
        assert not model.get("sha256"), "other weights have another digest"
    finally:
        ran.relay.cancel(run)
        ran.relay.tick()


@pytest.mark.parametrize(
    ("pipeline", "named", "said"),
    [
        (TUNED, PUBLISHED.removesuffix("/1"), "write owner/model/framework/variation/version"),
        (TUNED, "rehearsal/gsm/jax/9b/1", "check its name and version"),
        (PIPELINE, PUBLISHED, "no stage loads a model"),
    ],
)
def test_an_export_that_no_session_could_mount_is_refused(ran: Ran, pipeline: Any, named: str, said: str) -> None:
    before = ran.relay.runs()
    with pytest.raises(BadInput, match=said):
        ran.relay.start(pipeline | {"name": "cold"}, origin=named)
    assert ran.relay.runs() == before


def forked(ran: Ran, folder: Path, name: str, at: str, steps: int = 6, **changes: object) -> Path:
    """The file that `relay fork` writes, under another name, with so many steps of stage two."""
    path = folder / f"{name}.yaml"
    done = ran.command("fork", ran.run, "--at", at, "-o", str(path))
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (values["name"], values["origin"]["run"], values["origin"]["at"]) == ("count-fork", ran.run, at)
    values["stages"][1]["steps"] = steps
    path.write_text(json.dumps(values | {"name": name} | changes), encoding="utf-8")
    return path


def test_a_fork_continues_its_parent_bit_for_bit_and_two_share_its_dataset(ran: Ran, tmp_path: Path) -> None:
    parent, at = ran.state(ran.run), "two:6"
    before = ran.datasets()
    same = ran.relay.start(forked(ran, tmp_path, "same", at))
    longer = ran.relay.start(forked(ran, tmp_path, "longer", at, steps=9))
    for run in (same, longer):
        assert ran.relay.run(run)["state"] == "finished"
    mine, other = ran.state(same), ran.state(longer)
    left = next(c for c in parent.checkpoints if f"{c.cursor.stage}:{c.cursor.step}" == at)
    for state in (mine, other):
        first = state.sessions[0]
        assert (first.start, first.parent, state.checkpoints[0].parent) == (left.cursor, None, left.digest)
        order = build.order_in(ran.kernel(first.slug).text)
        assert order is not None and order.parent is not None
        assert (order.parent.run, order.parent.digest) == (ran.run, left.digest)
        assert ran.kernel(first.slug).dataset_sources == (f"{ran.kaggle.owner}/{left.place}",)
    own = [c.name for state in (mine, other) for c in state.checkpoints]
    assert ran.datasets() == sorted([*before, *own]), "each dataset is of a checkpoint that its run trained itself"
    ends = [Manifest.from_json(state.checkpoints[-1].manifest).digests for state in (parent, mine, other)]
    assert ends[0] == ends[1] != ends[2]
    shown = ran.command("status", same).stdout
    assert f"forked from {ran.run} at {at}" in " ".join(shown.split())
    verified = ran.command("checkpoints", same, "--verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["problems"]) == (0, [])


def test_what_was_trained_until_the_fork_may_not_change(ran: Ran, tmp_path: Path) -> None:
    before = ran.relay.runs()
    path = forked(ran, tmp_path, "odd", "one:8", seed=7)
    done = ran.command("start", str(path))
    assert done.returncode == 2
    assert "seed changed from 0 to 7" in done.stderr
    assert ran.relay.runs() == before


def test_a_sweep_trains_what_its_runs_share_once(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(PIPELINE | {"name": "sweep", "fork_points": []}), encoding="utf-8")
    asked = ran.command("sweep", str(path), "--set", "two.payload_bytes=8,16,24")
    assert (asked.returncode, ran.command("sweep", str(path), "--set", "two.odd=1,2").returncode) == (2, 2)
    done = ran.command("sweep", str(path), "--set", "two.payload_bytes=8,16,24", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    runs = [each["run"] for each in json.loads(done.stdout)["runs"]]
    assert [run.rpartition("-")[0] for run in runs] == ["sweep-v1", "sweep-v2", "sweep-v3"]
    for run in runs:
        assert ran.relay.run(run)["state"] == "finished"
    first, *others = (ran.state(run) for run in runs)
    shared = next(c for c in first.checkpoints if (c.cursor.stage, c.cursor.step) == ("one", 8))
    for other in others:
        assert (other.sessions[0].start, other.checkpoints[0].parent) == (shared.cursor, shared.digest)
    assert all(
        session.start.stage == "two" or session.start.step == 8 for other in others for session in other.sessions
    )
    compared = json.loads(ran.command("compare", *runs, "--json").stdout)
    assert len(compared["runs"]) == 3


def test_a_sweep_of_which_one_run_may_be_lost_starts_none(ran: Ran, tmp_path: Path) -> None:
    path, lost = tmp_path / "half.yaml", Path(ran.relay.home) / "runs/half-v2-abcd"
    path.write_text(json.dumps(PIPELINE | {"name": "half"}), encoding="utf-8")
    before = ran.relay.runs()
    lost.mkdir()
    try:
        done = ran.command("sweep", str(path), "--set", "three.steps=3,4", "--yes")
    finally:
        lost.rmdir()
    assert done.returncode == 2
    assert "half-v2-abcd" in done.stderr
    assert ran.relay.runs() == before


def test_a_fork_with_nothing_left_to_do_is_not_started(ran: Ran, tmp_path: Path) -> None:
    before = ran.relay.runs()
    done = ran.command("fork", ran.run, "-o", str(tmp_path / "end.yaml"), "--start")
    assert done.returncode == 2
    assert f"nothing is left to do after three:6 of {ran.run}: add a stage, or steps to the last one" in done.stderr
    assert ran.relay.runs() == before


def test_a_fork_writes_no_file_outside_its_folder(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = tmp_path / "in/data.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    for name in (str(data), "../data.jsonl"):
        (tmp_path / "data.jsonl").write_text("{}\n", encoding="utf-8")
        path = tmp_path / "in/own.yaml"
        path.write_text(json.dumps(PIPELINE | {"name": "own", "inputs": {"files": [name]}}), encoding="utf-8")
        run = ran.relay.start(path)
        ran.relay.run(run, until=lambda _, run=run: bool(ran.state(run).checkpoints))
        for gone in (data, tmp_path / "data.jsonl"):
            gone.unlink(missing_ok=True)
        done = ran.command("fork", run, "-o", str(tmp_path / "in" / f"{run}.yaml"))
        assert done.returncode == 0, done.stderr
        assert not data.exists() and not (tmp_path / "data.jsonl").exists()
        ran.relay.cancel(run)
        ran.relay.tick()
        data.write_text("{}\n", encoding="utf-8")


def test_a_lost_fork_of_a_fork_finds_the_data_files_that_their_first_run_published(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("{}\n", encoding="utf-8")
    path = tmp_path / "first.yaml"
    path.write_text(json.dumps(PIPELINE | {"name": "first", "inputs": {"files": ["data.jsonl"]}}), encoding="utf-8")
    runs = [ran.relay.start(path)]
    for at in ("one:8", "two:6"):
        assert ran.relay.run(runs[-1])["state"] == "finished"
        path = tmp_path / f"{at[:3]}.yaml"
        assert ran.command("fork", runs[-1], "--at", at, "-o", str(path)).returncode == 0
        runs.append(ran.relay.start(path))
    assert ran.relay.run(runs[-1])["state"] == "finished"
    elsewhere = orchestrator.open(tmp_path / "home", environ=ran.kaggle.environment())
    environ = {"PYTHONPATH": str(ROOT), **ran.kaggle.environment()}
    done = relay("adopt", runs[-1], home=elsewhere.home, environ=environ)
    assert done.returncode == 0, done.stderr
    found = Store.at(elsewhere.home).load(runs[-1])
    assert found.run.inputs_dataset == f"{runs[0]}-inputs"
