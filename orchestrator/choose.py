"""Find the checkpoint that a person means."""

from orchestrator.errors import BadInput
from state.model import Checkpoint, RunState


def checkpoint_at(state: RunState, wanted: str) -> Checkpoint:
    """The newest usable checkpoint at `STEP` or `STAGE:STEP`; raises BadInput naming those there are."""
    stage, _, step = wanted.rpartition(":")
    usable = [c for c in state.checkpoints if c.usable]
    for checkpoint in reversed(usable):
        if str(checkpoint.cursor.step) == step and stage in ("", checkpoint.cursor.stage):
            return checkpoint
    known = ", ".join(f"{c.cursor.stage}:{c.cursor.step}" for c in usable) or "none yet"
    raise BadInput(
        f"--from-step {wanted}: {state.run.id} has no checkpoint there: its verified checkpoints are {known}"
    )
