"""Facts about a session, from its plan until its output is collected."""

from dataclasses import dataclass, field
from typing import ClassVar

from stages.contract import Cursor, Manifest
from stages.documents import Document
from state.facts.base import SessionFact


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
class PushConfirmed(SessionFact):
    name: ClassVar[str] = "push_confirmed"
    kernel_version: int | None
    adopted: bool = False
    """True if Kaggle already had the kernel, from an earlier push whose answer was lost."""


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
    """Timings in seconds, as the session reported them; empty without a report."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by class, as far as the report or the log has them."""
    kept_s: float = 0.0
    """Seconds of training steps up to the checkpoint collected from the session."""
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    """Peaks of memory and the machine's limits in bytes, by stage (see `stages.contract.StageReport.memory`)."""


@dataclass(frozen=True, kw_only=True)
class OutputCollected(SessionFact):
    """A checkpoint newer than the parent is on the local disk, and every byte is verified."""

    name: ClassVar[str] = "output_collected"
    judgement: Judgement
    checkpoint: str
    manifest: Manifest
    fetched_s: float = 0.0
    """Download time of the session's output in seconds."""
    sent_s: float = 0.0
    """Seconds spent after the download on uploading some of its files for the dataset."""


@dataclass(frozen=True, kw_only=True)
class NothingCollected(SessionFact):
    """The session left no checkpoint newer than its parent."""

    name: ClassVar[str] = "nothing_collected"
    judgement: Judgement
    fetched_s: float = 0.0
    """Download time of the session's output in seconds."""


@dataclass(frozen=True, kw_only=True)
class SessionLost(SessionFact):
    """relay no longer looks for the session. The cause `run-cancelled` says that this has no other reason."""

    name: ClassVar[str] = "session_lost"
    reason: str
    cause: str = "lost"


@dataclass(frozen=True, kw_only=True)
class SessionSought(SessionFact):
    """The user took a cancelled run back: relay looks again for the session that it had stopped looking for."""

    name: ClassVar[str] = "session_sought"
