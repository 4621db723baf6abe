"""Decides which checkpoints may be pruned, and which must be verified before another session mounts them. Pure."""

from collections.abc import Sequence

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.contract import Cursor
from stages.options import TrainingOptions
from stages.training.guards import LASTING_STEPS, LOOK_AFTER_STEPS
from state.model.run_origin import RunOrigin
from state.model.run_state import KEPT_MIN, Checkpoint, RunState, Session
from state.model.snapshot import Request
from state.model.statuses import CheckpointStatus, Outcome, Phase

PARENT_CAUSES = ("parent-corrupt", "parent-missing", "parent-mismatch")
"""Failure causes of a session that did not get the checkpoint it was to start from."""

MENDED_MAX = 4
"""Maximum number of failures over one checkpoint that publishing it again excuses; beyond it, the cause is another."""


NOT_FINITE = ("checkpoint-not-finite", "model-not-finite")
"""Failure causes of a session whose checkpoint or model holds non-finite numbers."""


# --- pruning -----------------------------------------------------------------


def prunable(
    state: RunState,
    keep: int,
    requests: Sequence[Request] = (),
    needed: Sequence[RunOrigin] = (),
    kept_at: Sequence[Cursor] = (),
    *,
    everywhere: bool = True,
) -> tuple[Checkpoint, ...]:
    """Return the published checkpoints that may be pruned, oldest first; without `everywhere` only those that are on the
    run's present platform alone.

    Never pruned: the newest `keep_checkpoints`, the last two that are verified, the parents of sessions that are not
    over, one that the user has just asked to resume from, those that other runs begin from (`needed`), and the newest
    at each place of `kept_at`.
    """
    published = [c for c in state.checkpoints if c.status is CheckpointStatus.PUBLISHED]
    verified = [c.name for c in state.checkpoints if c.usable]
    mounted = {s.parent for s in state.sessions if not s.phase.over}
    asked = {r.arguments.get("checkpoint") for r in requests if r.verb in ("resume", "retry")}
    excluded = {*verified[-KEPT_MIN:], *(c.name for c in published[-max(keep, KEPT_MIN) :]), *mounted, *asked}
    excluded |= {c.name for place in kept_at for c in [c for c in published if c.cursor == place][-1:]}
    found = [c for c in published if c.name not in excluded and not any(is_origin(c, one) for one in needed)]
    return tuple(c for c in found if everywhere or _only_here(c, state))


def _only_here(checkpoint: Checkpoint, state: RunState) -> bool:
    """Return True if no platform that the run has left has a copy of the checkpoint."""
    if not state.run.left_platforms:
        return True
    made_on = state.session(checkpoint.session, checkpoint.attempt).platform
    return made_on == checkpoint.platform == state.run.platform


def is_origin(checkpoint: Checkpoint, origin: RunOrigin) -> bool:
    """Return True if another run begins from the checkpoint, or waits for a checkpoint at this place."""
    return checkpoint.digest == origin.digest if origin.found else checkpoint.cursor == origin.cursor


# --- verification ------------------------------------------------------------


def failed_over_parent(session: Session) -> bool:
    """Return True if the session failed because its parent checkpoint was missing or damaged."""
    return session.outcome is Outcome.FAILED and session.cause in PARENT_CAUSES and session.parent is not None


def needs_verification(state: RunState) -> Checkpoint | None:
    """Return the published checkpoint whose dataset must be verified before another session mounts it, or None.

    A checkpoint that arrived damaged is verified at once; one that was missing, or did not match the order, after two
    failures in a row.
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
    """Return the session whose checkpoint must be published (again) before the next one can mount it, or None.

    `mounts_output`: sessions mount the last kernel's output, so this is needed only once that has failed.
    """
    head = state.head
    if head is None:
        return None
    session = state.session(head.session, head.attempt)
    mounts_output = mounts_output and session.platform == state.run.platform
    if mounts_output and not (state.last and failed_over_parent(state.last)):
        return None
    return session if session.phase in (Phase.COLLECTED, Phase.PUBLISHING) else None


def caused_by_parent(state: RunState, session: Session) -> bool:
    """Return True if the session's failure came from its parent, which was published again or given up since."""
    if not failed_over_parent(session) or session.ended_at is None:
        return False
    parent = next((c for c in state.checkpoints if c.name == session.parent), None)
    if parent is None or parent.status is CheckpointStatus.DAMAGED:
        return True
    failures = [s for s in state.sessions if s.parent == parent.name and failed_over_parent(s)]
    republished = parent.published_at is not None and parent.published_at >= session.ended_at
    return republished and len(failures) <= MENDED_MAX


def _seen_since(checkpoint: Checkpoint, session: Session) -> bool:
    """Return True if the checkpoint's dataset was created or verified after the session ended."""
    times = (checkpoint.published_at, checkpoint.verified_at)
    return session.ended_at is None or any(at is not None and at >= session.ended_at for at in times)


# --- checkpoints to resume from ----------------------------------------------


def last_good_checkpoint(state: RunState, session: Session, pipeline: Pipeline) -> Checkpoint | None:
    """Return the newest usable checkpoint from before the trouble that ended a session, or None.

    Excluded: the checkpoint whose numbers the session could not read, one that led to NaN at once, and those of the
    steps that a guard looked back at.
    """
    excluded = session.parent if session.cause in NOT_FINITE else None
    place = session.furthest or session.start
    before = place.step - _steps_of_trouble(session.cause, place.stage, pipeline)
    usable = [c for c in reversed(state.checkpoints) if c.usable and c.name != excluded]
    return next((c for c in usable if c.cursor.stage != place.stage or c.cursor.step <= before), None)


def _steps_of_trouble(cause: str, stage: str, pipeline: Pipeline) -> int:
    """Return how many of a stage's steps before the session's end were in doubt when it ended."""
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
