"""Turns of the daemon as log lines: each thing once when it begins and once when it is over, nothing while idle."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.base.humanize import duration, machine_time, utc_time
from orchestrator.core.commands import Append, Wait
from orchestrator.engine.tick import TickResult
from orchestrator.platforms.names import KAGGLE
from orchestrator.views.fact_text import describe_fact, will_be_retried
from state.facts.base import Fact, SessionFact
from state.facts.checkpoint import CheckpointDamaged, CheckpointWithdrawn, DamageFound, DatasetDropped
from state.facts.run import InputsDropped, PipelineKept, RunCancelled, RunParked, RunResumed
from state.facts.session import NothingCollected, OutputCollected, PushUnclear, SessionLost, TwinSeen
from state.model.snapshot import QuotaRow, Request

LEVELS = ("debug", "info", "warning", "error")
"""Log levels. A `warning` may need attention, an `error` does."""

LEFT_OUT = ("manifest", "pipeline", "pipeline_text", "token", "excerpt")
"""Fields of facts that are left out: long or private. `relay status --json` and the database have them."""

SHORT_S = 60.0
"""Waits of at most this many seconds are pauses between two polls."""

TEXT_MAX = 4000
"""Maximum length of one text, in characters. Longer ones are cut, so that a line fits into a log file."""


@dataclass(frozen=True, kw_only=True)
class Narration:
    """Log line. `event` is a fact's name, or an event of the daemon itself (see docs/daemon.md)."""

    event: str
    message: str
    level: str = "info"
    run: str | None = None
    session: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Narrator:
    """Turns into log lines, remembering earlier lines so that only news is logged."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._failing: dict[str, tuple[str, datetime]] = {}
        """Last logged failure of each failing run, and the time since when it has failed."""
        self._resting: dict[str, str] = {}
        self._last_sentences: dict[str, list[str]] = {}
        """Sentences of each run's newest facts, which a following wait does not repeat."""
        self._quotas: dict[tuple[str, str], str] = {}

    def hear(self, run: str, tick: TickResult) -> list[Narration]:
        """Return the log lines of a tick; empty if nothing is new."""
        said = [*self._request(run, tick), *self._recovery(run, tick), *self._quota(run, tick)]
        happened = [line for fact in tick.facts if (line := narrate_fact(run, fact, tick.platform)) is not None]
        if any(isinstance(fact, FRESH) for fact in tick.facts):
            self._failing.pop(run, None)
        if happened:
            self._last_sentences[run] = [line.message for line in happened]
        said += [*happened, *self._failure(run, tick), *self._rest(run, tick)]
        return said or [_without_news(run, tick)] if not isinstance(tick.command, Wait | Append) else said

    def _request(self, run: str, tick: TickResult) -> list[Narration]:
        request = tick.request
        return [] if request is None else [_request_line(run, request, tick)]

    def _failure(self, run: str, tick: TickResult) -> list[Narration]:
        if not will_be_retried(tick):
            return []
        key, after = _without_numbers(tick.failure), tick.after
        first = after.failing_since if after else None
        before, since = self._failing.get(run, ("", first or self._now()))
        self._failing[run] = (key, since)
        self._resting.pop(run, None)
        if key == before:
            return []
        until = tick.command.until if isinstance(tick.command, Wait) else (after.not_before if after else None)
        again = "" if until is None else f", trying again at {utc_time(until)}"
        data = {"failure": tick.failure, "retry_at": _iso(until), "failing_since": _iso(since)}
        return [Narration(event="failing", message=f"{tick.failure}{again}", level="warning", run=run, data=data)]

    def _recovery(self, run: str, tick: TickResult) -> list[Narration]:
        """Log that a failure is over. Only a tick that attempted something can prove that."""
        tried = not isinstance(tick.command, Wait | Append)
        refused = run in self._failing and not tick.before.failures and tick.before.failing_since is None
        if tick.failure or not (tried or refused) or not (tick.before.failures or run in self._failing):
            return []
        _, noted = self._failing.pop(run, ("", None))
        since = tick.before.failing_since or noted
        what = f"{tick.platform} answers again" if tick.before.failing_since else "it works again"
        if since is None:
            return [Narration(event="recovered", message=what, run=run)]
        lasted_s = max(0.0, (self._now() - since).total_seconds())
        data = {"failing_since": _iso(since), "seconds": round(lasted_s, 3), "failures": tick.before.failures}
        return [Narration(event="recovered", message=f"{what} after {duration(lasted_s)}", run=run, data=data)]

    def _quota(self, run: str, tick: TickResult) -> list[Narration]:
        quota = tick.quota
        if quota is None:
            return []
        sentence, key = _quota_sentence(quota), (quota.owner, quota.accelerator)
        if self._quotas.get(key) == sentence:
            return []
        self._quotas[key] = sentence
        data = {"owner": quota.owner, "accelerator": quota.accelerator, "left_s": quota.left_s}
        data |= {"total_s": quota.total_s, "refreshes_at": _iso(quota.refreshes_at), "assumed": quota.assumed}
        return [Narration(event="quota_read", message=sentence, run=run, data=data)]

    def _rest(self, run: str, tick: TickResult) -> list[Narration]:
        """Log a wait with a new reason. A wait for the retry of a failure was logged with the failure."""
        rest = tick.command
        if not isinstance(rest, Wait):
            return []
        key, before = _without_numbers(rest.why), self._resting.get(run)
        if run in self._failing:
            return []
        self._resting[run] = key
        if key == before or any(rest.why in said for said in self._last_sentences.get(run, ())) or rest.why in OVER:
            return []
        until = "you request something" if rest.until is None else utc_time(rest.until)
        data = {"until": _iso(rest.until), "why": rest.why}
        level = "warning" if rest.held else "debug" if self._short(rest) else "info"
        return [Narration(event="resting", message=f"idle until {until}: {rest.why}", level=level, run=run, data=data)]

    def _short(self, rest: Wait) -> bool:
        """Return whether a wait is only a pause between two polls."""
        return not (rest.wants_slot or rest.until is None or (rest.until - self._now()).total_seconds() > SHORT_S)


