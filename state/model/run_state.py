"""State of one run: the run, its sessions and its checkpoints, as its facts fold to."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from stages.contract import Cursor
from stages.documents import ContractError
from stages.numerics import Numerics
from state.model.dataset_names import COPIES_MAX, copy_in, places_until
from state.model.left_platform import LeftPlatform
from state.model.run_origin import RunOrigin
from state.model.statuses import CheckpointStatus, InputsStatus, Outcome, Phase, RunStatus

KEPT_MIN = 2
"""Number of verified checkpoints that a run never loses: the newest, and the one to fall back to."""

PIPELINE_CHANGED = "pipeline-changed"
"""Cause of a planned session that was given up because it had the order of an earlier pipeline."""

RUN_CANCELLED = "run-cancelled"
"""Cause of a lost session that relay stopped looking for only because its run was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Execution of a pipeline."""

    id: str
    name: str
    owner: str
    accelerator: str
    """Accelerator whose slots and quota the run's sessions use: `tpu`, `gpu` or `cpu`."""
    status: RunStatus
    pipeline: str
    """The pipeline as canonical JSON. The run follows this copy; an edit of the file has no effect until the user hands it over."""
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
    accepted_sessions: int = 0
    """Number of sessions, from the first, that the user has accepted by resuming; their failures no longer count."""
    awaits: str = ""
    """Event that resumes a parked run automatically (see `RunParked.awaits`); empty if only the user can resume it."""
    home: str = ""
    """Id of the home folder that works on the run."""
    generation: int = 0
    """Fencing number of the home folder: grows each time the user lets another home folder take the run over."""
    overtaken_by: int = 0
    """Highest generation seen on kernels or datasets of another home folder."""
    inputs_dataset: str = ""
    """Slug of the dataset with the run's own data files, if it is not the default one."""
    inputs_offered_at: datetime | None = None
    """When Kaggle accepted that dataset; None before that and once it is published."""
    foreign_push_possible: bool = False
    """True while the previous home folder of a taken-over run may have made a push that Kaggle does not show yet."""
    origin: RunOrigin | None = None
    """Checkpoint of another run that the run begins from; None if it begins with an untrained model."""
    left_platforms: tuple[LeftPlatform, ...] = ()
    """Platforms on which the run has worked before, oldest first; `owner`, `accelerator` and `pipeline` are those of now."""

    @property
    def platform(self) -> int:
        """Number of the platform that the run works on: 0 is the first, and each change of the platform adds one."""
        return len(self.left_platforms)

    def owner_at(self, platform: int) -> str:
        """Return the account on the platform with that number."""
        return self.left_platforms[platform].owner if platform < len(self.left_platforms) else self.owner

    def accelerator_at(self, platform: int) -> str:
        """Return the accelerator of the sessions on the platform with that number."""
        return self.left_platforms[platform].accelerator if platform < len(self.left_platforms) else self.accelerator


@dataclass(frozen=True, kw_only=True)
class Session:
    """Kernel execution, tried as `attempt` of session `number`."""

    run: str
    number: int
    attempt: int
    slug: str
    token: str
    phase: Phase
    start: Cursor
    parent: str | None
    """Name of the run's checkpoint that the session starts from; None for the run's beginning (see `Run.origin`)."""
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
    platform: int = 0
    """Number of the platform that it runs on (see `Run.platform`)."""

    @property
    def twin_lives(self) -> bool:
        """True when a second version of the kernel, as far as relay knows, takes a slot."""
        return self.twin is not None and self.twin_ended_at is None

    @property
    def unwatched(self) -> bool:
        """True when relay stopped looking for the session only because its run was cancelled: it may still run."""
        return self.phase is Phase.LOST and self.cause == RUN_CANCELLED

    @property
    def pending(self) -> bool:
        """True when the session may still produce a checkpoint newer than all existing ones, watched or not."""
        return self.phase.under_way or self.unwatched

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
    platform: int = 0
    """Number of the platform that has, or is to get, its dataset (see `Run.platform`): its session's, or a later one that it
    was carried over to."""

    @property
    def numerics(self) -> Numerics | None:
        """Record of what determined the checkpoint's bits; None if an older relay made it, or if it cannot be read."""
        given = json.loads(self.manifest).get("numerics")
        try:
            return None if given is None else Numerics.from_dict(given)
        except ContractError:
            return None

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

    def parent_digest(self, session: Session) -> str | None:
        """Return the digest of the checkpoint that the session starts from; None if there is none."""
        if session.parent is not None:
            return self.checkpoint(session.parent).digest
        return self.run.origin.digest if self.run.origin else None

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
