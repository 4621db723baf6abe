"""What is done about times of a clock that was ahead and was put right: facts have an order, and their times follow it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from state.model import RunState

Item = TypeVar("Item")

TICK = timedelta(microseconds=1)
SESSION_TIMES = ("planned_at", "pushed_at", "running_at", "ended_at")
CHECKPOINT_TIMES = ("verified_at", "published_at")


def moved_back(times: Iterable[datetime], at: datetime) -> dict[datetime, datetime]:
    """What each of the times that lie after `at` is to be, so that all of them lie before it: its old time → its new one.

    They move together, so that what lies between two of them stays as long as it was; none of them comes to lie before or on one
    that was earlier, whatever was measured before the clock went ahead.
    """
    known = sorted(set(times))
    if not known or known[-1] < at:
        return {}
    by, new = known[-1] - at + TICK, list[datetime]()
    for time in known:
        wished = time if time < at else time - by
        new.append(max(wished, new[-1] + TICK) if new else wished)
    after = at
    for place in reversed(range(len(new))):  # where that leaves no room, what is crowded gives way by microseconds
        after = new[place] = min(new[place], after - TICK)
    return {time: moved for time, moved in zip(known, new, strict=True) if time != moved}


def put_right(state: RunState, at: datetime) -> RunState:
    """The state before a fact of the time `at`, where facts before it bear later times.

    The run's `created_at` stays: the tokens of its sessions are made from it.
    """
    times = [found for item, names in _timed(state) for name in names if (found := getattr(item, name)) is not None]
    moved = moved_back(times, at)
    if not moved:
        return state
    return replace(
        state,
        sessions=tuple(replace(s, **_changed(s, SESSION_TIMES, moved)) for s in state.sessions),
        checkpoints=tuple(replace(c, **_changed(c, CHECKPOINT_TIMES, moved)) for c in state.checkpoints),
    )


def _timed(state: RunState) -> list[tuple[object, tuple[str, ...]]]:
    return [
        *((session, SESSION_TIMES) for session in state.sessions),
        *((checkpoint, CHECKPOINT_TIMES) for checkpoint in state.checkpoints),
    ]


def _changed(item: object, names: Sequence[str], moved: Mapping[datetime, datetime]) -> dict[str, Any]:
    return {name: moved[time] for name in names if (time := getattr(item, name)) in moved}


def in_order(happened: Sequence[tuple[datetime, Item]]) -> list[tuple[datetime, Item]]:
    """A log whose times never go back: those of a clock that was ahead are moved to before it was put right."""
    times: list[datetime] = []
    for at, _ in happened:
        if times and at < times[-1]:
            moved = moved_back(times, at)
            times = [moved.get(time, time) for time in times]
        times.append(at)
    return [(time, item) for time, (_, item) in zip(times, happened, strict=True)]
