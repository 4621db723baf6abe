"""Frozen values that describe a run: its sessions, checkpoints, poll state, quota and metrics. No I/O."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from stages.contract import Cursor
from state.facts import Fact


class RunStatus(StrEnum):
    """Status of a run. The values are stored in the database: never rename one."""

    ACTIVE = "active"  # work to do, or a session under way
    WAITING = "waiting"  # waits for quota until a known time
    PARKED = "parked"  # needs the user
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Phase of one session. The values are stored in the database: never rename one."""

    PLANNED = "planned"  # recorded in the database, not pushed yet
    PUSHING = "pushing"  # the push is intended; Kaggle may or may not have the kernel
    PUSHED = "pushed"  # Kaggle has the kernel
    QUEUED = "queued"  # Kaggle reports that it waits for a machine
    RUNNING = "running"  # Kaggle reports that it runs
    ENDED = "ended"  # Kaggle reports that it stopped
    COLLECTED = "collected"  # its checkpoint is on the local disk, verified
    PUBLISHING = "publishing"  # the upload is intended; Kaggle may or may not have the dataset
    PUBLISHED = "published"  # its checkpoint is a dataset that the next session can mount
    NO_CHECKPOINT = "spent"  # it ended and left no checkpoint newer than its parent
    LOST = "lost"  # given up: no output will be collected

    @property
    def over(self) -> bool:
        """True when relay no longer works on the session. Its checkpoint may still turn out to be damaged."""
        return self in (Phase.PUBLISHED, Phase.NO_CHECKPOINT, Phase.LOST)

    @property
    def on_kaggle(self) -> bool:
        """True when the session, as far as relay knows, takes a slot on Kaggle."""
        return self in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING)

    @property
    def awaited(self) -> bool:
        """True when Kaggle has the session and its output has not been collected yet."""
        return self in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)

    @property
    def under_way(self) -> bool:
        """True when the session may still produce a checkpoint newer than all existing ones."""
        return self is Phase.PUSHING or self.awaited


class Outcome(StrEnum):
    """How a session ended."""

    FINISHED = "finished"  # the pipeline is done
    YIELDED = "yielded"  # stopped itself in time
    TIMED_OUT = "timed_out"  # killed at the session limit
    FAILED = "failed"
    LOST = "lost"


COPIES_MAX = 2
"""Number of names under which relay uploads a dataset unasked. Each further name needs `relay resume` by the user."""


def place_of(name: str, copy: int) -> str:
    """Return the slug of the copy-th dataset (1 is the first) of `name`: Kaggle may keep a used slug reserved."""
    return name if copy == 1 else f"{name}-n{copy}"


def name_in(place: str) -> str:
    """Return the base name of a dataset's slug, without the copy number."""
    return re.sub(r"-n[0-9]+$", "", place)


def copy_in(name: str, place: str) -> int:
    """Return the copy number (1 is the first) of the dataset `place` of `name`."""
    return 1 if place == name else int(place.removeprefix(f"{name}-n"))


def places_until(name: str, place: str) -> tuple[str, ...]:
    """Return the slugs of all copies of `name` up to and including `place`."""
    return tuple(place_of(name, copy) for copy in range(1, copy_in(name, place) + 1))


class InputsStatus(StrEnum):
    """Upload status of the run's own data files."""

    NONE = ""  # not on Kaggle, or the run has no such files
    PUBLISHING = "publishing"  # the upload is intended; Kaggle may or may not have the dataset
    PUBLISHED = "published"  # a dataset that sessions mount


