"""The chain of a run's checkpoints: locations, parents, and whether the chain is complete. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.platforms.names import platform_name


def checkpoint_chain(run: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each checkpoint with its parent's name and its locations.

    `whole`: the ancestors of the newest checkpoint are known back to the first one, or to the other run's checkpoint
    that the run began from (`origin`). `damage` lists files whose bytes differed; none of them was used for training.
    `numerics` says how the checkpoints were computed, and at which session that changed. `changes` are those of the
    pipeline, each with its session, `moves` those of the platform, and `models` what was published of the run.
    """
    checkpoints = run["checkpoints"]
    origin = run["origin"] or {"digest": None, "checkpoint": None}
    names = {checkpoint["digest"]: checkpoint["name"] for checkpoint in checkpoints}
    names |= {origin["digest"]: origin["checkpoint"]} if origin["digest"] else {}
    damaged = Counter(found["checkpoint"] for found in run["damage"])
    length, whole = _ancestors(checkpoints, origin["digest"])
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
        "origin": run["origin"],
        "length": length,
        "whole": whole,
        "damage": list(run["damage"]),
        "numerics": dict(run["numerics"]),
        "changes": list(run["changes"]),
        "moves": list(run["moves"]),
        "models": list(run["models"]),
    }


def _places(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return where a checkpoint's bytes are. Pruning removes it here and on its platform; a damaged one is intact nowhere."""
    if checkpoint["status"] in ("pruned", "damaged"):
        return []
    where = f"{platform_name(checkpoint['platform'])}: {checkpoint['dataset']}"
    return ["this machine", *([where] if checkpoint["dataset"] else [])]


def _ancestors(checkpoints: Sequence[Mapping[str, Any]], beginning: str | None) -> tuple[int, bool]:
    """Return the length of the newest usable checkpoint's chain, and whether the chain is complete.

    `beginning` is the digest of the other run's checkpoint that the run began from, or None.
    """
    by_digest = {checkpoint["digest"]: checkpoint for checkpoint in checkpoints}
    usable = [checkpoint for checkpoint in checkpoints if checkpoint["status"] in ("collected", "published")]
    at, length = (usable[-1] if usable else None), 0
    while at is not None and length < len(checkpoints):
        length += 1
        if at["parent"] == beginning:
            return length, True
        at = by_digest.get(at["parent"])
    return length, not checkpoints
