"""Finds the checkpoint or session that a command-line option selects."""

from orchestrator.base.errors import BadInput
from orchestrator.platforms.names import name_in
from state.model.run_state import Checkpoint, RunState
from state.model.statuses import RunStatus


def checkpoint_at(state: RunState, wanted: str) -> Checkpoint:
    """Return the newest usable checkpoint at `STEP` or `STAGE:STEP`; raises BadInput listing the existing ones."""
    stage, _, step = wanted.rpartition(":")
    usable = [c for c in state.checkpoints if c.usable]
    for checkpoint in reversed(usable):
        if str(checkpoint.cursor.step) == step and stage in ("", checkpoint.cursor.stage):
            return checkpoint
    known = ", ".join(f"{c.cursor.stage}:{c.cursor.step}" for c in usable) or "none yet"
    raise BadInput(
        f"--from-step {wanted}: {state.run.id} has no checkpoint there: its verified checkpoints are {known}"
    )


def verified_checkpoint(state: RunState, wanted: str | None, option: str) -> Checkpoint:
    """Return the usable checkpoint of that name, with or without the run's prefix, or `STAGE:STEP`; default: the newest.

    Raises BadInput, which begins with `option`, listing the existing ones.
    """
    usable = [checkpoint for checkpoint in state.checkpoints if checkpoint.usable]
    if not wanted and usable:
        return usable[-1]
    for checkpoint in reversed(usable):
        place = f"{checkpoint.cursor.stage}:{checkpoint.cursor.step}"
        if wanted in (checkpoint.name, checkpoint.name.removeprefix(f"{state.run.id}-"), place):
            return checkpoint
    known = ", ".join(f"{c.name} ({c.cursor.stage}:{c.cursor.step})" for c in usable) or "none yet"
    raise BadInput(f"{option}{state.run.id} has no such verified checkpoint: its verified checkpoints are {known}")


def abandon_arguments(state: RunState) -> dict[str, str]:
    """Return the request arguments that abandon the newest session; raises BadInput if no session is pending."""
    if state.last is None or not (state.last.phase.awaited or state.last.unwatched):
        raise BadInput(
            f"--abandon-session: no session of {state.run.id} is pending on {name_in(state.run.pipeline)}: leave --abandon-session out"
        )
    return {"abandon_session": state.last.slug}


def require_session_ended(state: RunState) -> None:
    """Raise BadInput while a session is pending: its checkpoint would be newer than the selected one."""
    last = state.last
    if last is None or not last.pending:
        return
    if state.run.status is RunStatus.CANCELLED:
        raise BadInput(
            f"--from-step: {state.run.id} was cancelled before session {last.slug} was collected, and its checkpoint "
            "would be newer: leave --from-step out, or add --abandon-session"
        )
    raise BadInput(
        f"--from-step: session {last.slug} has not ended, and its checkpoint would be newer: wait until it "
        "ends, or add --abandon-session"
    )
