"""Transition tables of runs and sessions: the facts allowed in each status or phase, and what follows. Pure."""

from state.facts.base import Fact, SessionFact
from state.facts.checkpoint import (
    CheckpointCarried,
    CheckpointDamaged,
    CheckpointInspected,
    CheckpointPublished,
    CheckpointWithdrawn,
    DatasetDropped,
    DatasetOffered,
    PublishIntended,
)
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
    RunTakenOver,
    RunWaiting,
    RunWoken,
)
from state.facts.session import (
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
    SessionResized,
    SessionSought,
)
from state.model.statuses import Phase, RunStatus


class IllegalTransition(Exception):
    """The current phase or status does not allow this fact."""


SESSION_TRANSITIONS: dict[Phase, dict[type[SessionFact], Phase]] = {
    Phase.PLANNED: {SessionResized: Phase.PLANNED, PushIntended: Phase.PUSHING, SessionLost: Phase.LOST},
    Phase.PUSHING: {
        PushConfirmed: Phase.PUSHED,
        PushRefused: Phase.PLANNED,
        PushHeld: Phase.PLANNED,
        PushUnsent: Phase.PLANNED,
        PushUnclear: Phase.PUSHING,
        PushUnfound: Phase.PLANNED,
        SessionLost: Phase.LOST,
    },
    Phase.PUSHED: {
        SeenQueued: Phase.QUEUED,
        SeenRunning: Phase.RUNNING,
        SeenEnded: Phase.ENDED,
        SessionLost: Phase.LOST,
    },
    Phase.QUEUED: {SeenRunning: Phase.RUNNING, SeenEnded: Phase.ENDED, SessionLost: Phase.LOST},
    Phase.RUNNING: {SeenEnded: Phase.ENDED, SessionLost: Phase.LOST},
    Phase.ENDED: {OutputCollected: Phase.COLLECTED, NothingCollected: Phase.NO_CHECKPOINT, SessionLost: Phase.LOST},
    Phase.COLLECTED: {PublishIntended: Phase.PUBLISHING, CheckpointDamaged: Phase.NO_CHECKPOINT},
    Phase.PUBLISHING: {
        DatasetOffered: Phase.PUBLISHING,
        DatasetDropped: Phase.PUBLISHING,
        CheckpointPublished: Phase.PUBLISHED,
        CheckpointDamaged: Phase.NO_CHECKPOINT,
    },
    Phase.PUBLISHED: {
        CheckpointInspected: Phase.PUBLISHED,
        CheckpointWithdrawn: Phase.COLLECTED,
        CheckpointCarried: Phase.COLLECTED,
        CheckpointDamaged: Phase.NO_CHECKPOINT,
    },
    Phase.NO_CHECKPOINT: {},
    Phase.LOST: {SessionSought: Phase.PUSHING},
}


RUN_TRANSITIONS: dict[RunStatus, dict[type[Fact], RunStatus]] = {
    RunStatus.ACTIVE: {
        InputsIntended: RunStatus.ACTIVE,
        InputsOffered: RunStatus.ACTIVE,
        InputsDropped: RunStatus.ACTIVE,
        InputsPublished: RunStatus.ACTIVE,
        OriginFound: RunStatus.ACTIVE,
        OriginOffered: RunStatus.ACTIVE,
        OriginDropped: RunStatus.ACTIVE,
        OriginCarried: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.ACTIVE,
        PlatformLeft: RunStatus.ACTIVE,
        PipelineChanged: RunStatus.ACTIVE,
        PipelineKept: RunStatus.ACTIVE,
        RunWaiting: RunStatus.WAITING,
        RunParked: RunStatus.PARKED,
        RunFinished: RunStatus.FINISHED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.WAITING: {
        RunWoken: RunStatus.ACTIVE,
        RunResumed: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.WAITING,
        PlatformLeft: RunStatus.WAITING,
        PipelineChanged: RunStatus.WAITING,
        PipelineKept: RunStatus.WAITING,
        RunParked: RunStatus.PARKED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.PARKED: {
        RunResumed: RunStatus.ACTIVE,
        RunWoken: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.PARKED,
        PlatformLeft: RunStatus.PARKED,
        PipelineChanged: RunStatus.PARKED,
        PipelineKept: RunStatus.PARKED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.FINISHED: {},
    RunStatus.CANCELLED: {
        RunResumed: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.CANCELLED,
        PipelineKept: RunStatus.CANCELLED,
    },
}
