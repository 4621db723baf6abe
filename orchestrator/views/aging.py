"""A status document at a later time, if nothing but time has changed: its live sessions have run for longer. Pure."""

from datetime import datetime
from typing import Any


def aged(document: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the document as it would be read now. What else depends on time, such as a forecast, stays as it was."""
    return {**document, "at": now.isoformat(), "runs": [_aged_run(run, now) for run in document["runs"]]}


def _aged_run(run: dict[str, Any], now: datetime) -> dict[str, Any]:
    live = [n for n, session in enumerate(run["sessions"]) if session["running_at"] and not session["ended_at"]]
    sessions = list(run["sessions"])
    for number in live:
        session = sessions[number]
        lasted_s = (now - datetime.fromisoformat(session["running_at"])).total_seconds()
        seconds = min(session["limit_s"], max(session["seconds"] or 0.0, lasted_s))
        sessions[number] = {**session, "seconds": round(seconds, 3)}
    return {**run, "sessions": sessions} if live else run