FRESH = (RunResumed, SessionLost, RunParked, RunCancelled)
"""Facts after which an earlier failure is no longer retried, or a person knows about it."""

OVER = ("the run is finished", "the run is cancelled")


def narrate_fact(run: str, fact: Fact, platform: str = KAGGLE) -> Narration | None:
    """Return the log line of a fact; None if another fact describes it better."""
    sentence = describe_fact(fact, platform)
    if not sentence:
        return None
    session = fact.number if isinstance(fact, SessionFact) else None
    data = {key: value for key, value in _shown(fact.to_dict()).items() if key != "number"}
    return Narration(
        event=fact.name, message=truncate_line(sentence), level=level_of(fact), run=run, session=session, data=data
    )


def level_of(fact: Fact) -> str:
    """Return the log level of a fact."""
    match fact:
        case RunParked():
            return "error"
        case SessionLost() | DamageFound() | CheckpointDamaged() | CheckpointWithdrawn():
            return "warning"
        case PushUnclear() | TwinSeen() | DatasetDropped() | InputsDropped() | PipelineKept():
            return "warning"
        case OutputCollected() | NothingCollected():
            return "warning" if fact.judgement.outcome in ("failed", "timed_out") else "info"
        case _:
            return "info"


def truncate_line(text: str) -> str:
    """Cut a text to the maximum length of a log line."""
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def _request_line(run: str, request: Request, tick: TickResult) -> Narration:
    nothing = "" if tick.facts or request.verb == "prune" else ": there is nothing to do for that now"
    data = {"verb": request.verb, "arguments": request.shown_arguments, "made_at": _iso(request.made_at)}
    return Narration(event="request_obeyed", message=f"you asked to {request.verb}{nothing}", run=run, data=data)


def _without_news(run: str, tick: TickResult) -> Narration:
    """Return a debug line for a tick without news, to show every call."""
    words = type(tick.command).__name__
    number = getattr(tick.command, "number", None)
    what = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lower() + ("" if number is None else f" session {number}")
    return Narration(event="done", message=what, level="debug", run=run, session=number, data={"command": words})


def _quota_sentence(quota: QuotaRow) -> str:
    if quota.total_s is None:
        return f"{quota.accelerator} quota: Kaggle does not report how many hours are left"
    left = f"{quota.accelerator} quota: {machine_time(quota.left_s or 0.0)} of {machine_time(quota.total_s)} left"
    counted = " by relay's own count, since Kaggle does not report it" if quota.assumed else ""
    renewed = f", renewed {utc_time(quota.refreshes_at)}" if quota.refreshes_at else ""
    return left + counted + renewed


def _shown(value: dict[str, Any]) -> dict[str, Any]:
    """Return a fact's fields without those in `LEFT_OUT`, with long texts cut."""
    return {key: _short(item) for key, item in value.items() if key not in LEFT_OUT}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return _shown(value)
    return truncate_line(value) if isinstance(value, str) else value


def _without_numbers(sentence: str) -> str:
    """Replace the numbers of a sentence, so that sentences that differ only in them compare equal."""
    return re.sub(r"\d+", "#", sentence)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
