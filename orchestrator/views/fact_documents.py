"""Parts of the status document that come from single facts: damage that was found, models that were published."""

from datetime import datetime
from typing import Any

from state.facts.checkpoint import DamageFound, ModelPublished


def damage_document(at: datetime, fact: DamageFound) -> dict[str, Any]:
    """Describe damage to a checkpoint."""
    return {
        "at": at.isoformat(),
        "checkpoint": fact.checkpoint,
        "file": fact.file,
        "place": fact.place,
        "problem": fact.problem,
        "kept": fact.kept or None,
    }


def model_document(at: datetime, fact: ModelPublished) -> dict[str, Any]:
    """Describe a published model."""
    kept = ("place", "model", "url", "public", "layout", "dtype", "checkpoint", "weights_sha256", "files", "size_bytes")
    stated = {"stage": fact.cursor.stage, "step": fact.cursor.step}
    return {"at": at.isoformat(), **stated, **{name: getattr(fact, name) for name in kept}}
