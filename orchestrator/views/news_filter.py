"""What the daemon says of its turns: each thing once, when it begins and when it is over, and nothing while nothing happens."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.base.humanize import duration
from orchestrator.core.commands import Append, Wait
from orchestrator.engine.tick import Turn
from orchestrator.views.fact_text import describe, goes_on_failing
from orchestrator.views.format import clock_time, hours
from state import facts
from state.facts import Fact, SessionFact
from state.model import QuotaRow, Request

LEVELS = ("debug", "info", "warning", "error")
"""A person may want to look at a `warning`, and has to at an `error`."""

LEFT_OUT = ("manifest", "pipeline", "token", "excerpt")
"""Of a fact's fields: long, or nobody's business; `relay status --json` and the database have them."""

SHORT_S = 60.0
"""A rest of at most this many seconds is a pause between two looks."""

TEXT_MAX = 4000
"""Characters of one text; a longer one is cut, so that no line is larger than a log file."""


@dataclass(frozen=True, kw_only=True)
class Narration:
    """One thing that happened. `event` is the fact's name, or one of the daemon's own words (see docs/daemon.md)."""

    event: str
    message: str
    level: str = "info"
    run: str | None = None
    session: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Narrator:
    """Listens to turns and remembers what it has said, so that only news is told."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._failing: dict[str, tuple[str, datetime]] = {}
        """What was said of a run that fails, and since when it does."""
        self._resting: dict[str, str] = {}
        self._said: dict[str, list[str]] = {}
        """The sentences of a run's newest facts, which a rest that follows need not repeat."""
        self._quotas: dict[tuple[str, str], str] = {}

    def hear(self, run: str, turn: Turn) -> list[Narration]:
        """What a turn has to tell; empty for one that only looked or rested as before."""
        said = [*self._request(run, turn), *self._recovery(run, turn), *self._quota(run, turn)]
        happened = [line for fact in turn.facts if (line := fact_line(run, fact)) is not None]
        if any(isinstance(fact, FRESH) for fact in turn.facts):
            self._failing.pop(run, None)
        if happened:
            self._said[run] = [line.message for line in happened]
        said += [*happened, *self._failure(run, turn), *self._rest(run, turn)]
        return said or [_effort(run, turn)] if not isinstance(turn.command, Wait | Append) else said

    def _request(self, run: str, turn: Turn) -> list[Narration]:
        request = turn.request
        return [] if request is None else [_obeyed(run, request, turn)]

    def _failure(self, run: str, turn: Turn) -> list[Narration]:
        if not goes_on_failing(turn):
            return []
        key, after = _shape(turn.failure), turn.after
        first = after.failing_since if after else None
        before, since = self._failing.get(run, ("", first or self._now()))
        self._failing[run] = (key, since)
        self._resting.pop(run, None)
        if key == before:
            return []
        until = turn.command.until if isinstance(turn.command, Wait) else (after.not_before if after else None)
        again = "" if until is None else f", trying again at {clock_time(until.isoformat())}"
        data = {"failure": turn.failure, "retry_at": _iso(until), "failing_since": _iso(since)}
        return [Narration(event="failing", message=f"{turn.failure}{again}", level="warning", run=run, data=data)]

    def _recovery(self, run: str, turn: Turn) -> list[Narration]:
        """A failure is over when something was done: a turn that rests or only writes down has tried nothing."""
        tried = not isinstance(turn.command, Wait | Append)
        refused = run in self._failing and not turn.before.failures and turn.before.failing_since is None
        if turn.failure or not (tried or refused) or not (turn.before.failures or run in self._failing):
            return []
        _, noted = self._failing.pop(run, ("", None))
        since = turn.before.failing_since or noted
        what = "Kaggle answers again" if turn.before.failing_since else "it works again"
        if since is None:
            return [Narration(event="recovered", message=what, run=run)]
        lasted_s = max(0.0, (self._now() - since).total_seconds())
        data = {"failing_since": _iso(since), "seconds": round(lasted_s, 3), "failures": turn.before.failures}
        return [Narration(event="recovered", message=f"{what} after {duration(lasted_s)}", run=run, data=data)]

    def _quota(self, run: str, turn: Turn) -> list[Narration]:
        quota = turn.quota
        if quota is None:
            return []
        sentence, key = _quota_sentence(quota), (quota.owner, quota.accelerator)
        if self._quotas.get(key) == sentence:
            return []
        self._quotas[key] = sentence
        data = {"owner": quota.owner, "accelerator": quota.accelerator, "left_s": quota.left_s}
        data |= {"total_s": quota.total_s, "refreshes_at": _iso(quota.refreshes_at), "assumed": quota.assumed}
        return [Narration(event="quota_read", message=sentence, run=run, data=data)]

    def _rest(self, run: str, turn: Turn) -> list[Narration]:
        """A rest for a reason that was not told yet; one until the next try of something that fails was told with it."""
        rest = turn.command
        if not isinstance(rest, Wait):
            return []
        key, before = _shape(rest.why), self._resting.get(run)
        if run in self._failing:
            return []
        self._resting[run] = key
        if key == before or any(rest.why in said for said in self._said.get(run, ())) or rest.why in OVER:
            return []
        until = "you ask for something" if rest.until is None else clock_time(rest.until.isoformat())
        data = {"until": _iso(rest.until), "why": rest.why}
        level = "warning" if rest.held else "debug" if self._short(rest) else "info"
        return [Narration(event="resting", message=f"rests until {until}: {rest.why}", level=level, run=run, data=data)]

    def _short(self, rest: Wait) -> bool:
        """Whether it only waits between two looks at what has been told already."""
        return not (rest.wants_slot or rest.until is None or (rest.until - self._now()).total_seconds() > SHORT_S)


