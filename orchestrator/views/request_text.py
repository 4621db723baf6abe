"""Text about requests to the daemon: what each will do, before it is stored, and that it was stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.base.humanize import bounded_s, machine_time, when
from orchestrator.platforms.names import name_in
from orchestrator.views.cancel_question import cancel_lines
from state.model.run_state import Checkpoint, RunState, Session
from state.model.statuses import Phase, RunStatus

NEXT_TICK = "at its next tick"


def receipt_line(run: str, verb: str, obeyed: str = NEXT_TICK, *, attended: bool) -> str:
    """Say that a request was stored and when it is obeyed; `attended` is False if no daemon runs to do so."""
    type_ = "" if attended else "; no daemon is running here, so type: relay daemon"
    return f"{run}: {verb} requested; the daemon acts on it {obeyed}{type_}"


def obeyed_when(awaited: Session | None) -> str:
    """Say when a change of the pipeline is obeyed: `awaited` is the session that has to end first."""
    return NEXT_TICK if awaited is None else f"once session {awaited.number} has ended"


def change_lines(run: str, lines: Sequence[str], awaited: Session | None, numbers: Sequence[str] = ()) -> list[str]:
    """Return the lines that tell what a change of the pipeline changes, and when.

    `numbers` are sentences about the numbers if the run goes on on another platform.
    """
    told = [f"{run}: the pipeline changes", *(f"  {line}" for line in lines)]
    if numbers:
        told += [
            "The run continues on another platform, from its newest verified checkpoint, which relay publishes there once.",
            *(f"  {line}" for line in numbers),
        ]
    if awaited is None:
        return [*told, "The next session follows it."]
    return [
        *told,
        f"Session {awaited.number} is not affected; once it has ended, the next one follows the changed pipeline. "
        "Steps are then counted from its last checkpoint.",
    ]


def question_lines(verb: str, state: RunState, now: datetime) -> list[str]:
    """Return a heading and one sentence for each consequence of `pause`, `resume`, `retry` or `cancel`."""
    run = state.run.id
    match verb:
        case "cancel":
            return cancel_lines(state, now)
        case "pause":
            return [
                f"Pausing {run}:",
                f"  {_session_line(state, now)}",
                f"  relay resume {run} continues it from its newest verified checkpoint",
            ]
        case _:
            heading = f"{'Resuming' if verb == 'resume' else 'Retrying'} {run}:"
            why = [f"  it is {state.run.status}: {state.run.reason}"] if state.run.reason else []
            return [heading, *why, f"  {_continued_line(state)}", f"  {_quota_line(state)}"]


def _session_line(state: RunState, now: datetime) -> str:
    last = state.last
    if last is None or last.phase.over or last.phase is Phase.PLANNED:
        return f"no session runs on {name_in(state.run.pipeline)}, and none is started until the run is resumed"
    if last.phase is Phase.RUNNING:
        ends_at = (last.running_at or now) + timedelta(seconds=last.limit_s)
        left = machine_time(bounded_s(ends_at - now, last.limit_s))
        until = f"goes on until {when(ends_at, now)} at the latest, up to {left}"
    else:
        until = "goes on until it ends by itself"
    return f"session {last.slug} {until}; no other session is started until the run is resumed"


def _continued_line(state: RunState) -> str:
    head, last = state.head, state.last
    if last is not None and last.pending:
        return f"session {last.slug} is still running, and relay continues with it"
    if head is None:
        return "there is no checkpoint yet, and the next session begins where the run began"
    return f"the next session starts from the newest verified checkpoint, {_place(head)}"


def _place(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.name} at {checkpoint.cursor.stage} step {checkpoint.cursor.step}"


def _quota_line(state: RunState) -> str:
    if state.run.status is RunStatus.CANCELLED:
        return f"the cancellation is undone, as long as a checkpoint is left on this disk or on {name_in(state.run.pipeline)}"
    kind = state.run.accelerator
    return "its sessions use no quota" if kind == "cpu" else f"its sessions use this week's {kind} quota"
