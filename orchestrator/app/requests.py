"""Store requests for the daemon, which acts on them at its next tick. Invalid requests raise BadInput at once."""

from dataclasses import dataclass, field

from orchestrator.app.app import App
from orchestrator.base.errors import BadInput
from orchestrator.core.selectors import abandon_arguments, checkpoint_at, require_session_ended


@dataclass(frozen=True, kw_only=True)
class RequestReceipt:
    """A request that was stored."""

    run: str
    verb: str
    number: int
    arguments: dict[str, str] = field(default_factory=dict)


def pause(app: App, name: str) -> RequestReceipt:
    """Let the current session finish and start no other."""
    return _ask(app, name, "pause", ("active", "waiting"))


def resume(
    app: App, name: str, from_step: str | None = None, *, abandon_session: bool = False, take_over: bool = False
) -> RequestReceipt:
    """Resume a parked or waiting run from its newest verified checkpoint, or from the one at `STEP` or `STAGE:STEP`.

    With `abandon_session` relay stops waiting for the session on Kaggle and starts the next one in its place. This also
    works for an active run, for example after its kernel was deleted by hand. With `take_over` this home folder takes
    over the run, and any other home folder stops working on it.
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
    """Retry a parked run after its cause was fixed."""
    return _ask(app, name, "retry", ("parked", "waiting"), abandon_arguments(app.run(name)) if abandon_session else {})


def cancel(app: App, name: str) -> RequestReceipt:
    """Cancel a run. Its session on Kaggle, if any, continues until it ends."""
    return _ask(app, name, "cancel", ("active", "waiting", "parked"))


def _ask(
    app: App, name: str, verb: str, allowed: tuple[str, ...], arguments: dict[str, str] | None = None
) -> RequestReceipt:
    run = app.run(name).run
    if run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
    number = app.store.request(run.id, verb, arguments or {}, app.clock.now())
    return RequestReceipt(run=run.id, verb=verb, number=number, arguments=arguments or {})
