"""Use of a run's quota hours, per session and in total. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from orchestrator.core.goodput import account, early_s, totals_of
from orchestrator.core.time_classes import ON_QUOTA, SESSION_GROUPS, TIME_CLASSES, TIME_GROUPS, TimeGroup
from stages.session.time_accounting import TimeClass, productive_s
from state.model.metrics import StepEdges

Key = tuple[int, int]
Account = Mapping[TimeClass, float]
"""Seconds of a session by class."""


def session_accounts(
    run: Mapping[str, Any],
    seen: Mapping[Key, StepEdges],
    timings: Mapping[Key, Mapping[str, float]],
    positions: Mapping[str, int],
) -> dict[str, Account]:
    """Return the account of each session that had a machine, by slug. A live session counts up to now.

    `positions` are the steps before each stage. Accounting begins when the machine does, as Kaggle's does. A session
    that reported no classes is estimated from its first and last step.
    """
    return {
        session["slug"]: account(session)
        or _estimated(session, seen.get(_key(session)), timings.get(_key(session), {}), positions)
        for session in run["sessions"]
        if session["seconds"] is not None
    }


def hours(run: Mapping[str, Any], accounts: Mapping[str, Account]) -> dict[str, Any]:
    """Return seconds of quota by class, in total and by session slug. `accounts` are those of `session_accounts`.

    goodput = seconds of productive classes / seconds of all classes, or None if no session had a machine.
    """
    totals = totals_of(accounts.values())
    total_s = sum(totals.values())
    early = [left_s for session in run["sessions"] if (left_s := early_s(session)) is not None]
    return {
        "total_s": round(total_s, 3),
        "counted_s": round(productive_s(totals), 3),
        "goodput": productive_s(totals) / total_s if total_s else None,
        "estimated": sorted(s["slug"] for s in run["sessions"] if s["slug"] in accounts and not s["accounted"]),
        "early_s": round(median(early), 3) if early else None,
        "classes": list(_class_rows(totals, total_s)),
        "groups": [{"key": group.value, "label": TIME_GROUPS[group].label} for group in SESSION_GROUPS],
        "sessions": {
            slug: {"classes": dict(spent), "groups": {key.value: s for key, s in grouped(spent).items()}}
            for slug, spent in accounts.items()
        },
    }


def _class_rows(totals: Account, total_s: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each class that any time was spent on."""
    for name in ON_QUOTA:
        if totals[name] > 0:
            words = TIME_CLASSES[name]
            yield {
                "key": name.value,
                "label": words.label,
                "group": words.group.value,
                "what": words.meaning,
                "seconds": round(totals[name], 3),
                "share": totals[name] / total_s,
            }


def grouped(spent: Account) -> dict[TimeGroup, float]:
    """Sum up an account by group."""
    found = dict.fromkeys(SESSION_GROUPS, 0.0)
    for name, seconds in spent.items():
        found[TIME_CLASSES[name].group] += seconds
    return found


def _estimated(
    session: Mapping[str, Any], seen: StepEdges | None, timings: Mapping[str, float], positions: Mapping[str, int]
) -> dict[TimeClass, float]:
    """Estimate an account from a session's first and last step, in seconds since its start:

    start-up := end of the first step - duration of a step
    wasted   := (end of the last step - start-up) * share of the steps that no checkpoint contains
    save     := duration of a save, if the session lasted that long after its last step; idle tail := what is left
    """
    lasted_s = max(0.0, session["seconds"])
    if seen is None:
        return {TimeClass.STARTUP: lasted_s}
    startup_s = min(lasted_s, max(0.0, seen.first_at_s - timings.get(f"{session['from']['stage']}.step_s", 0.0)))
    last_s = lasted_s if session["ended_at"] is None else min(lasted_s, max(startup_s, seen.last_at_s))
    steps_s, tail_s = last_s - startup_s, lasted_s - last_s
    lost_s = steps_s * _share_lost(session, positions)
    save_s = min(tail_s, timings.get("save_s", 0.0))
    return {
        TimeClass.STEP: steps_s - lost_s,
        TimeClass.STARTUP: startup_s,
        TimeClass.SAVE: save_s,
        TimeClass.WASTED: lost_s,
        TimeClass.IDLE_TAIL: tail_s - save_s,
    }


def _share_lost(session: Mapping[str, Any], positions: Mapping[str, int]) -> float:
    """Return the share of a session's steps that no checkpoint contains."""
    if not session["steps_lost"] or session["furthest"] is None:
        return 0.0
    done = _position(session["furthest"], positions) - _position(session["from"], positions)
    return min(1.0, session["steps_lost"] / done) if done > 0 else 0.0


def _position(cursor: Mapping[str, Any], positions: Mapping[str, int]) -> int:
    return int(positions[cursor["stage"]] + cursor["step"])


def _key(session: Mapping[str, Any]) -> Key:
    return (session["number"], session["attempt"])


def positions_of(stages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of pipeline steps before each stage."""
    found, before = {}, 0
    for stage in stages:
        found[stage["name"]] = before
        before += stage["target"]
    return found
