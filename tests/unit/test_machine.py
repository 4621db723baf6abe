"""The table of transitions, the fold, and the diagram drawn from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stages.contract import Cursor, FileEntry, Manifest
from state import machine
from state.diagram import diagram
from state.facts.base import Fact, SessionFact
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
    ModelPublished,
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
from state.model.run_origin import RunOrigin
from state.model.run_state import RunState
from state.model.statuses import CheckpointStatus, Outcome, Phase, RunStatus
from state.transitions import RUN_TRANSITIONS, SESSION_TRANSITIONS

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
PLANNED = SessionPlanned(
    **KEY, slug="r-0001-s0001", token="t", start=Cursor(stage="count", step=0), parent=None, budget_s=9.0, limit_s=10.0
)
SAMPLES: dict[type[Fact], Fact] = {
    InputsIntended: InputsIntended(),
    InputsOffered: InputsOffered(dataset="r-0001-inputs"),
    InputsDropped: InputsDropped(dataset="r-0001-inputs-n2", reason="never shown"),
    InputsPublished: InputsPublished(),
    OriginFound: OriginFound(checkpoint="q-0002-c0001", digest="d" * 64, dataset="q-0002-c0001"),
    RunTakenOver: RunTakenOver(home="other", generation=7),
    RunWaiting: RunWaiting(until=AT.isoformat(), reason="quota"),
    RunWoken: RunWoken(),
    RunParked: RunParked(reason="why", remedy="relay retry r-0001"),
    RunResumed: RunResumed(),
    PipelineChanged: PipelineChanged(pipeline="{}", pipeline_digest="e", pipeline_path="p.yaml", difference="none"),
    OriginOffered: OriginOffered(dataset="r-0001-origin"),
    OriginDropped: OriginDropped(dataset="r-0001-origin-n2", reason="failed"),
    OriginCarried: OriginCarried(dataset="r-0001-origin"),
    PlatformLeft: PlatformLeft(site="{}", owner="me@there", accelerator="gpu", numbers=("other bits",)),
    PipelineKept: PipelineKept(reason="too late"),
    RunFinished: RunFinished(),
    RunCancelled: RunCancelled(),
    SessionResized: SessionResized(**KEY, budget_s=50.0, limit_s=60.0),
    PushIntended: PushIntended(**KEY),
    PushRefused: PushRefused(**KEY, reason="no slot"),
    PushHeld: PushHeld(**KEY, reason="waits for session 2"),
    PushUnsent: PushUnsent(**KEY, reason="no network"),
    PushUnclear: PushUnclear(**KEY, reason="504"),
    PushUnfound: PushUnfound(**KEY),
    PushConfirmed: PushConfirmed(**KEY, kernel_version=1),
    SeenQueued: SeenQueued(**KEY),
    SeenRunning: SeenRunning(**KEY),
    SeenEnded: SeenEnded(**KEY, worker="complete", message=""),
    OutputCollected: OutputCollected(
        **KEY, judgement=Judgement(outcome="yielded", furthest=CURSOR), checkpoint="r-0001-c0001", manifest=manifest()
    ),
    NothingCollected: NothingCollected(**KEY, judgement=Judgement(outcome="failed", furthest=CURSOR)),
    PublishIntended: PublishIntended(**KEY),
    DatasetOffered: DatasetOffered(**KEY, dataset="r-0001-c0001"),
    DatasetDropped: DatasetDropped(**KEY, dataset="r-0001-c0001-n2", reason="never shown"),
    CheckpointPublished: CheckpointPublished(**KEY),
    CheckpointInspected: CheckpointInspected(**KEY),
    CheckpointCarried: CheckpointCarried(**KEY),
    CheckpointWithdrawn: CheckpointWithdrawn(**KEY, reason="another SHA-256"),
    CheckpointDamaged: CheckpointDamaged(**KEY, reason="whole nowhere", steps_lost=40),
    SessionLost: SessionLost(**KEY, reason="gone"),
    SessionSought: SessionSought(**KEY),
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
        RunStatus.WAITING: [SAMPLES[RunWaiting]],
        RunStatus.PARKED: [SAMPLES[RunParked]],
        RunStatus.FINISHED: [SAMPLES[RunFinished]],
        RunStatus.CANCELLED: [SAMPLES[RunCancelled]],
    }[status]
    waits = RunOrigin(run="q-0002", cursor=Cursor(stage="sft", step=40), keeps="history")
    state = machine.fold([(AT, found) for found in [replace(STARTED, origin=waits), *first]])
    if fact in RUN_TRANSITIONS[status]:
        assert machine.apply(state, SAMPLES[fact], AT).run.status is RUN_TRANSITIONS[status][fact]
    else:
        with pytest.raises(IllegalTransition, match=fact.name):
            machine.apply(state, SAMPLES[fact], AT)


LEADS_ON = {CheckpointInspected, CheckpointWithdrawn, CheckpointCarried, CheckpointDamaged, SessionSought}


def test_every_phase_can_be_reached_and_an_over_phase_leads_on_only_by_its_checkpoint_or_a_cancel_taken_back() -> None:
    for phase in Phase:
        assert path_to(phase)
        assert phase.over == (not SESSION_TRANSITIONS[phase].keys() - LEADS_ON)


def test_a_withdrawn_checkpoint_is_published_anew_and_was_looked_at() -> None:
    later = AT + timedelta(hours=1)
    state = machine.apply(state_in(Phase.PUBLISHED), SAMPLES[CheckpointWithdrawn], later)
    (checkpoint,) = state.checkpoints
    assert (checkpoint.status, checkpoint.published_at) == (CheckpointStatus.COLLECTED, None)
    assert checkpoint.verified_at == later
    state = machine.apply(state, SAMPLES[PublishIntended], later)
    state = machine.apply(state, SAMPLES[CheckpointPublished], later)
    assert state.checkpoints[0].status is CheckpointStatus.PUBLISHED


def test_a_look_at_a_checkpoint_comes_after_the_sessions_that_ended_before_it_though_the_clock_was_set_back() -> None:
    state = machine.apply(state_in(Phase.PUBLISHED), SAMPLES[CheckpointInspected], AT - timedelta(days=1))
    ended_at = state.session(1, 1).ended_at
    assert ended_at is not None
    assert ended_at < state.checkpoints[0].verified_at == AT - timedelta(days=1)


@pytest.mark.parametrize("phase", [Phase.COLLECTED, Phase.PUBLISHING, Phase.PUBLISHED])
def test_a_session_whose_checkpoint_is_damaged_gained_nothing(phase: Phase) -> None:
    state = machine.apply(state_in(phase), SAMPLES[CheckpointDamaged], AT)
    session = state.session(1, 1)
    assert (session.phase, session.checkpoint, session.outcome) == (Phase.NO_CHECKPOINT, None, Outcome.FAILED)
    assert (session.cause, session.transient, session.steps_lost) == ("checkpoint-damaged", True, 40)
    assert session.reached == session.start
    assert state.checkpoints[0].status is CheckpointStatus.DAMAGED
    assert state.head is None


def test_damage_that_was_found_is_written_down_and_changes_nothing() -> None:
    state = state_in(Phase.PUBLISHED)
    found = DamageFound(checkpoint="r-0001-c0001", file="state.bin", place="disk", problem="differs", kept="x")
    assert machine.apply(state, found, AT + timedelta(hours=1)).checkpoints == state.checkpoints


MODEL = ModelPublished(
    place="kaggle",
    model="me/r/jax/2b/1",
    url="https://www.kaggle.com/models/me/r/jax/2b/1",
    public=True,
    layout="tunix",
    dtype="bfloat16",
    cursor=CURSOR,
    checkpoint="c" * 64,
    weights_sha256="w" * 64,
    files=3,
    size_bytes=7,
)


@pytest.mark.parametrize("last", [RunFinished(), RunCancelled(), RunParked(reason="why", remedy="r"), RunWoken()])
def test_a_model_can_be_published_in_every_state_of_a_run_and_changes_nothing_not_even_when_it_ended(
    last: Fact,
) -> None:
    first = [SAMPLES[RunWaiting]] if isinstance(last, RunWoken) else []
    state = machine.fold([(AT, fact) for fact in [STARTED, *first, last]])
    assert machine.apply(state, MODEL, AT + timedelta(days=1)) == state


@pytest.mark.parametrize("fact", FACTS.values())
def test_every_fact_survives_being_stored(fact: type[Fact]) -> None:
    others = (
        STARTED,
        PLANNED,
        CheckpointPruned(checkpoint="c"),
        TwinSeen(**KEY, version=2, worker="running"),
        TwinEnded(**KEY, version=2),
        DamageFound(checkpoint="c", file="state.bin", place="output", problem="differs", kept="c.state.bin.1"),
        MODEL,
    )
    sample = {**SAMPLES, **{type(other): other for other in others}}[fact]
    assert FACTS[sample.name].from_dict(sample.to_dict()) == sample


def test_a_published_checkpoint_is_the_head_until_a_person_goes_back() -> None:
    facts: list[Fact] = [STARTED, *path_to(Phase.PUBLISHED)]
    second = {"number": 2, "attempt": 1}
    facts += [
        SessionPlanned(
            **second, slug="r-0001-s0002", token="u", start=CURSOR, parent="r-0001-c0001", budget_s=9.0, limit_s=10.0
        ),
        PushIntended(**second),
        PushConfirmed(**second, kernel_version=1),
        SeenEnded(**second, worker="complete", message=""),
        OutputCollected(
            **second, judgement=Judgement(outcome="yielded"), checkpoint="r-0001-c0002", manifest=manifest(80, 2)
        ),
        PublishIntended(**second),
        CheckpointPublished(**second),
    ]
    state = machine.fold([(AT + timedelta(minutes=n), fact) for n, fact in enumerate(facts)])
    assert state.head is not None
    assert state.head.cursor.step == 80
    state = machine.apply(state, RunParked(reason="paused", remedy="x"), AT)
    state = machine.apply(state, RunResumed(checkpoint="r-0001-c0001"), AT)
    assert state.head is not None
    assert state.head.cursor.step == 40
    assert state.checkpoint("r-0001-c0002").status is CheckpointStatus.ABANDONED
    assert state.run.accepted_sessions == 2


def test_a_judgement_is_kept_with_the_session() -> None:
    session = state_in(Phase.COLLECTED).session(1, 1)
    assert (session.outcome, session.reached, session.furthest) == (Outcome.YIELDED, CURSOR, CURSOR)


def test_the_diagram_on_the_page_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    assert diagram() in page, "run: make diagram"
