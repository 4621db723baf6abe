"""Calls that go abreast: bounded in number, answered in order, and over when the answer is there."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.errors import Corrupt, Transient

PATIENCE_S = 30.0


def test_answers_come_in_the_order_of_the_calls_whichever_is_done_first() -> None:
    second = threading.Event()

    def slow() -> str:
        assert second.wait(PATIENCE_S), "the second never ran beside the first"
        return "first"

    def quick() -> str:
        second.set()
        return "second"

    assert run_concurrently([slow, quick], 2) == ["first", "second"]


def test_as_many_as_allowed_are_under_way_and_never_more() -> None:
    together, lock, now, most = threading.Barrier(3), threading.Lock(), [0], [0]

    def call() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(PATIENCE_S)
        with lock:
            now[0] -= 1

    run_concurrently([call] * 9, 3)
    assert most == [3]


def test_where_one_fails_those_under_way_are_finished_and_no_further_one_begins() -> None:
    both, failed, done = threading.Barrier(2), threading.Event(), []

    def failing() -> None:
        both.wait(PATIENCE_S)
        failed.set()
        raise Transient("cut")

    def going_on() -> None:
        both.wait(PATIENCE_S)
        assert failed.wait(PATIENCE_S)
        threading.Event().wait(0.05)
        done.append("going on")

    with pytest.raises(Transient, match="cut"):
        run_concurrently([going_on, failing, partial(done.append, "late"), partial(done.append, "later")], 2)
    assert done == ["going on"]
    assert not [thread for thread in threading.enumerate() if thread.name == "abreast"]


def test_of_several_failures_the_first_in_order_is_told() -> None:
    both = threading.Barrier(2)

    def failing(error: Exception) -> None:
        both.wait(PATIENCE_S)
        raise error

    with pytest.raises(Corrupt, match="one"):
        run_concurrently([partial(failing, Corrupt("one")), partial(failing, Transient("two"))], 2)


def test_one_at_a_time_is_in_order_on_the_callers_own_thread() -> None:
    seen: list[tuple[int, str]] = []

    def call(number: int) -> None:
        seen.append((number, threading.current_thread().name))

    calls: list[Callable[[], None]] = [partial(call, number) for number in range(5)]
    run_concurrently(calls, 1)
    assert seen == [(number, threading.current_thread().name) for number in range(5)]
