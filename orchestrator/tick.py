"""One turn for one run: load, decide, record the intent, perform, record the fact."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator import effects
from orchestrator.commands import Command, Publish, PublishInputs, Push, Record, Rest
from orchestrator.decide import decide
from orchestrator.effects import Result, Shell
from orchestrator.errors import Ambiguous, BadInput, Corrupt, Permanent, RateLimited, Refused, Transient
from orchestrator.pipeline import Pipeline
from state.facts import Fact, InputsIntended, PublishIntended, PushIntended, RunParked, RunResumed
from state.model import InputsStatus, Phase, RunStatus, Snapshot, Watch
from state.store import Store


@dataclass(frozen=True)
class Turn:
    """What one tick did."""

    command: Command
    facts: tuple[Fact, ...] = ()
    failure: str = ""


def tick(store: Store, run: str, shell: Shell, fence: int | None = None) -> Turn:
    """Carry one run one command further. A crash anywhere inside is repaired by calling it again."""
    snapshot = store.snapshot(run)
    pipeline = Pipeline.from_canonical(snapshot.state.run.pipeline)
    now = shell.clock.now()
    command = decide(snapshot, pipeline, shell.limits, now)
    match command:
        case Rest():
            return Turn(command)
        case Record(facts, obeyed):
            fresh = any(isinstance(fact, RunResumed) for fact in facts)
            store.append(run, facts, now, watch=Watch() if fresh else None, obeyed=obeyed, fence=fence)
            return Turn(command, facts)
    intent = _intent(command, snapshot)
    if intent:
        state = store.append(run, intent, now, fence=fence)
        snapshot = replace(snapshot, state=state)
    elif fence is not None:
        store.append(run, (), now, fence=fence)
    result, failure = _perform(command, snapshot, pipeline, shell)
    if result.quota is not None:
        store.write_quota(result.quota)
    store.append(run, result.facts, shell.clock.now(), metrics=result.metrics, watch=result.watch, fence=fence)
    return Turn(command, (*intent, *result.facts), failure)


def _intent(command: Command, snapshot: Snapshot) -> tuple[Fact, ...]:
    """What is written down before something is made outside."""
    match command:
        case Push(number, attempt) if snapshot.state.session(number, attempt).phase is Phase.PLANNED:
            return (PushIntended(number=number, attempt=attempt),)
        case PublishInputs() if snapshot.state.run.inputs is InputsStatus.NONE:
            return (InputsIntended(),)
        case Publish(number, attempt) if snapshot.state.session(number, attempt).phase is Phase.COLLECTED:
            return (PublishIntended(number=number, attempt=attempt),)
        case _:
            return ()


def _perform(command: effects.Effect, snapshot: Snapshot, pipeline: Pipeline, shell: Shell) -> tuple[Result, str]:
    """Do it; a failure becomes what we remember of it, and a hopeless one parks the run.

    Credentials that are refused (BadInput) in the middle of a run are a failure like any other: a person may put new ones.
    """
    try:
        result = effects.perform(command, snapshot, pipeline, shell)
    except (Transient, Refused, Ambiguous, Corrupt, BadInput) as error:
        return Result(watch=_failed(snapshot.watch, error, shell, shell.clock.now())), str(error)
    except Permanent as error:
        if snapshot.state.run.status is RunStatus.PARKED:  # a person knows already: what is under way is tried later
            return Result(watch=_failed(snapshot.watch, error, shell, shell.clock.now())), str(error)
        parked = RunParked(reason=str(error), remedy=f"relay retry {snapshot.state.run.id}")
        return Result((parked,)), str(error)
    if result.watch is None:
        result = replace(result, watch=_well(snapshot.watch))
    return result, ""


def _failed(watch: Watch, error: Exception, shell: Shell, now: datetime) -> Watch:
    failures = watch.failures + 1
    wait_s = shell.limits.backoff_s(failures)
    if isinstance(error, RateLimited) and error.retry_after_s is not None:
        wait_s = max(wait_s, error.retry_after_s)
    return replace(
        watch,
        failures=failures,
        failing_since=watch.failing_since or now,
        failure=str(error),
        not_before=now + timedelta(seconds=wait_s),
    )


def _well(watch: Watch) -> Watch:
    return replace(watch, failures=0, failing_since=None, failure="", not_before=None)
