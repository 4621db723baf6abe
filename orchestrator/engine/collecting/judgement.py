"""Judges how a session ended, from its report, its log on this disk and the checkpoint that was taken from it."""

from collections import deque
from dataclasses import replace

from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.collecting.session_memory import memory_of
from orchestrator.engine.collecting.session_seconds import seconds_of, sensible_times, told_seconds
from orchestrator.engine.home import HomeLayout, log_lines
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.names import platform_name
from orchestrator.platforms.port import TIME_LIMIT, Worker
from stages.contract import PROGRESS_PREFIX, Cursor, Manifest, Progress, Report
from state.facts.session import Judgement, NothingCollected, OutputCollected
from state.model.run_state import Session
from state.model.statuses import Outcome

AT_LIMIT = 0.95
"""Share of its limit after which a cancelled session counts as timed out: its last log event is a little older."""

EXCERPT_LINES = 20
LINE_CHARS_SHOWN = 2000
TRACEBACK_CHARS_MAX = 20_000
REASON_CHARS_MAX = 2000
CAUSE_CHARS_MAX = 200
"""Maximum lengths, in characters, of a report's texts: the traceback keeps its end, the others their beginning."""


def concluded(
    session: Session, pipeline: Pipeline, report: Report | None, home: HomeLayout, taken: Manifest | None
) -> OutputCollected | NothingCollected:
    """Return how a session ended, by its report and its local log, and which checkpoint was taken from it."""
    furthest = _furthest(session, pipeline, report, home, taken)
    begun, kept = (pipeline.position(cursor) for cursor in (session.start, taken.cursor if taken else session.start))
    lost = pipeline.position(furthest) - kept
    seconds = seconds_of(report, told_seconds(log_lines(home.log(session))), taken)
    judgement = replace(
        _judge(session, report, home, platform_name(pipeline.platform)),
        furthest=furthest,
        timings=sensible_times(report.timings) if report else {},
        steps_lost=lost,
        seconds=seconds.by_class,
        memory=memory_of(report, log_lines(home.log(session))),
        kept_s=seconds.kept_s((kept - begun) / (kept - begun + lost) if kept > begun else 0.0),
    )
    if taken is None:
        return NothingCollected(number=session.number, attempt=session.attempt, judgement=judgement)
    name = checkpoint_of(session.run, session.number, session.attempt)
    return OutputCollected(
        number=session.number, attempt=session.attempt, judgement=judgement, checkpoint=name, manifest=taken
    )


def _judge(session: Session, report: Report | None, home: HomeLayout, label: str) -> Judgement:
    if session.worker == Worker.CANCEL_ACKNOWLEDGED:
        return _cancelled(session, home, label)
    if report is None:
        ended = "without a report" if session.worker == Worker.COMPLETE else "without notice"
        return Judgement(
            outcome=Outcome.FAILED,
            cause="no-report",
            reason=session.worker_message or f"the session ended {ended}",
            transient=True,
            excerpt=excerpt(session, home),
        )
    return Judgement(
        outcome=Outcome(report.outcome),
        cause=report.cause[:CAUSE_CHARS_MAX],
        reason=report.reason[:REASON_CHARS_MAX],
        transient=report.transient,
        excerpt=report.traceback[-TRACEBACK_CHARS_MAX:]
        or (excerpt(session, home) if report.outcome == Outcome.FAILED else ""),
    )


def _cancelled(session: Session, home: HomeLayout, label: str) -> Judgement:
    """Judge a cancelled session: Kaggle uses one status for the time limit and for a cancellation by a user.

    If Kaggle's message does not tell which, the session's own clock decides, by the last event in its log: this
    machine's clock may have been changed, or it may have slept through the end.
    """
    events = filter(None, map(Progress.from_line, log_lines(home.log(session))))
    lasted_s = max((event.at_s for event in events), default=0.0)
    if TIME_LIMIT in session.worker_message or lasted_s >= AT_LIMIT * session.limit_s:
        return Judgement(outcome=Outcome.TIMED_OUT, cause="time-limit", reason=f"{label} stopped it at its time limit")
    reason = session.worker_message or f"it was cancelled on {label}"
    return Judgement(outcome=Outcome.FAILED, cause="cancelled", reason=reason, transient=True)


def _furthest(
    session: Session, pipeline: Pipeline, report: Report | None, home: HomeLayout, taken: Manifest | None
) -> Cursor:
    """Return the last step that the session is known to have done."""
    known = [session.start]
    if taken is not None:
        known.append(taken.cursor)
    if report is not None:
        known.append(report.reached)
    furthest = max(filter(pipeline.holds, known), key=pipeline.position)
    for line in log_lines(home.log(session)):
        event = Progress.from_line(line)
        if event is not None and event.event == "step":
            reached = Cursor(stage=event.stage, step=event.step)
            furthest = max(filter(pipeline.holds, (furthest, reached)), key=pipeline.position)
    return furthest


def excerpt(session: Session, home: HomeLayout) -> str:
    """Return the end of a session's log without progress events."""
    lines = (line[:LINE_CHARS_SHOWN] for line in log_lines(home.log(session)) if not line.startswith(PROGRESS_PREFIX))
    return "\n".join(deque(lines, maxlen=EXCERPT_LINES))
