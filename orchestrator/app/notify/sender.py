"""Send notifications from threads beside the daemon: a slow or failing service never delays training.

Each service has a thread of its own, and marks in the database that store which facts it was sent. Marks advance once
the service has accepted a message. A daemon that dies in between therefore sends the message again, and a service that
was down gets what it missed, one message per run.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from orchestrator.app.notify.messages import NAMES, Batch, compose_messages, compose_trouble_messages
from orchestrator.app.notify.services import Message, NotificationService
from orchestrator.base.clock import monotonic_s
from orchestrator.base.humanize import duration
from state.failures import StoreCorrupt, StoreUnavailable
from state.leases import LeaseLost
from state.notification_marks import ALL, NotificationMarks
from state.reader import Reader

DEADLINE_S = 30.0
"""Timeout for one message, in seconds."""

CHECK_S = 60.0
"""Poll interval for new facts without a wake-up, in seconds."""

RETRY_S, RETRY_S_MAX = 60.0, 1800.0
"""Delay before the first retry of a message, and its upper bound, in seconds. The delay doubles with each retry."""

CLOSE_S_MAX = 15.0
"""Seconds that a stopping daemon waits for its last messages to be sent."""


@dataclass(frozen=True)
class Outbox:
    """State that the senders of one daemon share."""

    told: NotificationMarks
    looking: Reader
    events: frozenset[str]
    now: Callable[[], datetime]
    notice: Callable[[str], None]
    may: Callable[[], object]
    """Raises LeaseLost if another daemon has taken over; that daemon then sends the messages."""
    deadline_s: float = DEADLINE_S
    retry_s: float = RETRY_S


@dataclass
class Sender:
    """Sends messages to one service. Call `wake` after something happened."""

    post: Outbox
    service: NotificationService
    begins: int
    """Number of the newest fact when the daemon began: a newly configured service gets no earlier facts."""
    failures: int = 0
    _retry_at_s: float = 0.0
    _sending: "Sending | None" = None
    _signal: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"notify {self.service.name}", daemon=True)

    def start(self) -> None:
        """Start the sender's thread."""
        self._thread.start()

    def wake(self) -> None:
        """Check soon for new facts."""
        self._signal.set()

    def close(self, by_s: float) -> None:
        """Send what is left, and return at `by_s` (on the clock of `monotonic_s`) at the latest."""
        self._closing.set()
        self._signal.set()
        self._thread.join(max(0.0, by_s - monotonic_s()))

    def _work(self) -> None:
        while True:
            last = self._closing.is_set()
            self._signal.clear()
            try:
                if monotonic_s() >= self._retry_at_s:
                    self.deliver()
            except (StoreUnavailable, StoreCorrupt):
                pass  # the daemon reports the failure, and the unchanged marks keep what is unsent
            except LeaseLost:
                return
            if last:
                return
            self._signal.wait(max(0.02, min(CHECK_S, self._retry_at_s - monotonic_s()) if self.failures else CHECK_S))

    def deliver(self) -> None:
        """Send everything that this service has not been sent yet. A rejected message is retried later."""
        told, key, now = self.post.told, self.service.shown, self.post.now()
        newest, marks = told.newest(), told.marks(key)
        if ALL not in marks:
            marks[ALL] = self.begins
            told.advance(key, {ALL: self.begins}, now)
        batches = compose_messages(told.news(marks[ALL], NAMES), marks, self.post.events, now)
        for batch in [*batches, *self._troubles(marks, now)]:
            self.post.may()
            if not self._sent(batch):
                return
            told.advance(key, batch.marks, self.post.now())
        if newest > marks[ALL]:
            told.advance_all(key, newest, now)

    def _troubles(self, marks: dict[str, int], now: datetime) -> list[Batch]:
        if "trouble" not in self.post.events:
            return []
        store = self.post.looking
        held_up = {subject.removeprefix("trouble:") for subject, mark in marks.items() if mark}
        asked = held_up.union(store.open_runs())  # finished runs are not queried, so that their number does not matter
        return compose_trouble_messages(
            [(run, store.watch(run.id)) for run in store.runs() if run.id in asked], marks, now
        )

    def _sent(self, batch: Batch) -> bool:
        problem = self._attempt(batch.message)
        if not problem:
            if self.failures:
                self.post.notice(f"{self.service.name} ({self.service.shown}) accepts messages again")
            self.failures = 0
            return True
        if not self.failures:
            self.post.notice(
                f"{self.service.name} ({self.service.shown}) did not accept a message: {problem} (relay tries again)"
            )
        self.failures += 1
        wait_s = min(RETRY_S_MAX, self.post.retry_s * 2.0 ** min(self.failures - 1, 20))
        self._retry_at_s = monotonic_s() + wait_s
        return False

    def _attempt(self, message: Message) -> str:
        """Send a message and return the problem; empty if accepted.

        A send that exceeds its deadline is left running, and no other send is started before it returns.
        """
        before, self._sending = self._sending, None
        if before is not None and before.is_alive():
            self._sending = before
            return "it still has not answered"
        if before is not None and before.late and not before.problem and before.message == message:
            return ""  # accepted after the deadline
        self._sending = Sending(self.service, message)
        self._sending.start()
        self._sending.join(self.post.deadline_s)
        if self._sending.is_alive():
            self._sending.late = True
            return f"it did not answer within {duration(self.post.deadline_s)}"
        return self._sending.problem


class Sending(threading.Thread):
    """Thread that sends one message."""

    def __init__(self, service: NotificationService, message: Message) -> None:
        super().__init__(name=f"send {service.name}", daemon=True)
        self._service, self.message = service, message
        self.problem, self.late = "relay could not hand it over", False

    def run(self) -> None:
        self.problem = self._service.send(self.message)


class Senders:
    """Context manager that runs all senders of a daemon. At exit they get a short time for the last messages."""

    def __init__(self, post: Outbox, services: Sequence[NotificationService], farewell_s: float = CLOSE_S_MAX) -> None:
        self._farewell_s = farewell_s
        begins = post.told.newest()
        self._senders = [Sender(post, service, begins) for service in services]

    def __enter__(self) -> Self:
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        by_s = monotonic_s() + self._farewell_s
        for sender in self._senders:
            sender.close(by_s)

    def wake(self) -> None:
        """Wake all senders."""
        for sender in self._senders:
            sender.wake()
