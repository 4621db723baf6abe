"""Decides from past sessions whether the user must act before another session is started. Pure."""

import shlex

from orchestrator.base.humanize import counted
from orchestrator.core.retention import NOT_FINITE, caused_by_parent, last_good_checkpoint
from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.numerics import NUMERICS_CHANGED
from stages.session.failure_report import OUT_OF_MEMORY
from state.facts.run import RunParked
from state.model.run_state import PIPELINE_CHANGED, Checkpoint, Run, RunState, Session
from state.model.statuses import Outcome

BROKEN_TRAINING = (
    "not-a-number", "loss-spike", "reward-collapse", "no-progress", "lora-still-zero", "base-moved", *NOT_FINITE
)  # fmt: skip
"""Failure causes that a retry can only repeat, since training is deterministic."""

REMEDIED_BY_CHANGES = (OUT_OF_MEMORY, NUMERICS_CHANGED)
"""Failure causes that last until the pipeline, or the packages that it pins, are other ones."""
HOPELESS = (*BROKEN_TRAINING, *REMEDIED_BY_CHANGES)
"""Failure causes for which no retry is tried."""


def park_reason(state: RunState, pipeline: Pipeline) -> RunParked | None:
    """Return why the user must act before another session is started, or None."""
    tried = [s for s in state.sessions[state.run.accepted_sessions :] if s.cause != PIPELINE_CHANGED]
    sessions = [s for s in tried if not caused_by_parent(state, s)]
    if not sessions:
        return None
    last = sessions[-1]
    if last.outcome is Outcome.TIMED_OUT and pipeline.on_timeout == "park":
        place = f"{last.reached.stage} step {last.reached.step}" if last.reached else "the beginning"
        return _parked(state, f"session {last.number} was stopped at its time limit; {place} is safe", last)
    if last.outcome is Outcome.FAILED and not last.transient:
        before = next((s for s in reversed(sessions[:-1]) if s.outcome is Outcome.FAILED), None)
        repeated = before is not None and (before.cause, before.furthest) == (last.cause, last.furthest)
        if repeated or last.cause in HOPELESS:
            reason = f"session {last.number} failed{' twice at the same step' if repeated else ''}: {last.reason}"
            if last.cause in BROKEN_TRAINING:
                return _parked_before(state, reason, last, last_good_checkpoint(state, last, pipeline))
            return _parked(state, reason, last, changes=_calls_for_change(last, pipeline))
    fruitless = 0
    for session in reversed(sessions):
        if session.checkpoint:
            break
        fruitless += 1
    out_of_time = [s.outcome in (Outcome.YIELDED, Outcome.TIMED_OUT) for s in sessions[-2:]]
    if fruitless >= 2 and all(out_of_time):
        why = "a step and a save do not fit into a session: raise session.limit_s, or make a step smaller"
        return _parked(state, f"two sessions gained no step: {why}", last, changes=True)
    if fruitless >= pipeline.session.attempts:
        why = last.reason or "what it left has no checkpoint that verifies"
        return _parked(state, f"{counted(fruitless, 'attempt')} made no progress; the last: {why}", last)
    return None


def change_command(run: Run) -> str:
    """Return the command that goes on with a changed pipeline. A run that was adopted may know no file."""
    path = run.pipeline_path if run.pipeline_path.endswith((".yaml", ".yml")) else "FILE"
    return f"relay retry {run.id} --pipeline {shlex.quote(path)}"


def _calls_for_change(session: Session, pipeline: Pipeline) -> bool:
    """Return True if the remedy lies in the pipeline file, or in the user's own code, which ran where the session ended."""
    if session.cause in REMEDIED_BY_CHANGES:
        return True
    place = (session.furthest or session.start).stage
    kind, options = next(((s.kind, s.options) for s in pipeline.stages if s.name == place), ("", {}))
    return kind not in KINDS or any(":" in name for name in options.get("rewards") or ())


def _parked(state: RunState, reason: str, session: Session, *, changes: bool = False) -> RunParked:
    """Park the run. `changes`: the remedy is a change of the pipeline, or of the user's own code."""
    verb = "resume" if session.outcome is Outcome.TIMED_OUT else "retry"
    remedy = change_command(state.run) if changes else f"relay {verb} {state.run.id}"
    return RunParked(reason=reason, remedy=remedy, excerpt=session.excerpt)


def _parked_before(state: RunState, reason: str, session: Session, good: Checkpoint | None) -> RunParked:
    """Park the run and offer to change the pipeline from before the trouble on, which a retry would only repeat."""
    if good is None:
        return _parked(state, f"{reason}; there is no checkpoint from before", session, changes=True)
    place = f"{good.cursor.stage} step {good.cursor.step}"
    repeats = session.cause == "checkpoint-not-finite"  # the checkpoint itself is broken, and the pipeline is not
    command = f"relay resume {state.run.id}" if repeats else change_command(state.run)
    remedy = f"{command} --from-step {good.cursor.stage}:{good.cursor.step}"
    return RunParked(
        reason=f"{reason}; the last good checkpoint is {good.name}, {place}", remedy=remedy, excerpt=session.excerpt
    )
