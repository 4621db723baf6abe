"""Kaggle's rules without HTTP and threads. The state is consistent as of `clock.now()` while its lock is held."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.rehearsal.local_kaggle.blobs import Blobs
from orchestrator.rehearsal.local_kaggle.datasets import DatasetStore
from orchestrator.rehearsal.local_kaggle.delayed_effects import DelayedEffects
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan, PushAction
from orchestrator.rehearsal.local_kaggle.kernel_records import Save, SaveAnswer
from orchestrator.rehearsal.local_kaggle.kernels import Kernels
from orchestrator.rehearsal.local_kaggle.models import Models
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules, denied
from orchestrator.rehearsal.local_kaggle.sandbox import Sandbox
from orchestrator.rehearsal.local_kaggle.sessions import SessionScheduler
from orchestrator.rehearsal.local_kaggle.stored_file import Files


class World:
    """Kaggle with one account. Use it as `with world.at_now() as now:`; nothing changes inside that block.

    `kernels`, `datasets`, `models` and `blobs` may be used directly inside the block. Operations that involve more than
    one of them are methods of this class.
    """

    def __init__(
        self,
        clock: Clock,
        sandbox: Sandbox,
        rules: Rules | None = None,
        faults: FaultPlan = NO_FAULTS,
        *,
        owner: str = "rehearsal",
        directory: Path = Path("relay-rehearsal"),
    ) -> None:
        self.owner = owner
        self.rules = rules if rules is not None else Rules()
        self.fault_injector = FaultInjector(faults)
        self._delayed = DelayedEffects()
        self.kernels = Kernels(self.rules)
        self.datasets = DatasetStore(self.rules, self.fault_injector, self._delayed)
        self.models = Models(self.rules, self.fault_injector, self._delayed)
        self.directory = directory
        """Folder of uploads and archives; created when first needed."""
        self.blobs = Blobs(directory / "blobs", self.rules)
        self._sessions = SessionScheduler(
            self.rules, sandbox, self.fault_injector, self.kernels, self.datasets, self.models
        )
        self.clock = clock
        self._lock = threading.RLock()

    @contextmanager
    def at_now(self) -> Iterator[datetime]:
        """Take the lock, advance the world to the clock's time, and yield that time."""
        with self._lock:
            now = self.clock.now()
            self._delayed.carry_out(now)
            self._sessions.advance(now)
            yield now

    def advance(self) -> None:
        """Start what is due, update running sessions, and kill those over their limit. Safe to call at any time."""
        with self.at_now():
            pass

    def offer_model(self, ref: str, files: Files, *, accepted: bool = True) -> None:
        """Add a model version (owner/model/framework/variation/N), usable only if its licence was accepted."""
        with self._lock:
            self.models.offer(ref, files, accepted and self.rules.behaviour.accepts_licences)

    def model(self, ref: str) -> Files:
        """Return a model's files. Raises KaggleRefusal if there are none, or if its licence was not accepted."""
        with self.at_now() as now:
            return self.models.files(ref, now)

    def offer_everywhere(self, place: str, files: Files) -> None:
        """Mount files below `place` in every session that starts from now on, without a kernel requesting them."""
        with self._lock:
            self._sessions.offer_everywhere(place, files)

    def save_kernel(self, save: Save) -> SaveAnswer:
        """Execute SaveKernel. Raises KaggleRefusal if the source is not accepted."""
        with self.at_now() as now:
            if save.slug.partition("/")[0] != self.owner:
                raise denied("kernels.update")
            sources = (save.dataset_sources, save.kernel_sources, save.model_sources)
            hit = self.fault_injector.push() if save.runs else None
            fault = None if hit is None else hit.action
            invalid = self._sessions.invalid_sources(*sources)
            if fault is PushAction.REFUSE_INPUTS:
                invalid = dict(zip(("datasets", "kernels", "models"), sources, strict=True))
            gone = {source for refused in invalid.values() for source in refused}
            accepted = replace(
                save,
                dataset_sources=tuple(s for s in save.dataset_sources if s not in gone),
                kernel_sources=tuple(s for s in save.kernel_sources if s not in gone),
                model_sources=tuple(s for s in save.model_sources if s not in gone),
            )
            if hit is not None and hit.action is PushAction.LATE:
                self._delayed.after(now, hit.seconds, lambda at: self.kernels.save(accepted, at, invalid))
                raise KaggleRefusal(504, "Gateway Timeout")
            saved = _answered(self.kernels.save(accepted, now, invalid), fault)
            if hit is not None and hit.action is PushAction.LAG:
                self._delayed.after(now, hit.seconds, self.kernels.hide_newest(saved.ref))
            if fault is PushAction.PHANTOM and not saved.error:
                saved = self.kernels.phantom(saved, accepted, now)
            self._sessions.advance(now)
            return saved

    def delete_kernel(self, owner: str, slug: str) -> None:
        """Delete a kernel with its outputs, ending its sessions. Raises KaggleRefusal if there is none."""
        with self.at_now() as now:
            for session in self.kernels.delete(owner, slug):
                self._sessions.abandon(session, now)


def _answered(saved: SaveAnswer, fault: PushAction | None) -> SaveAnswer:
    return replace(saved, version=None) if fault is PushAction.NO_VERSION else saved
