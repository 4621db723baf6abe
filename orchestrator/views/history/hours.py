"""Use of a run's quota hours, per session and in total. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from orchestrator.core.goodput import CLASSES, GROUPS, STARTING, TAIL, WASTED, account, counted_s, early_s
from stages.session.time_accounting import TimeClass
from state.model.metrics import StepEdges

Key = tuple[int, int]


def hours(
    run: Mapping[str, Any],
    seen: Mapping[Key, StepEdges],
    timings: Mapping[Key, Mapping[str, float]],
    positions: Mapping[str, int],
) -> dict[str, Any]:
    """Return seconds of quota by class, in total and by session slug. A live session counts up to now.

    `positions` are the steps before each stage. Accounting begins when the machine does, as Kaggle's does. A session
    without time accounting, from an earlier version of relay, is estimated from its first and last step.
    """
    each = {
        session["slug"]: account(session)
        or _estimated(session, seen.get(_key(session)), timings.get(_key(session), {}), positions)
        for session in run["sessions"]
        if session["seconds"] is not None
    }
    totals = {name: sum(spent[name] for spent in each.values()) for name in CLASSES}
    total_s = sum(totals.values())
    early = [left_s for session in run["sessions"] if (left_s := early_s(session)) is not None]
    return {
        "total_s": round(total_s, 3),
        "counted_s": round(counted_s(totals), 3),
        "goodput": counted_s(totals) / total_s if total_s else None,
        "estimated": sorted(s["slug"] for s in run["sessions"] if s["seconds"] is not None and not s["accounted"]),
        "early_s": round(median(early), 3) if early else None,
        "classes": [
            {
                "key": key,
                "label": kind.label,
                "group": kind.group,
                "what": kind.what,
                "seconds": round(totals[key], 3),
                "share": totals[key] / total_s if total_s else 0.0,
            }
            for key, kind in CLASSES.items()
            if totals[key] > 0
        ],
        "groups": [{"key": key, "label": label} for key, label in GROUPS.items()],
        "sessions": {slug: {"classes": spent, "groups": _grouped(spent)} for slug, spent in each.items()},
    }


def _grouped(spent: Mapping[str, float]) -> dict[str, float]:
    return {group: sum(spent[name] for name, kind in CLASSES.items() if kind.group == group) for group in GROUPS}


def _estimated(
    session: Mapping[str, Any], seen: StepEdges | None, timings: Mapping[str, float], positions: Mapping[str, int]
) -> dict[str, float]:
    lasted_s = max(0.0, session["seconds"])
    nothing = dict.fromkeys(CLASSES, 0.0)
    if seen is None:
        return {**nothing, STARTING: lasted_s}
    started_s = min(lasted_s, max(0.0, seen.first_at_s - timings.get(f"{session['from']['stage']}.step_s", 0.0)))
    last_s = lasted_s if session["ended_at"] is None else min(lasted_s, max(started_s, seen.last_at_s))
    tail_s = lasted_s - last_s
    saving_s = min(tail_s, timings.get("save_s", 0.0))
    lost_s = (last_s - started_s) * _share_lost(session, positions)
    return {
        **nothing,
        TimeClass.STEP.value: last_s - started_s - lost_s,
        STARTING: started_s,
        WASTED: lost_s,
        TimeClass.SAVE.value: saving_s,
        TAIL: tail_s - saving_s,
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
