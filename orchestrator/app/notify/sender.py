"""Sends messages beside the daemon: whatever a service does or fails to do, training goes on.

Each service has a thread of its own and a mark in the database: how far it was told. A message is marked once the service took
it, so a daemon that dies in between sends it again, and one that was away sends what was missed, one message a run.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from orchestrator.app.notify.messages import NAMES, Batch, letters, troubles
from orchestrator.app.notify.services import Message, NotificationService
from orchestrator.base.clock import monotonic_s
from state.failures import StoreCorrupt, StoreUnavailable
from state.leases import LeaseLost
from state.notification_marks import ALL, NotificationMarks
from state.reader import Reader

DEADLINE_S = 30.0
"""A service that takes longer to answer is taken not to."""

LOOK_S = 60.0
"""Between two looks for something to tell that nobody gave a sign of."""

RETRY_S, RETRY_S_MAX = 60.0, 1800.0
"""Before the second try of a message; doubles with each further one."""

FAREWELL_S = 15.0
"""How long a daemon that ends waits for its last messages to be sent."""


@dataclass(frozen=True)
class Outbox:
    """What the couriers of one daemon share."""

    told: NotificationMarks
    looking: Reader
    events: frozenset[str]
    now: Callable[[], datetime]
    notice: Callable[[str], None]
    may: Callable[[], object]
    """Raises LeaseLost where another daemon has taken over, which then tells."""
    deadline_s: float = DEADLINE_S
    retry_s: float = RETRY_S


@dataclass
class Sender:
    """Tells one service; `wake` it when something happened."""

    post: Outbox
    service: NotificationService
    begins: int
    """The newest fact when the daemon began: of a service that is new nothing earlier is told."""
    failures: int = 0
    _again_s: float = 0.0
    _sending: "Sending | None" = None
    _signal: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"notify {self.service.name}", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def wake(self) -> None:
        """Something may have happened."""
        self._signal.set()

    def close(self, by_s: float) -> None:
        """Tell what is left, and return by then (on `monotonic_s`) whether it was or not."""
        self._closing.set()
        self._signal.set()
        self._thread.join(max(0.0, by_s - monotonic_s()))

    def _work(self) -> None:
        while True:
            last = self._closing.is_set()
            self._signal.clear()
            try:
                if monotonic_s() >= self._again_s:
                    self.deliver()
            except (StoreUnavailable, StoreCorrupt):
                pass  # the daemon says so; nothing is lost, the marks stay
            except LeaseLost:
                return
            if last:
                return
            self._signal.wait(max(0.02, min(LOOK_S, self._again_s - monotonic_s()) if self.failures else LOOK_S))

    def deliver(self) -> None:
        """Send all that this service was not told yet; what it does not take is tried again later."""
        told, key, now = self.post.told, self.service.shown, self.post.now()
        newest, marks = told.newest(), told.marks(key)
        if ALL not in marks:
            marks[ALL] = self.begins
            told.advance(key, {ALL: self.begins}, now)
        waiting = letters(told.news(marks[ALL], NAMES), marks, self.post.events, now)
        for letter in [*waiting, *self._troubles(marks, now)]:
            self.post.may()
            if not self._sent(letter):
                return
            told.advance(key, letter.marks, self.post.now())
        if newest > marks[ALL]:
            told.advance_all(key, newest, now)

    def _troubles(self, marks: dict[str, int], now: datetime) -> list[Batch]:
        if "trouble" not in self.post.events:
            return []
        store = self.post.looking
        held_up = {subject.removeprefix("trouble:") for subject, mark in marks.items() if mark}
        asked = held_up.union(store.open_runs())  # what is over costs nothing, however much of it there is
        return troubles([(run, store.watch(run.id)) for run in store.runs() if run.id in asked], marks, now)

    def _sent(self, letter: Batch) -> bool:
        problem = self._problem(letter.message)
        if not problem:
            if self.failures:
                self.post.notice(f"{self.service.name} ({self.service.shown}) takes messages again")
            self.failures = 0
            return True
        if not self.failures:
            self.post.notice(
                f"{self.service.name} ({self.service.shown}) did not take a message: {problem} (tried again by itself)"
            )
        self.failures += 1
        wait_s = min(RETRY_S_MAX, self.post.retry_s * 2.0 ** min(self.failures - 1, 20))
        self._again_s = monotonic_s() + wait_s
        return False

    def _problem(self, message: Message) -> str:
        """Send it; one that hangs is left behind, and no other is begun before it has come back."""
        before, self._sending = self._sending, None
        if before is not None and before.is_alive():
            self._sending = before
            return "it still has not answered"
        if before is not None and before.late and not before.problem and before.message == message:
            return ""  # it was taken after all, after the deadline
        self._sending = Sending(self.service, message)
        self._sending.start()
        self._sending.join(self.post.deadline_s)
        if self._sending.is_alive():
            self._sending.late = True
            return f"it did not answer within {self.post.deadline_s:.0f} s"
        return self._sending.problem


class Sending(threading.Thread):
    """One message on its way."""

    def __init__(self, service: NotificationService, message: Message) -> None:
        super().__init__(name=f"send {service.name}", daemon=True)
        self._service, self.message = service, message
        self.problem, self.late = "relay could not hand it over", False

    def run(self) -> None:
        self.problem = self._service.send(self.message)


class Senders:
    """All of a daemon's couriers: they work for as long as the `with` block runs, and a little longer for the last words."""

    def __init__(self, post: Outbox, services: Sequence[NotificationService], farewell_s: float = FAREWELL_S) -> None:
        self._farewell_s = farewell_s
        begins = post.told.newest()
        self._couriers = [Sender(post, service, begins) for service in services]

    def __enter__(self) -> Self:
        for courier in self._couriers:
            courier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        by_s = monotonic_s() + self._farewell_s
        for courier in self._couriers:
            courier.close(by_s)

    def wake(self) -> None:
        """Something happened."""
        for courier in self._couriers:
            courier.wake()
