"""Start a session's kernel, or adopt the one that is there."""

from datetime import datetime, timedelta

from kaggle_kernels import build
from orchestrator.effects.looking import seen_of
from orchestrator.effects.shell import Result, Shell
from orchestrator.errors import Ambiguous, NoSlot, OutOfQuota, Permanent, Transient
from orchestrator.kaggle.gateway import KernelPush, Worker
from orchestrator.pipeline import Pipeline
from orchestrator.plan import inputs_of, order_for, refresh_time
from state.facts import (
    Fact,
    PushConfirmed,
    PushRefused,
    RunWaiting,
)
from state.model import RunState, Session, Snapshot, Watch


def push(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """Start the session's kernel unless Kaggle has it already."""
    state = snapshot.state
    adopted = _adopt(session, shell)
    if adopted is not None:
        return Result((adopted,))
    try:
        pushed = shell.gateway.push(_kernel(state, session, pipeline))
    except NoSlot as error:
        watch = _in_line(snapshot, shell, str(error))
        return Result((PushRefused(number=session.number, attempt=session.attempt, reason=str(error)),), watch)
    except OutOfQuota as error:
        until = error.until or _refresh(snapshot, shell)
        refused = PushRefused(number=session.number, attempt=session.attempt, reason=str(error))
        return Result((refused, RunWaiting(until=until.isoformat(), reason=str(error))))
    except Ambiguous as error:
        adopted = _adopt(session, shell)
        if adopted is None:
            raise Transient(f"{error}; Kaggle does not have it yet") from error
        return Result((adopted,))
    return Result((PushConfirmed(number=session.number, attempt=session.attempt, kernel_version=pushed.version),))


def _refresh(snapshot: Snapshot, shell: Shell) -> datetime:
    now = shell.clock.now()
    return refresh_time(snapshot.quota, now) if snapshot.quota else now + timedelta(hours=1)


def _adopt(session: Session, shell: Shell) -> Fact | None:
    """The kernel that an earlier try left, if it was really started: Kaggle keeps the source of a push that it declined."""
    found = shell.gateway.find_kernel(session.slug)
    if found is None:
        return None
    order = build.order_in(found.source)
    if order is None or order.token != session.token:
        raise Permanent(
            f"Kaggle has a kernel {found.ref} that is not this run's: delete it there, then type relay retry {session.run}"
        )
    if not found.private:
        raise Permanent(
            f"the kernel {found.ref} is public: make it private on Kaggle, then type relay retry {session.run}"
        )
    version, seen = seen_of(session.slug, found.version, shell.gateway)
    if seen.worker is Worker.NEW_SCRIPT:
        return None
    empty = seen.worker is Worker.QUEUED and session.reason  # an answer without content reads so too
    if seen.worker is Worker.UNKNOWN or empty:
        raise Transient(f"Kaggle has {found.ref}, and it is not certain that it is going to run")
    return PushConfirmed(number=session.number, attempt=session.attempt, kernel_version=version, adopted=True)


def _kernel(state: RunState, session: Session, pipeline: Pipeline) -> KernelPush:
    datasets, kernels = list(pipeline.dataset_sources), []
    if pipeline.inputs.files:
        datasets.append(f"{state.run.owner}/{inputs_of(state.run.id)}")
    if session.parent is not None:
        parent = state.checkpoint(session.parent)
        if pipeline.handoff == "kernel-output" and parent.published_at is None:
            kernels.append(f"{state.run.owner}/{state.session(parent.session, parent.attempt).slug}")
        else:
            datasets.append(f"{state.run.owner}/{parent.name}")
    return KernelPush(
        slug=session.slug,
        source=build.script(order_for(state, session, pipeline)),
        machine_shape=pipeline.hardware.promise.machine_shape,
        dataset_sources=tuple(datasets),
        kernel_sources=tuple(kernels),
        model_sources=pipeline.model_sources,
        internet=pipeline.internet,
        timeout_s=int(session.limit_s),
    )


def _in_line(snapshot: Snapshot, shell: Shell, why: str) -> Watch:
    """Somebody else has the slot: no use in asking again soon, and the place in the line stays."""
    now = shell.clock.now()
    return Watch(
        not_before=now + timedelta(seconds=shell.limits.slot_s),
        failure=why,
        slot_since=min(snapshot.watch.slot_since or now, now),
        slot_seen_at=now,
    )
