"""Use of the time in which no session of a run had a machine: it costs no quota, but delays the run. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from state.chronology import in_order
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished
from state.facts.session import NothingCollected, OutputCollected, SeenEnded

Key = tuple[int, int]

CLASSES = {
    "queue": ("queue", "from a push until Kaggle has a machine"),
    "transfer_down": ("transfer down", "a session's output is downloaded and verified"),
    "transfer_up": ("transfer up", "a checkpoint is uploaded as a dataset"),
    "dataset_processing": (
        "dataset processing",
        "from the last uploaded byte until the dataset is complete",
    ),
    "orchestrator_delay": (
        "orchestrator delay",
        "relay's own: until its next poll, between retries, while no daemon ran",
    ),
    "quota_wait": ("waiting for quota", "this week's hours are spent"),
    "parked": ("parked", "the run waits for a person"),
}
"""Classes of idle time: label, and what counts as such."""


def outside(
    run: Mapping[str, Any], happened: Sequence[tuple[datetime, Fact]], timeline: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return seconds by class.

    `timeline` is the run's timeline. Its idle time counts as relay's own delay, in addition to delays within a
    hand-over. Transfers by earlier versions of relay were not measured; their time is part of the delay and of the
    processing.
    """
    drawn = {kind["key"]: kind["seconds"] for kind in timeline["kinds"]}
    found = dict.fromkeys(CLASSES, 0.0)
    found |= {"queue": drawn["queued"], "quota_wait": drawn["quota"], "parked": drawn["parked"]}
    ended: dict[Key, datetime] = {}
    collected: dict[Key, datetime] = {}
    for at, fact in in_order(happened):
        match fact:
            case SeenEnded():
                ended[fact.number, fact.attempt] = at
            case OutputCollected() | NothingCollected():
                collected[fact.number, fact.attempt] = at
                waited_s = _since(ended.get((fact.number, fact.attempt)), at)
                sent_s = fact.sent_s if isinstance(fact, OutputCollected) else 0.0
                found["transfer_down"] += min(waited_s, fact.fetched_s)
                found["transfer_up"] += min(max(0.0, waited_s - fact.fetched_s), sent_s)
                found["orchestrator_delay"] += max(0.0, waited_s - fact.fetched_s - sent_s)
            case CheckpointPublished():
                waited_s = _since(collected.get((fact.number, fact.attempt)), at)
                found["transfer_up"] += min(waited_s, fact.sent_s)
                found["dataset_processing"] += max(0.0, waited_s - fact.sent_s)
    found["orchestrator_delay"] += drawn["idle"]
    return [
        {"key": key, "label": label, "what": what, "seconds": round(found[key], 3)}
        for key, (label, what) in CLASSES.items()
        if found[key] > 0
    ]


def _since(begin: datetime | None, end: datetime) -> float:
    return 0.0 if begin is None else max(0.0, (end - begin).total_seconds())
