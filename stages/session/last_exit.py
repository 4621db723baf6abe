"""The last exit before the limit: a session whose last step or save did not end in time leaves by itself, with what it has.

Kaggle keeps what a session leaves that ended by itself; of one that it killed at the limit it may keep nothing. So shortly
before that the process ends from a thread of its own, whatever the training hangs in: with the newest whole checkpoint, a
report that says so, and exit status 0. Steps since that checkpoint are lost, as they would be with the session.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MARGIN_S_MAX = 15.0
"""Before the limit; half of what lies between budget and limit where that is less than twice as much."""
LOOK_S_MAX = 1.0
"""The session's clock may stand still, or jump, with its machine."""


def exit_at_s(budget_s: float, limit_s: float) -> float:
    """When to leave, on the session's clock."""
    return limit_s - min(MARGIN_S_MAX, max(0.0, limit_s - budget_s) / 2)


@contextmanager
def last_exit(at_s: float, clock: Callable[[], float], leave: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `leave` is called once when the clock says `at_s`; it is not called any more once this has ended."""
    over = threading.Event()
    leaving = threading.Lock()

    def watch() -> None:
        while (left_s := at_s - clock()) > 0:
            if over.wait(min(left_s, LOOK_S_MAX)):
                return
        with leaving:
            if not over.is_set():
                leave()

    threading.Thread(target=watch, name="last exit", daemon=True).start()
    try:
        yield
    finally:
        with leaving:
            over.set()
