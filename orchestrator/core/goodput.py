"""Accounts for quota: assigns each second of a session to one class, and computes the productive share. Pure.

See docs/goodput.md for the classes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.time_classes import ON_QUOTA
from stages.session.time_accounting import PRODUCTIVE, SESSION_CLASSES, TimeClass, productive_s

IN_TIME = ("finished", "yielded")
"""Outcomes of sessions that ended by themselves."""


def account(session: Mapping[str, Any]) -> dict[TimeClass, float] | None:
    """Return a session's seconds by class, whose sum is how long it had its machine, or None if it never reported.

    `session` is a session of a status document. Kaggle's clock and the session's own are sampled independently: the
    longer duration is used. With `steps` = seconds of productive classes and `rest` = Kaggle's seconds - reported ones:

        productive class := its seconds * min(1, kept / steps)
        wasted           := steps - kept, plus `rest` if the session was killed
        idle tail        := `rest` if it ended by itself; not reported := `rest` while it is live
    """
    reported: Mapping[str, float] = session["accounted"]
    if not reported:
        return None
    found = dict.fromkeys(ON_QUOTA, 0.0)
    for name, seconds in reported.items():
        found[TimeClass(name) if name in SESSION_CLASSES else TimeClass.OTHER] += seconds
    rest_s = max(0.0, (session["seconds"] or 0.0) - sum(reported.values()))
    if session["ended_at"] is None:
        found[TimeClass.NOT_REPORTED] = rest_s
        return found
    steps_s = productive_s(found)
    kept_s = min(steps_s, session["kept_s"])
    for name in PRODUCTIVE if steps_s else ():
        found[name] *= kept_s / steps_s
    found[TimeClass.WASTED] = steps_s - kept_s
    found[TimeClass.IDLE_TAIL if session["outcome"] in IN_TIME else TimeClass.WASTED] += rest_s
    return found


def early_s(session: Mapping[str, Any]) -> float | None:
    """Return how many seconds before its limit a session yielded, or None. Kaggle does not charge for these."""
    if session["outcome"] != "yielded" or session["seconds"] is None:
        return None
    lasted_s = max(float(session["seconds"]), float(sum(session["accounted"].values())))
    return max(0.0, float(session["limit_s"]) - lasted_s)


def totals_of(accounts: Iterable[Mapping[TimeClass, float]]) -> dict[TimeClass, float]:
    """Sum up accounts by class."""
    totals = dict.fromkeys(ON_QUOTA, 0.0)
    for spent in accounts:
        for name, seconds in spent.items():
            totals[name] += seconds
    return totals


def goodput(sessions: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Sum up all sessions that reported: `quota_s`, `counted_s`, their ratio `goodput`, and `classes` by name.

    Returns None if no session reported.
    """
    totals = totals_of(filter(None, map(account, sessions)))
    quota_s = sum(totals.values())
    if quota_s <= 0:
        return None
    return {
        "goodput": productive_s(totals) / quota_s,
        "quota_s": round(quota_s, 3),
        "counted_s": round(productive_s(totals), 3),
        "classes": {name.value: round(seconds, 3) for name, seconds in totals.items() if seconds > 0},
    }
