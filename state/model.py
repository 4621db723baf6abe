"""The vocabulary: what a run is made of. Frozen values, no I/O."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from stages.contract import Cursor
from state.facts import Fact


class RunStatus(StrEnum):
    """Where a run stands. The store holds these words; never rename one."""

    ACTIVE = "active"  # there is something to do, or a session to wait for
    WAITING = "waiting"  # for quota, until a known time
    PARKED = "parked"  # needs a person
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Where one session stands. The store holds these words; never rename one."""

    PLANNED = "planned"  # recorded here, not yet on Kaggle
    PUSHING = "pushing"  # we meant to push; Kaggle may or may not have it
    PUSHED = "pushed"  # Kaggle has it
    QUEUED = "queued"  # Kaggle says it waits for a machine
    RUNNING = "running"  # Kaggle says it runs
    ENDED = "ended"  # Kaggle says it stopped
    COLLECTED = "collected"  # its checkpoint is on this disk, checked
    PUBLISHING = "publishing"  # we meant to publish; Kaggle may or may not have the dataset
    PUBLISHED = "published"  # its checkpoint is a dataset that the next session can mount
    NO_CHECKPOINT = "spent"  # it ended and left no checkpoint newer than its parent
    LOST = "lost"  # it will never give us anything

    @property
    def over(self) -> bool:
        """Whether nobody waits for the session any more; its checkpoint may yet turn out damaged."""
        return self in (Phase.PUBLISHED, Phase.NO_CHECKPOINT, Phase.LOST)

    @property
    def on_kaggle(self) -> bool:
        """Whether the session takes a slot on Kaggle, as far as we know."""
        return self in (Phase.PUSHING, Phase.PUSHED, Phase.QUEUED, Phase.RUNNING)

    @property
    def awaited(self) -> bool:
        """Whether Kaggle has the session and something is still wanted of it."""
        return self in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING, Phase.ENDED)

    @property
    def under_way(self) -> bool:
        """Whether a checkpoint may still come of it, which would be newer than any that there is."""
        return self is Phase.PUSHING or self.awaited


class Outcome(StrEnum):
    """How a session ended."""

    FINISHED = "finished"  # the pipeline is done
    YIELDED = "yielded"  # stopped itself in time
    TIMED_OUT = "timed_out"  # killed at the session limit
    FAILED = "failed"
    LOST = "lost"


COPIES_MAX = 2
"""Under so many names a dataset is offered by itself; under each further one only after a person said go on."""


def place_of(name: str, copy: int) -> str:
    """Name of the copy-th dataset (1 is the first) of what is called `name`: a name once used need not be free again."""
    return name if copy == 1 else f"{name}-n{copy}"


def name_in(place: str) -> str:
    """What a dataset is a copy of, by its name."""
    return re.sub(r"-n[0-9]+$", "", place)


def copy_in(name: str, place: str) -> int:
    """Which copy of `name` a dataset is."""
    return 1 if place == name else int(place.removeprefix(f"{name}-n"))


def places_until(name: str, place: str) -> tuple[str, ...]:
    """Names of all copies up to that one."""
    return tuple(place_of(name, copy) for copy in range(1, copy_in(name, place) + 1))


class InputsStatus(StrEnum):
    """Where a run's own data files are."""

    NONE = ""  # not on Kaggle, or there are none
    PUBLISHING = "publishing"  # we meant to publish them; Kaggle may or may not have them
    PUBLISHED = "published"  # a dataset that sessions mount


