"""Store requests for the daemon, which acts on them at its next tick. Invalid requests raise BadInput at once."""

from dataclasses import dataclass, field

from orchestrator.app.app import App
from orchestrator.app.origins import known_runs
from orchestrator.base.errors import BadInput, Transient
from orchestrator.core.origins import is_mountable, origin_checkpoint, will_never_come
from orchestrator.core.request_rules import ALLOWED
from orchestrator.core.selectors import abandon_arguments, checkpoint_at, require_session_ended
from orchestrator.engine.checkpoint_checks import is_dataset, is_here, is_output
from orchestrator.platforms.names import name_in
from orchestrator.platforms.port import SOURCES_NOT_ACCEPTED
from state.model.run_state import Checkpoint, RunState
from state.model.statuses import CheckpointStatus, RunStatus


@dataclass(frozen=True, kw_only=True)
class RequestReceipt:
    """A request that was stored."""

    run: str
    verb: str
    number: int
    arguments: dict[str, str] = field(default_factory=dict)


def pause(app: App, name: str) -> RequestReceipt:
    """Let the current session finish and start no other."""
    return _ask(app, name, "pause", ALLOWED["pause"])


def resume(
    app: App, name: str, from_step: str | None = None, *, abandon_session: bool = False, take_over: bool = False
) -> RequestReceipt:
    """Resume a parked, waiting or cancelled run from its newest verified checkpoint, or from that at `STEP` or `STAGE:STEP`.

    With `abandon_session` relay stops waiting for the session on Kaggle and starts the next one in its place. This also
    works for an active run, for example after its kernel was deleted by hand. With `take_over` this home folder takes
    over the run, and any other home folder stops working on it. A cancelled run is refused if another run of its
    pipeline is open, or if the checkpoint to resume from exists neither here nor on Kaggle.
    """
    state = app.expected(app.run(name))
    arguments = abandon_arguments(state) if abandon_session else {}
    if take_over:
        arguments["take_over"] = app.identity
    chosen = None if from_step is None else checkpoint_at(state, from_step)
    if chosen is not None:
        arguments["checkpoint"] = chosen.name
        if not abandon_session:
            require_session_ended(state)
    if state.run.status is RunStatus.CANCELLED:
        _require_alone(app, state)
        if abandon_session or state.last is None or not state.last.pending:
            arguments |= _require_checkpoint(app, state, chosen or state.head)
    elif parked_over_sources(state):
        arguments |= republishing(app, chosen or state.head)
    goes_on = ("active",) if take_over or (abandon_session and from_step is None) else ()
    return _ask(app, name, "resume", (*ALLOWED["resume"], *goes_on), arguments)


def _require_alone(app: App, state: RunState) -> None:
    """Raise BadInput if another run of the cancelled run's pipeline is open."""
    run = state.run
    other = next((found for found in app.open_runs(run.name) if found.id != run.id), None)
    if other is not None:
        raise BadInput(
            f"{run.id} was cancelled, and run {other.id} of the same pipeline is {other.status}: relay cancel {other.id} "
            f"first, then relay resume {run.id}"
        )


def _require_checkpoint(app: App, state: RunState, chosen: Checkpoint | None) -> dict[str, str]:
    """Return the request arguments for the checkpoint to resume from; raises BadInput if it is gone.

    A run that never had a checkpoint begins again. One whose dataset is gone is published again.
    """
    run = state.run

    def exists(checkpoint: Checkpoint) -> bool:
        session = state.session(checkpoint.session, checkpoint.attempt)
        if is_here(checkpoint, app.home):
            return True
        if is_dataset(checkpoint, app.platforms.at(run, checkpoint.platform)):
            return True
        return is_output(checkpoint, session, app.platforms.at(run, session.platform))

    if not state.checkpoints:
        _require_origin(app, state)
        return {}
    if chosen is not None and exists(chosen):
        return republishing(app, chosen)
    older = next((c for c in reversed(state.checkpoints) if c.usable and c != chosen and exists(c)), None)
    if chosen is None or older is None:
        raise BadInput(
            f"{run.id} cannot be resumed, since none of its checkpoints is left on this disk or on {name_in(run.pipeline)}: relay start "
            f"{run.pipeline_path} begins another run"
        )
    raise BadInput(
        f"{run.id}: its checkpoint {chosen.name} is gone from this disk and from {name_in(run.pipeline)}: add --from-step "
        f"{older.cursor.stage}:{older.cursor.step}, the newest that is left"
    )


