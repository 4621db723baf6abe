"""Text of `relay cancel` before it asks: what becomes of the session, what is kept, and how the cancel is taken back."""

from datetime import datetime, timedelta

from orchestrator.base.humanize import bounded_s, machine_time, when
from orchestrator.platforms.names import PLATFORM_NAMES, name_in
from state.model.run_state import RunState, Session
from state.model.statuses import Phase


def cancel_lines(state: RunState, now: datetime) -> list[str]:
    """Return one sentence for each consequence of cancelling a run."""
    run = state.run
    return [
        f"Cancelling {run.id}:",
        f"  {_session_line(state, now)}",
        f"  {_kept_line(state, now)}",
        f"  relay resume {run.id} undoes it for as long as its checkpoints exist",
    ]


def _session_line(state: RunState, now: datetime) -> str:
    last, platform = state.last, name_in(state.run.pipeline)
    quota = "" if state.run.accelerator == "cpu" else f" of this week's {state.run.accelerator} quota"
    if last is None or last.phase is Phase.PLANNED or last.phase.over:
        return f"no session runs on {platform}, and none is started any more"
    most = f"up to {machine_time(last.limit_s)}{quota}"
    place = STOPPED_ON.get(platform)
    if place and last.phase in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING):
        return f"session {last.slug} is cancelled on {place}; its output is not collected"
    match last.phase:
        case Phase.PUSHING:
            return f"it is not clear yet whether {platform} has session {last.slug}: if so, it runs for {most}"
        case Phase.PUSHED | Phase.QUEUED:
            return f"session {last.slug} stays in {platform}'s queue and then runs for {most}: {UNSTOPPABLE}"
        case Phase.RUNNING:
            ends_at = (last.running_at or now) + timedelta(seconds=last.limit_s)
            left = f"up to {machine_time(bounded_s(ends_at - now, last.limit_s))}{quota}"
            return f"session {last.slug} goes on until {when(ends_at, now)} at the latest, {left}: {UNSTOPPABLE}"
        case Phase.ENDED:
            return f"session {last.slug} has ended, and its output stays on {platform}, not collected"
        case _:
            return f"checkpoint {last.checkpoint} stays on this disk, and is not published as a dataset"


STOPPED_ON = {PLATFORM_NAMES["slurm"]: "the cluster", PLATFORM_NAMES["ssh"]: "the machine"}
"""Platforms that can stop a session, by their name."""
UNSTOPPABLE = "Kaggle has no call that stops it; its output is not collected"


def _kept_line(state: RunState, now: datetime) -> str:
    spent = f"{machine_time(sum(_machine_s(session, now) for session in state.sessions))} on {name_in(state.run.pipeline)}'s machines so far"
    usable = [checkpoint for checkpoint in state.checkpoints if checkpoint.usable]
    if not usable:
        return f"there is no checkpoint to keep yet ({spent})"
    cursor = usable[-1].cursor
    count = "1 checkpoint is" if len(usable) == 1 else f"{len(usable)} checkpoints are"
    return f"{count} kept, the newest at {cursor.stage} step {cursor.step} ({spent})"


def _machine_s(session: Session, now: datetime) -> float:
    if session.running_at is None:
        return 0.0
    return bounded_s((session.ended_at or now) - session.running_at, session.limit_s)
