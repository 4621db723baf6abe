"""Resolves a push: whether the kernel exists, and whether it is this run's."""

from dataclasses import dataclass, replace
from datetime import timedelta

from kaggle_kernels import build
from orchestrator.base.errors import NameTaken, Permanent, Transient
from orchestrator.base.humanize import duration
from orchestrator.core.plan import Limits
from orchestrator.core.search_time import search_time_s
from orchestrator.engine.adopt.changed_orders import change_unknown_to
from orchestrator.engine.effects.context import WELL, EffectContext, EffectResult
from orchestrator.engine.effects.session_status import seen_of
from orchestrator.engine.ownership import Mark, refuse_overtaken
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Worker
from state.facts.base import Fact
from state.facts.run import PipelineChanged
from state.facts.session import PushConfirmed, PushUnclear, PushUnfound
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import Snapshot

LOOKS_MIN = 5
"""Minimum number of polls before an unclear push is repeated, however much time the machine slept through."""

RESERVED = 0.9
"""Share of a session's hours that must be reserved since before an unclear push for it to be possibly queued."""


class ForeignKernel(NameTaken):
    """Raised if the kernel with a session's name is not this run's."""


@dataclass(frozen=True)
class Ours:
    """A kernel that runs this session. `older`: pushed before the user let this home folder take the run over."""

    fact: PushConfirmed
    older: bool
    changed: tuple[PipelineChanged, ...] = ()
    """The change of the pipeline that its order follows, if a restored backup does not know of it."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        return (*self.changed, self.fact)


def never_pushed(session: Session) -> bool:
    """Return True if this home folder knows of no push that Kaggle may have accepted, or declined but stored."""
    return not session.unclear and not session.declined


def seen_as_ours(state: RunState, session: Session, shell: EffectContext, watch: PollState = WELL) -> Ours | None:
    """Return the session's kernel if it was really started: Kaggle also keeps the source of a push that it declined.

    For a declined push, "queued" may be an empty response. It is accepted once it has been seen often enough (by
    `watch`).

    Raises ForeignKernel, Overtaken, Permanent if the kernel is public, Transient if it is uncertain whether it will
    run.
    """
    found = shell.gateway.find_kernel(session.slug)
    if found is None:
        return None
    order = build.order_in(found.source)
    if order is None or order.token != session.token:
        raise ForeignKernel(
            f"{shell.gateway.label} has a kernel {found.ref} that is not this run's: the next attempt has another name; where another "
            f"run has this one's name, relay cancel {session.run} and start it anew"
        )
    mark = Mark.on_order(order)
    refuse_overtaken(mark, f"the kernel {found.ref}", state.run, shell.identity)
    if not found.private:
        raise Permanent(
            f"the kernel {found.ref} is public: make it private on Kaggle, then type relay retry {session.run}"
        )
    version, seen = seen_of(session.slug, found.version, shell.gateway)
    if seen.worker is Worker.NEW_SCRIPT:
        return None
    confirmed = watch.failures >= LOOKS_MIN and watch.failing_s >= shell.limits.unclear_s
    empty = seen.worker is Worker.QUEUED and session.declined and not confirmed
    if seen.worker is Worker.UNKNOWN or empty:
        raise Transient(f"{shell.gateway.label} has {found.ref}, but it is not certain that it will run")
    fact = PushConfirmed(number=session.number, attempt=session.attempt, kernel_version=version, adopted=True)
    return Ours(fact, mark.generation < state.run.generation, change_unknown_to(state.run, order))


# --- an unclear push ---------------------------------------------------------


def find_push(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Search for a push that may have happened, by several calls, until it is found or can safely be repeated."""
    state, watch, limits = snapshot.state, snapshot.watch, shell.limits
    adopted = seen_as_ours(state, session, shell, watch)
    if adopted is not None:
        return EffectResult(adopted.facts)
    if session.unclear_at is None:
        reason = f"relay stopped before it learned whether {shell.gateway.label} took it"
        fact = PushUnclear(number=session.number, attempt=session.attempt, reason=reason)
        return EffectResult((fact,), looked_for(session, shell))
    looks = watch.absences + 1
    lasted_s = search_time_s(watch, session.slug, watch.polled_at, _again_s(limits), shell.clock.now())
    _require_absence(session, shell)
    if lasted_s < limits.unclear_s or looks < LOOKS_MIN:
        return EffectResult(watch=looked_for(session, shell, lasted_s, looks))
    if lasted_s < session.limit_s + limits.overdue_s:  # any session of that push is over by then
        _require_no_reserve(snapshot, session, pipeline, shell)
    return EffectResult((PushUnfound(number=session.number, attempt=session.attempt),), WELL)


def looked_for(session: Session, shell: EffectContext, lasted_s: float = 0.0, looks: int = 0) -> PollState:
    """Return the poll state that schedules the next search, after `looks` polls in `lasted_s` seconds."""
    limits, now = shell.limits, shell.clock.now()
    again_s = _again_s(limits)
    until = duration(max(limits.unclear_s - lasted_s, again_s))
    why = (
        f"it is not clear whether {shell.gateway.label} took the push of {session.slug}: relay looks for it, {until} more, before it "
        "pushes again"
    )
    again_at = now + timedelta(seconds=again_s)
    return replace(
        WELL, polled_at=now, absences=looks, not_before=again_at, failure=why, search_s={session.slug: lasted_s}
    )


def _again_s(limits: Limits) -> float:
    """Return the seconds between two polls for a push."""
    return min(limits.rest_s_max, max(limits.poll_s, limits.unclear_s / (2 * LOOKS_MIN)))


def _require_absence(session: Session, shell: EffectContext) -> None:
    """Raise Transient if Kaggle lists a kernel that it says it does not have: one of the two responses is stale."""
    if shell.gateway.find_kernel(session.slug) is not None:
        return
    if any(kernel.slug == session.slug for kernel in shell.gateway.recent_kernels().kernels):
        raise Transient(f"{shell.gateway.label} lists the kernel {session.slug} and does not show it yet")


def _require_no_reserve(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> None:
    """Raise Transient if Kaggle has, since before the push, reserved quota for a session that no kernel explains."""
    before = snapshot.quota
    if (
        not pipeline.hardware.quota
        or before is None
        or before.assumed
        or before.total_s is None
        or snapshot.others_live
    ):
        return
    now = shell.gateway.quota(pipeline.hardware.quota)
    if now is None or now.reserved_s <= 0:
        return
    taken_s = (
        now.used_s + now.reserved_s - before.used_s - before.reserved_s
    )  # a running session uses up what it reserved
    if taken_s >= RESERVED * session.limit_s:
        raise Transient(
            f"{shell.gateway.label} reserves {duration(now.reserved_s)} for a session that it does not show: it may be "
            f"{session.slug}, whose push had no clear answer"
        )