def _require_origin(app: App, state: RunState) -> None:
    """Raise BadInput if the run begins from another run's checkpoint that has no dataset any more, and gets none."""
    run, origin = state.run, state.run.origin
    if origin is None or origin.run not in known_runs(app):
        return
    other = app.run(origin.run)
    checkpoint = origin_checkpoint(origin, other)
    there = checkpoint is not None and is_mountable(checkpoint)
    if not there and will_never_come(checkpoint, other):
        raise BadInput(
            f"{run.id} cannot be resumed, since the checkpoint {origin.place} of {origin.run}, which it begins from, is not "
            f"on {name_in(run.pipeline)} and will not be published any more: begin another run from a checkpoint that exists"
        )


def parked_over_sources(state: RunState) -> bool:
    """Return True if the run is parked because Kaggle did not mount what a session needs: its checkpoint, or an input."""
    return state.run.status is RunStatus.PARKED and SOURCES_NOT_ACCEPTED in state.run.reason


def republishing(app: App, checkpoint: Checkpoint | None) -> dict[str, str]:
    """Return the request arguments that publish a checkpoint again whose dataset was deleted on Kaggle."""
    gone = checkpoint is not None and _dataset_gone(app, checkpoint)
    return {"republish": checkpoint.name} if checkpoint is not None and gone else {}


def _dataset_gone(app: App, checkpoint: Checkpoint) -> bool:
    """Return True if a published checkpoint's dataset was deleted on Kaggle; False if Kaggle cannot be asked now."""
    if checkpoint.status is not CheckpointStatus.PUBLISHED:
        return False
    try:
        run = app.store.load(checkpoint.run).run
        return not is_dataset(checkpoint, app.platforms.at(run, checkpoint.platform))
    except (BadInput, Transient):  # no credentials, no network: the copy on this disk is enough to resume
        return False


def retry(app: App, name: str, *, abandon_session: bool = False) -> RequestReceipt:
    """Retry a parked run after its cause was fixed."""
    state = app.run(name)
    arguments = abandon_arguments(state) if abandon_session else {}
    if parked_over_sources(state):
        arguments |= republishing(app, state.head)
    return _ask(app, name, "retry", ALLOWED["retry"], arguments)


def cancellable(app: App, name: str) -> RunState:
    """Load a run that can be cancelled; raises BadInput for one that is over."""
    return allowing(app, name, "cancel")


def allowing(app: App, name: str, verb: str) -> RunState:
    """Load a run whose status, now or after its open requests, allows the verb; raises BadInput for any other."""
    state = app.run(name)
    _require_status(app, state, verb, ALLOWED[verb])
    return state


def cancel(app: App, name: str) -> RequestReceipt:
    """Cancel a run. Its session on Kaggle, if any, continues until it ends. `resume` takes it back."""
    return _ask(app, name, "cancel", ALLOWED["cancel"])


def _ask(
    app: App, name: str, verb: str, allowed: tuple[str, ...], arguments: dict[str, str] | None = None
) -> RequestReceipt:
    state = app.run(name)
    _require_status(app, state, verb, allowed)
    return store_request(app, state.run.id, verb, arguments or {})


def store_request(app: App, run: str, verb: str, arguments: dict[str, str]) -> RequestReceipt:
    """Store a request that was checked. It names the program that stores it for the user, if `App` does."""
    asked = {**arguments, "by": app.requested_by} if app.requested_by else arguments
    number = app.store.request(run, verb, asked, app.clock.now())
    return RequestReceipt(run=run, verb=verb, number=number, arguments=arguments)


def _require_status(app: App, state: RunState, verb: str, allowed: tuple[str, ...]) -> None:
    """Raise BadInput if the run's status, now and after its open requests, does not allow the verb."""
    run = state.run
    if run.status.value not in allowed and app.expected(state).run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
