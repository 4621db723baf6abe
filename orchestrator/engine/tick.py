"""Tick of one run: load, decide, record the intent, perform, record the fact."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.base.errors import (
    Ambiguous,
    BadInput,
    Corrupt,
    DiskRefused,
    Overtaken,
    Permanent,
    RateLimited,
    Refused,
    Transient,
    Vanished,
)
from orchestrator.core import search_time, waits
from orchestrator.core.commands import Append, Command, Publish, PublishInputs, Push, Wait
from orchestrator.core.decide import decide
from orchestrator.core.pipeline_change import answerable
from orchestrator.core.plan import assumed_quota, week_of
from orchestrator.core.rate_limit import wait_before, with_command_counted
from orchestrator.engine import effects
from orchestrator.engine.effects import EffectContext, EffectResult
from orchestrator.engine.effects.call_meter import CallMeter
from orchestrator.engine.effects.context import reset_failures
from orchestrator.engine.ownership import fenced, open_to_parking, take_over
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.names import KAGGLE, platform_name
from state.facts.base import Fact
from state.facts.checkpoint import PublishIntended
from state.facts.run import InputsIntended, PlatformLeft, RunParked, RunResumed
from state.facts.session import PushIntended, SessionLost
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow, Request, Snapshot
from state.model.statuses import InputsStatus, Phase, RunStatus
from state.store import Store

AWAKE_FACTOR = 2.0
"""Maximum time counted between two retries, as a multiple of the longest backoff; beyond it, the machine slept."""


@dataclass(frozen=True)
class TickResult:
    """Result of one tick."""

    command: Command
    facts: tuple[Fact, ...] = ()
    failure: str = ""
    before: PollState = field(default_factory=PollState)
    """Poll state before the tick."""
    after: PollState | None = None
    """Poll state after the tick, if it changed."""
    quota: QuotaRow | None = None
    """Quota, if the tick read it."""
    request: Request | None = None
    """User request that the tick answered."""
    platform: str = KAGGLE
    """Name of the run's platform."""


def tick(store: Store, run: str, shell: EffectContext, fence: int | None = None) -> TickResult:
    """Perform the next command of one run. After a crash at any point, calling it again repairs the state."""
    snapshot = store.snapshot(run)
    pipeline = Pipeline.from_canonical(snapshot.state.run.pipeline)
    now, platform = shell.clock.now(), platform_name(pipeline.platform)
    command = _fenced_command(snapshot, shell) or decide(snapshot, pipeline, shell.limits, now)
    command = wait_before(command, snapshot, shell.limits, now) or command
    match command:
        case Wait(until=until, why=why, held=True):
            watch = replace(snapshot.watch, not_before=until, failure=why)
            store.append(run, (), now, watch=watch, fence=fence)
            return TickResult(command, before=snapshot.watch, platform=platform)
        case Wait(wants_slot=wants_slot):
            if wants_slot and _slot_claim_stale(snapshot.watch, shell, now):
                store.append(run, (), now, watch=_claim_slot(snapshot.watch, now), fence=fence)
            return TickResult(command, before=snapshot.watch, platform=platform)
        case Append(facts, fulfilled):
            fresh = any(isinstance(fact, (PlatformLeft, RunResumed, SessionLost)) for fact in facts)
            left = any(isinstance(fact, PlatformLeft) for fact in facts)
            watch = PollState(search_s={} if left else snapshot.watch.search_s) if fresh else snapshot.watch
            watch = with_command_counted(watch, snapshot.watch, command, 0, shell.limits, now)
            store.append(run, facts, now, watch=watch, fulfilled=fulfilled, fence=fence)
            request = next((asked for asked in snapshot.requests if asked.id == fulfilled), None)
            return TickResult(command, facts, before=snapshot.watch, request=request, platform=platform)
    intent = _intent(command, snapshot)
    if intent:
        state = store.append(run, intent, now, fence=fence)
        snapshot = replace(snapshot, state=state)
    elif fence is not None:
        store.append(run, (), now, fence=fence)
    assert shell.number in (None, snapshot.state.run.platform), "the run has gone on elsewhere"
    metered = CallMeter(shell.gateway)
    result, failure = _perform(command, snapshot, pipeline, replace(shell, gateway=metered.gateway))
    quota = None if result.quota is None else _resolve_quota(result.quota, pipeline, store)
    if quota is not None:
        store.write_quota(quota)
    now, watch = shell.clock.now(), result.watch or snapshot.watch
    if not failure:
        watch = _track_wait(watch, command, snapshot, result, quota, pipeline.min_session_s, shell)
    watch = with_command_counted(watch, snapshot.watch, command, metered.calls, shell.limits, now)
    store.append(run, result.facts, now, metrics=result.metrics, watch=watch, fence=fence)
    return TickResult(
        command, (*intent, *result.facts), failure, snapshot.watch, result.watch, quota, platform=platform
    )


def _fenced_command(snapshot: Snapshot, shell: EffectContext) -> Command | None:
    """Return the command that parks, or keeps waiting, a run that another home folder works on; else None."""
    run = snapshot.state.run
    parked = fenced(run, shell.identity)
    halted = parked is not None or (run.status is RunStatus.PARKED and run.remedy == take_over(run))
    if not halted or any(answerable(request, snapshot.state) for request in snapshot.requests):
        return None
    if parked is not None and open_to_parking(run):
        return Append((parked,))
    return Wait(None, run.reason or (parked.reason if parked is not None else ""))


