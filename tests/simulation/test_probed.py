"""A whole probe on a simulated Kaggle: the stages really run, and the evidence says what happened."""

import contextlib
import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaggle_kernels import build
from orchestrator.app import evidence as kept_evidence
from orchestrator.app.app import App
from orchestrator.app.probe import command
from orchestrator.app.probe.derived import machine_pipeline, measuring_pipeline
from orchestrator.app.probe.names_and_versions import publish_versions, try_deleted_name, versioned_source
from orchestrator.app.probe.trial import publish_trial, trial_dataset
from orchestrator.app.settings import Settings
from orchestrator.core.assumptions import ASSUMPTIONS, Evidence, Observation, fold
from orchestrator.core.plan import limits_for
from orchestrator.core.probe_evidence import ProbedRun, evidence_of
from orchestrator.engine.home import log_lines
from orchestrator.kaggle.refusals import sources_refused
from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.differences import differing
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from orchestrator.views.probe import is_stopped, probe_document
from stages.contract import PROBE
from stages.probing.findings import ProbeReport
from stages.session import accelerator, packages, runner
from state.facts.checkpoint import DamageFound
from state.facts.run import RunParked, RunStarted
from state.model.statuses import Outcome, RunStatus
from tests.unit.counting_runs import kaggle

TYPED = "relay probe work/counts.yaml"
TRAINED = parse("name: counts\nstages: [{name: a, kind: counting, steps: 5}]\n", "counts.yaml")


class ProbedKaggle(SimulatedKaggle):
    """A simulated Kaggle whose sessions run the pushed order in this process."""

    def _offer_inputs(self) -> None:
        self.trial = publish_trial(self.gateway(), self.clock, lambda _: None)
        assert publish_versions(self.gateway(), self.clock, lambda _: None) == ""

    def behave(self, source: str, mounts: Mapping[str, Mapping[str, bytes]], limit_s: float) -> Played:
        order = build.order_in(source)
        assert order is not None
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as log:
            world = kaggle(Path(folder) / "kaggle")
            for mount, files in mounts.items():
                for name, content in files.items():
                    path = world.inputs / "datasets" / mount / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            runner.main(order, working=world.working, inputs=world.inputs, started_s=time.monotonic())
            left = [path for path in world.working.rglob("*") if path.is_file()]
            output = [(50.0, path.relative_to(world.working).as_posix(), path.read_bytes()) for path in left]
        lines = [(1.0, line) for line in log.getvalue().splitlines()]
        return Played(ends_after_s=60.0, files=output, lines=lines)


@pytest.fixture(scope="module")
def found() -> tuple[ProbedRun, tuple[Evidence, ...]]:
    """A probe that is over, and what was seen of the trial files' dataset."""
    trial = trial_dataset("me")
    pipeline = machine_pipeline(TRAINED, Path("counts.yaml"), trial.ref, trial.sha256, [])
    with fast_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(accelerator.STAND_IN, "1")
        kaggle_there = ProbedKaggle(pipeline)
        chain = Chain(kaggle_there, folder)
        chain.limits = limits_for(pipeline)
        state = chain.drive()
        report = ProbeReport.from_json((chain.home.artifacts(chain.run) / PROBE).read_bytes())
        logs = {session.key: list(log_lines(chain.home.log(session))) for session in state.sessions}
        return ProbedRun(state=state, facts=chain.store.facts(chain.run), report=report, logs=logs), kaggle_there.trial


@pytest.mark.parametrize(("as_assumed", "verdict", "mounted"), [(True, "confirmed", 2), (False, "refuted", 1)])
def test_deleted_names_and_versions_of_sources_are_tried(as_assumed: bool, verdict: str, mounted: int) -> None:
    keys = () if as_assumed else ("deleted-name-free", "dataset-version-mounts")
    kaggle = differing(Rules(queue_s=PerKind.all(60.0)), FaultPlan(differs=keys))
    trial, source = trial_dataset("me"), versioned_source("me")
    pipeline = machine_pipeline(TRAINED, Path("counts.yaml"), trial.ref, trial.sha256, [], source)
    with fast_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(accelerator.STAND_IN, "1")
        there = ProbedKaggle(pipeline, kaggle.faults, kaggle.rules)
        (name,) = try_deleted_name(there.gateway(), there.clock, lambda _: None)
        assert name.verdict.value == verdict, name
        assert [one.slug for one in there.world.datasets.all() if "-name-" in one.slug] == []
        chain = Chain(there, folder)
        chain.limits = limits_for(pipeline)
        state = chain.drive()
        report = ProbeReport.from_json((chain.home.artifacts(chain.run) / PROBE).read_bytes())
    assert state.run.status is RunStatus.FINISHED
    (finding,) = (each for each in report.findings if each.key == "dataset-version-mounts")
    assert (finding.verdict, finding.detail) == (verdict, f"a source of version 1 mounts version {mounted} of 2")


