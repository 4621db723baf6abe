"""Limits the rate of commands: none is repeated without a pause, and calls to Kaggle have a budget. Pure.

Recent commands are stored in the run's `PollState`, so a daemon that is restarted repeatedly is limited too.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.core.commands import Command, Wait
from orchestrator.core.plan import Limits
from state.model.poll_state import PollState
from state.model.snapshot import CallsMade, Snapshot

MINUTE = timedelta(minutes=1)
COMMANDS_MAX = 200
"""Maximum number of different commands in a row without a pause: more than any sequence of events needs."""


def wait_before(command: Command, snapshot: Snapshot, limits: Limits, now: datetime) -> Wait | None:
    """Return a wait in place of a command that comes too soon, or None if it may be carried out."""
    if isinstance(command, Wait):
        over = command.until is not None and command.until <= now  # a wait that is already over
        return replace(command, until=now + timedelta(seconds=limits.floor_s), held=True) if over else None
    watch = snapshot.watch
    done = _lately(watch, limits, now)
    if done and watch.recent_commands_at is not None and (_digest(command) in done or len(done) >= COMMANDS_MAX):
        what = type(command).__name__
        return Wait(
            watch.recent_commands_at + timedelta(seconds=limits.floor_s),
            f"the same command ({what}) ran a moment ago: relay waits before it repeats one",
            held=True,
        )
    own = () if watch.calls_since is None else (CallsMade(since=watch.calls_since, calls=watch.calls),)
    recent = [made for made in (*own, *snapshot.others_calls) if _counts(made.since, now)]
    if sum(made.calls for made in recent) < limits.calls_a_minute:
        return None
    until = min(made.since for made in recent) + MINUTE
    return Wait(
        until, f"{limits.calls_a_minute} calls to Kaggle were made within a minute: further calls wait", held=True
    )


def with_command_counted(
    watch: PollState, before: PollState, command: Command, calls: int, limits: Limits, now: datetime
) -> PollState:
    """Return the poll state after a command that took `calls` calls; `before` is the state when it began."""
    done = _lately(before, limits, now)
    counts = before.calls_since is not None and _counts(before.calls_since, now)
    return replace(
        watch,
        recent_commands=" ".join((*done, _digest(command))),
        recent_commands_at=before.recent_commands_at if done else now,
        calls=calls + (before.calls if counts else 0),
        calls_since=before.calls_since if counts else now,
    )


def _lately(watch: PollState, limits: Limits, now: datetime) -> tuple[str, ...]:
    """Return the digests of commands since the last pause; a future time, from a wrong clock, is ignored."""
    at = watch.recent_commands_at
    if at is None or not at <= now < at + timedelta(seconds=limits.floor_s):
        return ()
    return tuple(watch.recent_commands.split())


def _counts(since: datetime, now: datetime) -> bool:
    return since <= now < since + MINUTE


def _digest(command: Command) -> str:
    return hashlib.sha256(repr(command).encode()).hexdigest()[:12]
