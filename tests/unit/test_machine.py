"""The table of transitions, the fold, and the diagram drawn from them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stages.contract import Cursor, FileEntry, Manifest
from state import machine
from state.machine import (
    RUN_TRANSITIONS,
    SESSION_TRANSITIONS,
    Fact,
    IllegalTransition,
    Judgement,
    RunStarted,
    SessionFact,
)
from state.model import CheckpointStatus, Outcome, Phase, RunState, RunStatus

AT = datetime(2030, 1, 7, tzinfo=UTC)
CURSOR = Cursor(stage="count", step=40)
KEY = {"number": 1, "attempt": 1}


def manifest(step: int = 40, session: int = 1) -> Manifest:
    return Manifest(
        run="r-0001",
        session=session,
        attempt=1,
        token="t",
        cursor=Cursor(stage="count", step=step),
        parent=None,
        files=(FileEntry(path="state.bin", size_bytes=3, sha256="0" * 64),),
    )


STARTED = RunStarted(
    run="r-0001",
    pipeline_name="r",
    owner="me",
    accelerator="tpu",
    pipeline="{}",
    pipeline_path="p.yaml",
    pipeline_digest="d",
)
PLANNED = machine.SessionPlanned(
    **KEY, slug="r-0001-s0001", token="t", start=Cursor(stage="count", step=0), parent=None, budget_s=9.0, limit_s=10.0
)
SAMPLES: dict[type[Fact], Fact] = {
    machine.InputsIntended: machine.InputsIntended(),
    machine.InputsPublished: machine.InputsPublished(),
    machine.RunWaiting: machine.RunWaiting(until=AT.isoformat(), reason="quota"),
    machine.RunWoken: machine.RunWoken(),
    machine.RunParked: machine.RunParked(reason="why", remedy="relay retry r-0001"),
    machine.RunResumed: machine.RunResumed(),
    machine.RunFinished: machine.RunFinished(),
    machine.RunCancelled: machine.RunCancelled(),
    machine.PushIntended: machine.PushIntended(**KEY),
    machine.PushRefused: machine.PushRefused(**KEY, reason="no slot"),
    machine.PushConfirmed: machine.PushConfirmed(**KEY, kernel_version=1),
    machine.SeenQueued: machine.SeenQueued(**KEY),
    machine.SeenRunning: machine.SeenRunning(**KEY),
    machine.SeenEnded: machine.SeenEnded(**KEY, worker="complete", message=""),
    machine.OutputCollected: machine.OutputCollected(
        **KEY, judgement=Judgement(outcome="yielded", furthest=CURSOR), checkpoint="r-0001-c0001", manifest=manifest()
    ),
    machine.NothingCollected: machine.NothingCollected(**KEY, judgement=Judgement(outcome="failed", furthest=CURSOR)),
    machine.PublishIntended: machine.PublishIntended(**KEY),
    machine.CheckpointPublished: machine.CheckpointPublished(**KEY),
    machine.SessionLost: machine.SessionLost(**KEY, reason="gone"),
}


def path_to(phase: Phase) -> list[Fact]:
    """The shortest facts that bring a new session into a phase."""
    paths: dict[Phase, list[Fact]] = {Phase.PLANNED: [PLANNED]}
    frontier = [Phase.PLANNED]
    while frontier:
        here = frontier.pop(0)
        for fact, there in SESSION_TRANSITIONS[here].items():
            if there not in paths:
                paths[there] = [*paths[here], SAMPLES[fact]]
                frontier.append(there)
    return paths[phase]


def state_in(phase: Phase) -> RunState:
    return machine.fold([(AT, fact) for fact in [STARTED, *path_to(phase)]])


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("fact", [kind for kind in SAMPLES if issubclass(kind, SessionFact)])
def test_every_pair_of_phase_and_fact_is_in_the_table_or_refused(phase: Phase, fact: type[SessionFact]) -> None:
    state = state_in(phase)
    if fact in SESSION_TRANSITIONS[phase]:
        assert machine.apply(state, SAMPLES[fact], AT).session(1, 1).phase is SESSION_TRANSITIONS[phase][fact]
    else:
        with pytest.raises(IllegalTransition, match=fact.name):
            machine.apply(state, SAMPLES[fact], AT)


@pytest.mark.parametrize("fact", [kind for kind in SAMPLES if not issubclass(kind, SessionFact)])
@pytest.mark.parametrize("status", RunStatus)
def test_every_pair_of_status_and_fact_is_in_the_table_or_refused(status: RunStatus, fact: type[Fact]) -> None:
    first = {
        RunStatus.ACTIVE: [],
        RunStatus.WAITING: [SAMPLES[machine.RunWaiting]],
        RunStatus.PARKED: [SAMPLES[machine.RunParked]],
        RunStatus.FINISHED: [SAMPLES[machine.RunFinished]],
        RunStatus.CANCELLED: [SAMPLES[machine.RunCancelled]],
    }[status]
    state = machine.fold([(AT, found) for found in [STARTED, *first]])
    if fact in RUN_TRANSITIONS[status]:
        assert machine.apply(state, SAMPLES[fact], AT).run.status is RUN_TRANSITIONS[status][fact]
    else:
        with pytest.raises(IllegalTransition, match=fact.name):
            machine.apply(state, SAMPLES[fact], AT)


def test_every_phase_can_be_reached_and_a_phase_that_is_over_leads_nowhere() -> None:
    for phase in Phase:
        assert path_to(phase)
        assert phase.over == (not SESSION_TRANSITIONS[phase])


@pytest.mark.parametrize("fact", machine.FACTS.values())
def test_every_fact_survives_being_stored(fact: type[Fact]) -> None:
    sample = {**SAMPLES, RunStarted: STARTED, machine.SessionPlanned: PLANNED}.get(
        fact, machine.CheckpointPruned(checkpoint="c")
    )
    assert machine.FACTS[sample.name].from_dict(sample.to_dict()) == sample


def test_a_published_checkpoint_is_the_head_until_a_person_goes_back() -> None:
    facts: list[Fact] = [STARTED, *path_to(Phase.PUBLISHED)]
    second = {"number": 2, "attempt": 1}
    facts += [
        machine.SessionPlanned(
            **second, slug="r-0001-s0002", token="u", start=CURSOR, parent="r-0001-c0001", budget_s=9.0, limit_s=10.0
        ),
        machine.PushIntended(**second),
        machine.PushConfirmed(**second, kernel_version=1),
        machine.SeenEnded(**second, worker="complete", message=""),
        machine.OutputCollected(
            **second, judgement=Judgement(outcome="yielded"), checkpoint="r-0001-c0002", manifest=manifest(80, 2)
        ),
        machine.PublishIntended(**second),
        machine.CheckpointPublished(**second),
    ]
    state = machine.fold([(AT + timedelta(minutes=n), fact) for n, fact in enumerate(facts)])
    assert state.head is not None
    assert state.head.cursor.step == 80
    state = machine.apply(state, machine.RunParked(reason="paused", remedy="x"), AT)
    state = machine.apply(state, machine.RunResumed(checkpoint="r-0001-c0001"), AT)
    assert state.head is not None
    assert state.head.cursor.step == 40
    assert state.checkpoint("r-0001-c0002").status is CheckpointStatus.ABANDONED
    assert state.run.judged == 2


def test_a_judgement_is_kept_with_the_session() -> None:
    session = state_in(Phase.COLLECTED).session(1, 1)
    assert (session.outcome, session.reached, session.furthest) == (Outcome.YIELDED, CURSOR, CURSOR)


def test_the_diagram_in_the_readme_is_the_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert machine.diagram() in readme, "run: make diagram"
