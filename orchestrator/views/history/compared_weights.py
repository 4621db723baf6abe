"""Equality of the weights of two runs' checkpoints, by the digests of their contents. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

WEIGHTS = "weights"
Place = tuple[str, int]
"""Stage and step of a checkpoint."""


def compare_weights(run: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the newest checkpoints of two runs, and find the last place at which both had the same weights.

    `equal` is None if a run has no checkpoint, or if a checkpoint names no digest of its contents. A checkpoint
    without a digest of weights, as a counting stage writes, is compared by all its digests.
    """
    contents, others = _contents(run), _contents(other)
    newest, newest_other = (list(found.items())[-1] if found else None for found in (contents, others))
    shared = [place for place in contents if place in others]
    same = [place for place in shared if _equal(contents[place], others[place])]
    return {
        "run": run["id"],
        "with": other["id"],
        "equal": _equal(newest[1], newest_other[1]) if newest and newest_other else None,
        "newest": _place(newest[0] if newest else None),
        "newest_with": _place(newest_other[0] if newest_other else None),
        "shared": len(shared),
        "last_equal": _place(same[-1] if same else None),
    }


def _contents(run: Mapping[str, Any]) -> dict[Place, Mapping[str, str]]:
    """Return the digests of each usable checkpoint, and of pruned ones, whose digests are still known."""
    checkpoints: Sequence[Mapping[str, Any]] = run["checkpoints"]
    found: dict[Place, Mapping[str, str]] = {}
    for checkpoint in checkpoints:
        if checkpoint["status"] != "damaged":
            place = (checkpoint["stage"], checkpoint["step"])
            found.pop(place, None)  # the newest one of a place counts, at its own position
            found[place] = checkpoint["contents"]
    return found


def _equal(contents: Mapping[str, str], others: Mapping[str, str]) -> bool | None:
    if not contents or not others:
        return None
    if WEIGHTS in contents and WEIGHTS in others:
        return contents[WEIGHTS] == others[WEIGHTS]
    return contents == others


def _place(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else {"stage": place[0], "step": place[1]}
