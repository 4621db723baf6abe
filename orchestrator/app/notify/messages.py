"""What is worth a message, and how it reads: the run, what happened, what to type. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.app.notify.services import Message, Tone
from orchestrator.base.terminal import escape_controls
from orchestrator.views.fact_text import describe
from orchestrator.views.format import clock_time
from state import facts
from state.facts import Fact
from state.model import PollState, Run, RunStatus
from state.notification_marks import ALL, News

NAMES = tuple(
    kind.name
    for kind in (
        *(facts.RunParked, facts.RunResumed, facts.RunFinished, facts.RunCancelled, facts.RunWaiting, facts.RunWoken),
        *(facts.OutputCollected, facts.NothingCollected, facts.SessionLost, facts.TwinSeen),
    )
)
"""Facts that may be worth a message, or take one back."""

OLD = timedelta(days=7)
"""What happened longer ago is not told any more, but for what a person still has to see to: a clock may have been set since."""

LATE = timedelta(minutes=15)
"""What happened longer ago is told with the time."""

LINES_MAX = 8

AWAY = timedelta(minutes=30)
"""For so long may Kaggle fail to answer before that is worth a message."""


@dataclass(frozen=True)
class Batch:
    """A message, and what is to be remembered once it was taken."""

    message: Message
    marks: Mapping[str, int]


def letters(news: Sequence[News], marks: Mapping[str, int], events: frozenset[str], now: datetime) -> list[Batch]:
    """One message a run for all that happened to it since its mark; none where nothing that is wished for did."""
    fresh: dict[str, list[News]] = {}
    for item in news:
        if item.number > max(marks.get(ALL, 0), marks.get(item.run, 0)):
            fresh.setdefault(item.run, []).append(item)
    found = [_letter(run, _worth(_standing(items), now), events, now) for run, items in fresh.items()]
    return [letter for letter in found if letter is not None]


def _standing(items: Sequence[News]) -> list[News]:
    """Without a parked or waiting that is over already: a person has seen to it, or time has."""
    over = (facts.RunResumed, facts.RunWoken, facts.RunCancelled)
    last = max((item.number for item in items if isinstance(item.fact, over)), default=0)
    ended = (facts.RunParked, facts.RunWaiting)
    return [item for item in items if not (isinstance(item.fact, ended) and item.number < last)]


def _worth(items: Sequence[News], now: datetime) -> list[News]:
    return [item for item in items if isinstance(item.fact, facts.RunParked) or now - item.at <= OLD]


def _letter(run: str, items: Sequence[News], events: frozenset[str], now: datetime) -> Batch | None:
    wished = [item for item in items if kind_of(item.fact) in events]
    if not wished:
        return None
    lines = [_sentence(run, item, now) for item in wished]
    if len(lines) > LINES_MAX:
        lines = [f"{len(lines) - LINES_MAX} earlier ones are left out", *lines[-LINES_MAX:]]
    headline, tone = _headline(max(wished, key=lambda item: (_weight(item.fact), item.number)).fact)
    message = Message(f"relay: {run} {headline}", escape_controls("\n".join(lines)), tone)
    return Batch(message, {run: wished[-1].number})


def kind_of(fact: Fact) -> str:
    """Which of the events (see `config.EVENTS`) a fact is; empty for none."""
    match fact:
        case facts.RunParked():
            return "parked"
        case facts.RunFinished():
            return "finished"
        case facts.RunWaiting():
            return "waiting"
        case facts.SessionLost() | facts.TwinSeen():
            return "failed"
        case facts.OutputCollected() | facts.NothingCollected():
            return "failed" if fact.judgement.outcome in ("failed", "timed_out") else "session"
        case _:
            return ""


def _weight(fact: Fact) -> int:
    return ("session", "failed", "waiting", "finished", "parked").index(kind_of(fact))


def _headline(fact: Fact) -> tuple[str, Tone]:
    match fact:
        case facts.RunParked():
            return "needs you", "failure"
        case facts.RunFinished():
            return "is finished", "success"
        case facts.RunWaiting():
            return "waits for quota", "info"
        case facts.SessionLost():
            return f"lost session {fact.number}", "warning"
        case facts.TwinSeen():
            return f"runs session {fact.number} twice", "warning"
        case facts.OutputCollected() | facts.NothingCollected():
            how = {"failed": "failed", "timed_out": "was killed at its limit"}.get(fact.judgement.outcome)
            return f"session {fact.number} {how or 'ended'}", "warning" if how else "info"
        case _:
            raise AssertionError(f"{fact.name} is not worth a message")


def _sentence(run: str, item: News, now: datetime) -> str:
    when = f"{clock_time(item.at.isoformat())}: " if now - item.at > LATE else ""
    match item.fact:
        case facts.RunParked(reason=reason, remedy=remedy):
            return f"{when}parked: {reason}\nlook: relay status {run}\ntype: {remedy}"
        case facts.RunFinished():
            return f"{when}finished; look: relay status {run}"
        case fact:
            own = "; relay goes on by itself" if kind_of(fact) == "failed" else ""
            return f"{when}{describe(fact)}{own}"


# --- what is no fact -----------------------------------------------------------


def troubles(runs: Sequence[tuple[Run, PollState]], marks: Mapping[str, int], now: datetime) -> list[Batch]:
    """Runs that something outside has begun to hold up, and those that it holds up no more."""
    found = []
    for run, watch in runs:
        subject = f"trouble:{run.id}"
        told = bool(marks.get(subject))
        if not told and holds_up(watch, now) and run.status in (RunStatus.ACTIVE, RunStatus.WAITING):
            body = f"{watch.failure}\nrelay goes on trying by itself; look: relay status {run.id}"
            found.append(Batch(Message(f"relay: {run.id} is held up", escape_controls(body), "warning"), {subject: 1}))
        elif told and not watch.failures:
            body = "what held it up is over"
            found.append(Batch(Message(f"relay: {run.id} goes on", body, "info"), {subject: 0}))
    return found


def holds_up(watch: PollState, now: datetime) -> bool:
    """Whether this machine's disk refuses something, or Kaggle has not answered for long."""
    if not watch.failures or watch.not_before is None:  # without a next try nothing is known since the clock was set
        return False
    if watch.failing_since is None or watch.failing_s >= AWAY.total_seconds():
        return True
    return now - watch.failing_since >= AWAY