def _intent(command: Command, snapshot: Snapshot) -> tuple[Fact, ...]:
    """Return the facts that record an intent before something is created on Kaggle."""
    match command:
        case Push(number, attempt) if snapshot.state.session(number, attempt).phase is Phase.PLANNED:
            return (PushIntended(number=number, attempt=attempt),)
        case PublishInputs() if snapshot.state.run.inputs is InputsStatus.NONE:
            return (InputsIntended(),)
        case Publish(number, attempt) if snapshot.state.session(number, attempt).phase is Phase.COLLECTED:
            return (PublishIntended(number=number, attempt=attempt),)
        case _:
            return ()


def _perform(
    command: effects.Effect, snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext
) -> tuple[EffectResult, str]:
    """Perform the command; a failure is stored in the poll state, and a permanent one parks the run.

    Credentials that Kaggle refuses during a run (BadInput) are an ordinary failure: the user may replace them.
    """
    try:
        result = effects.perform(command, snapshot, pipeline, shell)
    except (Transient, Refused, Ambiguous, Corrupt, BadInput) as error:
        return EffectResult(watch=_failed(snapshot.watch, error, shell, shell.clock.now())), str(error)
    except DiskRefused as error:
        return EffectResult(watch=_disk_refused(snapshot.watch, error, shell, shell.clock.now())), str(error)
    except Permanent as error:
        if not open_to_parking(snapshot.state.run):  # the user has been told already
            return EffectResult(watch=_failed(snapshot.watch, error, shell, shell.clock.now())), str(error)
        run = snapshot.state.run
        remedy = take_over(run) if isinstance(error, Overtaken) else f"relay retry {run.id}"
        retry_at = shell.clock.now() + timedelta(seconds=shell.limits.retry_s)  # an unfinished push is still resolved
        watch = replace(snapshot.watch, not_before=retry_at, failure=str(error))
        seen = error.generation if isinstance(error, Overtaken) else 0
        return EffectResult((RunParked(reason=str(error), remedy=remedy, generation=seen),), watch), str(error)
    if result.failure is not None:
        watch = _failed(snapshot.watch, result.failure, shell, shell.clock.now())
        return replace(result, watch=watch), str(result.failure)
    if result.watch is None:
        result = replace(result, watch=reset_failures(snapshot.watch))
    return result, ""


def _failed(watch: PollState, error: Exception, shell: EffectContext, now: datetime) -> PollState:
    failures = watch.failures + 1
    wait_s = shell.limits.backoff_s(failures)
    if isinstance(error, RateLimited) and error.retry_after_s is not None:
        wait_s = max(wait_s, min(error.retry_after_s, shell.limits.retry_after_s_max))
    return replace(
        watch,
        failures=failures,
        failing_since=watch.failing_since or now,
        failed_at=now,
        failing_s=watch.failing_s + _tried_s(watch, shell, now),
        failure=str(error),
        absences=watch.absences + 1 if isinstance(error, Vanished) else 0,
        not_before=now + timedelta(seconds=wait_s),
    )


def _track_wait(
    watch: PollState,
    command: Command,
    snapshot: Snapshot,
    result: EffectResult,
    quota: QuotaRow | None,
    min_session_s: float,
    shell: EffectContext,
) -> PollState:
    """Return the poll state after a completed command, with the time waited for Kaggle updated."""
    before, now = snapshot.watch, shell.clock.now()
    watch = search_time.with_search_times(watch, snapshot)
    watch = replace(watch, awaiting=before.awaiting, waited_s=before.waited_s, waited_at=before.waited_at)
    awaiting = waits.awaited_after(command, snapshot, result.facts, quota, min_session_s, now)
    return watch if awaiting is None else waits.with_poll_counted(watch, awaiting, shell.limits, now)


def _tried_s(watch: PollState, shell: EffectContext, now: datetime) -> float:
    """Return the seconds since the last failure, capped: relay retries often, so a longer gap was sleep."""
    if watch.failed_at is None:
        return 0.0
    awake_s = AWAKE_FACTOR * shell.limits.retry_s_max
    return min(awake_s, max(0.0, (now - watch.failed_at).total_seconds()))


def _disk_refused(watch: PollState, error: DiskRefused, shell: EffectContext, now: datetime) -> PollState:
    """Return the poll state after a disk error: retried at a fixed interval and never given up, as Kaggle works."""
    retry_at = now + timedelta(seconds=shell.limits.retry_s)
    return replace(reset_failures(watch), failures=watch.failures + 1, failure=str(error), not_before=retry_at)


def _slot_claim_stale(watch: PollState, shell: EffectContext, now: datetime) -> bool:
    """Return True if the run's claim to a slot must be renewed."""
    seen_at = watch.slot_seen_at
    return seen_at is None or not seen_at <= now < seen_at + timedelta(seconds=shell.limits.claim_s / 4)


def _claim_slot(watch: PollState, now: datetime) -> PollState:
    return replace(watch, slot_since=min(watch.slot_since or now, now), slot_seen_at=now)


def _resolve_quota(read: QuotaRow, pipeline: Pipeline, store: Store) -> QuotaRow:
    """Return the quota as Kaggle gave it, or else computed from the pipeline's own number."""
    if read.total_s is not None:
        return read
    begin, _ = week_of(read.refreshes_at, read.read_at)
    taken = store.machine_times(read.owner, read.accelerator, begin)
    return assumed_quota(read, pipeline.hours_per_week, taken, read.read_at)
