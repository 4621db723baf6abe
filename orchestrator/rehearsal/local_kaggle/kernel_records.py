"""Records of the local Kaggle's kernels: saved versions, their sessions, and the answers about them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.rehearsal.local_kaggle.fault_injection import FaultTrigger
from orchestrator.rehearsal.local_kaggle.rules import MachineKind
from orchestrator.rehearsal.local_kaggle.sandbox import Running, SessionLine
from orchestrator.rehearsal.local_kaggle.stored_file import Files, without_largest


class Status(StrEnum):
    """Kaggle's session statuses. NEW_SCRIPT means that the kernel was saved and never run."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"
    CANCEL_ACKNOWLEDGED = "CANCEL_ACKNOWLEDGED"
    NEW_SCRIPT = "NEW_SCRIPT"


LIVE = (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Save:
    """A SaveKernel request. `slug` is owner/slug."""

    slug: str
    text: str
    title: str = ""
    language: str = "python"
    kernel_type: str = "script"
    machine_shape: str = ""
    enable_tpu: bool = False
    enable_gpu: bool = False
    enable_internet: bool = False
    is_private: bool = True
    dataset_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    category_ids: tuple[str, ...] = ()
    docker_image: str = ""
    timeout_s: int | None = None
    runs: bool = True
    """False for a quick save: a new version without a session."""

    @property
    def kind(self) -> MachineKind:
        """Kind of machine for the session. A pinned image is the CPU image, whatever accelerator was requested."""
        shape = self.machine_shape.lower()
        if self.docker_image:
            return MachineKind.CPU
        if shape.startswith("tpu") or (self.enable_tpu and not shape):
            return MachineKind.TPU
        if shape.startswith("nvidia") or (self.enable_gpu and not shape):
            return MachineKind.GPU
        return MachineKind.CPU


@dataclass(frozen=True, kw_only=True)
class SaveAnswer:
    """Response of SaveKernel. A non-empty `error` means that the source was saved but nothing runs."""

    ref: str
    kernel_id: int
    version: int | None = None
    error: str = ""
    invalid_datasets: tuple[str, ...] = ()
    invalid_kernels: tuple[str, ...] = ()
    invalid_models: tuple[str, ...] = ()


@dataclass
class KernelSession:
    """Run of one version."""

    owner: str
    slug: str
    version: int
    save: Save
    limit_s: float
    starts_at: datetime
    status: Status = Status.QUEUED
    number: int = 0
    """Position among all sessions that started, from 1; 0 before the start."""
    message: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    running: Running | None = None
    triggers: tuple[FaultTrigger, ...] = ()
    lines: list[SessionLine] = field(default_factory=list)
    files: Files = field(default_factory=dict)
    stale_s: float = 0.0
    """Age, in seconds, of the state that every other status poll returns."""
    looks: int = 0
    slot_until: datetime | None = None
    """Time at which the slot becomes free, if that is later than the session's end."""

    def shown(self, now: datetime) -> tuple[Status, str]:
        """Return status and message as Kaggle shows them, which may be stale. Counts one poll."""
        self.looks += 1
        then = now - timedelta(seconds=self.stale_s if self.looks % 2 else 0.0)
        if self.ended is not None and then < self.ended:
            return (Status.RUNNING if self.started is not None and then >= self.started else Status.QUEUED), ""
        if self.status is Status.RUNNING and self.started is not None and then < self.started:
            return Status.QUEUED, ""
        return self.status, self.message

    def listed(self, now: datetime, lag_s: float) -> list[str]:
        """Return the names of the output that is listed; the largest file follows `lag_s` seconds after the end."""
        late = self.ended is not None and now < self.ended + timedelta(seconds=lag_s)
        return sorted(without_largest(self.files) if late else self.files)

    def holds_slot(self, now: datetime) -> bool:
        """Return True if Kaggle counts the session as alive."""
        return self.live or (self.slot_until is not None and now < self.slot_until)

    @property
    def live(self) -> bool:
        """True while the session takes a slot."""
        return self.status in LIVE

    def ran_s(self, since: datetime, now: datetime) -> float:
        """Return how many seconds the session ran between two moments."""
        if self.started is None:
            return 0.0
        ended = self.ended if self.ended is not None else now
        return max(0.0, (min(ended, now) - max(self.started, since)).total_seconds())


@dataclass
class Version:
    """Saved source. `session` is None for a quick save, and if the session was declined."""

    number: int
    save: Save
    saved: datetime
    session: KernelSession | None = None


@dataclass
class Kernel:
    """A kernel with all its versions, oldest first."""

    id: int
    owner: str
    slug: str
    title: str
    versions: list[Version] = field(default_factory=list)

    @property
    def ref(self) -> str:
        """Reference of the kernel, as owner/slug."""
        return f"{self.owner}/{self.slug}"

    @property
    def newest(self) -> Version:
        """The version that was saved last."""
        return self.versions[-1]

    @property
    def last_run(self) -> datetime:
        """Start of the newest session; if none has started, the time of the last save."""
        runs = [v.session.started for v in self.versions if v.session is not None and v.session.started is not None]
        return runs[-1] if runs else self.newest.saved


@dataclass(frozen=True, kw_only=True)
class QuotaSeen:
    """Weekly usage of one accelerator, in seconds."""

    used_s: float
    reserved_s: float
    total_s: float
    has_ever_run: bool
