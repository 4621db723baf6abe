"""Changes of a run's platform as plain values, and in words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.platforms.names import platform_name
from state.facts.base import Fact
from state.facts.run import PlatformLeft
from state.model.run_state import RunState


def platform_moves(
    state: RunState, platforms: Sequence[str], facts: Sequence[tuple[datetime, Fact]]
) -> Iterator[dict[str, Any]]:
    """Yield each change of the platform, oldest first, with what was said of the numbers before it.

    `platforms` are those of the run, oldest first. `after_session` is the last session before it, or None; `checkpoint`
    and `digest` are of the one that the run had then, or None.
    """
    run = state.run
    left = [(at, fact) for at, fact in facts if isinstance(fact, PlatformLeft)]
    for number, (at, fact) in enumerate(left):
        before = [session.number for session in state.sessions if session.platform <= number and session.pushed_at]
        yield {
            "at": at.isoformat(),
            "after_session": max(before, default=None),
            "from": platforms[number],
            "to": platforms[number + 1],
            "owner_before": run.owner_at(number),
            "owner": fact.owner,
            "checkpoint": fact.checkpoint or None,
            "digest": fact.digest or None,
            "numbers": list(fact.numbers),
        }


def move_sentence(move: Mapping[str, Any]) -> str:
    """Return a change of the platform as one sentence without its time."""
    since = "before its first session" if move["after_session"] is None else f"after session {move['after_session']}"
    name = f", from {move['checkpoint']}" if move["checkpoint"] else ""
    before, after = (platform_name(move[key]) for key in ("from", "to"))
    return f"{since} from {before} ({move['owner_before']}) to {after} ({move['owner']}){name}"
