"""What can happen to a run: one frozen class for each kind of fact. Pure; `state.machine` says what follows."""

from dataclasses import dataclass, field
from typing import ClassVar

from stages.contract import Cursor, Manifest
from stages.documents import Document


@dataclass(frozen=True, kw_only=True)
class Fact(Document):
    """Something that happened to a run; `name` is what the store holds and never changes."""

    name: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class SessionFact(Fact):
    """Something that happened to one session."""

    number: int
    attempt: int


# --- facts about a run -------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunStarted(Fact):
    name: ClassVar[str] = "run_started"
    run: str
    pipeline_name: str
    owner: str
    accelerator: str
    pipeline: str
    pipeline_path: str
    pipeline_digest: str
    home: str = ""
    """Id of the home folder that works on the run; empty in facts of an older relay."""


@dataclass(frozen=True, kw_only=True)
class RunTakenOver(Fact):
    """A person said that this home folder works on the run from now on."""

    name: ClassVar[str] = "run_taken_over"
    home: str
    generation: int
    """Higher than that of every home folder before it."""


@dataclass(frozen=True, kw_only=True)
class InputsIntended(Fact):
    name: ClassVar[str] = "inputs_intended"


@dataclass(frozen=True, kw_only=True)
class InputsOffered(Fact):
    """Kaggle took the files of the pipeline's own data as a dataset of this name, or has one of it already."""

    name: ClassVar[str] = "inputs_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class InputsDropped(Fact):
    """The dataset of the pipeline's own files came to nothing; the next one has the name `dataset`."""

    name: ClassVar[str] = "inputs_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class InputsPublished(Fact):
    name: ClassVar[str] = "inputs_published"


@dataclass(frozen=True, kw_only=True)
class RunWaiting(Fact):
    name: ClassVar[str] = "run_waiting"
    until: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunWoken(Fact):
    name: ClassVar[str] = "run_woken"


@dataclass(frozen=True, kw_only=True)
class RunParked(Fact):
    name: ClassVar[str] = "run_parked"
    reason: str
    remedy: str
    excerpt: str = ""
    awaits: str = ""
    """`queue`, `slot` or `hours`: what did not come in time. relay goes on looking, and by itself once it has come."""
    generation: int = 0
    """That of another home folder's mark, where that is why: who takes the run over has to be above it."""


@dataclass(frozen=True, kw_only=True)
class RunResumed(Fact):
    """A person said go on; `checkpoint` names an older one to go on from."""

    name: ClassVar[str] = "run_resumed"
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class RunFinished(Fact):
    name: ClassVar[str] = "run_finished"


@dataclass(frozen=True, kw_only=True)
class RunCancelled(Fact):
    name: ClassVar[str] = "run_cancelled"


# --- facts about a session ---------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SessionPlanned(SessionFact):
    name: ClassVar[str] = "session_planned"
    slug: str
    token: str
    start: Cursor
    parent: str | None
    budget_s: float
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class SessionResized(SessionFact):
    """Before it could be pushed, the hours that are left became others."""

    name: ClassVar[str] = "session_resized"
    budget_s: float
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class PushIntended(SessionFact):
    name: ClassVar[str] = "push_intended"


@dataclass(frozen=True, kw_only=True)
class PushRefused(SessionFact):
    """Kaggle declined and nothing runs."""

    name: ClassVar[str] = "push_refused"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushHeld(PushRefused):
    """Relay itself has not made the push yet: a kernel of the run that was pushed before it was taken over is alive."""

    name: ClassVar[str] = "push_held"


@dataclass(frozen=True, kw_only=True)
class PushUnsent(SessionFact):
    """The push was not made, or did not reach Kaggle: nothing runs."""

    name: ClassVar[str] = "push_unsent"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushUnclear(SessionFact):
    """Kaggle may have taken the push: no clear answer came, or nobody was there to hear it. It is looked for."""

    name: ClassVar[str] = "push_unclear"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushUnfound(SessionFact):
    """Kaggle was asked long and often enough and has nothing of the unclear push: it may be made again."""

    name: ClassVar[str] = "push_unfound"


@dataclass(frozen=True, kw_only=True)
class TwinSeen(SessionFact):
    """Kaggle runs another version of the session's kernel too, which spends hours and takes a slot."""

    name: ClassVar[str] = "twin_seen"
    version: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class TwinEnded(SessionFact):
    """The other version of the session's kernel runs no more."""

    name: ClassVar[str] = "twin_ended"
    version: int


@dataclass(frozen=True, kw_only=True)
class PushConfirmed(SessionFact):
    name: ClassVar[str] = "push_confirmed"
    kernel_version: int | None
    adopted: bool = False
    """Kaggle had it already: an earlier push whose answer we did not hear."""


@dataclass(frozen=True, kw_only=True)
class SeenQueued(SessionFact):
    name: ClassVar[str] = "seen_queued"