class CheckpointStatus(StrEnum):
    """What may be done with a checkpoint."""

    COLLECTED = "collected"  # on this disk, every byte checked
    PUBLISHED = "published"  # listed by Kaggle with the right sizes
    ABANDONED = "abandoned"  # a person went on from an older one
    PRUNED = "pruned"  # its dataset was removed to save room
    DAMAGED = "damaged"  # its bytes are whole nowhere any more


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a pipeline."""

    id: str
    name: str
    owner: str
    accelerator: str
    """What its sessions take a slot and quota of: `tpu`, `gpu` or `cpu`."""
    status: RunStatus
    pipeline: str
    """The pipeline as canonical JSON: what the run does, whatever happens to the file."""
    pipeline_path: str
    pipeline_digest: str
    created_at: datetime
    updated_at: datetime
    waiting_until: datetime | None = None
    reason: str = ""
    """Why it waits or is parked: one sentence."""
    remedy: str = ""
    """The command to type."""
    excerpt: str = ""
    """The end of the log or the traceback that explains the reason."""
    inputs: InputsStatus = InputsStatus.NONE
    judged: int = 0
    """Sessions up to this count have been judged by a person: their failures count no more."""
    awaits: str = ""
    """What a parked run would go on with by itself if it came after all (see `RunParked.awaits`); empty where only a person helps."""
    home: str = ""
    """Id of the home folder that works on the run; empty where an older relay began it."""
    generation: int = 0
    """Grows each time a person lets another home folder take the run over."""
    overtaken_by: int = 0
    """Highest generation that was seen on the work of another home folder."""
    inputs_dataset: str = ""
    """Name of the dataset of its own data files, where it is not the usual one."""
    inputs_offered_at: datetime | None = None
    """When Kaggle took that dataset, while it is not published."""
    unsure: bool = False
    """Whether whoever worked on the run before it was taken over may have pushed what Kaggle does not show yet."""


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
    """Name of the checkpoint it starts from."""
    budget_s: float
    limit_s: float
    planned_at: datetime
    kernel_version: int | None = None
    pushed_at: datetime | None = None
    running_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str = ""
    """Kaggle's last word on it."""
    worker_message: str = ""
    outcome: Outcome | None = None
    cause: str = ""
    reason: str = ""
    transient: bool = False
    reached: Cursor | None = None
    """Where the checkpoint that we took from it stands."""
    furthest: Cursor | None = None
    """The last step that its log told of."""
    steps_lost: int = 0
    checkpoint: str | None = None
    excerpt: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By class (`stages.session.time_accounting.Spent`), of a session that is over; empty where it never told."""
    kept_s: float = 0.0
    """Of the seconds of its steps, those whose steps are in the checkpoint that we took from it."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds, as its report told them."""
    unclear: int = 0
    """How many pushes of it had no clear answer."""
    unclear_at: datetime | None = None
    """Since when the last of them is looked for."""
    declined: bool = False
    """Whether Kaggle declined a push of it; it may have kept the source."""
    twin: int | None = None
    """The version of its kernel that ran besides, though relay wanted one session only."""
    twin_at: datetime | None = None
    twin_ended_at: datetime | None = None

    @property
    def twin_lives(self) -> bool:
        """Whether another version of its kernel takes a slot, as far as we know."""
        return self.twin is not None and self.twin_ended_at is None

    @property
    def key(self) -> tuple[int, int]:
        """(number, attempt): identity within the run, in order of time."""
        return (self.number, self.attempt)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A verified checkpoint of a run; `name` is its first dataset's slug too."""

    run: str
    name: str
    session: int
    attempt: int
    digest: str
    parent: str | None
    """Digest of the checkpoint that its session started from."""
    cursor: Cursor
    size_bytes: int
    manifest: str
    """The manifest's canonical JSON."""
    status: CheckpointStatus
    verified_at: datetime
    """When every byte was last found to be what the manifest says: on this disk, or in the dataset."""
    published_at: datetime | None = None
    dataset: str = ""
    """Name of its dataset, where that is not the checkpoint's own."""
    offered_at: datetime | None = None
    """When Kaggle took that dataset, while it is not published."""

    @property
    def place(self) -> str:
        """Name of its dataset on Kaggle."""
        return self.dataset or self.name

    @property
    def wants_person(self) -> bool:
        """Whether it is offered under another name only after a person said go on."""
        return self.offered_at is None and copy_in(self.name, self.place) > COPIES_MAX

    @property
    def places(self) -> tuple[str, ...]:
        """Every name under which it was offered to Kaggle, the newest last."""
        return places_until(self.name, self.place)

    @property
    def on_kaggle(self) -> bool:
        """Whether its dataset is there, as far as we know."""
        return self.published_at is not None and self.status is not CheckpointStatus.PRUNED

    @property
    def usable(self) -> bool:
        """Whether a session may start from it."""
        return self.status in (CheckpointStatus.COLLECTED, CheckpointStatus.PUBLISHED)


