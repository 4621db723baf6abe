"""A run that begins from another run's checkpoint: what it waits for, mounts and holds · why."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.commands import Append, Command, Wait
from orchestrator.core.decide import decide
from orchestrator.core.origins import origin_place
from orchestrator.core.plan import order_for
from orchestrator.core.retention import prunable
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import OriginOptions
from stages.contract import Parent
from state.facts.run import OriginFound, RunParked
from state.facts.session import SessionPlanned
from state.model.run_origin import RunOrigin
from state.model.run_state import Checkpoint, RunState
from state.model.snapshot import QuotaRow, Snapshot
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from tests.unit.core.situations import (
    LIMITS,
    NOW,
    PIPELINE,
    RUN,
    at,
    checkpoint,
    gained,
    pipeline,
    row,
    run,
    session,
    state,
    step,
)

OTHER = "q-0002"
PUBLISHED, COLLECTED = CheckpointStatus.PUBLISHED, CheckpointStatus.COLLECTED
ABANDONED, DAMAGED, PRUNED = CheckpointStatus.ABANDONED, CheckpointStatus.DAMAGED, CheckpointStatus.PRUNED
WAITS = RunOrigin(run=OTHER, cursor=step(40), keeps="history")
FORKED = replace(WAITS, checkpoint=f"{OTHER}-c0001", digest="digest 1", dataset=f"{OTHER}-c0001")
FORK = pipeline(origin=OriginOptions(run=OTHER, at="a:40"))
WARM = pipeline(origin=OriginOptions(run=OTHER, at="a:40", keeps="weights"))
HOURS = QuotaRow(owner="me", accelerator="tpu", used_s=0, reserved_s=0, total_s=72_000, refreshes_at=None, read_at=NOW)


def other(status: CheckpointStatus | None = PUBLISHED, of: RunStatus = RunStatus.ACTIVE, **changes: Any) -> RunState:
    """The other run, with a checkpoint of that status at a:40."""
    found = () if status is None else (_theirs(status, **changes),)
    return state(checkpoints=found, of=run(of, id=OTHER, pipeline=pipeline().canonical()))


def _theirs(status: CheckpointStatus, **changes: Any) -> Checkpoint:
    return replace(checkpoint(1, step(40), status), run=OTHER, name=f"{OTHER}-c0001", **changes)


def decided(origin: RunOrigin, there: RunState | None, mine: RunState | None = None) -> Command:
    known = mine or state()
    wanted = FORK if origin.is_fork else WARM
    known = replace(known, run=replace(known.run, origin=origin, pipeline=wanted.canonical()))
    return decide(Snapshot(state=known, quota=HOURS, origin=there), wanted, LIMITS, NOW)


POLL = NOW + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("origin", "there", "expected"),
    [
        row("the other run is not there yet", WAITS, other(None), "waits for the checkpoint a:40 of q-0002"),
        row("it is not published yet", FORKED, other(COLLECTED), "waits for the checkpoint a:40 of q-0002"),
        row("it is found before it is published", WAITS, other(COLLECTED), "waits for the checkpoint a:40 of q-0002"),
        row("a parked run may go on", WAITS, other(None, RunStatus.PARKED),
            "waits for the checkpoint a:40 of q-0002, which is parked"),
        row("withdrawn: it is uploaded again", FORKED, other(COLLECTED, published_at=None),
            "waits for the checkpoint a:40 of q-0002"),
    ],
)  # fmt: skip
def test_a_run_waits_for_the_checkpoint_that_it_begins_from(origin: RunOrigin, there: RunState, expected: str) -> None:
    assert decided(origin, there) == Wait(POLL, expected)


@pytest.mark.parametrize(
    ("origin", "there"),
    [
        row("removed", FORKED, other(PRUNED)),
        row("damaged", FORKED, other(DAMAGED)),
        row("the other run is over without it", WAITS, other(None, RunStatus.FINISHED)),
        row("cancelled before it was published", FORKED, other(COLLECTED, RunStatus.CANCELLED)),
        row("the run is unknown", WAITS, None),
    ],
)
def test_a_run_is_parked_if_that_checkpoint_will_never_come(origin: RunOrigin, there: RunState | None) -> None:
    found = decided(origin, there)
    assert isinstance(found, Append)
    (fact,) = found.facts
    assert isinstance(fact, RunParked)
    assert fact.reason.startswith("the checkpoint a:40 of q-0002, which the run begins from, is not on Kaggle")
    assert fact.remedy == f"relay cancel {RUN}"


def test_the_awaited_checkpoint_is_recorded_once_it_is_published() -> None:
    found = OriginFound(checkpoint=f"{OTHER}-c0001", digest="digest 1", dataset=f"{OTHER}-c0001-n2")
    assert decided(WAITS, other(dataset=f"{OTHER}-c0001-n2")) == Append((found,))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        row("what was trained until there", pipeline(seed=1), "seed changed from 1 to 0"),
        row("what comes later", pipeline(stages=PIPELINE.stages[:1]), ""),
    ],
)
def test_a_fork_is_parked_if_its_parent_was_changed_before_it_had_the_checkpoint(changed: Pipeline, said: str) -> None:
    there = other()
    there = replace(there, run=replace(there.run, pipeline=changed.canonical()))
    found = decided(WAITS, there)
    assert isinstance(found, Append)
    (fact,) = found.facts
    if not said:
        assert isinstance(fact, OriginFound)
        return
    assert isinstance(fact, RunParked)
    assert said in fact.reason
    assert fact.remedy == f"relay cancel {RUN}"


@pytest.mark.parametrize(
    ("origin", "there", "start"),
    [
        row("a fork starts at its place", FORKED, other(), step(40)),
        row("of a run that was cancelled later", FORKED, other(of=RunStatus.CANCELLED), step(40)),
        row("of a checkpoint that its run abandoned", FORKED, other(ABANDONED), step(40)),
        row("of a run that is not in this home", FORKED, None, step(40)),
        row("a warm start begins at step 0", replace(FORKED, keeps="weights"), other(), step(0)),
    ],
)
def test_the_first_session_starts_from_the_other_runs_checkpoint(
    origin: RunOrigin, there: RunState | None, start: object
) -> None:
    found = decided(origin, there)
    assert isinstance(found, Append)
    (planned,) = found.facts
    assert isinstance(planned, SessionPlanned)
    assert (planned.start, planned.parent) == (start, None)
    known = state(session(Phase.PLANNED), of=run(origin=origin))
    order = order_for(known, known.sessions[0], FORK)
    assert order.parent == Parent(name=FORKED.checkpoint, digest="digest 1", run=OTHER, keeps=origin.keeps)
    assert known.parent_digest(known.sessions[0]) == "digest 1"


def test_a_later_session_starts_from_the_runs_own_checkpoint() -> None:
    mine = state(gained(1), checkpoints=(checkpoint(1, step(60)),))
    found = decided(FORKED, None, mine)
    assert isinstance(found, Append)
    (planned,) = found.facts
    assert isinstance(planned, SessionPlanned)
    assert (planned.start, planned.parent) == (step(60), f"{RUN}-c0001")
    known = replace(
        mine,
        run=replace(mine.run, origin=FORKED),
        sessions=(*mine.sessions, session(Phase.PLANNED, 2, parent=f"{RUN}-c0001")),
    )
    assert order_for(known, known.sessions[1], FORK).parent == Parent(name=f"{RUN}-c0001", digest="digest 1")


@pytest.mark.parametrize(
    ("there", "place"),
    [
        row("where it is now", other(dataset=f"{OTHER}-c0001-n2"), f"{OTHER}-c0001-n2"),
        row("where it was, if the other run is unknown", None, f"{OTHER}-c0001"),
    ],
)
def test_sessions_mount_the_other_runs_dataset(there: RunState | None, place: str) -> None:
    assert origin_place(FORKED, there) == place


@pytest.mark.parametrize(
    ("needed", "gone"),
    [
        row("nobody begins from it", (), [1, 2]),
        row("a fork does", (replace(FORKED, digest="digest 1"),), [2]),
        row("a run waits for that place", (replace(WAITS, cursor=step(2)),), [1]),
        row("two do", (replace(FORKED, digest="digest 2"), replace(WAITS, cursor=step(1))), []),
    ],
)
def test_a_checkpoint_that_another_run_needs_is_not_pruned(needed: tuple[RunOrigin, ...], gone: list[int]) -> None:
    known = state(checkpoints=tuple(checkpoint(n, step(n), published_at=at(-9)) for n in range(1, 5)))
    assert [each.session for each in prunable(known, 2, needed=needed)] == gone
