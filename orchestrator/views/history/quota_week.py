"""The quota week of a run's account as a calendar of seven days: used, planned, and when it is renewed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.plan import WEEK, week_of
from state.model.snapshot import QuotaRow

DAYS = 7
Spans = Sequence[tuple[datetime, datetime]]


def quota_week(
    quota: QuotaRow | None, used: Iterable[tuple[datetime, datetime]], forecast: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any] | None:
    """Return the week that contains `now`; None if the quota was never read or its size is unknown.

    `used` are the spans in which relay's own sessions had a machine. Keys: `begin`, `renewed_at`, `read_at`, `total_s`,
    `used_s` and `reserved_s` as Kaggle counts them (nothing after a renewal), `planned_s` (what the forecast of this
    run uses until the renewal), `left_s`, and `days`: `begin`, `end`, `used_s` of relay's sessions, `planned_s`,
    `today`, `past`.
    """
    if quota is None or quota.total_s is None:
        return None
    begin, end = week_of(quota.refreshes_at, now)
    current = quota.read_at >= begin
    used_s, reserved_s = (quota.used_s, quota.reserved_s) if current else (0.0, 0.0)
    left_s = max(0.0, quota.total_s - used_s - reserved_s)
    plan = [tuple(map(datetime.fromisoformat, span)) for span in (forecast["planned"] if forecast else ())]
    planned = [(max(now, first), min(end, last)) for first, last in plan]
    spans = [(max(begin, first), min(end, now, last)) for first, last in used]
    return {
        "accelerator": quota.accelerator,
        "begin": begin.isoformat(),
        "renewed_at": end.isoformat(),
        "read_at": quota.read_at.isoformat(),
        "assumed": quota.assumed,
        "total_s": quota.total_s,
        "used_s": used_s,
        "reserved_s": reserved_s,
        "planned_s": min(left_s + reserved_s, _seconds(planned)),
        "left_s": left_s,
        "days": [_day(begin + number * WEEK / DAYS, spans, planned, now) for number in range(DAYS)],
    }


def _day(begin: datetime, used: Spans, planned: Spans, now: datetime) -> dict[str, Any]:
    end = begin + timedelta(days=1)
    return {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "used_s": _seconds(_within(used, begin, end)),
        "planned_s": _seconds(_within(planned, begin, end)),
        "past": end <= now,
        "today": begin <= now < end,
    }


def _within(spans: Spans, begin: datetime, end: datetime) -> Spans:
    return [(max(begin, first), min(end, last)) for first, last in spans]


def _seconds(spans: Spans) -> float:
    """Return the length of all spans in seconds; one that ends before it begins counts as nothing."""
    return round(sum(max(0.0, (last - first).total_seconds()) for first, last in spans), 3)
