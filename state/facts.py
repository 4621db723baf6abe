"""Facts about a run, one frozen class per kind. Pure; `state.machine` defines their effect."""

from dataclasses import dataclass, field
from typing import ClassVar

from stages.contract import Cursor, Manifest
from stages.documents import Document


@dataclass(frozen=True, kw_only=True)
class Fact(Document):
    """Something that happened to a run. `name` is stored in the database and must never change."""

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
    """Id of the home folder that works on the run; empty in facts of older relay versions."""


@dataclass(frozen=True, kw_only=True)
class RunTakenOver(Fact):
    """The user assigned the run to this home folder."""

    name: ClassVar[str] = "run_taken_over"
    home: str
    generation: int
    """Fencing number, higher than that of every previous home folder."""


@dataclass(frozen=True, kw_only=True)
class InputsIntended(Fact):
    name: ClassVar[str] = "inputs_intended"


@dataclass(frozen=True, kw_only=True)
class InputsOffered(Fact):
    """Kaggle accepted the pipeline's own data files as a dataset with this slug, or already has such a dataset."""

    name: ClassVar[str] = "inputs_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class InputsDropped(Fact):
    """The upload of the pipeline's own files failed for good; the next upload uses the slug `dataset`."""

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
    """What did not come in time: `queue`, `slot` or `hours`. relay keeps polling and resumes the run once it comes."""
    generation: int = 0
    """Generation of another home folder, if that is the reason; a takeover must use a higher one."""


@dataclass(frozen=True, kw_only=True)
class RunResumed(Fact):
    """The user resumed the run; `checkpoint` optionally names an older checkpoint to resume from."""

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
    """The remaining quota changed before the push, and with it the session's budget and limit."""

    name: ClassVar[str] = "session_resized"
    budget_s: float
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class PushIntended(SessionFact):
    name: ClassVar[str] = "push_intended"


@dataclass(frozen=True, kw_only=True)
class PushRefused(SessionFact):
    """Kaggle refused the push; no kernel runs."""

    name: ClassVar[str] = "push_refused"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushHeld(PushRefused):
    """relay postponed the push: a kernel that the previous home folder pushed for the run is still alive."""

    name: ClassVar[str] = "push_held"


@dataclass(frozen=True, kw_only=True)
class PushUnsent(SessionFact):
    """The push was not sent or did not reach Kaggle; no kernel runs."""

    name: ClassVar[str] = "push_unsent"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushUnclear(SessionFact):
    """Kaggle may have accepted the push: relay got no clear answer, or stopped before it came, and now polls for it."""

    name: ClassVar[str] = "push_unclear"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushUnfound(SessionFact):
    """The unclear push did not appear on Kaggle after enough polls and enough time; it may be repeated."""

    name: ClassVar[str] = "push_unfound"


@dataclass(frozen=True, kw_only=True)
class TwinSeen(SessionFact):
    """Kaggle also runs another version of the session's kernel, which uses quota and takes a slot."""

    name: ClassVar[str] = "twin_seen"
    version: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class TwinEnded(SessionFact):
    """The other version of the session's kernel has stopped."""

    name: ClassVar[str] = "twin_ended"
    version: int


@dataclass(frozen=True, kw_only=True)
class PushConfirmed(SessionFact):
    name: ClassVar[str] = "push_confirmed"
    kernel_version: int | None
    adopted: bool = False
    """True if Kaggle already had the kernel, from an earlier push whose answer was lost."""


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
    """relay's assessment of an ended session."""

    outcome: str
    cause: str = ""
    reason: str = ""
    transient: bool = False
    furthest: Cursor | None = None
    steps_lost: int = 0
    excerpt: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    """Timings in seconds, as the session reported them; empty without a report and in facts of older relay versions."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by class, as far as the report or the log has them; empty in facts of older relay versions."""
    kept_s: float = 0.0
    """Seconds of training steps up to the checkpoint collected from the session."""


@dataclass(frozen=True, kw_only=True)
class OutputCollected(SessionFact):
    """A checkpoint newer than the parent is on the local disk, and every byte is verified."""

    name: ClassVar[str] = "output_collected"
    judgement: Judgement
    checkpoint: str
    manifest: Manifest
    fetched_s: float = 0.0
    """Download time of the session's output in seconds; 0 in facts of older relay versions."""
    sent_s: float = 0.0
    """Seconds spent after the download on uploading some of its files for the dataset."""


@dataclass(frozen=True, kw_only=True)
class NothingCollected(SessionFact):
    """The session left no checkpoint newer than its parent."""

    name: ClassVar[str] = "nothing_collected"
    judgement: Judgement
    fetched_s: float = 0.0
    """Download time of the session's output in seconds; 0 in facts of older relay versions."""


@dataclass(frozen=True, kw_only=True)
class PublishIntended(SessionFact):
    name: ClassVar[str] = "publish_intended"


@dataclass(frozen=True, kw_only=True)
class DatasetOffered(SessionFact):
    """Kaggle accepted the checkpoint's files as a dataset with this slug, or already has one; relay polls for it."""

    name: ClassVar[str] = "dataset_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class DatasetDropped(SessionFact):
    """The checkpoint's upload failed for good. The next one uses the slug `dataset`: the old one may stay reserved."""

    name: ClassVar[str] = "dataset_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckpointPublished(SessionFact):
    name: ClassVar[str] = "checkpoint_published"
    sent_s: float = 0.0
    """Upload time in seconds, without files sent earlier; 0 if another process did it, or in facts of older relays."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInspected(SessionFact):
    """Every byte of the checkpoint's dataset matches the manifest."""

    name: ClassVar[str] = "checkpoint_inspected"


@dataclass(frozen=True, kw_only=True)
class CheckpointWithdrawn(SessionFact):
    """The checkpoint's dataset was damaged and has been removed; the copy on the local disk is intact."""

    name: ClassVar[str] = "checkpoint_withdrawn"
    reason: str
    dataset: str = ""
    """Slug of the next dataset; empty in facts of older relay versions, which reused the same slug."""


@dataclass(frozen=True, kw_only=True)
class CheckpointDamaged(SessionFact):
    """No intact copy of the session's checkpoint is left, neither on the local disk nor on Kaggle."""

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
    """A file does not match its manifest; no session has trained on it."""

    name: ClassVar[str] = "damage_found"
    checkpoint: str
    file: str
    place: str
    """Location of the damaged file: `output`, `disk` or `dataset`."""
    problem: str
    kept: str = ""
    """Name of the file in the run's quarantine; empty if there was nothing to keep or no disk space for it."""


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