class CheckpointStatus(StrEnum):
    """Status of a checkpoint, which decides what may be done with it."""

    COLLECTED = "collected"  # on the local disk, every byte verified
    PUBLISHED = "published"  # Kaggle lists its dataset with the right sizes
    ABANDONED = "abandoned"  # the user resumed from an older one
    PRUNED = "pruned"  # retention removed its dataset
    DAMAGED = "damaged"  # no intact copy is left


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a pipeline."""

    id: str
    name: str
    owner: str
    accelerator: str
    """Accelerator whose slots and quota the run's sessions use: `tpu`, `gpu` or `cpu`."""
    status: RunStatus
    pipeline: str
    """The pipeline as canonical JSON. The run follows this copy; later edits of the file have no effect."""
    pipeline_path: str
    pipeline_digest: str
    created_at: datetime
    updated_at: datetime
    waiting_until: datetime | None = None
    reason: str = ""
    """Why the run waits or is parked, in one sentence."""
    remedy: str = ""
    """The command with which the user solves the problem."""
    excerpt: str = ""
    """End of the log, or the traceback, that explains `reason`."""
    inputs: InputsStatus = InputsStatus.NONE
    judged: int = 0
    """Number of sessions, from the first, that the user has accepted by resuming; their failures no longer count."""
    awaits: str = ""
    """Event that resumes a parked run automatically (see `RunParked.awaits`); empty if only the user can resume it."""
    home: str = ""
    """Id of the home folder that works on the run; empty if an older relay started it."""
    generation: int = 0
    """Fencing number of the home folder: grows each time the user lets another home folder take the run over."""
    overtaken_by: int = 0
    """Highest generation seen on kernels or datasets of another home folder."""
    inputs_dataset: str = ""
    """Slug of the dataset with the run's own data files, if it is not the default one."""
    inputs_offered_at: datetime | None = None
    """When Kaggle accepted that dataset; None before that and once it is published."""
    unsure: bool = False
    """True while the previous home folder of a taken-over run may have made a push that Kaggle does not show yet."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One kernel execution, tried as `attempt` of session `number`."""

    run: str
    number: int
    attempt: int
    slug: str
    token: str
    phase: Phase
    start: Cursor
    parent: str | None
    """Name of the checkpoint that the session starts from."""
    budget_s: float
    limit_s: float
    planned_at: datetime
    kernel_version: int | None = None
    pushed_at: datetime | None = None
    running_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str = ""
    """Last status that Kaggle reported for the session."""
    worker_message: str = ""
    outcome: Outcome | None = None
    cause: str = ""
    reason: str = ""
    transient: bool = False
    reached: Cursor | None = None
    """Cursor of the checkpoint collected from the session."""
    furthest: Cursor | None = None
    """Last step that the session's log reported."""
    steps_lost: int = 0
    checkpoint: str | None = None
    excerpt: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by class (`stages.session.time_accounting.Spent`) of an ended session; empty if it never reported any."""
    kept_s: float = 0.0
    """Seconds of training steps that are contained in the collected checkpoint."""
    timings: dict[str, float] = field(default_factory=dict)
    """Timings from the session's report, in seconds."""
    unclear: int = 0
    """Number of pushes of the session without a clear answer."""
    unclear_at: datetime | None = None
    """Since when relay has been polling for the last of these pushes."""
    declined: bool = False
    """True if Kaggle refused a push of the session; Kaggle may have kept the source nevertheless."""
    twin: int | None = None
    """Kernel version that ran in parallel by mistake (a duplicate push), although relay wanted only one session."""
    twin_at: datetime | None = None
    twin_ended_at: datetime | None = None

    @property
    def twin_lives(self) -> bool:
        """True when a second version of the kernel, as far as relay knows, takes a slot."""
        return self.twin is not None and self.twin_ended_at is None

    @property
    def key(self) -> tuple[int, int]:
        """(number, attempt): the session's identity within its run, in chronological order."""
        return (self.number, self.attempt)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A verified checkpoint of a run. `name` is also the slug of its first dataset."""

    run: str
    name: str
    session: int
    attempt: int
    digest: str
    parent: str | None
    """Digest of the parent checkpoint, which the session started from."""
    cursor: Cursor
    size_bytes: int
    manifest: str
    """The manifest's canonical JSON."""
    status: CheckpointStatus
    verified_at: datetime
    """When every byte, on the local disk or in the dataset, was last verified against the manifest."""
    published_at: datetime | None = None
    dataset: str = ""
    """Slug of its dataset, if it differs from the checkpoint's name."""
    offered_at: datetime | None = None
    """When Kaggle accepted that dataset; None before that and once it is published."""

    @property
    def place(self) -> str:
        """Slug of the checkpoint's dataset on Kaggle."""
        return self.dataset or self.name

    @property
    def wants_person(self) -> bool:
        """True when uploading the checkpoint under yet another name needs the user's consent (`relay resume`)."""
        return self.offered_at is None and copy_in(self.name, self.place) > COPIES_MAX

    @property
    def places(self) -> tuple[str, ...]:
        """Every slug under which the checkpoint was uploaded to Kaggle, newest last."""
        return places_until(self.name, self.place)

    @property
    def on_kaggle(self) -> bool:
        """True when the dataset, as far as relay knows, exists on Kaggle."""
        return self.published_at is not None and self.status is not CheckpointStatus.PRUNED

    @property
    def usable(self) -> bool:
        """True when a session may start from the checkpoint."""
        return self.status in (CheckpointStatus.COLLECTED, CheckpointStatus.PUBLISHED)


