"""Leave a request for the daemon, which obeys at its next turn; one that does not fit is refused now, with BadInput."""

from dataclasses import dataclass, field

from orchestrator.app.app import App
from orchestrator.base.errors import BadInput
from orchestrator.core.selectors import abandon_arguments, checkpoint_at, require_session_ended


@dataclass(frozen=True, kw_only=True)
class RequestReceipt:
    """A request that was left."""

    run: str
    verb: str
    number: int
    arguments: dict[str, str] = field(default_factory=dict)


def pause(app: App, name: str) -> RequestReceipt:
    """Let the session that runs come to its end, and start no other."""
    return _ask(app, name, "pause", ("active", "waiting"))


def resume(
    app: App, name: str, from_step: str | None = None, *, abandon_session: bool = False, take_over: bool = False
) -> RequestReceipt:
    """Go on with a parked or waiting run, from its newest verified checkpoint or from the one at `STEP` or `STAGE:STEP`.

    With `abandon_session` nothing more is expected of the session on Kaggle, and the next one takes its place: of a run that goes on
    too, as where somebody has deleted the kernel by hand. With `take_over` it is this home folder that works on the run from now
    on, and any other one stops.
    """
    state = app.run(name)
    arguments = abandon_arguments(state) if abandon_session else {}
    if take_over:
        arguments["take_over"] = app.identity
    if from_step is not None:
        arguments["checkpoint"] = checkpoint_at(state, from_step).name
        if not abandon_session:
            require_session_ended(state)
    goes_on = ("active",) if take_over or (abandon_session and from_step is None) else ()
    return _ask(app, name, "resume", ("parked", "waiting", *goes_on), arguments)


def retry(app: App, name: str, *, abandon_session: bool = False) -> RequestReceipt:
    """Try a parked run again after its cause was mended."""
    return _ask(app, name, "retry", ("parked", "waiting"), abandon_arguments(app.run(name)) if abandon_session else {})


def cancel(app: App, name: str) -> RequestReceipt:
    """End a run; its session on Kaggle, if any, goes on until it ends."""
    return _ask(app, name, "cancel", ("active", "waiting", "parked"))


def _ask(
    app: App, name: str, verb: str, allowed: tuple[str, ...], arguments: dict[str, str] | None = None
) -> RequestReceipt:
    run = app.run(name).run
    if run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
    number = app.store.request(run.id, verb, arguments or {}, app.clock.now())
    return RequestReceipt(run=run.id, verb=verb, number=number, arguments=arguments or {})
