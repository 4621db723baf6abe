"""What may be removed, for every state there can be: never what somebody may still need."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.commands import Append, Prune, Wait
from orchestrator.core.decide import decide
from orchestrator.core.plan import Limits
from orchestrator.core.retention import last_good_checkpoint, prunable
from orchestrator.pipeline.loader import parse
from stages.contract import Cursor
from state import machine
from state.facts.run import RunFinished
from state.model.run_state import Checkpoint, RunState, Session
from state.model.snapshot import Request, Snapshot
from state.model.statuses import CheckpointStatus, Phase
from tests.unit.test_machine import AT, STARTED

PIPELINE = parse(
    "{name: r, accelerator: cpu, keep_checkpoints: 2, stages: [{name: count, kind: counting, steps: 999}]}", "r.yaml"
)
NOW = datetime(2030, 1, 8, tzinfo=UTC)


def checkpoint(number: int, status: CheckpointStatus) -> Checkpoint:
    return Checkpoint(
        run="r-0001",
        name=f"c{number}",
        session=number,
        attempt=1,
        digest=f"{number}",
        parent=None,
        cursor=Cursor(stage="count", step=number),
        size_bytes=1,
        manifest="{}",
        status=status,
        verified_at=AT,
    )


def session(number: int, phase: Phase, parent: str | None) -> Session:
    return Session(
        run="r-0001",
        number=number,
        attempt=1,
        slug=f"s{number}",
        token="t",
        phase=phase,
        start=Cursor(stage="count", step=0),
        parent=parent,
        budget_s=1.0,
        limit_s=1.0,
        planned_at=AT,
    )


@st.composite
def states(draw: st.DrawFn) -> RunState:
    """Any mixture of statuses, and of sessions in any phase that started from any of them."""
    statuses = draw(st.lists(st.sampled_from(CheckpointStatus), max_size=12))
    found = tuple(checkpoint(number, status) for number, status in enumerate(statuses, start=1))
    parents = st.sampled_from([None, *(c.name for c in found)])
    phases = draw(st.lists(st.tuples(st.sampled_from(Phase), parents), max_size=8))
    sessions = tuple(session(n, phase, parent) for n, (phase, parent) in enumerate(phases, start=1))
    return RunState(machine.begin(STARTED, AT).run, sessions, found)


VERBS = st.sampled_from(["resume", "retry", "pause", "prune", "cancel"])
WISHES = st.lists(st.tuples(VERBS, st.integers(1, 12)), max_size=3)


def requests(wishes: list[tuple[str, int]]) -> tuple[Request, ...]:
    return tuple(
        Request(id=n, run="r-0001", verb=verb, arguments={"checkpoint": f"c{number}"}, made_at=AT)
        for n, (verb, number) in enumerate(wishes)
    )


@pytest.mark.slow
@given(state=states(), keep=st.integers(0, 5), wishes=WISHES)
def test_nothing_is_removed_that_somebody_may_still_need(
    state: RunState, keep: int, wishes: list[tuple[str, int]]
) -> None:
    gone = {c.name for c in prunable(state, keep, requests(wishes))}
    verified = [c.name for c in state.checkpoints if c.usable]
    assert not gone & set(verified[-2:]), "the last two that are verified stay"
    assert not gone & {s.parent for s in state.sessions if not s.phase.over}, "what a live session mounts stays"
    assert not gone & {f"c{number}" for verb, number in wishes if verb in ("resume", "retry")}
    assert all(state.checkpoint(name).status is CheckpointStatus.PUBLISHED for name in gone)


@pytest.mark.slow
@given(state=states(), keep=st.integers(2, 5))
def test_all_but_the_newest_are_removed_where_nobody_needs_them(state: RunState, keep: int) -> None:
    idle = RunState(state.run, (), state.checkpoints)
    published = [c.name for c in state.checkpoints if c.status is CheckpointStatus.PUBLISHED]
    verified = [c.name for c in state.checkpoints if c.usable]
    assert [c.name for c in prunable(idle, keep)] == [name for name in published[:-keep] if name not in verified[-2:]]


def finished(statuses: list[CheckpointStatus]) -> RunState:
    state = machine.apply(machine.begin(STARTED, AT), RunFinished(), AT)
    found = tuple(checkpoint(number, status) for number, status in enumerate(statuses, start=1))
    return RunState(state.run, (), found)


def test_a_finished_run_is_tidied_when_a_person_asks_and_only_then() -> None:
    state = finished([CheckpointStatus.PUBLISHED] * 4)
    (wish,) = requests([("prune", 0)])
    limits = Limits()
    assert isinstance(decide(Snapshot(state=state), PIPELINE, limits, NOW), Wait)
    assert decide(Snapshot(state=state, requests=(wish,)), PIPELINE, limits, NOW) == Prune("c1")
    two_left = finished([CheckpointStatus.PRUNED] * 2 + [CheckpointStatus.PUBLISHED] * 2)
    assert decide(Snapshot(state=two_left, requests=(wish,)), PIPELINE, limits, NOW) == Append((), wish.id)


def test_a_wish_to_tidy_up_does_not_keep_a_person_waiting() -> None:
    state = RunState(machine.begin(STARTED, AT).run)
    both = requests([("prune", 0), ("pause", 0)])
    command = decide(Snapshot(state=state, requests=both), PIPELINE, Limits(), NOW)
    assert isinstance(command, Append)
    assert command.fulfilled == 1


TRAINED = parse(
    "{name: r, accelerator: cpu, stages: [{name: count, kind: grpo, steps: 999, options: {guard_steps: 20}},"
    " {name: later, kind: grpo, steps: 9}]}",
    "r.yaml",
)


@pytest.mark.parametrize(
    ("cause", "reached", "good"),
    [
        ("not-a-number", ("count", 61), "c60"),
        ("not-a-number", ("count", 60), "c50"),
        ("not-a-number", ("later", 0), "c60"),
        ("loss-spike", ("count", 65), "c60"),
        ("loss-spike", ("count", 64), "c50"),
        ("reward-collapse", ("count", 69), "c40"),
        ("no-progress", ("count", 70), "c50"),
        ("base-moved", ("count", 62), "c50"),
        ("base-moved", ("count", 63), "c60"),
        ("model-not-finite", ("count", 60), "c50"),
        ("checkpoint-not-finite", ("count", 60), "c50"),
        ("checkpoint-not-finite", ("later", 0), "c50"),
        ("not-a-number", ("count", 10), None),
    ],
)
def test_what_a_person_can_go_on_from_is_from_before_the_trouble(
    cause: str, reached: tuple[str, int], good: str | None
) -> None:
    found = tuple(checkpoint(step, CheckpointStatus.PUBLISHED) for step in range(10, 70, 10))
    stage, step = reached
    ended = replace(session(9, Phase.NO_CHECKPOINT, "c60"), cause=cause, furthest=Cursor(stage=stage, step=step))
    state = RunState(machine.begin(STARTED, AT).run, (ended,), found)
    chosen = last_good_checkpoint(state, ended, TRAINED)
    assert (chosen.name if chosen else None) == good


def test_a_checkpoint_that_cannot_be_used_is_not_offered() -> None:
    found = (checkpoint(10, CheckpointStatus.PUBLISHED), checkpoint(20, CheckpointStatus.DAMAGED))
    ended = replace(
        session(9, Phase.NO_CHECKPOINT, "c10"), cause="not-a-number", furthest=Cursor(stage="count", step=30)
    )
    chosen = last_good_checkpoint(RunState(machine.begin(STARTED, AT).run, (ended,), found), ended, TRAINED)
    assert chosen is not None and chosen.name == "c10"
