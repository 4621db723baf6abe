"""Decides when a run can begin from another run's checkpoint. Pure."""

from datetime import datetime, timedelta

from orchestrator.core.commands import Append, CarryOrigin, Command, Wait
from orchestrator.core.decide_session import dataset_due
from orchestrator.core.moving import is_elsewhere
from orchestrator.core.plan import Limits
from orchestrator.core.retention import is_origin
from orchestrator.pipeline.fork import fork_problem
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.names import name_in
from state.facts.run import OriginFound, RunParked
from state.model.run_origin import PUBLISHED, RunOrigin
from state.model.run_state import Checkpoint, RunState
from state.model.snapshot import Snapshot
from state.model.statuses import CheckpointStatus, RunStatus

MOUNTABLE = (CheckpointStatus.PUBLISHED, CheckpointStatus.ABANDONED)
"""Statuses of a checkpoint that was published and still has its dataset."""
GONE = (CheckpointStatus.PRUNED, CheckpointStatus.DAMAGED)


def await_origin(snapshot: Snapshot, limits: Limits, now: datetime) -> Command | None:
    """Return what must happen before the run can begin from another run's checkpoint, or None.

    The checkpoint of a run that is not in the database is expected in the dataset in which it once was.
    """
    origin, other = snapshot.state.run.origin, snapshot.origin
    if origin is None or snapshot.state.head is not None or (other is None and origin.found):
        return None
    checkpoint = None if other is None else origin_checkpoint(origin, other)
    if checkpoint is not None and is_mountable(checkpoint):
        name, digest, place = checkpoint.name, checkpoint.digest, checkpoint.place
        if not origin.found and origin.is_fork and (problem := _parted(snapshot.state, origin, other)):
            return Append((problem,))
        if not origin.found:
            return Append((OriginFound(checkpoint=name, digest=digest, dataset=place),))
        return _carry(checkpoint, snapshot, limits, now)
    if other is None or will_never_come(checkpoint, other):
        return Append((_parked(snapshot.state, origin),))
    status = "" if other.run.status is RunStatus.ACTIVE else f", which is {other.run.status}"
    until = now + timedelta(seconds=limits.poll_s)
    return Wait(until, f"waits for the checkpoint {origin.place} of {origin.run}{status}")


def _carry(checkpoint: Checkpoint, snapshot: Snapshot, limits: Limits, now: datetime) -> Command | None:
    """Return the command that publishes the checkpoint on this run's platform; None once it is there."""
    run, other = snapshot.state.run, snapshot.origin
    assert run.origin is not None, "it begins from a checkpoint"
    assert other is not None, "it has the checkpoint"
    if run.origin.carrying == PUBLISHED or not is_elsewhere(checkpoint, other.run, run):
        return None
    due = dataset_due(snapshot.watch.dataset_polled_at, limits, now)
    return CarryOrigin() if now >= due else Wait(due, f"{checkpoint.name} is being carried over")


def origin_checkpoint(origin: RunOrigin, other: RunState) -> Checkpoint | None:
    """Return the checkpoint that a run begins from, or None if the other run does not have it."""
    found = (c for c in reversed(other.checkpoints) if is_origin(c, origin) and (origin.found or c.usable))
    return next(found, None)


def origin_place(origin: RunOrigin, other: RunState | None) -> str:
    """Return the slug of the dataset with the checkpoint that a run begins from, on the run's own platform."""
    if origin.carried is not None:
        return origin.carried
    found = None if other is None else origin_checkpoint(origin, other)
    return origin.dataset if found is None else found.place


def is_mountable(checkpoint: Checkpoint) -> bool:
    """Return True if the checkpoint, as far as relay knows, has a complete dataset on Kaggle."""
    return checkpoint.status in MOUNTABLE and checkpoint.published_at is not None


def will_never_come(checkpoint: Checkpoint | None, other: RunState) -> bool:
    """Return True if the checkpoint has no dataset, and the other run will not publish one."""
    over = other.run.status in (RunStatus.FINISHED, RunStatus.CANCELLED)
    return over if checkpoint is None else over or checkpoint.status in GONE


def _parted(state: RunState, origin: RunOrigin, other: RunState | None) -> RunParked | None:
    """Return why the run cannot continue the other one's history, if that run's pipeline was changed meanwhile."""
    assert other is not None, "it has the checkpoint"
    mine, theirs = (Pipeline.from_canonical(each.run.pipeline) for each in (state, other))
    problem = fork_problem(theirs, mine, origin.cursor)
    reason = f"the pipeline of {origin.run} was changed, and this run cannot begin from it any more: {problem}"
    return RunParked(reason=reason, remedy=f"relay cancel {state.run.id}") if problem else None


def _parked(state: RunState, origin: RunOrigin) -> RunParked:
    return RunParked(
        reason=f"the checkpoint {origin.place} of {origin.run}, which the run begins from, is not on {name_in(state.run.pipeline)} and will not be "
        "published any more: begin another run from a checkpoint that exists",
        remedy=f"relay cancel {state.run.id}",
    )
