"""Kernels of the local Kaggle: pushes, versions, sessions, slots and weekly quota."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.rehearsal.local_kaggle.kernel_records import (
    Kernel,
    KernelSession,
    QuotaSeen,
    Save,
    SaveAnswer,
    Version,
)
from orchestrator.rehearsal.local_kaggle.rules import (
    KaggleRefusal,
    MachineKind,
    Rules,
    denied,
    quota_message,
    slot_message,
)


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
        if label and self._rules.behaviour.tells_versions:
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
        if refused:
            self._decline(kernel, refused)
        if not self._rules.behaviour.names_rejected:
            invalid = {}
        return SaveAnswer(
            ref=kernel.ref,
            kernel_id=kernel.id,
            version=None if refused else version.number,
            error=refused,
            invalid_datasets=invalid.get("datasets", ()),
            invalid_kernels=invalid.get("kernels", ()),
            invalid_models=invalid.get("models", ()),
        )

    def _decline(self, kernel: Kernel, reason: str) -> None:
        """Drop the newest version, or refuse the push with an HTTP status, where Kaggle behaves like that."""
        if not self._rules.behaviour.keeps_declined:
            kernel.versions.pop()
            if not kernel.versions:
                del self._kernels[kernel.owner, kernel.slug]
        if self._rules.behaviour.declined_code:
            raise KaggleRefusal(self._rules.behaviour.declined_code, reason)

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
            slug = (
                slugified(save.title) + self._rules.behaviour.name_suffix
            )  # the title determines a new kernel's slug, whatever slug was requested
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
        limit_s *= self._rules.behaviour.session_limit_share
        queue_s = self._rules.wait_s(self._rules.queue_s.of(kind), f"{kernel.ref}/{version.number}")
        starts_at = now + timedelta(seconds=queue_s)
        session = KernelSession(kernel.owner, kernel.slug, version.number, version.save, limit_s, starts_at)
        self._live.append(session)
        return session


def slugified(title: str) -> str:
    """Return the slug that Kaggle derives from a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
