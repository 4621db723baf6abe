"""Use of a run's calendar time as a sequence of spans from its beginning to its end, derived from facts. Pure."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.time_classes import TIME_GROUPS, TimeGroup
from orchestrator.views.history.hours import Account, grouped
from state.chronology import in_order
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished
from state.facts.run import RunCancelled, RunParked, RunResumed, RunWaiting, RunWoken
from state.facts.session import NothingCollected, OutputCollected

Facts = Sequence[tuple[datetime, Fact]]
Key = tuple[int, int]
"""Number and attempt of a session."""

ROWS_MAX = 14
ROW_LENGTHS_S = (86_400, 7 * 86_400, 4 * 7 * 86_400, 13 * 7 * 86_400, 52 * 7 * 86_400)
"""Row lengths to choose from: a day, a week, four weeks, a quarter, a year."""
ONE_ROW_S = 43_200
WITHIN_SESSION = (
    TimeGroup.STARTUP, TimeGroup.TRAINING, TimeGroup.SAVING, TimeGroup.WASTED, TimeGroup.AFTER_REPORT,
)  # fmt: skip
"""Order in which the groups of a session's time are drawn."""
FINEST = 1 / 1500
"""Shortest visible span as a share of a row; shorter ones are merged into the span before."""


@dataclass(frozen=True)
class TimelineSpan:
    """An activity from `begin` to `end`; `session` is empty if it belongs to none."""

    group: TimeGroup
    begin: datetime
    end: datetime
    session: str = ""

    @property
    def seconds(self) -> float:
        """Length of the span in seconds."""
        return (self.end - self.begin).total_seconds()


def timeline(run: Mapping[str, Any], happened: Facts, accounts: Mapping[str, Account], now: datetime) -> dict[str, Any]:
    """Return the run's time as `groups` (totals), and as `rows` of equal length.

    A row's spans are given as shares of the row. `run` is the run's document; `accounts` are its sessions' seconds by
    class, by slug.
    """
    happened = in_order(happened)
    begin = min([datetime.fromisoformat(run["created_at"]), *(at for at, _ in happened[:1])])
    over = run["state"] in ("finished", "cancelled")
    end = max(begin, datetime.fromisoformat(run["updated_at"]) if over else now)
    found = [*_sessions(run["sessions"], happened, accounts, end), *_pauses(happened, end)]
    stretches = list(_without_overlaps(found, begin, end))
    totals = dict.fromkeys(TimeGroup, 0.0)
    for span in stretches:
        totals[span.group] += span.seconds
    return {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "seconds": (end - begin).total_seconds(),
        "groups": [
            {"key": key.value, "label": words.label, "what": words.meaning, "seconds": round(totals[key], 3)}
            for key, words in TIME_GROUPS.items()
        ],
        **_rows(stretches, begin, end),
    }


def _sessions(
    sessions: Sequence[Mapping[str, Any]], happened: Facts, accounts: Mapping[str, Account], end: datetime
) -> Iterator[TimelineSpan]:
    """Yield the activities of each session. A session that has not ended lasts until `end`."""
    handed_over = _handed_over_at(happened)
    for session in sessions:
        key = (session["number"], session["attempt"])
        slug, pushed = session["slug"], _time(session["pushed_at"])
        running, ended = _time(session["running_at"]), _time(session["ended_at"]) or end
        if pushed is None:
            continue
        yield TimelineSpan(TimeGroup.QUEUE, pushed, running or ended, slug)
        if running is not None:
            longest = running + timedelta(
                seconds=session["limit_s"]
            )  # a later end was observed late, or by a clock that was set
            yield from _running(slug, running, min(ended, longest), accounts.get(slug, {}))
        if session["ended_at"] is not None and session["outcome"] != "lost":
            waited_for = session["phase"] in ("ended", "collected", "publishing")
            yield TimelineSpan(TimeGroup.HANDOVER, ended, end if waited_for else handed_over.get(key, ended), slug)


def _running(slug: str, running: datetime, ended: datetime, spent: Account) -> Iterator[TimelineSpan]:
    """Divide a session's time in proportion to its account, a span for each group.

    What recurs during a session, such as saves, is drawn once.
    """
    seconds = {group: seconds for group, seconds in grouped(spent).items() if seconds > 0}
    total_s, at = sum(seconds.values()), running
    if not total_s:
        yield TimelineSpan(TimeGroup.STARTUP, running, ended, slug)
    for group in sorted(seconds, key=WITHIN_SESSION.index):
        last = at + (ended - running) * (seconds[group] / total_s)
        yield TimelineSpan(group, at, last, slug)
        at = last


