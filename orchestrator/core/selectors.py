"""Find the checkpoint or the session that a person means."""

from orchestrator.base.errors import BadInput
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


def abandon_arguments(state: RunState) -> dict[str, str]:
    """The request's arguments for giving the newest session up; raises BadInput where nothing is awaited of it."""
    if state.last is None or not state.last.phase.awaited:
        raise BadInput(
            f"--abandon-session: {state.run.id} awaits nothing of a session on Kaggle: leave --abandon-session out"
        )
    return {"abandon_session": state.last.slug}


def require_session_ended(state: RunState) -> None:
    """Raise BadInput while a session is under way, whose checkpoint would be newer than the one that is chosen."""
    if state.last is not None and state.last.phase.under_way:
        raise BadInput(
            f"--from-step: session {state.last.slug} is not over yet, and what it leaves would be newer: wait for its end, "
            "or add --abandon-session"
        )
