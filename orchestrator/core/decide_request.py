"""Answers the user's requests with facts. Pure."""

from collections.abc import Iterable
from datetime import datetime

from orchestrator.core.commands import Append
from orchestrator.core.pipeline_change import OPEN, answerable, change_facts, with_queued
from orchestrator.platforms.names import name_in
from state import machine
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointWithdrawn
from state.facts.run import PipelineKept, RunCancelled, RunParked, RunResumed, RunTakenOver
from state.facts.session import SessionLost, SessionSought
from state.model.dataset_names import copy_in, place_of
from state.model.run_state import Run, RunState
from state.model.snapshot import Request
from state.model.statuses import CheckpointStatus, Phase, RunStatus

ABANDONED = "you abandoned it"
"""Reason recorded for a session that the user gave up."""


def answered(state: RunState, requests: Iterable[Request], now: datetime) -> RunState:
    """Return the run's state once the daemon has answered these requests, if nothing else happens meanwhile."""
    waiting = list(requests)
    while (found := next_answer(waiting, state)) is not None:
        waiting = [request for request in waiting if request.id != found.fulfilled]
        state = _after(state, found.facts, now)
    for request in waiting:
        if request.verb == "edit":  # it waits for the end of a session
            state = with_queued(request, state)
    return state


def next_answer(requests: Iterable[Request], state: RunState) -> Append | None:
    """Answer the oldest request that does not wait: for time to prune, or for the end of a session. None if all wait.

    A change that waits is refused before a later one by `relay retry` is made: it would undo that one afterwards.
    """
    waiting: list[Request] = []
    for request in requests:
        if answerable(request, state):
            retried = "pipeline" in request.arguments and state.run.status in (RunStatus.PARKED, RunStatus.WAITING)
            if waiting and retried:
                return Append((PipelineKept(reason="a later relay retry --pipeline takes its place"),), waiting[0].id)
            return answer(request, state)
        waiting += [request] if request.verb == "edit" else []
    return None


def _after(state: RunState, facts: Iterable[Fact], now: datetime) -> RunState:
    for fact in facts:
        state = machine.apply(state, fact, now)
    return state


def answer(request: Request, state: RunState) -> Append:
    """Return the facts that answer a user's request; a request that no longer applies is answered without facts."""
    status = state.run.status
    match request.verb:
        case "pause" if status in (RunStatus.ACTIVE, RunStatus.WAITING):
            return Append((RunParked(reason="paused by you", remedy=f"relay resume {state.run.id}"),), request.id)
        case "edit" if status in OPEN:
            return Append(change_facts(request, state), request.id)
        case "edit" if status is RunStatus.CANCELLED:
            return Append((PipelineKept(reason="the run was cancelled before that"),), request.id)
        case "retry" if status in (RunStatus.PARKED, RunStatus.WAITING) and "pipeline" in request.arguments:
            return Append(_retried_with(request, state), request.id)
        case "resume" | "retry" if status in (RunStatus.PARKED, RunStatus.WAITING):
            resumed = _resumed(request, state)
            published = _republished(request, state) if resumed else ()
            return Append((*_taken_over(request, state.run), *resumed, *published), request.id)
        case "resume" | "retry" if status is RunStatus.ACTIVE and "abandon_session" in request.arguments:
            return Append((*_taken_over(request, state.run), *_abandoned(request, state)), request.id)
        case "resume" if status is RunStatus.ACTIVE:
            return Append(_taken_over(request, state.run), request.id)
        case "resume" if status is RunStatus.CANCELLED:
            return Append((*_taken_over(request, state.run), *_taken_back(request, state)), request.id)
        case "cancel" if status in (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED):
            return Append((RunCancelled(),), request.id)
        case _:
            return Append((), request.id)


def _retried_with(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Resume the run with a changed pipeline. If it cannot change like that, the run stays as it is."""
    resumed = _resumed(request, state)
    changed = change_facts(request, _after(state, resumed, state.run.updated_at))
    if not resumed or any(isinstance(fact, PipelineKept) for fact in changed):
        return changed
    return (*resumed, *changed, *_republished(request, state))


def _taken_over(request: Request, run: Run) -> tuple[RunTakenOver, ...]:
    """Return the fact that the user hands the run to the home folder named in the request; empty if none is named."""
    home = request.arguments.get("take_over", "")
    above = max(run.generation, run.overtaken_by) + 1
    generation = max(above, int(request.made_at.timestamp()))  # higher than that of any earlier home folder
    return (RunTakenOver(home=home, generation=generation),) if home else ()


def _taken_back(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Resume a cancelled run. A session that was given up with it may still run, so relay looks for it again first."""
    last = state.last
    if last is None or not last.unwatched:
        resumed = _resumed(request, state)
        return (*resumed, *_republished(request, state)) if resumed else ()
    sought = SessionSought(number=last.number, attempt=last.attempt)
    checkpoint = request.arguments.get("checkpoint", "")
    if request.arguments.get("abandon_session") == last.slug:
        lost = SessionLost(number=last.number, attempt=last.attempt, reason=ABANDONED)
        return (RunResumed(checkpoint=checkpoint), sought, lost, *_republished(request, state))
    return () if checkpoint else (RunResumed(), sought)


def _republished(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Withdraw the checkpoint whose dataset the user has deleted, so that it is published again before it is mounted."""
    name, last = request.arguments.get("republish"), state.last
    gone = next((c for c in state.checkpoints if c.name == name and c.status is CheckpointStatus.PUBLISHED), None)
    if gone is None or last is None:
        return ()
    following = place_of(gone.name, copy_in(gone.name, gone.place) + 1)
    reason = f"its dataset is gone from {name_in(state.run.pipeline)}"
    withdrawn = CheckpointWithdrawn(number=gone.session, attempt=gone.attempt, reason=reason, dataset=following)
    if last.phase is Phase.PLANNED and "checkpoint" not in request.arguments:
        return (SessionLost(number=last.number, attempt=last.attempt, reason=reason), withdrawn)
    return (withdrawn,)


def _abandoned(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Return the fact that the session is lost, since the user abandons it (for example after deleting its kernel)."""
    last = state.last
    if last is None or not last.phase.awaited or last.slug != request.arguments["abandon_session"]:
        return ()
    return (SessionLost(number=last.number, attempt=last.attempt, reason=ABANDONED),)


def _resumed(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Resume, without a session that the user abandons.

    An older checkpoint is accepted only if no session is under way.
    """
    checkpoint, last = request.arguments.get("checkpoint", ""), state.last
    resumed = RunResumed(checkpoint=checkpoint)
    if last is None:
        return (resumed,)
    if last.phase.awaited and "abandon_session" in request.arguments:
        return (SessionLost(number=last.number, attempt=last.attempt, reason=ABANDONED), resumed)
    if last.phase is Phase.PLANNED and checkpoint:
        reason = "you chose an older checkpoint to continue from"
        return (SessionLost(number=last.number, attempt=last.attempt, reason=reason), resumed)
    return () if checkpoint and last.phase.under_way else (resumed,)