def _handed_over_at(happened: Facts) -> dict[Key, datetime]:
    """Return the time of the last fact about what each session left: collected or published."""
    kept: dict[Key, datetime] = {}
    for at, fact in happened:
        if isinstance(fact, OutputCollected | NothingCollected | CheckpointPublished):
            kept[fact.number, fact.attempt] = at
    return kept


def _pauses(happened: Facts, end: datetime) -> Iterator[TimelineSpan]:
    """Yield the times in which the run waited for quota or for a person."""
    group, since = None, end
    for at, fact in happened:
        if not isinstance(fact, RunWaiting | RunWoken | RunParked | RunResumed | RunCancelled):
            continue
        if group:
            yield TimelineSpan(group, since, at)
        match fact:
            case RunWaiting():
                group, since = TimeGroup.QUOTA_WAIT, at
            case RunParked():
                group, since = TimeGroup.PARKED, at
            case _:
                group = None
    if group:
        yield TimelineSpan(group, since, end)


def _without_overlaps(found: Iterable[TimelineSpan], begin: datetime, end: datetime) -> Iterator[TimelineSpan]:
    """Return the spans without gaps and overlaps.

    Where activities overlap, the first group is drawn; time without any activity is relay's delay.
    """
    rank = {group: number for number, group in enumerate(TimeGroup)}
    waiting = sorted((s for s in found if s.seconds > 0), key=lambda s: s.begin, reverse=True)
    edges = sorted({begin, end, *(e for s in waiting for e in (s.begin, s.end) if begin < e < end)})
    going: list[TimelineSpan] = []
    last: TimelineSpan | None = None
    for left, right in itertools.pairwise(edges):
        while waiting and waiting[-1].begin <= left:
            going.append(waiting.pop())
        going = [span for span in going if span.end > left]
        top = min(going, key=lambda s: (rank[s.group], s.begin), default=TimelineSpan(TimeGroup.DELAY, left, right))
        if last is not None and (last.group, last.session) == (top.group, top.session):
            last = TimelineSpan(last.group, last.begin, right, last.session)
            continue
        if last is not None:
            yield last
        last = TimelineSpan(top.group, left, right, top.session)
    if last is not None:
        yield last


# --- rows -----------------------------------------------------------------------


def _rows(stretches: Sequence[TimelineSpan], begin: datetime, end: datetime) -> dict[str, Any]:
    seconds = max(1.0, (end - begin).total_seconds())
    length_s = seconds if seconds <= ONE_ROW_S else next((s for s in ROW_LENGTHS_S if seconds <= s * ROWS_MAX), seconds)
    rows: list[dict[str, Any]] = []
    for span in stretches:
        for part in _cut(span, begin, length_s):
            number = int(((part.begin - begin).total_seconds() + 1e-6) // length_s)
            while len(rows) <= number:
                at = begin + timedelta(seconds=length_s * len(rows))
                rows.append({"begin": at.isoformat(), "stretches": []})
            _add(rows[number]["stretches"], part, begin + timedelta(seconds=length_s * number), length_s)
    return {"row_s": length_s, "rows": rows}


def _cut(span: TimelineSpan, begin: datetime, length_s: float) -> Iterator[TimelineSpan]:
    """Split a span at the ends of rows."""
    left = span.begin
    while left < span.end:
        number = int(((left - begin).total_seconds() + 1e-6) // length_s)
        right = min(span.end, begin + timedelta(seconds=length_s * (number + 1)))
        if right <= left:
            return
        yield TimelineSpan(span.group, left, right, span.session)
        left = right


def _add(row: list[dict[str, Any]], part: TimelineSpan, begin: datetime, length_s: float) -> None:
    share = part.seconds / length_s
    if row and share < FINEST:
        row[-1]["share"] = round(row[-1]["share"] + share, 6)
        return
    row.append(
        {
            "group": part.group.value,
            "label": TIME_GROUPS[part.group].label,
            "session": part.session,
            "at": round((part.begin - begin).total_seconds() / length_s, 6),
            "share": round(share, 6),
            "seconds": round(part.seconds, 3),
        }
    )


def _time(iso: str | None) -> datetime | None:
    return None if iso is None else datetime.fromisoformat(iso)