def test_a_probe_that_kaggle_refuses_over_the_version_is_repeated_without_it(
    tmp_path: Path, found: tuple[ProbedRun, tuple[Evidence, ...]]
) -> None:
    run, source = found[0], versioned_source("me")
    reason = str(sources_refused("me/counts-s0001", f"dataset {source.ref}"))
    parked = replace(run.state.run, status=RunStatus.PARKED, reason=reason, remedy="relay retry r")
    seen = fold(evidence_of(replace(run, state=replace(run.state, run=parked))))["dataset-version-mounts"]
    assert (seen.verdict.value, seen.detail) == ("refuted", "Kaggle did not accept a dataset source with a version")
    app, path = app_of(tmp_path, "me"), Path("counts.yaml")
    kaggle_there = ProbedKaggle(TRAINED)
    app.clock = kaggle_there.clock  # type: ignore[assignment]
    app.__dict__["gateway"] = kaggle_there.gateway()
    trial = trial_dataset("me")
    first = machine_pipeline(TRAINED, path, trial.ref, trial.sha256, [], source)
    begun = app.begin(first, path)
    app.store.append(begun.id, (RunParked(reason=reason, remedy="relay retry r"),), app.clock.now())
    second = command.begin_machine(app, TRAINED, path, lambda _: None, again=False)
    assert second.is_new and source.ref not in second.run.pipeline and source.ref in begun.pipeline


def verdicts(run: ProbedRun) -> dict[str, str]:
    return {key: seen.verdict.value for key, seen in fold(evidence_of(run)).items()}


def test_two_sessions_and_a_dataset_between_them_confirm_what_they_rely_on(
    found: tuple[ProbedRun, tuple[Evidence, ...]],
) -> None:
    run, trial = found
    assert run.state.run.status is RunStatus.FINISHED, run.state.run.reason
    assert [session.outcome for session in run.state.sessions] == [Outcome.YIELDED, Outcome.FINISHED]
    assert "refuted" not in verdicts(run).values()
    assert {key for key, verdict in verdicts(run).items() if verdict == "confirmed"} == {
        "title-is-slug", "version-label", "queue-time", "output-kept", "output-listed-complete", "output-unchanged",
        "log-kept", "processing-time", "accepted-dataset-shown", "sentinel-mounted", "mount-layout", "unknown-suffix-kept",
        "api-shapes",
    }  # fmt: skip
    assert {seen.key: seen.verdict.value for seen in trial} == dict.fromkeys(
        ("shown-soon", "ready-means-listed", "description-returned"), "confirmed"
    )
    seen_by_cpu = {key for key, one in ASSUMPTIONS.items() if Observation.CPU_PROBE in one.observed_by}
    assert {seen.key for seen in trial} | set(verdicts(run)) <= seen_by_cpu, "the table says who observes what"


def test_times_are_those_of_kaggles_clock(found: tuple[ProbedRun, tuple[Evidence, ...]]) -> None:
    numbers = {seen.key: seen.numbers for seen in evidence_of(found[0])}
    session = found[0].state.sessions[1]
    assert session.running_at is not None and session.pushed_at is not None
    assert numbers["queue-time"]["cpu_s"] >= (session.running_at - session.pushed_at).total_seconds() >= 60.0
    assert numbers["processing-time"]["processing_s"] >= 60.0


