"""The state machine: where a session or a run is · what happens · where it is then, and what changed · why.

The two tables below are written by hand, apart from `state/machine.py`: a pair that they lack must be refused.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from state import machine
from state.facts.base import Fact
from state.facts.checkpoint import (
    CheckpointCarried,
    CheckpointDamaged,
    CheckpointInspected,
    CheckpointPruned,
    CheckpointPublished,
    CheckpointWithdrawn,
    DamageFound,
    DatasetDropped,
    DatasetOffered,
    PublishIntended,
)
from state.facts.registry import FACTS
from state.facts.run import (
    InputsDropped,
    InputsIntended,
    InputsOffered,
    InputsPublished,
    OriginCarried,
    OriginDropped,
    OriginFound,
    OriginOffered,
    PipelineChanged,
    PipelineKept,
    PlatformLeft,
    RunCancelled,
    RunFinished,
    RunParked,
    RunResumed,
    RunStarted,
    RunTakenOver,
    RunWaiting,
    RunWoken,
)
from state.facts.session import (
    Judgement,
    NothingCollected,
    OutputCollected,
    PushConfirmed,
    PushHeld,
    PushIntended,
    PushRefused,
    PushUnclear,
    PushUnfound,
    PushUnsent,
    SeenEnded,
    SeenQueued,
    SeenRunning,
    SessionLost,
    SessionPlanned,
    SessionResized,
    SessionSought,
    TwinEnded,
    TwinSeen,
)
from state.failures import IllegalTransition
from state.model.left_platform import LeftPlatform
from state.model.run_origin import RunOrigin
from state.model.run_state import Checkpoint, Run, RunState, Session
from state.model.statuses import CheckpointStatus, InputsStatus, Outcome, Phase, RunStatus
from tests.unit.core.situations import NOW, RUN, at, checkpoint, gained, manifest, row, run, session, state, step

KEY = {"number": 1, "attempt": 1}
NAME = f"{RUN}-c0001"
JUDGED = Judgement(
    outcome="yielded",
    cause="the cause",
    reason="the reason",
    transient=True,
    furthest=step(60),
    steps_lost=10,
    excerpt="the log",
    timings={"save_s": 4.0},
    seconds={"training_step": 100.0},
    kept_s=80.0,
)
JUDGEMENT = {
    "outcome": Outcome.YIELDED,
    "cause": "the cause",
    "reason": "the reason",
    "transient": True,
    "furthest": step(60),
    "steps_lost": 10,
    "excerpt": "the log",
    "timings": {"save_s": 4.0},
    "seconds": {"training_step": 100.0},
    "kept_s": 80.0,
}
TAKEN = manifest(step(50), parent="digest 0")
ABANDONED, COLLECTED = CheckpointStatus.ABANDONED, CheckpointStatus.COLLECTED
DAMAGED, PUBLISHED = CheckpointStatus.DAMAGED, CheckpointStatus.PUBLISHED

HAPPENS: dict[str, Fact] = {
    fact.name: fact
    for fact in (
        SessionResized(**KEY, budget_s=50.0, limit_s=60.0),
        PushIntended(**KEY),
        PushConfirmed(**KEY, kernel_version=3),
        PushRefused(**KEY, reason="no slot"),
        PushHeld(**KEY, reason="another runs"),
        PushUnsent(**KEY, reason="no network"),
        PushUnclear(**KEY, reason="504"),
        PushUnfound(**KEY),
        SeenQueued(**KEY),
        SeenRunning(**KEY),
        SeenEnded(**KEY, worker="error", message="said"),
        OutputCollected(**KEY, judgement=JUDGED, checkpoint=NAME, manifest=TAKEN),
        NothingCollected(**KEY, judgement=JUDGED),
        PublishIntended(**KEY),
        DatasetOffered(**KEY, dataset="place"),
        DatasetDropped(**KEY, dataset="place-n2", reason="failed"),
        CheckpointPublished(**KEY),
        CheckpointInspected(**KEY),
        CheckpointWithdrawn(**KEY, reason="another SHA-256", dataset="place-n2"),
        CheckpointCarried(**KEY),
        CheckpointDamaged(**KEY, reason="whole nowhere", steps_lost=40),
        SessionLost(**KEY, reason="gone"),
        SessionSought(**KEY),
        InputsIntended(),
        InputsOffered(dataset="mine"),
        InputsDropped(dataset="mine-n2", reason="failed"),
        InputsPublished(),
        OriginFound(checkpoint="q-0002-c0001", digest="d" * 64, dataset="q-0002-c0001-n2"),
        OriginOffered(dataset="mine-origin"),
        OriginDropped(dataset="mine-origin-n2", reason="failed"),
        OriginCarried(dataset="mine-origin"),
        PlatformLeft(site="{}", owner="me@there", accelerator="gpu", numbers=("other bits",)),
        RunWaiting(until=at(60).isoformat(), reason="no hours"),
        RunWoken(),
        RunParked(reason="why", remedy="do", excerpt="log", awaits="slot", generation=4),
        RunResumed(),
        RunTakenOver(home="h2", generation=9),
        PipelineChanged(pipeline="{1}", pipeline_digest="d1", pipeline_path="new.yaml", difference="seed: 0 → 1"),
        PipelineKept(reason="too late"),
        RunFinished(),
        RunCancelled(),
    )
}

# --- sessions --------------------------------------------------------------------

SESSIONS: dict[str, dict[str, str]] = {
    "planned": {"session_resized": "planned", "push_intended": "pushing", "session_lost": "lost"},
    "pushing": {
        "push_confirmed": "pushed",
        "push_refused": "planned",
        "push_held": "planned",
        "push_unsent": "planned",
        "push_unclear": "pushing",
        "push_unfound": "planned",
        "session_lost": "lost",
    },
    "pushed": {"seen_queued": "queued", "seen_running": "running", "seen_ended": "ended", "session_lost": "lost"},
    "queued": {"seen_running": "running", "seen_ended": "ended", "session_lost": "lost"},
    "running": {"seen_ended": "ended", "session_lost": "lost"},
    "ended": {"output_collected": "collected", "nothing_collected": "no_checkpoint", "session_lost": "lost"},
    "collected": {"publish_intended": "publishing", "checkpoint_damaged": "no_checkpoint"},
    "publishing": {
        "dataset_offered": "publishing",
        "dataset_dropped": "publishing",
        "checkpoint_published": "published",
        "checkpoint_damaged": "no_checkpoint",
    },
    "published": {
        "checkpoint_inspected": "published",
        "checkpoint_withdrawn": "collected",
        "checkpoint_carried": "collected",
        "checkpoint_damaged": "no_checkpoint",
    },
    "no_checkpoint": {},
    "lost": {"session_sought": "pushing"},
}

WITH_CHECKPOINT = (Phase.COLLECTED, Phase.PUBLISHING, Phase.PUBLISHED)
OF_SESSIONS = [name for name in HAPPENS if issubclass(FACTS[name], machine.SessionFact)]
OF_RUNS = [name for name in HAPPENS if name not in OF_SESSIONS]


def before(phase: Phase, **changes: Any) -> RunState:
    """A run whose only session is in that phase."""
    if phase not in WITH_CHECKPOINT:
        return state(session(phase, **changes))
    status = PUBLISHED if phase is Phase.PUBLISHED else COLLECTED
    return state(gained(1, phase, **changes), checkpoints=(checkpoint(1, step(50), status),))


@pytest.mark.parametrize("fact", OF_SESSIONS)
@pytest.mark.parametrize("phase", Phase)
def test_a_session_changes_by_the_table_alone(phase: Phase, fact: str) -> None:
    known = before(phase)
    if fact in SESSIONS[phase]:
        assert machine.apply(known, HAPPENS[fact], NOW).session(1, 1).phase == SESSIONS[phase][fact]
    else:
        with pytest.raises(IllegalTransition) as refused:
            machine.apply(known, HAPPENS[fact], NOW)
        assert str(refused.value) == f"r-0001-s0001: {fact} cannot follow {phase}"


UNCLEAR = {"unclear": 2, "unclear_at": at(-9), "reason": "504"}


@pytest.mark.parametrize(
    ("phase", "was", "fact", "changes"),
    [
        row("resized", Phase.PLANNED, {}, "session_resized", {"budget_s": 50.0, "limit_s": 60.0}),
        row("pushed: what was unclear is settled", Phase.PUSHING, UNCLEAR, "push_confirmed",
            {"kernel_version": 3, "pushed_at": NOW, "reason": "", "unclear": 2, "unclear_at": None}),
        row("refused: Kaggle may keep the source", Phase.PUSHING, UNCLEAR, "push_refused",
            {"reason": "no slot", "declined": True, "unclear": 2, "unclear_at": None}),
        row("held: nothing was sent", Phase.PUSHING, UNCLEAR, "push_held",
            {"reason": "another runs", "declined": False, "unclear_at": None}),
        row("not sent: nothing changes", Phase.PUSHING, {}, "push_unsent", {"reason": ""}),
        row("unclear once more", Phase.PUSHING, {"unclear": 2}, "push_unclear", {"unclear": 3, "unclear_at": NOW}),
        row("not found: it may be pushed again", Phase.PUSHING, UNCLEAR, "push_unfound",
            {"unclear": 2, "unclear_at": None}),
        row("queued", Phase.PUSHED, {}, "seen_queued", {}),
        row("running", Phase.QUEUED, {}, "seen_running", {"running_at": NOW}),
        row("ended", Phase.RUNNING, {}, "seen_ended", {"ended_at": NOW, "worker": "error", "worker_message": "said"}),
        row("collected", Phase.ENDED, {}, "output_collected", {**JUDGEMENT, "reached": step(50), "checkpoint": NAME}),
        row("nothing collected: it is where it began", Phase.ENDED, {"start": step(3)}, "nothing_collected",
            {**JUDGEMENT, "reached": step(3), "checkpoint": None}),
        row("sought again: nothing of its loss is left, and its search begins anew", Phase.LOST,
            {"outcome": Outcome.LOST, "cause": "run-cancelled", "reason": "the run was cancelled", "transient": True,
             "ended_at": at(-9), "reached": step(3), "unclear": 2, "unclear_at": at(-99), "running_at": at(-999)},
            "session_sought",
            {"outcome": None, "cause": "", "reason": "", "transient": False, "ended_at": None, "reached": None,
             "unclear": 2, "unclear_at": None}),
        row("lost", Phase.RUNNING, {"start": step(3)}, "session_lost",
            {"outcome": Outcome.LOST, "cause": "lost", "reason": "gone", "transient": True, "ended_at": NOW,
             "reached": step(3)}),
        row("its checkpoint is whole nowhere: it made no progress", Phase.PUBLISHED,
            {"start": step(3), "outcome": Outcome.YIELDED, "kept_s": 80.0, "reached": step(50)}, "checkpoint_damaged",
            {"outcome": Outcome.FAILED, "cause": "checkpoint-damaged", "reason": "whole nowhere", "transient": True,
             "reached": step(3), "steps_lost": 40, "checkpoint": None, "kept_s": 0.0}),
        *(row(f"{fact} changes no field of the session", Phase.PUBLISHING, {}, fact, {})
          for fact in ("dataset_offered", "dataset_dropped", "checkpoint_published")),
    ],
)  # fmt: skip
def test_a_session_remembers_what_happened(
    phase: Phase, was: dict[str, Any], fact: str, changes: dict[str, Any]
) -> None:
    known = before(phase, **was)
    found = machine.apply(known, HAPPENS[fact], NOW).session(1, 1)
    assert found == replace(known.session(1, 1), phase=found.phase, **changes)


# --- checkpoints -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "was", "fact", "changes"),
    [
        row("offered", Phase.PUBLISHING, {}, "dataset_offered", {"dataset": "place", "offered_at": NOW}),
        row("dropped: the next upload has another name", Phase.PUBLISHING, {"offered_at": at(-9)}, "dataset_dropped",
            {"dataset": "place-n2", "offered_at": None}),
        row("published", Phase.PUBLISHING, {"offered_at": at(-9)}, "checkpoint_published",
            {"status": PUBLISHED, "published_at": NOW, "offered_at": None}),
        row("an abandoned one stays abandoned", Phase.PUBLISHING, {"offered_at": at(-9), "status": ABANDONED},
            "checkpoint_published", {"status": ABANDONED, "published_at": NOW, "offered_at": None}),
        row("inspected", Phase.PUBLISHED, {}, "checkpoint_inspected", {"verified_at": NOW}),
        row("withdrawn: it is published anew", Phase.PUBLISHED, {"offered_at": at(-9)}, "checkpoint_withdrawn",
            {"status": COLLECTED, "published_at": None, "offered_at": None, "dataset": "place-n2", "verified_at": NOW}),
        row("an abandoned one is not published anew", Phase.PUBLISHED, {"status": ABANDONED}, "checkpoint_withdrawn",
            {"status": ABANDONED, "published_at": None, "dataset": "place-n2", "verified_at": NOW}),
        row("carried: it is published anew", Phase.PUBLISHED, {"published_at": at(-9)}, "checkpoint_carried",
            {"status": COLLECTED, "published_at": None}),
        row("damaged", Phase.PUBLISHED, {}, "checkpoint_damaged", {"status": DAMAGED}),
        row("damaged before it was published", Phase.COLLECTED, {}, "checkpoint_damaged", {"status": DAMAGED}),
    ],
)  # fmt: skip
def test_a_checkpoint_remembers_what_happened(
    phase: Phase, was: dict[str, Any], fact: str, changes: dict[str, Any]
) -> None:
    known = before(phase)
    one = replace(known.checkpoints[0], **was)
    other = checkpoint(9, step(99), dataset="other", offered_at=at(-9))
    known = replace(known, checkpoints=(one, other))
    assert machine.apply(known, HAPPENS[fact], NOW).checkpoints == (replace(one, **changes), other)


def test_a_withdrawn_checkpoint_keeps_its_place_where_an_older_relay_named_none() -> None:
    known = replace(before(Phase.PUBLISHED), checkpoints=(checkpoint(1, step(50), dataset="place"),))
    found = machine.apply(known, CheckpointWithdrawn(**KEY, reason="r"), NOW)
    assert found.checkpoints[0].dataset == "place"


def test_a_collected_checkpoint_is_the_newest() -> None:
    known = replace(before(Phase.ENDED), checkpoints=(checkpoint(9, step(9)),))
    assert machine.apply(known, HAPPENS["output_collected"], NOW).checkpoints[1:] == (
        Checkpoint(
            run=RUN,
            name=NAME,
            session=1,
            attempt=1,
            digest=TAKEN.digest,
            parent="digest 0",
            cursor=step(50),
            size_bytes=3,
            manifest=TAKEN.to_json(),
            status=COLLECTED,
            verified_at=NOW,
        ),
    )


def test_a_pruned_checkpoint_is_pruned_and_no_other() -> None:
    known = state(checkpoints=(checkpoint(1, step(1)), checkpoint(2, step(2))))
    found = machine.apply(known, CheckpointPruned(checkpoint=NAME), NOW)
    assert [c.status for c in found.checkpoints] == [CheckpointStatus.PRUNED, PUBLISHED]


def test_damage_that_was_found_changes_nothing() -> None:
    known = before(Phase.PUBLISHED)
    found = machine.apply(known, DamageFound(checkpoint=NAME, file="state.bin", place="disk", problem="p"), NOW)
    assert found == replace(known, run=replace(known.run, updated_at=NOW))


# --- runs --------------------------------------------------------------------------

RUNS: dict[str, dict[str, str]] = {
    "active": {
        "inputs_intended": "active",
        "inputs_offered": "active",
        "inputs_dropped": "active",
        "inputs_published": "active",
        "origin_found": "active",
        "origin_offered": "active",
        "origin_dropped": "active",
        "origin_carried": "active",
        "run_taken_over": "active",
        "platform_left": "active",
        "pipeline_changed": "active",
        "pipeline_kept": "active",
        "run_waiting": "waiting",
        "run_parked": "parked",
        "run_finished": "finished",
        "run_cancelled": "cancelled",
    },
    "waiting": {
        "run_woken": "active",
        "run_resumed": "active",
        "run_taken_over": "waiting",
        "platform_left": "waiting",
        "pipeline_changed": "waiting",
        "pipeline_kept": "waiting",
        "run_parked": "parked",
        "run_cancelled": "cancelled",
    },
    "parked": {
        "run_woken": "active",
        "run_resumed": "active",
        "run_taken_over": "parked",
        "platform_left": "parked",
        "pipeline_changed": "parked",
        "pipeline_kept": "parked",
        "run_cancelled": "cancelled",
    },
    "finished": {},
    "cancelled": {"run_resumed": "active", "run_taken_over": "cancelled", "pipeline_kept": "cancelled"},
}


@pytest.mark.parametrize("fact", OF_RUNS)
@pytest.mark.parametrize("status", RunStatus)
def test_a_run_changes_by_the_table_alone(status: RunStatus, fact: str) -> None:
    known = state(of=replace(run(status), origin=AWAITED))
    if fact in RUNS[status]:
        assert machine.apply(known, HAPPENS[fact], NOW).run.status == RUNS[status][fact]
    else:
        with pytest.raises(IllegalTransition) as refused:
            machine.apply(known, HAPPENS[fact], NOW)
        assert str(refused.value) == f"r-0001: {fact} cannot follow {status}"


AWAITED = RunOrigin(run="q-0002", cursor=step(40, "sft"), keeps="history")


def test_the_checkpoint_that_a_run_waits_for_is_found_once() -> None:
    found = machine.apply(state(of=replace(run(RunStatus.ACTIVE), origin=AWAITED)), HAPPENS["origin_found"], NOW)
    assert found.run.origin == replace(AWAITED, checkpoint="q-0002-c0001", digest="d" * 64, dataset="q-0002-c0001-n2")
    for known in (found, state(of=run(RunStatus.ACTIVE))):
        with pytest.raises(IllegalTransition, match="without a checkpoint that the run waits for"):
            machine.apply(known, HAPPENS["origin_found"], NOW)


def test_a_checkpoint_that_is_not_published_yet_is_published_where_the_run_goes_on() -> None:
    known = state(gained(1, Phase.PUBLISHING), checkpoints=(checkpoint(1, step(50), COLLECTED, offered_at=at(-9)),))
    found = machine.apply(known, HAPPENS["platform_left"], NOW)
    assert [(c.platform, c.offered_at) for c in found.checkpoints] == [(1, None)]
    assert (found.run.platform, found.sessions[0].platform) == (1, 0)


def test_the_checkpoint_of_another_run_is_carried_over_for_each_platform_anew() -> None:
    known = state(of=replace(run(RunStatus.ACTIVE), origin=replace(AWAITED, digest="d" * 64)))
    told = []
    for fact in ("origin_offered", "origin_dropped", "origin_carried", "platform_left"):
        known = machine.apply(known, HAPPENS[fact], NOW)
        assert known.run.origin is not None
        told.append((known.run.origin.carried, known.run.origin.carrying))
    assert told == [("mine-origin", "offered"), ("mine-origin-n2", None), ("mine-origin", "published"), (None, None)]


TOLD = {
    "waiting_until": at(9), "reason": "why", "remedy": "do", "excerpt": "log", "awaits": "slot", "overtaken_by": 6,
    "foreign_push_possible": True,
}  # fmt: skip
UNTOLD = {"waiting_until": None, "reason": "", "remedy": "", "excerpt": "", "awaits": ""}
LEFT = LeftPlatform(owner=run().owner, accelerator=run().accelerator, site="{}")
OFFERED = {"inputs_dataset": "mine", "inputs_offered_at": at(-9)}


@pytest.mark.parametrize(
    ("status", "was", "fact", "changes"),
    [
        row("woken: what was told is over", RunStatus.PARKED, TOLD, "run_woken", UNTOLD),
        row("resumed", RunStatus.PARKED, {**TOLD, **OFFERED}, "run_resumed",
            {**UNTOLD, "accepted_sessions": 1, "inputs_offered_at": None}),
        row("taken back: no older failure counts", RunStatus.CANCELLED, OFFERED, "run_resumed",
            {"accepted_sessions": 1, "inputs_offered_at": None}),
        row("cancelled", RunStatus.WAITING, TOLD, "run_cancelled", UNTOLD),
        row("finished", RunStatus.ACTIVE, TOLD, "run_finished", UNTOLD),
        row("waiting", RunStatus.ACTIVE, TOLD, "run_waiting", {**UNTOLD, "waiting_until": at(60), "reason": "no hours"}),
        row("parked", RunStatus.WAITING, {**TOLD, "overtaken_by": 3}, "run_parked",
            {"waiting_until": None, "reason": "why", "remedy": "do", "excerpt": "log", "awaits": "slot",
             "overtaken_by": 4}),
        row("an older generation changes nothing", RunStatus.ACTIVE, TOLD, "run_parked",
            {"waiting_until": None, "overtaken_by": 6}),
        row("taken over: only the home changes", RunStatus.PARKED, {**TOLD, "foreign_push_possible": False, "home": "h1"},
            "run_taken_over", {"home": "h2", "generation": 9, "foreign_push_possible": True}),
        row("changed: only the pipeline changes", RunStatus.PARKED, TOLD, "pipeline_changed",
            {"pipeline": "{1}", "pipeline_digest": "d1", "pipeline_path": "new.yaml"}),
        row("left: another account, and its files are published there again", RunStatus.PARKED,
            {**TOLD, **OFFERED, "inputs": InputsStatus.PUBLISHED}, "platform_left",
            {"owner": "me@there", "accelerator": "gpu", "inputs": InputsStatus.NONE, "inputs_dataset": "",
             "inputs_offered_at": None, "left_platforms": (LEFT,)}),
        row("kept: nothing changes", RunStatus.WAITING, TOLD, "pipeline_kept", {}),
        row("its files are being uploaded", RunStatus.ACTIVE, {}, "inputs_intended",
            {"inputs": InputsStatus.PUBLISHING}),
        row("its files were accepted", RunStatus.ACTIVE, {}, "inputs_offered",
            {"inputs_dataset": "mine", "inputs_offered_at": NOW}),
        row("its files were dropped", RunStatus.ACTIVE, OFFERED, "inputs_dropped",
            {"inputs_dataset": "mine-n2", "inputs_offered_at": None}),
        row("its files are there", RunStatus.ACTIVE, OFFERED, "inputs_published",
            {"inputs": InputsStatus.PUBLISHED, "inputs_offered_at": None}),
    ],
)  # fmt: skip
def test_a_run_remembers_what_happened(
    status: RunStatus, was: dict[str, Any], fact: str, changes: dict[str, Any]
) -> None:
    known = state(session(Phase.PLANNED), of=run(status, **was))
    found = machine.apply(known, HAPPENS[fact], NOW)
    assert found.run == replace(known.run, status=found.run.status, updated_at=NOW, **changes)


@pytest.mark.parametrize(
    ("fact", "sure"),
    [
        row("it was not found", PushUnfound(**KEY), True),
        row("this home pushed it", PushConfirmed(**KEY, kernel_version=1), True),
        row(
            "the earlier home's push was adopted: another may come",
            PushConfirmed(**KEY, kernel_version=1, adopted=True),
            False,
        ),
        row("it is still unclear", PushUnclear(**KEY, reason="504"), False),
    ],
)
def test_a_run_that_was_taken_over_is_unsure_until_a_push_is_settled(fact: Fact, sure: bool) -> None:
    known = state(session(Phase.PUSHING), of=run(foreign_push_possible=True))
    assert machine.apply(known, fact, NOW).run.foreign_push_possible is not sure


def test_a_home_that_takes_over_searches_anew_for_unclear_pushes() -> None:
    known = state(gained(1), session(Phase.PUSHING, 2, unclear=1, unclear_at=at(-9)))
    found = machine.apply(known, HAPPENS["run_taken_over"], NOW)
    assert [s.unclear_at for s in found.sessions] == [None, None]
    assert found.sessions[1].unclear == 1


def test_a_run_resumes_from_an_older_checkpoint() -> None:
    four = (
        checkpoint(1, step(10)),
        checkpoint(2, step(20)),
        checkpoint(3, step(30), DAMAGED),
        checkpoint(4, step(40), COLLECTED, offered_at=at(-9)),
    )
    known = state(checkpoints=four, of=run(RunStatus.PARKED))
    found = machine.apply(known, RunResumed(checkpoint=f"{RUN}-c0001"), NOW)
    assert [c.status for c in found.checkpoints] == [PUBLISHED, ABANDONED, DAMAGED, ABANDONED]
    assert found.checkpoints[3].offered_at is None
    from_newest = machine.apply(known, RunResumed(checkpoint=f"{RUN}-c0004"), NOW)
    assert [c.status for c in from_newest.checkpoints] == [c.status for c in four]


def test_a_resumed_run_may_upload_again_what_kaggle_never_showed() -> None:
    offered = checkpoint(1, step(10), COLLECTED, offered_at=at(-9))
    known = state(checkpoints=(checkpoint(9, step(9)), offered), of=run(RunStatus.PARKED))
    found = machine.apply(known, HAPPENS["run_resumed"], NOW)
    assert found.checkpoints == (known.checkpoints[0], replace(offered, offered_at=None))


# --- the beginning, plans, twins ---------------------------------------------------

PLAN = SessionPlanned(
    number=2, attempt=2, slug="slug", token="token", start=step(5), parent=NAME, budget_s=9.0, limit_s=10.0
)
STARTED = RunStarted(
    run=RUN, pipeline_name="name", owner="me", accelerator="tpu", pipeline="{}", pipeline_path="p.yaml",
    pipeline_digest="d", home="h1",
)  # fmt: skip


def test_a_run_begins() -> None:
    assert machine.begin(STARTED, NOW) == RunState(
        Run(
            id=RUN,
            name="name",
            owner="me",
            accelerator="tpu",
            status=RunStatus.ACTIVE,
            pipeline="{}",
            pipeline_path="p.yaml",
            pipeline_digest="d",
            created_at=NOW,
            updated_at=NOW,
            home="h1",
        )
    )


def test_a_log_is_folded_from_its_beginning() -> None:
    folded = machine.fold([(at(-60), STARTED), (at(-30), RunParked(reason="why", remedy="do")), (NOW, RunResumed())])
    assert (folded.run.status, folded.run.created_at, folded.run.updated_at) == (RunStatus.ACTIVE, at(-60), NOW)
    with pytest.raises(IllegalTransition) as refused:
        machine.fold([(NOW, RunWoken())])
    assert str(refused.value) == "a run begins with run_started, not with run_woken"


def test_a_plan_becomes_a_session() -> None:
    assert machine.apply(state(gained(1)), PLAN, NOW).sessions == (
        gained(1),
        Session(
            run=RUN,
            number=2,
            attempt=2,
            slug="slug",
            token="token",
            phase=Phase.PLANNED,
            start=step(5),
            parent=NAME,
            budget_s=9.0,
            limit_s=10.0,
            planned_at=NOW,
        ),
    )


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        row("the same session", state(session(Phase.LOST, 2, 2)), "session 2.2 is not new"),
        row("a later attempt", state(session(Phase.LOST, 2, 3)), "session 2.2 is not new"),
        row("a later session", state(session(Phase.LOST, 3)), "session 2.2 is not new"),
        *(
            row(f"while {status}", state(of=run(status)), f"a session cannot be planned while the run is {status}")
            for status in RunStatus
            if status is not RunStatus.ACTIVE
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(known: RunState, problem: str) -> None:
    with pytest.raises(IllegalTransition) as refused:
        machine.apply(known, PLAN, NOW)
    assert str(refused.value) == f"r-0001: {problem}"


SEEN, GONE = TwinSeen(**KEY, version=4, worker="running"), TwinEnded(**KEY, version=4)
LIVE = {"twin": 4, "twin_at": at(-9)}


@pytest.mark.parametrize(
    ("was", "fact", "changes"),
    [
        row("a twin is seen", {}, SEEN, {"twin": 4, "twin_at": NOW, "twin_ended_at": None}),
        row("another after the first", {**LIVE, "twin": 2, "twin_ended_at": at(-5)}, SEEN,
            {"twin": 4, "twin_at": NOW, "twin_ended_at": None}),
        row("it ends", LIVE, GONE, {"twin_ended_at": NOW}),
    ],
)  # fmt: skip
def test_a_twin_is_remembered_beside_the_session(was: dict[str, Any], fact: Fact, changes: dict[str, Any]) -> None:
    known = state(session(Phase.RUNNING, **was))
    assert machine.apply(known, fact, NOW).sessions == (replace(known.sessions[0], **changes),)


@pytest.mark.parametrize(
    ("phase", "was", "fact"),
    [
        row("a plan has no twin", Phase.PLANNED, LIVE, SEEN),
        row("nor a push", Phase.PUSHING, LIVE, SEEN),
        row("nor its end", Phase.PUSHING, LIVE, GONE),
        row("none was seen", Phase.RUNNING, {}, GONE),
        row("it has ended", Phase.RUNNING, {**LIVE, "twin_ended_at": at(-5)}, GONE),
    ],
)
def test_a_twin_that_cannot_be_is_refused(phase: Phase, was: dict[str, Any], fact: Fact) -> None:
    with pytest.raises(IllegalTransition) as refused:
        machine.apply(state(session(phase, **was)), fact, NOW)
    assert str(refused.value) == f"r-0001-s0001: {fact.name} cannot follow {phase}"


# --- clocks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_s", "ended_s"),
    [
        row("later", 1, -600),
        row("at the same time", -60, -600),
        row("the clock was set back by ten minutes", -700, -700),
    ],
)
def test_times_never_run_backwards(now_s: float, ended_s: float) -> None:
    known = replace(state(gained(1)), run=run(updated_at=at(-60)))
    found = machine.apply(known, HAPPENS["inputs_intended"], at(now_s))
    assert found.run.updated_at == at(now_s)
    ended_at = found.sessions[0].ended_at
    assert ended_at is not None
    assert (ended_at < at(now_s)) and abs((ended_at - at(ended_s)).total_seconds()) < 1


def test_the_tables_here_know_every_fact_and_phase() -> None:
    others = {"run_started", "session_planned", "twin_seen", "twin_ended", "checkpoint_pruned", "damage_found"}
    others.add("model_published")
    assert set(FACTS) == set(HAPPENS) | others
    assert set(SESSIONS) == {str(phase) for phase in Phase}
    assert set(RUNS) == {str(status) for status in RunStatus}


PHASES: list[tuple[str, Callable[[Phase], bool], str]] = [
    ("over", lambda phase: phase.over, "published no_checkpoint lost"),
    ("on Kaggle", lambda phase: phase.on_kaggle, "pushing pushed queued running"),
    ("awaited", lambda phase: phase.awaited, "pushed queued running ended"),
    ("under way", lambda phase: phase.under_way, "pushing pushed queued running ended"),
]


@pytest.mark.parametrize(("says", "of", "phases"), PHASES)
def test_a_phase_says_what_may_still_come(says: str, of: Callable[[Phase], bool], phases: str) -> None:
    assert [str(phase) for phase in Phase if of(phase)] == phases.split(), says
