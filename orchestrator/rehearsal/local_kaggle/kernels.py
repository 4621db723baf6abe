"""Kernels of the local Kaggle: pushes, versions, sessions, slots and weekly quota."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.rehearsal.local_kaggle.faults import FaultTrigger
from orchestrator.rehearsal.local_kaggle.rules import (
    KaggleRefusal,
    MachineKind,
    Rules,
    denied,
    quota_message,
    slot_message,
)
from orchestrator.rehearsal.local_kaggle.sandbox import Running, SessionLine
from orchestrator.rehearsal.local_kaggle.stored_file import Files


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
    """One run of one version."""

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
    watches: tuple[FaultTrigger, ...] = ()
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
    """One saved source. `session` is None for a quick save, and if the session was declined."""

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


class Kernels:
    """All kernels of the local Kaggle. The caller holds the world's lock."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kernels: dict[tuple[str, str], Kernel] = {}
        self._ids = 100_000
        self._live: list[KernelSession] = []
        self._deleted: list[KernelSession] = []
        """Sessions of deleted kernels, which still count towards the quota."""
        self._deleted_names: set[tuple[str, str]] = set()
        self._hidden: set[tuple[str, int]] = set()
        """Versions that exist and are not shown yet, as (owner/slug, number)."""

    def live(self) -> list[KernelSession]:
        """Return every session that takes a slot, in the order of their pushes."""
        self._live = [session for session in self._live if session.live]
        return self._live

    def all(self) -> list[Kernel]:
        """Return every kernel, oldest first."""
        return list(self._kernels.values())

    def find(self, owner: str, slug: str) -> Kernel:
        """Return a kernel. Raises KaggleRefusal as Kaggle does for a missing one."""
        kernel = self._kernels.get((owner, slug))
        if kernel is None:
            code = self._rules.missing_kernel_code
            raise denied("kernels.get") if code == 403 else KaggleRefusal(code, "Notebook not found")
        return kernel

    def exists(self, owner: str, slug: str) -> bool:
        """Return True if there is such a kernel."""
        return (owner, slug) in self._kernels

    def shown(self, owner: str, slug: str) -> Version | None:
        """Return the newest visible version of a kernel; None if there is none or no such kernel."""
        versions = self.find(owner, slug).versions if self.exists(owner, slug) else []
        return next((v for v in reversed(versions) if (f"{owner}/{slug}", v.number) not in self._hidden), None)

    def hide_newest(self, ref: str) -> Callable[[object], None]:
        """Hide a kernel's newest version from lookups and listings. Calling the returned function shows it."""
        hidden = (ref, self.find(*ref.split("/")).newest.number)
        self._hidden.add(hidden)
        return lambda _at: self._hidden.discard(hidden)

    def version(self, owner: str, slug: str, label: str | None = None) -> Version:
        """Return the version of a label such as `v3`, or the newest one. As on Kaggle, a bare `3` is not found."""
        kernel = self.find(owner, slug)
        if label is None or label == "":
            return kernel.newest
        matched = re.fullmatch(r"v([1-9][0-9]*)", label)
        if matched is None or int(matched[1]) > len(kernel.versions):
            raise KaggleRefusal(404, f"Version {label} of {kernel.ref} was not found")
        return kernel.versions[int(matched[1]) - 1]

    def session(self, owner: str, slug: str, label: str | None = None) -> KernelSession | None:
        """Return the session of a version; without a label the newest session, which may be of an older version."""
        if label:
            return self.version(owner, slug, label).session
        ran = [v.session for v in self.find(owner, slug).versions if v.session is not None]
        return ran[-1] if ran else None

    def save(self, save: Save, now: datetime, invalid: dict[str, tuple[str, ...]]) -> SaveAnswer:
        """Save the source as a new version and queue a session of it, if slots and quota allow.

        The source is saved even if the session is declined. Raises KaggleRefusal if the source is not accepted.
        """
        self._accept(save)
        owner, _, slug = save.slug.partition("/")
        if (owner, slug) in self._deleted_names:
            return SaveAnswer(ref=save.slug, kernel_id=0, error="Notebook not found")
        kernel = self._kernel_for(save)
        version = Version(len(kernel.versions) + 1, save, now)
        kernel.versions.append(version)
        refused = self._refusal(save.kind, now) if save.runs else ""
        if save.runs and not refused:
            version.session = self._queued(kernel, version, now)
        return SaveAnswer(
            ref=kernel.ref,
            kernel_id=kernel.id,
            version=None if refused else version.number,
            error=refused,
            invalid_datasets=invalid.get("datasets", ()),
            invalid_kernels=invalid.get("kernels", ()),
            invalid_models=invalid.get("models", ()),
        )

    def phantom(self, saved: SaveAnswer, save: Save, now: datetime) -> SaveAnswer:
        """Add a version that never runs behind the one that does, and return the response that names it."""
        owner, _, slug = saved.ref.partition("/")
        kernel = self.find(owner, slug)
        kernel.versions.append(Version(len(kernel.versions) + 1, save, now))
        return replace(saved, version=kernel.newest.number)

    def delete(self, owner: str, slug: str) -> list[KernelSession]:
        """Delete a kernel, and return its live sessions, which the caller must end."""
        kernel = self.find(owner, slug)
        del self._kernels[owner, slug]
        if not self._rules.frees_names:
            self._deleted_names.add((owner, slug))
        sessions = [version.session for version in kernel.versions if version.session is not None]
        self._deleted.extend(sessions)
        return [session for session in sessions if session.live]

    def quota(self, kind: MachineKind, now: datetime) -> QuotaSeen:
        """Return this week's usage of one accelerator."""
        week_start, _ = self._rules.week(now)
        sessions = [session for session in (*self._sessions(), *self._deleted) if session.save.kind is kind]
        reserved = (s.limit_s - s.ran_s(s.started, now) if s.started else s.limit_s for s in sessions if s.live)
        return QuotaSeen(
            used_s=sum(session.ran_s(week_start, now) for session in sessions),
            reserved_s=sum(reserved),
            total_s=self._rules.quota_s.of(kind),
            has_ever_run=any(session.started is not None for session in sessions),
        )

    def _sessions(self) -> list[KernelSession]:
        return [v.session for kernel in self._kernels.values() for v in kernel.versions if v.session is not None]

    def _accept(self, save: Save) -> None:
        if len(save.text.encode()) >= self._rules.source_bytes_max:
            raise KaggleRefusal(400, "The kernel source must be less than 1 megabytes in size.")
        owner, _, slug = save.slug.partition("/")
        if not self.exists(owner, slug) and (len(save.title) < 5 or not slugified(save.title)):
            raise KaggleRefusal(400, "The kernel title must be at least five characters")

    def _kernel_for(self, save: Save) -> Kernel:
        owner, _, slug = save.slug.partition("/")
        if not self.exists(owner, slug):
            slug = slugified(save.title)  # the title determines a new kernel's slug, whatever slug was requested
        if not self.exists(owner, slug):
            self._ids += 1
            self._kernels[owner, slug] = Kernel(self._ids, owner, slug, save.title)
        return self._kernels[owner, slug]

    def _refusal(self, kind: MachineKind, now: datetime) -> str:
        slots = int(self._rules.slots.of(kind))
        if sum(session.save.kind is kind and session.holds_slot(now) for session in self._sessions()) >= slots:
            return slot_message(kind, slots)
        quota = self.quota(kind, now)
        if kind is not MachineKind.CPU and quota.used_s + quota.reserved_s >= quota.total_s:
            return quota_message(kind, quota.total_s / 3600)
        return ""

    def _queued(self, kernel: Kernel, version: Version, now: datetime) -> KernelSession:
        kind = version.save.kind
        limit_s = self._rules.session_limit_s.of(kind)
        if version.save.timeout_s:
            limit_s = min(limit_s, version.save.timeout_s)
        queue_s = self._rules.wait_s(self._rules.queue_s.of(kind), f"{kernel.ref}/{version.number}")
        starts_at = now + timedelta(seconds=queue_s)
        session = KernelSession(kernel.owner, kernel.slug, version.number, version.save, limit_s, starts_at)
        self._live.append(session)
        return session


def slugified(title: str) -> str:
    """Return the slug that Kaggle derives from a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