@dataclass(frozen=True)
class RunState:
    """State of one run: the fold of all its facts."""

    run: Run
    sessions: tuple[Session, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def head(self) -> Checkpoint | None:
        """The newest checkpoint that a session may start from."""
        return next((c for c in reversed(self.checkpoints) if c.usable), None)

    @property
    def last(self) -> Session | None:
        """The newest session."""
        return self.sessions[-1] if self.sessions else None

    def session(self, number: int, attempt: int) -> Session:
        """Return the session with this key. Raises KeyError if there is none."""
        return self.sessions[self._place(number, attempt)]

    def checkpoint(self, name: str) -> Checkpoint:
        """Return the checkpoint with this name. Raises KeyError if there is none."""
        for found in self.checkpoints:
            if found.name == name:
                return found
        raise KeyError(name)

    def with_session(self, session: Session) -> Self:
        """Return the state with the session of the same key replaced by this one."""
        place = self._place(session.number, session.attempt)
        return replace(self, sessions=(*self.sessions[:place], session, *self.sessions[place + 1 :]))

    def _place(self, number: int, attempt: int) -> int:
        """Return a session's index; KeyError if there is none. Searches backwards: it is nearly always the newest."""
        for place in range(len(self.sessions) - 1, -1, -1):
            found = self.sessions[place]
            if found.number == number and found.attempt == attempt:
                return place
        raise KeyError((self.run.id, number, attempt))

    def with_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """Return the state with the checkpoint of the same name replaced by this one."""
        return replace(
            self, checkpoints=tuple(checkpoint if c.name == checkpoint.name else c for c in self.checkpoints)
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """A user's request, carried out by the next tick: `pause`, `resume`, `cancel`, `retry` or `prune`."""

    id: int
    run: str
    verb: str
    arguments: dict[str, str] = field(default_factory=dict)
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class PollState:
    """State of polling Kaggle for one run. It is a cache: losing it costs one extra poll, nothing else."""

    looked_at: datetime | None = None
    """When the session was last polled."""
    dataset_looked_at: datetime | None = None
    """When the dataset that Kaggle is processing was last polled."""
    failures: int = 0
    """Number of consecutive failed calls."""
    failing_since: datetime | None = None
    failed_at: datetime | None = None
    """When the last of these calls failed."""
    failing_s: float = 0.0
    """Duration of the failures in seconds, counted only while the daemon was running: laptop sleep does not count."""
    failure: str = ""
    absences: int = 0
    """Number of these failures that were a clear 404 for the kernel."""
    not_before: datetime | None = None
    log_lines: int = 0
    """Number of lines of the live session's log that have been read."""
    slot_since: datetime | None = None
    """Since when the run has been waiting for a slot of its account; runs are served in this order."""
    slot_seen_at: datetime | None = None
    """When the run last confirmed that it waits: a run without a daemon must not hold up the others."""
    done_at: datetime | None = None
    """Forecast, from the pace of its steps, of when the live session would complete the pipeline's last step."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of the live session by class, as far as its log has reported them."""
    sent_s: float = 0.0
    """Upload time in seconds of the dataset that Kaggle is processing."""
    sought_s: dict[str, float] = field(default_factory=dict)
    """Seconds spent polling for each unconfirmed or unfinished kernel or dataset, by its name on Kaggle.

    See `orchestrator.core.search_time`.
    """
    awaiting: str = ""
    """Event on Kaggle that relay waits for, and the session concerned (`orchestrator.core.waits`); empty for none."""
    waited_s: float = 0.0
    """Seconds of that wait while relay was running: a clock change adds or removes at most one poll interval."""
    waited_at: datetime | None = None
    """Time up to which `waited_s` is counted."""
    lately: str = ""
    """Digests of the commands performed at or shortly after `lately_at`; none is repeated before time has passed."""
    lately_at: datetime | None = None
    calls: int = 0
    """Number of calls to Kaggle within one minute from `calls_since`."""
    calls_since: datetime | None = None


FORGOTTEN = (
    "looked_at",
    "dataset_looked_at",
    "failing_since",
    "failed_at",
    "not_before",
    "slot_since",
    "slot_seen_at",
    "done_at",
    "waited_at",
    "lately_at",
    "calls_since",
)
"""Names of the times in `PollState`: they are meaningless once the clock has been changed."""


@dataclass(frozen=True, kw_only=True)
class QuotaRow:
    """Weekly quota of one account as last read, in seconds. `total_s` is None if unknown."""

    owner: str
    accelerator: str
    used_s: float
    reserved_s: float
    total_s: float | None
    refreshes_at: datetime | None
    read_at: datetime
    assumed: bool = False
    """True if Kaggle reported none: `total_s` is then the pipeline's setting, `used_s` the time of relay's sessions."""
    outdated: bool = False
    """True if a session of the account has ended since the quota was read. Set with the fact, independent of clocks."""

    @property
    def left_s(self) -> float | None:
        """Seconds that a new session may use, or None if unknown."""
        return None if self.total_s is None else max(0.0, self.total_s - self.used_s - self.reserved_s)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value reported by a session. `number` is that of its progress event and identifies replayed events."""

    run: str
    session: int
    attempt: int
    number: int
    stage: str
    step: int
    name: str
    value: float
    at_s: float


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Mean, minimum and maximum of one metric over a few consecutive steps. `step` is the last of them."""

    stage: str
    name: str
    step: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class StepEdges:
    """Times of the first and the last step in a session's log, in seconds on the session's clock."""

    session: int
    attempt: int
    first_at_s: float
    last_at_s: float


@dataclass(frozen=True, kw_only=True)
class StepSeen:
    """A step reported by a session; `at_s` is its completion time in seconds on the session's clock."""

    session: int
    attempt: int
    stage: str
    step: int
    at_s: float


@dataclass(frozen=True, kw_only=True)
class LoggedFact:
    """A fact with its number in the log of all runs; the number increases with each fact."""

    number: int
    run: str
    at: datetime
    fact: Fact


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Another run that waits for a slot of the same account and accelerator."""

    run: str
    since: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class CallsMade:
    """Number of calls to Kaggle for a run within one minute from `since`."""

    since: datetime
    calls: int


@dataclass(frozen=True, kw_only=True)
class MachineTime:
    """Time for which one session occupied its machine; `ended_at` is None while it still does."""

    began_at: datetime
    ended_at: datetime | None
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Input of the core's decision: one run, and what it shares with other runs of its account."""

    state: RunState
    requests: tuple[Request, ...] = ()
    watch: PollState = field(default_factory=PollState)
    quota: QuotaRow | None = None
    others_live: int = 0
    """Number of slots of the same account and accelerator taken by other runs; duplicate sessions take two."""
    waiting: tuple[Waiting, ...] = ()
    """Other runs that wait for such a slot."""
    others_calls: tuple[CallsMade, ...] = ()
    """Recent calls to Kaggle by other runs of the account."""
