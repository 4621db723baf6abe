"""Choose the facts that are worth a message and compose it: the run, what happened, the command to type. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.app.notify.services import Message, Tone
from orchestrator.base.humanize import utc_time
from orchestrator.base.terminal import escape_controls
from orchestrator.views.fact_text import describe_fact
from state.facts.base import Fact, LoggedFact
from state.facts.run import RunCancelled, RunFinished, RunParked, RunResumed, RunWaiting, RunWoken
from state.facts.session import NothingCollected, OutputCollected, SessionLost, TwinSeen
from state.model.poll_state import PollState
from state.model.run_state import Run
from state.model.statuses import RunStatus
from state.notification_marks import ALL

NAMES = tuple(
    kind.name
    for kind in (
        *(RunParked, RunResumed, RunFinished, RunCancelled, RunWaiting, RunWoken),
        *(OutputCollected, NothingCollected, SessionLost, TwinSeen),
    )
)
"""Names of facts that cause a message or make an earlier one obsolete."""

OLD = timedelta(days=7)
"""Facts older than this are not sent, except for runs that are still parked: the clock may have been set."""

LATE = timedelta(minutes=15)
"""Facts older than this are sent with their time."""

LINES_MAX = 8

AWAY = timedelta(minutes=30)
"""Minimum duration of a failure to reach Kaggle before a message is sent."""


@dataclass(frozen=True)
class Batch:
    """A message, and the marks to store once a service has accepted it."""

    message: Message
    marks: Mapping[str, int]


def compose_messages(
    news: Sequence[LoggedFact], marks: Mapping[str, int], events: frozenset[str], now: datetime
) -> list[Batch]:
    """Compose one message per run for all wanted events since its mark."""
    fresh: dict[str, list[LoggedFact]] = {}
    for item in news:
        if item.number > max(marks.get(ALL, 0), marks.get(item.run, 0)):
            fresh.setdefault(item.run, []).append(item)
    found = [_batch(run, _recent(_unresolved(items), now), events, now) for run, items in fresh.items()]
    return [batch for batch in found if batch is not None]


def _unresolved(items: Sequence[LoggedFact]) -> list[LoggedFact]:
    """Drop `parked` and `waiting` facts that a later fact has resolved."""
    over = (RunResumed, RunWoken, RunCancelled)
    last = max((item.number for item in items if isinstance(item.fact, over)), default=0)
    ended = (RunParked, RunWaiting)
    return [item for item in items if not (isinstance(item.fact, ended) and item.number < last)]


def _recent(items: Sequence[LoggedFact], now: datetime) -> list[LoggedFact]:
    return [item for item in items if isinstance(item.fact, RunParked) or now - item.at <= OLD]


def _batch(run: str, items: Sequence[LoggedFact], events: frozenset[str], now: datetime) -> Batch | None:
    wanted = [item for item in items if event_of(item.fact) in events]
    if not wanted:
        return None
    lines = [_sentence(run, item, now) for item in wanted]
    if len(lines) > LINES_MAX:
        lines = [f"{len(lines) - LINES_MAX} earlier ones are left out", *lines[-LINES_MAX:]]
    headline, tone = _headline(max(wanted, key=lambda item: (_weight(item.fact), item.number)).fact)
    message = Message(f"relay: {run} {headline}", escape_controls("\n".join(lines)), tone)
    return Batch(message, {run: wanted[-1].number})


def event_of(fact: Fact) -> str:
    """Return the event (see `config.EVENTS`) of a fact; empty if it has none."""
    match fact:
        case RunParked():
            return "parked"
        case RunFinished():
            return "finished"
        case RunWaiting():
            return "waiting"
        case SessionLost() | TwinSeen():
            return "failed"
        case OutputCollected() | NothingCollected():
            return "failed" if fact.judgement.outcome in ("failed", "timed_out") else "session"
        case _:
            return ""


def _weight(fact: Fact) -> int:
    return ("session", "failed", "waiting", "finished", "parked").index(event_of(fact))


def _headline(fact: Fact) -> tuple[str, Tone]:
    match fact:
        case RunParked():
            return "needs you", "failure"
        case RunFinished():
            return "is finished", "success"
        case RunWaiting():
            return "waits for quota", "info"
        case SessionLost():
            return f"lost session {fact.number}", "warning"
        case TwinSeen():
            return f"runs session {fact.number} twice", "warning"
        case OutputCollected() | NothingCollected():
            how = {"failed": "failed", "timed_out": "was killed at its limit"}.get(fact.judgement.outcome)
            return f"session {fact.number} {how or 'ended'}", "warning" if how else "info"
        case _:
            raise AssertionError(f"{fact.name} is not worth a message")


def _sentence(run: str, item: LoggedFact, now: datetime) -> str:
    when = f"{utc_time(item.at)}: " if now - item.at > LATE else ""
    match item.fact:
        case RunParked(reason=reason, remedy=remedy):
            return f"{when}parked: {reason}\nlook: relay status {run}\ntype: {remedy}"
        case RunFinished():
            return f"{when}finished; look: relay status {run}"
        case fact:
            own = "; relay continues by itself" if event_of(fact) == "failed" else ""
            return f"{when}{describe_fact(fact)}{own}"


# --- failures, which are not facts ---------------------------------------------


def compose_trouble_messages(
    runs: Sequence[tuple[Run, PollState]], marks: Mapping[str, int], now: datetime
) -> list[Batch]:
    """Compose messages for runs that an outside failure has begun to hold up, and for those that it released."""
    found = []
    for run, watch in runs:
        subject = f"trouble:{run.id}"
        told = bool(marks.get(subject))
        if not told and holds_up(watch, now) and run.status in (RunStatus.ACTIVE, RunStatus.WAITING):
            body = f"{watch.failure}\nrelay keeps retrying; look: relay status {run.id}"
            found.append(Batch(Message(f"relay: {run.id} is held up", escape_controls(body), "warning"), {subject: 1}))
        elif told and not watch.failures:
            body = "what held it up is over"
            found.append(Batch(Message(f"relay: {run.id} goes on", body, "info"), {subject: 0}))
    return found


def holds_up(watch: PollState, now: datetime) -> bool:
    """Return whether this machine's disk refuses writes, or Kaggle has not answered for `AWAY`."""
    if not watch.failures or watch.not_before is None:  # without a next try, nothing is known since the clock was set
        return False
    if watch.failing_since is None or watch.failing_s >= AWAY.total_seconds():
        return True
    return now - watch.failing_since >= AWAY
