"""Kaggle answers that stay the same until the user intervenes: a session's status, a missing slot, or the quota."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.base.errors import NoSlot
from orchestrator.core.plan import Limits
from orchestrator.platforms.port import KernelPush, KernelPushed, Quota, SessionSeen, Worker
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.rules import MachineKind, slot_message
from orchestrator.rehearsal.local_kaggle.world import World
from state.model.run_state import RunState
from state.model.statuses import Phase, RunStatus

QUEUED, RUNNING, SLOT, HOURS = "queued", "running", "slot", "hours"
FIRST_SESSIONS = 4
HOUR_S = 3600.0


@dataclass(frozen=True)
class StuckAnswer:
    """The answer that is stuck: status or missing slot of the `session`-th session, or the quota once it is too low."""

    answer: str
    session: int = 1


def random_stuck_answer(seed: int) -> StuckAnswer | None:
    """Draw the stuck answer of a seed's chain; None for most seeds."""
    rng = random.Random(f"relay simulates {seed}: stuck")
    answer = rng.choice((None, None, None, None, None, None, QUEUED, RUNNING, SLOT, HOURS))
    return None if answer is None else StuckAnswer(answer, rng.randint(1, FIRST_SESSIONS))


class StuckGateway(DirectGateway):
    """Gateway with an answer that is stuck until `mended` is called."""

    def __init__(self, world: World, stuck: StuckAnswer, redact: Callable[[str], str], min_session_s: float) -> None:
        super().__init__(world, redact)
        self._stuck, self._worth_s = stuck, min_session_s
        self._asked: list[str] = []
        self._hours: Quota | None = None
        self._declined = ""
        self.is_mended = False

    def mended(self) -> None:
        """Record that the user fixed the problem."""
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

    # --- deadlines --------------------------------------------------------------

    def owed(self, state: RunState, limits: Limits) -> tuple[str, float] | None:
        """Return the stuck answer, and the seconds after which relay must have acted or told a person; or None."""
        last, now = state.last, self._world.clock.now()
        if self.is_mended or state.run.status is RunStatus.PARKED:
            return None
        if self._stuck.answer == HOURS:
            return (HOURS, limits.renewal_s + HOUR_S) if self._is_overdue(state, now) else None
        if last is not None and last.phase is Phase.PLANNED and last.slug == self._declined:
            waits = state.run.status is RunStatus.WAITING  # waiting for quota: relay asks for no slot until then
            return None if waits else (SLOT, limits.slot_wait_s + HOUR_S)
        if last is None or last.slug != self._slug:
            return None
        if self._stuck.answer == QUEUED and last.phase in (Phase.PUSHED, Phase.QUEUED):
            return (last.slug, limits.queue_s + HOUR_S)
        return (last.slug, last.limit_s + limits.overdue_s + HOUR_S) if last.phase is Phase.RUNNING else None

    def _is_overdue(self, state: RunState, now: datetime) -> bool:
        """Return True if the named renewal has passed, by relay's clock too, and blocks the run without a session."""
        named = None if self._hours is None else self._hours.refreshes_at
        waits_for_it = state.run.status is RunStatus.WAITING and state.run.waiting_until == named
        under_way = state.last is not None and state.last.phase.on_kaggle
        return named is not None and named <= now and not waits_for_it and not under_way