def on_kaggle(run: ProbedRun, head: str, installs: str = "") -> dict[str, Evidence]:
    """Return the evidence of the same run as if its sessions had run on Kaggle with this pipeline, by key."""
    pipeline = parse(f"{head}\nstages: [{{name: a, kind: counting, steps: 5}}]\n", "counts.yaml")
    seconds = {"environment_install": 200.0, "accelerator_initialization": 40.0, "training_step": 500.0}
    sessions = tuple(replace(session, seconds=seconds) for session in run.state.sessions)
    state = replace(run.state, run=replace(run.state.run, pipeline=pipeline.canonical()), sessions=sessions)
    logs = {session.key: [installs] if installs else [] for session in sessions}
    return {
        s.key: s for s in evidence_of(replace(run, state=state, report=replace(run.report, stand_in=False), logs=logs))
    }


@pytest.mark.parametrize(
    ("head", "numbers"),
    [
        ("name: c\nenvironment: [x==1]", {"tpu_s": 240.0}),
        ("name: c\naccelerator: cpu\nenvironment: [x==1]", {"cpu_s": 240.0}),
        ("name: c\naccelerator: NvidiaTeslaT4\nenvironment: [x==1]", {"gpu_s": 240.0}),
        ("name: c", {}),
    ],
)
def test_a_start_up_is_measured_for_the_accelerator_if_packages_are_installed(
    head: str, numbers: dict[str, float], found: tuple[ProbedRun, tuple[Evidence, ...]]
) -> None:
    seen = on_kaggle(found[0], head)["start-up-time"]
    assert (seen.verdict.value, seen.numbers) == ("confirmed", numbers)


def test_packages_that_were_installed_are_counted_although_the_log_does_not_list_all(
    found: tuple[ProbedRun, tuple[Evidence, ...]],
) -> None:
    locked = tuple(f"p{number}==1" for number in range(110))
    seen = on_kaggle(found[0], "name: c\nenvironment: [x==1]", packages.announcement(locked[:83], locked))[
        "image-packages"
    ]
    assert (seen.verdict.value, seen.detail) == ("confirmed", "pip installed 83 of 110 packages in 3 min 20 s")
    unlogged = on_kaggle(found[0], "name: c\nenvironment: [x==1]")["image-packages"]
    assert (unlogged.verdict.value, unlogged.detail) == ("confirmed", "pip installed packages in 3 min 20 s")


def app_of(home: Path, owner: str) -> App:
    """Return relay with the credentials of an account that nothing else may be asked about."""
    app = App(Settings(home, {}))
    app.__dict__["gateway"] = SimpleNamespace(owner=lambda: owner)
    return app


def test_what_a_run_saw_is_kept_for_its_own_account_and_once(
    tmp_path: Path, found: tuple[ProbedRun, tuple[Evidence, ...]]
) -> None:
    run, owner = found[0], found[0].state.run.owner
    app = app_of(tmp_path, "another")
    for _ in range(2):
        command.keep_of_run(app, run, of_account=True)
    assert kept_evidence.own(app, "another") == []
    assert sorted(seen.key for seen in kept_evidence.own(app, owner)) == sorted(seen.key for seen in evidence_of(run))


def test_a_probe_of_another_account_is_not_shown_instead_of_a_new_one(tmp_path: Path) -> None:
    path, pipeline = Path("counts.yaml"), measuring_pipeline(TRAINED, Path("counts.yaml"))
    started = RunStarted(
        run=f"{pipeline.name}-0001",
        pipeline_name=pipeline.name,
        owner="alice",
        accelerator=pipeline.slot,
        pipeline=pipeline.canonical(),
        pipeline_path=str(path),
        pipeline_digest=pipeline.digest,
    )
    run = app_of(tmp_path, "alice").store.begin_run(started, datetime(2026, 11, 29, tzinfo=UTC)).run
    assert command.known_measuring(app_of(tmp_path, "alice"), TRAINED, path, again=False) == run
    assert command.known_measuring(app_of(tmp_path, "bob"), TRAINED, path, again=False) is None


