"""The chain of a run's checkpoints: where each is, what it came from, and whether the chain is whole. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def custody(run: Mapping[str, Any]) -> dict[str, Any]:
    """Each checkpoint with its parent by name and where it is; `whole`: the newest one's parents are known back to the first.

    `damage` are the bytes that were found to differ; none of them was trained on.
    """
    checkpoints = run["checkpoints"]
    names = {checkpoint["digest"]: checkpoint["name"] for checkpoint in checkpoints}
    damaged = Counter(found["checkpoint"] for found in run["damage"])
    length, whole = _ancestors(checkpoints)
    return {
        "checkpoints": [
            {
                **{key: checkpoint[key] for key in ("name", "stage", "step", "digest", "size_bytes", "status")},
                **{key: checkpoint[key] for key in ("verified", "verified_at", "published_at")},
                "parent": names.get(checkpoint["parent"]),
                "parent_digest": checkpoint["parent"],
                "places": _places(checkpoint),
                "damage": damaged[checkpoint["name"]],
            }
            for checkpoint in checkpoints
        ],
        "length": length,
        "whole": whole,
        "damage": list(run["damage"]),
    }


def _places(checkpoint: Mapping[str, Any]) -> list[str]:
    """Where its bytes are: pruning removes it on both sides, and a damaged one is whole nowhere."""
    if checkpoint["status"] in ("pruned", "damaged"):
        return []
    return ["this machine", *([f"Kaggle: {checkpoint['dataset']}"] if checkpoint["dataset"] else [])]


def _ancestors(checkpoints: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """How many checkpoints lead to the newest usable one, itself included, and whether the first of them had no parent."""
    by_digest = {checkpoint["digest"]: checkpoint for checkpoint in checkpoints}
    usable = [checkpoint for checkpoint in checkpoints if checkpoint["status"] in ("collected", "published")]
    at, length = (usable[-1] if usable else None), 0
    while at is not None and length < len(checkpoints):
        length += 1
        if at["parent"] is None:
            return length, True
        at = by_digest.get(at["parent"])
    return length, not checkpoints