@dataclass(frozen=True)
class RunState:
    """Everything that the facts of one run fold to."""

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
        """That session; KeyError where there is none."""
        return self.sessions[self._place(number, attempt)]

    def checkpoint(self, name: str) -> Checkpoint:
        """That checkpoint; KeyError where there is none."""
        for found in self.checkpoints:
            if found.name == name:
                return found
        raise KeyError(name)

    def with_session(self, session: Session) -> Self:
        """The state with this session put in the place of the one with its key."""
        place = self._place(session.number, session.attempt)
        return replace(self, sessions=(*self.sessions[:place], session, *self.sessions[place + 1 :]))

    def _place(self, number: int, attempt: int) -> int:
        """Where a session is; KeyError where there is none. Looked for from the end: it is nearly always the newest."""
        for place in range(len(self.sessions) - 1, -1, -1):
            found = self.sessions[place]
            if found.number == number and found.attempt == attempt:
                return place
        raise KeyError((self.run.id, number, attempt))

    def with_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """The state with this checkpoint put in the place of the one with its name."""
        return replace(
            self, checkpoints=tuple(checkpoint if c.name == checkpoint.name else c for c in self.checkpoints)
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """Something a person asked for, obeyed by the next tick: `pause`, `resume`, `cancel`, `retry` or `prune`."""

    id: int
    run: str
    verb: str
    arguments: dict[str, str] = field(default_factory=dict)
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class PollState:
    """What we remember of looking at Kaggle for one run. Not history: losing it costs a look, nothing else."""

    looked_at: datetime | None = None
    """At the session."""
    dataset_looked_at: datetime | None = None
    """At the dataset that is being processed."""
    failures: int = 0
    """Calls in a row that failed."""
    failing_since: datetime | None = None
    failed_at: datetime | None = None
    """When the last of them failed."""
    failing_s: float = 0.0
    """For how long they went on while somebody was there to try: a night that the laptop slept through does not count."""
    failure: str = ""
    absences: int = 0
    """How many of the failures were Kaggle's plain word that it has no such kernel."""
    not_before: datetime | None = None
    log_lines: int = 0
    """Lines of the live session's log that have been taken in."""
    slot_since: datetime | None = None
    """Since when the run wants a slot of its account; runs are served in this order."""
    slot_seen_at: datetime | None = None
    """When it last said so: a run that nobody carries on any more must not hold up the others."""
    done_at: datetime | None = None
    """When the live session is going to have done the pipeline's last step, by the pace of its steps, if it gets so far."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the live session, by class, as far as its log has told."""
    sent_s: float = 0.0
    """How long the upload of the dataset took that is being processed."""
    sought_s: dict[str, float] = field(default_factory=dict)
    """For how long what Kaggle may have, or took and has not ready, has been looked for (`orchestrator.core.search_time`), by its name there."""
    awaiting: str = ""
    """What relay waits for that only Kaggle can bring, and for which session (`orchestrator.core.waits`); empty for nothing."""
    waited_s: float = 0.0
    """For how long it has, while relay was there to see it: no setting of the clock adds or takes more than one look's share."""
    waited_at: datetime | None = None
    """Up to when that is counted."""
    lately: str = ""
    """Digests of the commands carried out at `lately_at` or little later: none of them is repeated before time has passed."""
    lately_at: datetime | None = None
    calls: int = 0
    """Calls that were made of Kaggle within a minute from `calls_since` on."""
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
"""The times in a `Watch`: of a clock that was set since, they say nothing."""


@dataclass(frozen=True, kw_only=True)
class QuotaRow:
    """The weekly hours of one account as last read, in seconds. `total_s` None: nobody knows."""

    owner: str
    accelerator: str
    used_s: float
    reserved_s: float
    total_s: float | None
    refreshes_at: datetime | None
    read_at: datetime
    assumed: bool = False
    """Kaggle did not say: the pipeline's own number of hours, less what relay's own sessions used of them."""
    outdated: bool = False
    """A session of the account has ended after this was read. The store sets it with the fact, so no clock is asked."""

    @property
    def left_s(self) -> float | None:
        """Seconds that a new session may use, or None where unknown."""
        return None if self.total_s is None else max(0.0, self.total_s - self.used_s - self.reserved_s)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value that a session reported. `number` is the progress event's, which tells replays from news."""

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
    """What one metric was over a few neighbouring steps: their mean, and how far they reach. `step` is the last of them."""

    stage: str
    name: str
    step: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class StepEdges:
    """When a session's log told of its first and of its last step, in seconds on the session's clock."""

    session: int
    attempt: int
    first_at_s: float
    last_at_s: float


@dataclass(frozen=True, kw_only=True)
class StepSeen:
    """A step that a session told of; `at_s` is the session's clock when it was done."""

    session: int
    attempt: int
    stage: str
    step: int
    at_s: float


@dataclass(frozen=True, kw_only=True)
class LoggedFact:
    """A fact in the log of all runs; `number` grows with each."""

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
    """So many calls were made for a run within a minute from `since` on."""

    since: datetime
    calls: int


@dataclass(frozen=True, kw_only=True)
class MachineTime:
    """How long one session held its machine; `ended_at` None while it does."""

    began_at: datetime
    ended_at: datetime | None
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the core decides from: one run, and what it shares with others on its account."""

    state: RunState
    requests: tuple[Request, ...] = ()
    watch: PollState = field(default_factory=PollState)
    quota: QuotaRow | None = None
    others_live: int = 0
    """Sessions of other runs that take a slot of the same account and accelerator, those that run twice counted twice."""
    waiting: tuple[Waiting, ...] = ()
    """Other runs that want one."""
    others_calls: tuple[CallsMade, ...] = ()
    """What other runs of the account called lately."""
