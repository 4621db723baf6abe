"""Runs calls such as transfers on a few threads; returns results in call order and leaves nothing running."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

POLL_S = 1.0
"""Seconds between joins of a thread: on some systems a signal is handled only between two waits."""


def run_concurrently(calls: Sequence[Callable[[], T]], wide_max: int) -> list[T]:
    """Return every call's result, in the order of `calls`, with at most `wide_max` under way (1: on this thread).

    If a call raises, no further one begins, those under way finish, and the first error in call order is raised. An
    interrupt (KeyboardInterrupt) does not wait for them: the threads are daemons, so the program can end at once.
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
