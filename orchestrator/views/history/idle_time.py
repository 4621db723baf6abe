"""Use of the time in which no session of a run had a machine: it costs no quota, but delays the run. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.time_classes import OFF_QUOTA, TIME_CLASSES, TimeGroup
from stages.session.time_accounting import TimeClass
from state.chronology import in_order
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished
from state.facts.session import NothingCollected, OutputCollected, SeenEnded

Key = tuple[int, int]


def idle_time(happened: Sequence[tuple[datetime, Fact]], drawn: Mapping[TimeGroup, float]) -> list[dict[str, Any]]:
    """Return seconds by class.

    `drawn` are the seconds of the run's timeline. Waits are taken from there; what a hand-over consists of is computed
    from the facts. Relay's own delay is the timeline's, and what remains of hand-overs. A transfer whose fact states no
    duration counts as delay, or as processing.
    """
    found = dict.fromkeys(OFF_QUOTA, 0.0) | {
        TimeClass.QUEUE: drawn[TimeGroup.QUEUE],
        TimeClass.ORCHESTRATOR_DELAY: drawn[TimeGroup.DELAY],
        TimeClass.QUOTA_WAIT: drawn[TimeGroup.QUOTA_WAIT],
        TimeClass.PARKED: drawn[TimeGroup.PARKED],
    }
    before: dict[Key, datetime] = {}
    """Time of the newest fact about each session's end."""
    for at, fact in in_order(happened):
        if isinstance(fact, SeenEnded | OutputCollected | NothingCollected | CheckpointPublished):
            key = (fact.number, fact.attempt)
            waited_s = max(0.0, (at - before.get(key, at)).total_seconds())
            for name, seconds in _hand_over(fact, waited_s).items():
                found[name] += seconds
            if not isinstance(fact, CheckpointPublished):
                before[key] = at
    return [
        {
            "key": name.value,
            "label": TIME_CLASSES[name].label,
            "group": TIME_CLASSES[name].group.value,
            "what": TIME_CLASSES[name].meaning,
            "seconds": round(found[name], 3),
        }
        for name in OFF_QUOTA
        if found[name] > 0
    ]


def _hand_over(fact: Fact, waited_s: float) -> dict[TimeClass, float]:
    """Split the seconds since the previous fact about the session's end by class."""
    match fact:
        case OutputCollected() | NothingCollected():
            down_s = min(waited_s, fact.fetched_s)
            up_s = min(waited_s - down_s, fact.sent_s if isinstance(fact, OutputCollected) else 0.0)
            return {
                TimeClass.TRANSFER_DOWN: down_s,
                TimeClass.TRANSFER_UP: up_s,
                TimeClass.ORCHESTRATOR_DELAY: waited_s - down_s - up_s,
            }
        case CheckpointPublished():
            up_s = min(waited_s, fact.sent_s)
            return {TimeClass.TRANSFER_UP: up_s, TimeClass.DATASET_PROCESSING: waited_s - up_s}
        case _:
            return {}
