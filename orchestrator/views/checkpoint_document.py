"""A checkpoint of a run as a document. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from state.model.run_state import Checkpoint, RunState
from state.model.statuses import CheckpointStatus


def checkpoint_document(state: RunState, checkpoint: Checkpoint, platforms: Sequence[str]) -> dict[str, Any]:
    """Describe a checkpoint of a run; `platforms` are those of the run, oldest first."""
    owner = state.run.owner_at(checkpoint.platform)
    return {
        "name": checkpoint.name,
        "session": checkpoint.session,
        "attempt": checkpoint.attempt,
        "stage": checkpoint.cursor.stage,
        "step": checkpoint.cursor.step,
        "digest": checkpoint.digest,
        "parent": checkpoint.parent,
        "contents": json.loads(checkpoint.manifest).get("digests", {}),
        "size_bytes": checkpoint.size_bytes,
        "status": checkpoint.status.value,
        "platform": platforms[checkpoint.platform],
        "dataset": f"{owner}/{checkpoint.place}" if checkpoint.on_kaggle else None,
        "verified": checkpoint.status is not CheckpointStatus.DAMAGED,
        "verified_at": checkpoint.verified_at.isoformat(),
        "published_at": checkpoint.published_at.isoformat() if checkpoint.published_at else None,
    }
