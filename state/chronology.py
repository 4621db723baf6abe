"""Correct the times of facts recorded while the clock was ahead, so that times follow the order of facts. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from state.model.run_state import RunState

Item = TypeVar("Item")

TICK = timedelta(microseconds=1)
SESSION_TIMES = ("planned_at", "pushed_at", "running_at", "ended_at")
CHECKPOINT_TIMES = ("verified_at", "published_at")


def moved_back(times: Iterable[datetime], at: datetime) -> dict[datetime, datetime]:
    """Return the new time of each time that lies after `at`, so that all lie before it: old time → new time.

    They are shifted together, so that the durations between them stay the same. No time moves to or before a time that
    was earlier, including times recorded before the clock went ahead.
    """
    known = sorted(set(times))
    if not known or known[-1] < at:
        return {}
    by, new = known[-1] - at + TICK, list[datetime]()
    for time in known:
        wished = time if time < at else time - by
        new.append(max(wished, new[-1] + TICK) if new else wished)
    after = at
    for place in reversed(range(len(new))):  # without enough room, shift crowded times by microseconds
        after = new[place] = min(new[place], after - TICK)
    return {time: moved for time, moved in zip(known, new, strict=True) if time != moved}


def correct_times(state: RunState, at: datetime) -> RunState:
    """Return the state with its times moved before `at`, for a fact at `at` that follows facts with later times.

    The run's `created_at` is not changed: the tokens of its sessions are derived from it.
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
    """Return the log with non-decreasing times: times of a clock that was ahead are moved before its correction."""
    times: list[datetime] = []
    for at, _ in happened:
        if times and at < times[-1]:
            moved = moved_back(times, at)
            times = [moved.get(time, time) for time in times]
        times.append(at)
    return [(time, item) for time, (_, item) in zip(times, happened, strict=True)]