@pytest.mark.parametrize(
    ("cause", "key"),
    [
        ("parent-corrupt", "unknown-suffix-kept"),
        ("parent-missing", "sentinel-mounted"),
        ("parent-mismatch", "sentinel-mounted"),
        ("accelerator-missing", "accelerator-devices"),
        ("environment-install", "internet"),
    ],
)
def test_a_session_that_fails_refutes_what_it_shows_to_be_wrong(
    cause: str, key: str, found: tuple[ProbedRun, tuple[Evidence, ...]]
) -> None:
    run, _ = found
    reason = "pip could not install jax: Temporary failure in name resolution"
    failed = replace(run.state.sessions[-1], outcome=Outcome.FAILED, cause=cause, reason=reason)
    parked = replace(
        run.state.run, status=RunStatus.PARKED, reason="2 attempts made no progress", remedy="relay retry r"
    )
    broken = replace(run, state=replace(run.state, run=parked, sessions=(*run.state.sessions[:-1], failed)))
    assert verdicts(broken)[key] == "refuted"
    assert "api-shapes" not in verdicts(broken)
    document = probe_document("counts", [broken], evidence_of(broken), TYPED)
    assert is_stopped(document)
    assert document["problems"] == [f"{parked.id} is parked: 2 attempts made no progress; then type relay retry r"]
    assert not is_stopped(probe_document("counts", [run], evidence_of(run), TYPED))


def test_a_damaged_download_and_a_long_queue_are_refuted_and_stop_nothing(
    found: tuple[ProbedRun, tuple[Evidence, ...]],
) -> None:
    run, _ = found
    damage = DamageFound(checkpoint="c", file="state.bin", place="output", problem="8 bytes instead of 9")
    late = [replace(s, running_at=s.pushed_at + timedelta(hours=1)) if s.pushed_at else s for s in run.state.sessions]
    worse = replace(run, facts=[*run.facts, (run.at, damage)], state=replace(run.state, sessions=tuple(late)))
    refuted = {key for key, verdict in verdicts(worse).items() if verdict == "refuted"}
    assert refuted == {"output-unchanged", "queue-time"}
    assert not is_stopped(probe_document("counts", [worse], evidence_of(worse), TYPED))


@pytest.mark.parametrize(
    ("cause", "key"),
    [
        ("parent-missing", "sentinel-mounted"),
        ("parent-corrupt", "unknown-suffix-kept"),
        ("environment-install", "internet"),
    ],
)
def test_what_a_failed_attempt_refutes_stays_refuted_when_the_next_attempt_succeeds(
    cause: str, key: str, found: tuple[ProbedRun, tuple[Evidence, ...]]
) -> None:
    run, _ = found
    first, second = run.state.sessions
    reason = "pip could not install jax: Temporary failure in name resolution"
    failed = replace(second, outcome=Outcome.FAILED, cause=cause, reason=reason, checkpoint=None)
    sessions = (first, failed, replace(second, attempt=2))
    retried = replace(run, state=replace(run.state, sessions=sessions), logs={**run.logs, (2, 2): run.logs[second.key]})
    assert verdicts(run).get(key) != "refuted"
    assert verdicts(retried)[key] == "refuted"
    assert verdicts(retried)["api-shapes"] == "confirmed"


def test_what_one_session_refutes_is_not_confirmed_by_a_later_one(
    found: tuple[ProbedRun, tuple[Evidence, ...]],
) -> None:
    run, _ = found
    pipeline = parse("name: c\nenvironment: [x==1]\nstages: [{name: a, kind: counting, steps: 5}]\n", "counts.yaml")
    slow, quick = (
        replace(session, seconds={"environment_install": seconds})
        for session, seconds in zip(run.state.sessions, (4000.0, 20.0), strict=True)
    )
    state = replace(run.state, run=replace(run.state.run, pipeline=pipeline.canonical()), sessions=(slow, quick))
    seen = verdicts(replace(run, state=state, report=replace(run.report, stand_in=False)))
    assert seen["start-up-time"] == "refuted"


def test_an_unfinished_probe_names_the_command_that_follows_it(found: tuple[ProbedRun, tuple[Evidence, ...]]) -> None:
    run, _ = found
    active = replace(run, state=replace(run.state, run=replace(run.state.run, status=RunStatus.ACTIVE)))
    document = probe_document("counts", [active], [], TYPED)
    assert document["problems"] == [f"{active.state.run.id} is active: type {TYPED} again, or relay daemon"]
