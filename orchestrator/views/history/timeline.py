"""Use of a run's calendar time as a sequence of spans from its beginning to its end, derived from facts. Pure."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from state.chronology import in_order
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished
from state.facts.run import RunCancelled, RunParked, RunResumed, RunWaiting, RunWoken
from state.facts.session import NothingCollected, OutputCollected
from state.model.metrics import StepEdges

Facts = Sequence[tuple[datetime, Fact]]
Key = tuple[int, int]
"""Number and attempt of a session."""

KINDS = {
    "training": ("training", "steps are done"),
    "starting": ("starting", "from the session's beginning to its first step: installing, loading, compiling"),
    "saving": (
        "ending",
        "from the last step to the session's end: the last checkpoint, or until a session that hung was killed",
    ),
    "transferring": ("transferring", "the checkpoint is downloaded, verified and published as a dataset"),
    "queued": ("queued", "Kaggle has the session but no machine for it yet"),
    "quota": ("waiting for quota", "this week's hours are spent"),
    "parked": ("parked", "the run waits for a person"),
    "idle": ("idle", "none of the above: before a push, between retries, or while no daemon runs"),
}
"""Kinds of span by priority: label and meaning. Where two overlap, the first one is drawn."""

ROWS_MAX = 14
ROW_LENGTHS_S = (86_400, 7 * 86_400, 4 * 7 * 86_400, 13 * 7 * 86_400, 52 * 7 * 86_400)
"""Row lengths to choose from: a day, a week, four weeks, a quarter, a year."""
ONE_ROW_S = 43_200
FINEST = 1 / 1500
"""Shortest visible span as a share of a row; shorter ones are merged into the span before."""


@dataclass(frozen=True)
class TimelineSpan:
    """An activity from `begin` to `end`; `session` is empty if it belongs to none."""

    kind: str
    begin: datetime
    end: datetime
    session: str = ""

    @property
    def seconds(self) -> float:
        """Length of the span in seconds."""
        return (self.end - self.begin).total_seconds()


def timeline(run: Mapping[str, Any], happened: Facts, seen: Mapping[Key, StepEdges], now: datetime) -> dict[str, Any]:
    """Return the run's time as `kinds` (totals), and as `rows` of equal length.

    A row's spans are given as shares of the row. `run` is the run's document; `seen` has the times of each session's
    first and last step.
    """
    happened = in_order(happened)
    begin = min([datetime.fromisoformat(run["created_at"]), *(at for at, _ in happened[:1])])
    over = run["state"] in ("finished", "cancelled")
    end = max(begin, datetime.fromisoformat(run["updated_at"]) if over else now)
    found = [*_sessions(run["sessions"], happened, seen, end), *_pauses(happened, end)]
    stretches = list(_without_overlaps(found, begin, end))
    totals = dict.fromkeys(KINDS, 0.0)
    for span in stretches:
        totals[span.kind] += span.seconds
    return {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "seconds": (end - begin).total_seconds(),
        "kinds": [
            {"key": key, "label": label, "what": what, "seconds": round(totals[key], 3)}
            for key, (label, what) in KINDS.items()
        ],
        **_rows(stretches, begin, end),
    }


def _sessions(
    sessions: Sequence[Mapping[str, Any]], happened: Facts, seen: Mapping[Key, StepEdges], end: datetime
) -> Iterator[TimelineSpan]:
    """Yield the activities of each session. A session that has not ended lasts until `end`."""
    handed_over = _handed_over_at(happened)
    for session in sessions:
        key = (session["number"], session["attempt"])
        slug, pushed = session["slug"], _time(session["pushed_at"])
        running, ended = _time(session["running_at"]), _time(session["ended_at"]) or end
        if pushed is None:
            continue
        yield TimelineSpan("queued", pushed, running or ended, slug)
        if running is not None:
            longest = running + timedelta(
                seconds=session["limit_s"]
            )  # a later end was observed late, or by a clock that was set
            yield from _running(slug, running, min(ended, longest), seen.get(key), live=session["ended_at"] is None)
        if session["ended_at"] is not None and session["outcome"] != "lost":
            waited_for = session["phase"] in ("ended", "collected", "publishing")
            yield TimelineSpan("transferring", ended, end if waited_for else handed_over.get(key, ended), slug)


def _running(
    slug: str, running: datetime, ended: datetime, seen: StepEdges | None, *, live: bool
) -> Iterator[TimelineSpan]:
    if seen is None:
        yield TimelineSpan("starting", running, ended, slug)
        return
    # The session's clock starts with its process, which is observed up to one poll later.
    first, last = (min(ended, running + timedelta(seconds=at_s)) for at_s in (seen.first_at_s, seen.last_at_s))
    yield TimelineSpan("starting", running, first, slug)
    yield TimelineSpan("training", first, ended if live else last, slug)
    if not live:
        yield TimelineSpan("saving", last, ended, slug)


def _handed_over_at(happened: Facts) -> dict[Key, datetime]:
    """Return the time of the last fact about what each session left: collected or published."""
    kept: dict[Key, datetime] = {}
    for at, fact in happened:
        if isinstance(fact, OutputCollected | NothingCollected | CheckpointPublished):
            kept[fact.number, fact.attempt] = at
    return kept


def _pauses(happened: Facts, end: datetime) -> Iterator[TimelineSpan]:
    """Yield the times in which the run waited for quota or for a person."""
    kind, since = "", end
    for at, fact in happened:
        if not isinstance(fact, RunWaiting | RunWoken | RunParked | RunResumed | RunCancelled):
            continue
        if kind:
            yield TimelineSpan(kind, since, at)
        match fact:
            case RunWaiting():
                kind, since = "quota", at
            case RunParked():
                kind, since = "parked", at
            case _:
                kind = ""
    if kind:
        yield TimelineSpan(kind, since, end)


def _without_overlaps(found: Iterable[TimelineSpan], begin: datetime, end: datetime) -> Iterator[TimelineSpan]:
    """Return the spans without gaps and overlaps. Time without any activity is idle."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    waiting = sorted((s for s in found if s.seconds > 0), key=lambda s: s.begin, reverse=True)
    edges = sorted({begin, end, *(e for s in waiting for e in (s.begin, s.end) if begin < e < end)})
    going: list[TimelineSpan] = []
    last: TimelineSpan | None = None
    for left, right in itertools.pairwise(edges):
        while waiting and waiting[-1].begin <= left:
            going.append(waiting.pop())
        going = [span for span in going if span.end > left]
        top = min(going, key=lambda s: (rank[s.kind], s.begin), default=TimelineSpan("idle", left, right))
        if last is not None and (last.kind, last.session) == (top.kind, top.session):
            last = TimelineSpan(last.kind, last.begin, right, last.session)
            continue
        if last is not None:
            yield last
        last = TimelineSpan(top.kind, left, right, top.session)
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
        yield TimelineSpan(span.kind, left, right, span.session)
        left = right


def _add(row: list[dict[str, Any]], part: TimelineSpan, begin: datetime, length_s: float) -> None:
    share = part.seconds / length_s
    if row and share < FINEST:
        row[-1]["share"] = round(row[-1]["share"] + share, 6)
        return
    row.append(
        {
            "kind": part.kind,
            "session": part.session,
            "at": round((part.begin - begin).total_seconds() / length_s, 6),
            "share": round(share, 6),
            "seconds": round(part.seconds, 3),
        }
    )


def _time(iso: str | None) -> datetime | None:
    return None if iso is None else datetime.fromisoformat(iso)
