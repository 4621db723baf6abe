"""Several transfers at once: a few threads wide, answers in the order of the calls, nothing left running when it is over."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

POLL_S = 1.0
"""On some systems a signal is only heeded between two waits for a thread."""


def run_concurrently(calls: Sequence[Callable[[], T]], wide_max: int) -> list[T]:
    """Every call's answer, in the order of `calls`; at most `wide_max` are under way. 1: one after the other, on this thread.

    Where a call raises, no further one begins, those under way are finished, and of all that raised the first in order is
    raised. Interrupted (KeyboardInterrupt), it does not wait: the threads are daemons, so that a program that is told to end at
    once does.
    """
    if min(wide_max, len(calls)) <= 1:
        return [call() for call in calls]
    answers: list[Future[T]] = [Future() for _ in calls]
    waiting, failed = deque(zip(calls, answers, strict=True)), threading.Event()
    wide = min(wide_max, len(calls))
    workers = [threading.Thread(target=_work, args=(waiting, failed), name="abreast", daemon=True) for _ in range(wide)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(POLL_S)
    finally:
        failed.set()
    for answer in answers:
        if answer.done() and (error := answer.exception()) is not None:
            raise error
    return [answer.result() for answer in answers]


def _work(waiting: deque[tuple[Callable[[], T], Future[T]]], failed: threading.Event) -> None:
    while not failed.is_set():
        try:
            call, answer = waiting.popleft()
        except IndexError:
            return
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failed.set()
            answer.set_exception(error)