@dataclass(frozen=True, kw_only=True)
class SeenRunning(SessionFact):
    name: ClassVar[str] = "seen_running"


@dataclass(frozen=True, kw_only=True)
class SeenEnded(SessionFact):
    name: ClassVar[str] = "seen_ended"
    worker: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Judgement(Document):
    """What we made of a session that ended."""

    outcome: str
    cause: str = ""
    reason: str = ""
    transient: bool = False
    furthest: Cursor | None = None
    steps_lost: int = 0
    excerpt: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds, as the session reported them; empty without a report, and in facts of an older relay."""
    seconds: dict[str, float] = field(default_factory=dict)
    """The session's seconds by class, as far as its report or its log tells; empty in facts of an older relay."""
    kept_s: float = 0.0
    """Of the seconds of its steps, those up to the checkpoint that was taken from it."""


@dataclass(frozen=True, kw_only=True)
class OutputCollected(SessionFact):
    """A checkpoint newer than the parent is on this disk and every byte was checked."""

    name: ClassVar[str] = "output_collected"
    judgement: Judgement
    checkpoint: str
    manifest: Manifest
    fetched_s: float = 0.0
    """How long it took to bring home what the session left; 0 in facts of an older relay."""
    sent_s: float = 0.0
    """How long files of it were sent on to its dataset after that."""


@dataclass(frozen=True, kw_only=True)
class NothingCollected(SessionFact):
    """The session left no checkpoint newer than its parent."""

    name: ClassVar[str] = "nothing_collected"
    judgement: Judgement
    fetched_s: float = 0.0
    """How long it took to bring home what the session left; 0 in facts of an older relay."""


@dataclass(frozen=True, kw_only=True)
class PublishIntended(SessionFact):
    name: ClassVar[str] = "publish_intended"


@dataclass(frozen=True, kw_only=True)
class DatasetOffered(SessionFact):
    """Kaggle took the checkpoint's files as a dataset of this name, or has one of it already: it is looked for."""

    name: ClassVar[str] = "dataset_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class DatasetDropped(SessionFact):
    """The checkpoint's dataset came to nothing; the next one has the name `dataset`, since the old one need not be free."""

    name: ClassVar[str] = "dataset_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckpointPublished(SessionFact):
    name: ClassVar[str] = "checkpoint_published"
    sent_s: float = 0.0
    """How long the upload took, of what was not sent before; 0 where another process did it, and in facts of an older relay."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInspected(SessionFact):
    """Every byte of the session's checkpoint in its dataset is what the manifest says."""

    name: ClassVar[str] = "checkpoint_inspected"


@dataclass(frozen=True, kw_only=True)
class CheckpointWithdrawn(SessionFact):
    """The dataset of the session's checkpoint was damaged and is gone; the copy on this disk is whole."""

    name: ClassVar[str] = "checkpoint_withdrawn"
    reason: str
    dataset: str = ""
    """The name of the next one; empty in facts of an older relay, which used the same name again."""


@dataclass(frozen=True, kw_only=True)
class CheckpointDamaged(SessionFact):
    """The session's checkpoint is whole neither on this disk nor on Kaggle."""

    name: ClassVar[str] = "checkpoint_damaged"
    reason: str
    steps_lost: int = 0


@dataclass(frozen=True, kw_only=True)
class SessionLost(SessionFact):
    name: ClassVar[str] = "session_lost"
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckpointPruned(Fact):
    name: ClassVar[str] = "checkpoint_pruned"
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class DamageFound(Fact):
    """Bytes that are not what their manifest says; nothing was trained on them."""

    name: ClassVar[str] = "damage_found"
    checkpoint: str
    file: str
    place: str
    """`output`, `disk` or `dataset`."""
    problem: str
    kept: str = ""
    """The file's name in the run's quarantine; empty where there was nothing to keep or no room for it."""


FACTS: dict[str, type[Fact]] = {
    fact.name: fact
    for fact in (
        RunStarted,
        RunTakenOver,
        InputsIntended,
        InputsOffered,
        InputsDropped,
        InputsPublished,
        RunWaiting,
        RunWoken,
        RunParked,
        RunResumed,
        RunFinished,
        RunCancelled,
        SessionPlanned,
        SessionResized,
        PushIntended,
        PushRefused,
        PushHeld,
        PushUnsent,
        PushUnclear,
        PushUnfound,
        PushConfirmed,
        TwinSeen,
        TwinEnded,
        SeenQueued,
        SeenRunning,
        SeenEnded,
        OutputCollected,
        NothingCollected,
        PublishIntended,
        DatasetOffered,
        DatasetDropped,
        CheckpointPublished,
        CheckpointInspected,
        CheckpointWithdrawn,
        CheckpointDamaged,
        SessionLost,
        CheckpointPruned,
        DamageFound,
    )
}
