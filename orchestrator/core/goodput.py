"""Accounts for quota: assigns each second of a session to one class, and computes the productive share. Pure.

The classes of a session's own clock are those of `stages.session.time_accounting`; three more describe what only the
laptop knows. See docs/goodput.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.session.time_accounting import COUNTS, TimeClass

WASTED, TAIL, UNTOLD, STARTING = "wasted", "idle_tail", "untold", "starting"
IN_TIME = ("finished", "yielded")
"""Outcomes of sessions that ended by themselves."""


@dataclass(frozen=True)
class Class:
    """A class of session time; `group` selects how it is drawn."""

    label: str
    group: str
    what: str


CLASSES = {
    TimeClass.STEP.value: Class("training steps", "training", "steps that a checkpoint holds"),
    TimeClass.ROLLOUT.value: Class("rollouts", "training", "completions sampled for steps that a checkpoint holds"),
    TimeClass.EVALUATION.value: Class("evaluation", "training", "completions that were graded"),
    TimeClass.ACCELERATOR.value: Class(
        "accelerator initialization", "starting", "until the accelerator's chips respond"
    ),
    TimeClass.INSTALL.value: Class("environment install", "starting", "pip"),
    TimeClass.MODEL.value: Class("model load", "starting", "importing, reading the model, putting it on the chips"),
    TimeClass.RESTORE.value: Class("checkpoint restore", "starting", "finding, verifying and reading the checkpoint"),
    TimeClass.COMPILE.value: Class("compile", "starting", "as JAX measures it"),
    TimeClass.DATA.value: Class("data wait", "starting", "reading data sets, and making batches that a step waits for"),
    TimeClass.OTHER.value: Class("other", "starting", "before the first line of Python, and what is in no other class"),
    STARTING: Class(
        "start-up", "starting", "up to the first step, in sessions of an older relay without these classes"
    ),
    TimeClass.SAVE.value: Class("checkpoint save", "saving", "what steps waited for; the rest goes on beside them"),
    WASTED: Class(
        "wasted", "lost", "steps that no checkpoint holds, and a killed session's time after its last report"
    ),
    TAIL: Class("idle tail", "tail", "from a session's last report until Kaggle calls it ended"),
    UNTOLD: Class("not reported yet", "tail", "since the live session's last report"),
}
"""Time classes, in display order."""
GROUPS = {
    "training": "counts",
    "starting": "start-up",
    "saving": "saves",
    "lost": "wasted",
    "tail": "tail",
}
"""Labels of the groups in which classes are drawn."""


def account(session: Mapping[str, Any]) -> dict[str, float] | None:
    """Return a session's seconds by class, whose sum is how long it had its machine, or None if it never reported.

    `session` is a session of a status document. Kaggle's clock and the session's own are sampled independently: the
    longer duration is used.
    """
    reported: Mapping[str, float] = session["accounted"]
    if not reported:
        return None
    found = dict.fromkeys(CLASSES, 0.0)
    for name, seconds in reported.items():
        found[name if name in found else TimeClass.OTHER.value] += seconds
    rest_s = max(0.0, (session["seconds"] or 0.0) - sum(reported.values()))
    if session["ended_at"] is None:
        found[UNTOLD] = rest_s
        return found
    steps_s = sum(found[name] for name in COUNTS)
    kept_s = min(steps_s, session["kept_s"])
    for name in COUNTS if steps_s else ():
        found[name] *= kept_s / steps_s
    found[WASTED] = steps_s - kept_s
    found[TAIL if session["outcome"] in IN_TIME else WASTED] += rest_s
    return found


def counted_s(spent: Mapping[str, float]) -> float:
    """Return the seconds of productive steps in an account."""
    return sum(spent[name] for name in COUNTS)


def early_s(session: Mapping[str, Any]) -> float | None:
    """Return how many seconds before its limit a session yielded, or None. Kaggle does not charge for these."""
    if session["outcome"] != "yielded" or session["seconds"] is None:
        return None
    lasted_s = max(float(session["seconds"]), float(sum(session["accounted"].values())))
    return max(0.0, float(session["limit_s"]) - lasted_s)


def goodput(sessions: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Sum up all sessions that reported: `quota_s`, `counted_s`, their ratio `goodput`, and `classes` by name.

    Returns None if no session reported.
    """
    totals = dict.fromkeys(CLASSES, 0.0)
    for spent in filter(None, map(account, sessions)):
        for name, seconds in spent.items():
            totals[name] += seconds
    quota_s = sum(totals.values())
    if quota_s <= 0:
        return None
    return {
        "goodput": counted_s(totals) / quota_s,
        "quota_s": round(quota_s, 3),
        "counted_s": round(counted_s(totals), 3),
        "classes": {name: round(seconds, 3) for name, seconds in totals.items() if seconds > 0},
    }
