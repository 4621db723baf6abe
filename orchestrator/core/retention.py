"""Which checkpoints may be removed, and which have to be looked at before another session mounts them. Pure."""

from collections.abc import Sequence

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.options import TrainingOptions
from stages.training.guards import LASTING_STEPS, LOOK_AFTER_STEPS
from state.model import Checkpoint, CheckpointStatus, Outcome, Phase, Request, RunState, Session

KEPT_MIN = 2
"""Verified checkpoints that are never removed: the newest, and the one to fall back to."""

PARENT_CAUSES = ("parent-corrupt", "parent-missing", "parent-mismatch")
"""Of a session that did not get the checkpoint it was to start from."""

MENDED_MAX = 4
"""So often the sessions that failed over one checkpoint are forgiven because it was published anew; then something else is wrong."""


NOT_FINITE = ("checkpoint-not-finite", "model-not-finite")
"""Of a session that was given numbers with which nothing can be computed."""


# --- what may go -------------------------------------------------------------


def prunable(state: RunState, keep: int, requests: Sequence[Request] = ()) -> tuple[Checkpoint, ...]:
    """The published checkpoints that may be removed, oldest first.

    Never one of the newest `keep_checkpoints`, of the last two that are verified, of those that a session which is not over starts from,
    nor one that a person has just asked to go on from.
    """
    published = [c for c in state.checkpoints if c.status is CheckpointStatus.PUBLISHED]
    verified = [c.name for c in state.checkpoints if c.usable]
    mounted = {s.parent for s in state.sessions if not s.phase.over}
    asked = {r.arguments.get("checkpoint") for r in requests if r.verb in ("resume", "retry")}
    spared = {*verified[-KEPT_MIN:], *(c.name for c in published[-max(keep, KEPT_MIN) :]), *mounted, *asked}
    return tuple(c for c in published if c.name not in spared)


# --- what has to be looked at --------------------------------------------------


def failed_over_parent(session: Session) -> bool:
    """Whether the session ended because the checkpoint that it was to start from did not arrive as it should."""
    return session.outcome is Outcome.FAILED and session.cause in PARENT_CAUSES and session.parent is not None


def needs_verification(state: RunState) -> Checkpoint | None:
    """The published checkpoint whose dataset has to be looked at before another session mounts it.

    One that arrived damaged at once; one that was not found, or not where the order starts, when that happened twice.
    """
    last, head = state.last, state.head
    if last is None or head is None or last.parent != head.name or not failed_over_parent(last):
        return None
    if head.status is not CheckpointStatus.PUBLISHED or _seen_since(head, last):
        return None
    in_a_row = 0
    for session in reversed(state.sessions):
        if session.parent != head.name or not failed_over_parent(session):
            break
        in_a_row += 1
    return head if last.cause == "parent-corrupt" or in_a_row > 1 else None


def unpublished_parent(state: RunState, *, mounts_output: bool) -> Session | None:
    """The session whose checkpoint has to be published (again) before the next one can mount it.

    `mounts_output`: sessions mount the last kernel's output, so this is needed only once that has failed.
    """
    head = state.head
    if head is None or (mounts_output and not (state.last and failed_over_parent(state.last))):
        return None
    session = state.session(head.session, head.attempt)
    return session if session.phase in (Phase.COLLECTED, Phase.PUBLISHING) else None


def excused(state: RunState, session: Session) -> bool:
    """Whether the session's failure was its parent's, which has been published anew or given up since."""
    if not failed_over_parent(session) or session.ended_at is None:
        return False
    parent = next((c for c in state.checkpoints if c.name == session.parent), None)
    if parent is None or parent.status is CheckpointStatus.DAMAGED:
        return True
    over_it = [s for s in state.sessions if s.parent == parent.name and failed_over_parent(s)]
    anew = parent.published_at is not None and parent.published_at >= session.ended_at
    return anew and len(over_it) <= MENDED_MAX


def _seen_since(checkpoint: Checkpoint, session: Session) -> bool:
    """Whether the checkpoint's dataset was made or compared after the session ended."""
    times = (checkpoint.published_at, checkpoint.verified_at)
    return session.ended_at is None or any(at is not None and at >= session.ended_at for at in times)


# --- what a person can go on from ------------------------------------------------


def sound(state: RunState, session: Session, pipeline: Pipeline) -> Checkpoint | None:
    """The newest usable checkpoint from before the trouble that ended a session; None where there is none.

    Not the one that the session could not read numbers from, nor one from which it came to what is not a number at once, nor one
    of the steps that a guard looked back at.
    """
    spared = session.parent if session.cause in NOT_FINITE else None
    place = session.furthest or session.start
    before = place.step - _steps_of_trouble(session.cause, place.stage, pipeline)
    usable = [c for c in reversed(state.checkpoints) if c.usable and c.name != spared]
    return next((c for c in usable if c.cursor.stage != place.stage or c.cursor.step <= before), None)


def _steps_of_trouble(cause: str, stage: str, pipeline: Pipeline) -> int:
    """How many of a stage's steps before the end of a session were in doubt when it ended."""
    kind, given = next((each.kind, each.options) for each in pipeline.stages if each.name == stage)
    options = KINDS[kind].fit(given, "options") if kind in KINDS else None
    match cause:
        case "not-a-number":
            return 1
        case "loss-spike":
            return LASTING_STEPS
        case "reward-collapse" | "no-progress" if isinstance(options, TrainingOptions):
            return options.guard_steps
        case "lora-still-zero" | "base-moved":
            return LOOK_AFTER_STEPS
        case _:
            return 0
