"""Where a run's quota hours went: what each session did with its machine, and all of them together. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from state.model import StepEdges

Key = tuple[int, int]

CLASSES = {
    "training": ("training kept", "steps that a checkpoint holds"),
    "starting": ("start-up", "installing, loading the model and the data, compiling, up to the first step"),
    "lost": ("steps lost", "steps after a session's last checkpoint: they were done again"),
    "saving": ("last save", "the checkpoint that a session ends with; earlier ones count as training"),
    "tail": (
        "idle tail",
        "after the last step that was told of, beside the last save: a session that ends, or that hangs until its limit",
    ),
}
"""Each class: its name and what counts to it. Others may come; pages show whatever there is."""


def hours(
    run: Mapping[str, Any],
    seen: Mapping[Key, StepEdges],
    timings: Mapping[Key, Mapping[str, float]],
    positions: Mapping[str, int],
) -> dict[str, Any]:
    """Seconds of quota by class, over all sessions and for each by its slug; a live session counts as far as it is.

    `positions` are the steps before each stage. What Kaggle counts begins when the machine does, and so does this.
    """
    each = {
        session["slug"]: _spent(session, seen.get(_key(session)), timings.get(_key(session), {}), positions)
        for session in run["sessions"]
        if session["seconds"] is not None
    }
    totals = {name: sum(spent[name] for spent in each.values()) for name in CLASSES}
    total_s = sum(totals.values())
    return {
        "total_s": round(total_s, 3),
        "classes": [
            {
                "key": key,
                "label": label,
                "what": what,
                "seconds": round(totals[key], 3),
                "share": totals[key] / total_s if total_s else 0.0,
            }
            for key, (label, what) in CLASSES.items()
        ],
        "sessions": each,
    }


def _spent(
    session: Mapping[str, Any], seen: StepEdges | None, timings: Mapping[str, float], positions: Mapping[str, int]
) -> dict[str, float]:
    lasted_s = max(0.0, session["seconds"])
    if seen is None:
        return {**dict.fromkeys(CLASSES, 0.0), "starting": lasted_s}
    started_s = min(lasted_s, max(0.0, seen.first_at_s - timings.get(f"{session['from']['stage']}.step_s", 0.0)))
    last_s = lasted_s if session["ended_at"] is None else min(lasted_s, max(started_s, seen.last_at_s))
    tail_s = lasted_s - last_s
    saving_s = min(tail_s, timings.get("save_s", 0.0))
    lost_s = (last_s - started_s) * _share_lost(session, positions)
    return {
        "training": last_s - started_s - lost_s,
        "starting": started_s,
        "lost": lost_s,
        "saving": saving_s,
        "tail": tail_s - saving_s,
    }


def _share_lost(session: Mapping[str, Any], positions: Mapping[str, int]) -> float:
    """Of the steps that a session did, those that no checkpoint holds."""
    if not session["steps_lost"] or session["furthest"] is None:
        return 0.0
    done = _position(session["furthest"], positions) - _position(session["from"], positions)
    return min(1.0, session["steps_lost"] / done) if done > 0 else 0.0


def _position(cursor: Mapping[str, Any], positions: Mapping[str, int]) -> int:
    return int(positions[cursor["stage"]] + cursor["step"])


def _key(session: Mapping[str, Any]) -> Key:
    return (session["number"], session["attempt"])


def positions_of(stages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Steps of the pipeline before each stage."""
    found, before = {}, 0
    for stage in stages:
        found[stage["name"]] = before
        before += stage["target"]
    return found
