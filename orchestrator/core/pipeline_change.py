"""Takes over a changed pipeline between two sessions, or refuses it with the reason. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.base.errors import BadInput
from orchestrator.core.moving import moves, number_lines
from orchestrator.core.plan import count_timed_out, run_cursor
from orchestrator.pipeline.change_text import change_lines
from orchestrator.pipeline.changes import RunProgress, merged
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site
from state.facts.base import Fact
from state.facts.run import PipelineChanged, PipelineKept, PlatformLeft
from state.facts.session import SessionLost, SessionResized
from state.model.run_state import PIPELINE_CHANGED, RunState, Session
from state.model.snapshot import Request
from state.model.statuses import Phase, RunStatus

OPEN = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)
"""Statuses of a run whose pipeline may change."""


def session_to_await(state: RunState) -> Session | None:
    """Return the session that has to end before the pipeline can change: it follows the pipeline as it is.

    A planned one may run already if it may have been pushed before the run was taken over or restored from a backup.
    """
    last = state.last
    if last is None:
        return None
    perhaps = last.phase is Phase.PLANNED and state.run.foreign_push_possible
    return last if last.pending or perhaps else None


def answerable(request: Request, state: RunState) -> bool:
    """Return False for a change of the pipeline that waits for the end of a session, and for a request to prune."""
    if request.verb == "prune":
        return False
    return request.verb != "edit" or state.run.status not in OPEN or session_to_await(state) is None


def progress_of(state: RunState) -> RunProgress:
    """Return the point from which the run goes on, and the stages that its sessions have worked on."""
    cursors = [checkpoint.cursor for checkpoint in state.checkpoints]
    cursors += [at for s in state.sessions if s.pushed_at for at in (s.start, s.reached, s.furthest) if at is not None]
    head, origin = state.head.cursor if state.head else None, state.run.origin
    if origin is not None and origin.is_fork:
        head = head or origin.cursor
        cursors.append(origin.cursor)
    return RunProgress(head, frozenset(at.stage for at in cursors), packages_of(state))


def packages_of(state: RunState) -> Mapping[str, str]:
    """Return the versions with which the run's newest usable checkpoint was computed; empty if they are not known."""
    numerics = state.head.numerics if state.head else None
    return numerics.packages if numerics else {}


def change(state: RunState, given: Pipeline, owner: str = "") -> tuple[Pipeline, tuple[str, ...]]:
    """Return the pipeline with which the run goes on, and its differences in words. Raises BadInput if it cannot.

    `owner` is the account on the given pipeline's platform; empty means the run's own.
    """
    old = Pipeline.from_canonical(state.run.pipeline)
    elsewhere = moves(state.run, given, owner)
    twin = next((session for session in state.sessions if session.twin_lives), None) if elsewhere else None
    if twin is not None:
        raise BadInput(f"version {twin.twin} of {twin.slug} still runs: the platform can change once it has ended")
    new = merged(old, given, progress_of(state), state.run.id, moves=elsewhere)
    lines = change_lines(old, new)
    return (new, lines) if lines else (old, ())


def goes_on_as(state: RunState, given: Pipeline) -> bool:
    """Return True if the run already does what the pipeline says, apart from `expect`, which does no work."""
    known = Pipeline.from_canonical(state.run.pipeline)
    try:
        new, lines = change(state, given)
    except BadInput:
        return False
    return not lines or new.same_work(known)


def with_queued(request: Request, state: RunState) -> RunState:
    """Return the state with the pipeline that a waiting request asks for, as far as that can be told now."""
    try:
        given, owner = Pipeline.from_canonical(request.arguments["pipeline"]), request.arguments.get("owner", "")
        new, _ = change(state, given, owner)
    except BadInput:
        return state
    return replace(state, run=replace(state.run, pipeline=new.canonical(), pipeline_digest=new.digest))


def change_facts(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Return the facts that answer a request to change the pipeline; none if it changes nothing."""
    asked = request.arguments
    awaited = session_to_await(state)
    try:
        if awaited is not None:
            raise BadInput(f"session {awaited.number} follows the pipeline as it is and has not ended")
        new, lines = change(state, Pipeline.from_canonical(asked["pipeline"]), asked.get("owner", ""))
        left = _left(state, new, asked.get("owner", ""))
    except BadInput as error:
        return (PipelineKept(reason=str(error)),)
    if not lines and not left:
        return ()
    changed = PipelineChanged(
        pipeline=new.canonical(),
        pipeline_digest=new.digest,
        pipeline_path=asked["path"],
        difference="\n".join(lines),
        by=asked.get("by", ""),
        pipeline_text=asked.get("text", ""),
    )
    return (*left, changed, *_replanned(state, new, moves=bool(left)))


def _left(state: RunState, new: Pipeline, owner: str) -> tuple[PlatformLeft, ...]:
    """Return the fact that the run goes on on another platform; nothing if it stays."""
    if not moves(state.run, new, owner):
        return ()
    if not owner:
        raise BadInput(f"the account on the other platform is not known: type relay edit {state.run.id} again")
    old, head = Pipeline.from_canonical(state.run.pipeline), state.head
    left = PlatformLeft(
        site=Site.of(old).canonical(),
        owner=owner,
        accelerator=new.slot,
        checkpoint=head.name if head else "",
        digest=head.digest if head else "",
        numbers=number_lines(state, head, old, new),
    )
    return (left,)


def departure(state: RunState, requests: Iterable[Request]) -> tuple[Pipeline, str] | None:
    """Return the pipeline and the account with which the oldest request has the run go on elsewhere; None if it does not."""
    asked = next((each for each in requests if answerable(each, state)), None)
    if asked is None or "owner" not in asked.arguments or state.run.status not in OPEN:
        return None
    facts = change_facts(asked, state)
    if not any(isinstance(fact, PlatformLeft) for fact in facts):
        return None
    return Pipeline.from_canonical(asked.arguments["pipeline"]), asked.arguments["owner"]


def _replanned(state: RunState, new: Pipeline, *, moves: bool) -> tuple[Fact, ...]:
    """Adapt the session that is planned already. It is given up if it may have been pushed, since it has the old order, or
    if the run goes on elsewhere, where its checkpoint has to be published first.
    """
    last = state.last
    if last is None or last.phase is not Phase.PLANNED:
        return ()
    old = Pipeline.from_canonical(state.run.pipeline)
    elsewhere = last.start != run_cursor(state, new) or old.handoff != new.handoff
    if last.unclear or last.declined or elsewhere or moves:
        reason = "the pipeline was changed"
        return (SessionLost(number=last.number, attempt=last.attempt, reason=reason, cause=PIPELINE_CHANGED),)
    limit_s = new.limit_s if last.limit_s == old.limit_s else min(last.limit_s, new.limit_s)
    budget_s = new.budget_s(limit_s, count_timed_out(state))
    if (limit_s, budget_s) == (last.limit_s, last.budget_s):
        return ()
    return (SessionResized(number=last.number, attempt=last.attempt, budget_s=budget_s, limit_s=limit_s),)
