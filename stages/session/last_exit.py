"""Ends a session shortly before Kaggle's limit if its last step or save does not finish in time.

Kaggle keeps the output of a session that ends by itself; of one that it kills at the limit it may keep nothing. So a
separate thread ends the process shortly before the limit, even if training hangs: with the newest complete checkpoint,
a report that gives the reason, and exit status 0. Steps after that checkpoint are lost, as they would be at the limit.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from stages.session.context import RunningSession
from stages.session.duration_text import duration
from stages.session.session_report import report_of

MARGIN_S_MAX = 15.0
"""Time between the exit and the limit, in seconds; half of the time between budget and limit if that is less."""
LOOK_S_MAX = 1.0
"""Longest wait between two looks at the clock, in seconds: the session's clock may stop or jump with its machine."""


def leaving_in_time(session: RunningSession, leave: Callable[[int], object] | None) -> AbstractContextManager[None]:
    """Write a report and call `leave` if the `with` block lasts almost until the session's limit."""
    if leave is None:
        return nullcontext()
    order = session.order

    def go() -> None:
        why = f"the session leaves before its limit of {duration(order.limit_s)}: its last step or save did not end in time"
        session.log.event("stopping", stage=session.reached.stage, step=session.reached.step, note=why)
        session.output.report(report_of(session, "yielded", reason=why))
        leave(0)

    return last_exit(exit_at_s(order.budget_s, order.limit_s), session.clock, go)


def exit_at_s(budget_s: float, limit_s: float) -> float:
    """Return the time of the exit, in seconds on the session's clock."""
    return limit_s - min(MARGIN_S_MAX, max(0.0, limit_s - budget_s) / 2)


@contextmanager
def last_exit(at_s: float, clock: Callable[[], float], leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` once if the clock reaches `at_s` within the `with` block; never after the block has ended."""
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
