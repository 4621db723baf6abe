"""Answers of Kaggle that never change, until somebody who was told of it sees to it: a status, or the week's hours."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.base.errors import NoSlot
from orchestrator.core.plan import Limits
from orchestrator.kaggle.gateway import KernelPush, KernelPushed, Quota, SessionSeen, Worker
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.rules import MachineKind, slot_message
from orchestrator.rehearsal.local_kaggle.world import World
from state.model import Phase, RunState, RunStatus

QUEUED, RUNNING, SLOT, HOURS = "queued", "running", "slot", "hours"
FIRST_SESSIONS = 4
HOUR_S = 3600.0


@dataclass(frozen=True)
class StuckAnswer:
    """What never changes: of the `session`-th session, its status or that there is no slot for it; or the hours once they are too few."""

    answer: str
    session: int = 1


def drawn_stuck(seed: int) -> StuckAnswer | None:
    """What is stuck in a seed's chain; nothing in most."""
    rng = random.Random(f"relay simulates {seed}: stuck")
    answer = rng.choice((None, None, None, None, None, None, QUEUED, RUNNING, SLOT, HOURS))
    return None if answer is None else StuckAnswer(answer, rng.randint(1, FIRST_SESSIONS))


class StuckGateway(DirectGateway):
    """The account, with an answer that is stuck until `mended`."""

    def __init__(self, world: World, stuck: StuckAnswer, redact: Callable[[str], str], min_session_s: float) -> None:
        super().__init__(world, redact)
        self._stuck, self._worth_s = stuck, min_session_s
        self._asked: list[str] = []
        self._hours: Quota | None = None
        self._declined = ""
        self.is_mended = False

    def mended(self) -> None:
        """Somebody has seen to it."""
        self.is_mended = True

    def session(self, slug: str, version: int | None) -> SessionSeen:
        seen = super().session(slug, version)
        if slug not in self._asked:
            self._asked.append(slug)
        if self.is_mended or slug != self._slug or seen.worker in (Worker.UNKNOWN, Worker.NEW_SCRIPT):
            return seen
        if self._stuck.answer == QUEUED:
            return SessionSeen(worker=Worker.QUEUED)
        return SessionSeen(worker=Worker.RUNNING) if self._stuck.answer == RUNNING and seen.worker.terminal else seen

    def push(self, kernel: KernelPush) -> KernelPushed:
        if self._stuck.answer == SLOT and not self.is_mended and len(self._asked) >= self._stuck.session - 1:
            self._declined = kernel.slug
            raise NoSlot(slot_message(MachineKind.TPU, 1))
        return super().push(kernel)

    def quota(self, accelerator: str) -> Quota | None:
        found = super().quota(accelerator)
        if self.is_mended or self._stuck.answer != HOURS:
            return found
        if self._hours is None and found is not None and found.left_s is not None and found.left_s < self._worth_s:
            self._hours = found
        return self._hours or found

    @property
    def _slug(self) -> str:
        return self._asked[self._stuck.session - 1] if len(self._asked) >= self._stuck.session else ""

    # --- what a person is owed --------------------------------------------------

    def owed(self, state: RunState, limits: Limits) -> tuple[str, float] | None:
        """What is stuck now, and how long it may be before relay has to help itself or tell a person; None for nothing."""
        last, now = state.last, self._world.clock.now()
        if self.is_mended or state.run.status is RunStatus.PARKED:
            return None
        if self._stuck.answer == HOURS:
            return (HOURS, limits.renewal_s + HOUR_S) if self._is_overdue(state, now) else None
        if last is not None and last.phase is Phase.PLANNED and last.slug == self._declined:
            waits = state.run.status is RunStatus.WAITING  # for the week's hours: nobody asks for a slot until then
            return None if waits else (SLOT, limits.slot_wait_s + HOUR_S)
        if last is None or last.slug != self._slug:
            return None
        if self._stuck.answer == QUEUED and last.phase in (Phase.PUSHED, Phase.QUEUED):
            return (last.slug, limits.queue_s + HOUR_S)
        return (last.slug, last.limit_s + limits.overdue_s + HOUR_S) if last.phase is Phase.RUNNING else None

    def _is_overdue(self, state: RunState, now: datetime) -> bool:
        """Whether the renewal that was named has passed, for relay's clock too, and holds up the run: no session is under way."""
        named = None if self._hours is None else self._hours.refreshes_at
        waits_for_it = state.run.status is RunStatus.WAITING and state.run.waiting_until == named
        under_way = state.last is not None and state.last.phase.on_kaggle
        return named is not None and named <= now and not waits_for_it and not under_way