FRESH = (facts.RunResumed, facts.SessionLost, facts.RunParked, facts.RunCancelled)
"""After these what failed before is tried no more, or a person knows."""

OVER = ("the run is finished", "the run is cancelled")


def fact_line(run: str, fact: Fact) -> Narration | None:
    """A fact as the daemon tells it; None where another fact says it better."""
    sentence = describe(fact)
    if not sentence:
        return None
    session = fact.number if isinstance(fact, SessionFact) else None
    data = {key: value for key, value in _shown(fact.to_dict()).items() if key != "number"}
    return Narration(event=fact.name, message=cut(sentence), level=level_of(fact), run=run, session=session, data=data)


def level_of(fact: Fact) -> str:
    """Whether a person may want to look, or has to."""
    match fact:
        case facts.RunParked():
            return "error"
        case facts.SessionLost() | facts.DamageFound() | facts.CheckpointDamaged() | facts.CheckpointWithdrawn():
            return "warning"
        case facts.PushUnclear() | facts.TwinSeen() | facts.DatasetDropped() | facts.InputsDropped():
            return "warning"
        case facts.OutputCollected() | facts.NothingCollected():
            return "warning" if fact.judgement.outcome in ("failed", "timed_out") else "info"
        case _:
            return "info"


def cut(text: str) -> str:
    """The text, no longer than a line of a log should be."""
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def _obeyed(run: str, request: Request, turn: Turn) -> Narration:
    nothing = "" if turn.facts or request.verb == "prune" else ": there is nothing to do for that now"
    data = {"verb": request.verb, "arguments": request.arguments, "made_at": _iso(request.made_at)}
    return Narration(event="request_obeyed", message=f"you asked to {request.verb}{nothing}", run=run, data=data)


def _effort(run: str, turn: Turn) -> Narration:
    """What was done without anything to tell: for somebody who wants to see every call."""
    words = type(turn.command).__name__
    number = getattr(turn.command, "number", None)
    what = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lower() + ("" if number is None else f" session {number}")
    return Narration(event="done", message=what, level="debug", run=run, session=number, data={"command": words})


def _quota_sentence(quota: QuotaRow) -> str:
    if quota.total_s is None:
        return f"{quota.accelerator} quota: Kaggle does not say how many hours are left"
    left = f"{quota.accelerator} quota: {hours(quota.left_s or 0.0)} of {hours(quota.total_s)} left"
    counted = " by relay's own count, since Kaggle does not say" if quota.assumed else ""
    renewed = f", renewed {clock_time(quota.refreshes_at.isoformat())}" if quota.refreshes_at else ""
    return left + counted + renewed


def _shown(value: dict[str, Any]) -> dict[str, Any]:
    """A fact's fields without those that are left out, long texts cut."""
    return {key: _short(item) for key, item in value.items() if key not in LEFT_OUT}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return _shown(value)
    return cut(value) if isinstance(value, str) else value


def _shape(sentence: str) -> str:
    """A sentence without its numbers, which change while nothing else does."""
    return re.sub(r"\d+", "#", sentence)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
