"""The next action for the user of a run: usually none."""

from datetime import datetime
from typing import Any

from orchestrator.base.humanize import relative

OVER = ("finished", "cancelled")
PENDING = ("pushing", "pushed", "queued", "running", "ended")
"""Phases of a session that keeps its order: a change of the pipeline waits for its end."""
DAEMON = "relay daemon"


def next_action(run: dict[str, Any], daemon: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
    """Return the advice for a run: `message`, one sentence, and `command`, null if there is nothing to do.

    `run` and `daemon` are parts of the status document.
    """
    asked = _obeyed_at_once(run)
    if run["state"] in ("parked", "cancelled") and asked:
        verbs = " and ".join(request["verb"] for request in asked)
        return _unless_alone(f"{verbs} was requested; the daemon acts on it at its next tick", daemon, now)
    if run["state"] == "parked":
        return {"message": run["reason"], "command": run["remedy"] or None}
    if run["state"] in OVER:
        goes_on = run["sessions"] and run["sessions"][-1]["outcome"] is None and run["sessions"][-1]["ended_at"] is None
        and_session = ", and its session goes on until it ends by itself" if goes_on else ""
        cancelled = f"it is cancelled{and_session}; relay resume {run['id']} undoes that"
        return _nothing("it is finished" if run["state"] == "finished" else cancelled)
    told = _unless_alone(_goes_on(run), daemon, now)
    if told["command"] is None and run.get("absent") and not run["requests"]:
        says = (
            "Kaggle says that the session's kernel is not there, and relay keeps polling for hours: if you deleted it, "
            "abandon the session"
        )
        return {"message": says, "command": f"relay resume {run['id']} --abandon-session"}
    return told


def _obeyed_at_once(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the open requests without a change of the pipeline that waits for the end of a session."""
    waits = bool(run["sessions"]) and run["sessions"][-1]["phase"] in PENDING
    return [request for request in run["requests"] if not (waits and request["verb"] == "edit")]


def _goes_on(run: dict[str, Any]) -> str:
    if asked := _obeyed_at_once(run):
        verbs = " and ".join(request["verb"] for request in asked)
        return f"{verbs} was requested; the daemon acts on it at its next tick"
    if run["requests"]:
        return f"relay continues by itself, and the pipeline changes once session {run['sessions'][-1]['number']} has ended"
    if run["state"] == "waiting":
        return "relay waits and continues by itself"
    if run["failure"]:
        return "relay tries again by itself"
    return "relay continues by itself"


def _unless_alone(sentence: str, daemon: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
    if daemon is not None and daemon["runs"]:
        return _nothing(sentence)
    return {"message": f"no daemon is running ({no_daemon_reason(daemon, now)})", "command": DAEMON}


def no_daemon_reason(daemon: dict[str, Any] | None, now: datetime) -> str:
    """Return why no daemon is running, in a few words."""
    if daemon is None:
        return "none has been started here"
    ended_at = datetime.fromisoformat(daemon["lease_until"])
    return f"the last one ended {relative(ended_at, now)}" if ended_at <= now else "the last one has died"


def action_line(to_do: dict[str, Any]) -> str:
    """Format the advice in one line: the sentence, then the command."""
    return f"{to_do['message']}; type: {to_do['command']}" if to_do["command"] else str(to_do["message"])


def _nothing(sentence: str) -> dict[str, Any]:
    return {"message": f"nothing to do: {sentence}", "command": None}
