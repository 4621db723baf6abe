"""Where quota goes: every second that a session had a machine in one class, and the share that counts in the end. Pure.

Classes of a session's own clock are those of `stages.session.time_accounting`; three more tell what only the laptop knows. See docs/goodput.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.session.time_accounting import COUNTS, TimeClass

WASTED, TAIL, UNTOLD, STARTING = "wasted", "idle_tail", "untold", "starting"
IN_TIME = ("finished", "yielded")
"""How sessions end that end by themselves."""


@dataclass(frozen=True)
class Class:
    """What a second can be spent on; `group` is what it is drawn as."""

    label: str
    group: str
    what: str


CLASSES = {
    TimeClass.STEP.value: Class("training steps", "training", "steps that a checkpoint holds"),
    TimeClass.ROLLOUT.value: Class("rollouts", "training", "answers drawn for steps that a checkpoint holds"),
    TimeClass.EVALUATION.value: Class("evaluation", "training", "answers that were counted"),
    TimeClass.ACCELERATOR.value: Class("accelerator initialization", "starting", "until the promised chips answer"),
    TimeClass.INSTALL.value: Class("environment install", "starting", "pip"),
    TimeClass.MODEL.value: Class("model load", "starting", "importing, reading the model, putting it on the chips"),
    TimeClass.RESTORE.value: Class("checkpoint restore", "starting", "finding, verifying and reading the checkpoint"),
    TimeClass.COMPILE.value: Class("compile", "starting", "as JAX measures it"),
    TimeClass.DATA.value: Class("data wait", "starting", "reading data sets, and making batches that a step waits for"),
    TimeClass.OTHER.value: Class("other", "starting", "before the first line of Python, and what is in no other class"),
    STARTING: Class("start-up", "starting", "up to the first step, in sessions of a relay that did not tell it apart"),
    TimeClass.SAVE.value: Class("checkpoint save", "saving", "what steps waited for; the rest goes on beside them"),
    WASTED: Class("wasted", "lost", "steps that no checkpoint holds, and a killed session's time after its last word"),
    TAIL: Class("idle tail", "tail", "from a session's last word until Kaggle calls it ended"),
    UNTOLD: Class("not told yet", "tail", "since the live session's last word"),
}
"""In the order in which they are told."""
GROUPS = {
    "training": "counts",
    "starting": "start-up",
    "saving": "saves",
    "lost": "wasted",
    "tail": "tail",
}
"""What classes are drawn as."""


def account(session: Mapping[str, Any]) -> dict[str, float] | None:
    """Seconds by class of a session of a status document; their sum is how long it had its machine. None: it never told.

    Kaggle's clock and the session's are looked at by different people: where the session says that it was longer, it was.
    """
    told: Mapping[str, float] = session["accounted"]
    if not told:
        return None
    found = dict.fromkeys(CLASSES, 0.0)
    for name, seconds in told.items():
        found[name if name in found else TimeClass.OTHER.value] += seconds
    rest_s = max(0.0, (session["seconds"] or 0.0) - sum(told.values()))
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
    """Of an account, the seconds of steps that count."""
    return sum(spent[name] for name in COUNTS)


def early_s(session: Mapping[str, Any]) -> float | None:
    """How long before its limit a session stopped that stopped for time; Kaggle does not charge for it."""
    if session["outcome"] != "yielded" or session["seconds"] is None:
        return None
    lasted_s = max(float(session["seconds"]), float(sum(session["accounted"].values())))
    return max(0.0, float(session["limit_s"]) - lasted_s)


def goodput(sessions: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Of all sessions that told: `quota_s`, `counted_s`, their ratio `goodput`, and `classes` by name. None where none did."""
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
