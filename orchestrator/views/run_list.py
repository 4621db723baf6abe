"""Document of the list of runs: a row per run from its newest rows, at a cost that does not grow with its sessions."""

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.base import process_id
from orchestrator.base.humanize import duration
from orchestrator.core.request_rules import actions_for
from orchestrator.engine.home import HomeLayout
from orchestrator.views.document import FORMAT, daemon_document, quota_document
from orchestrator.views.lost import damaged_document, lost_documents
from orchestrator.views.next_action import OVER, next_action
from orchestrator.views.overview import session_cell
from orchestrator.views.run_choice import STATES, is_pattern, urgency
from orchestrator.views.run_document import failure_document, run_document
from orchestrator.views.tables import current_stage
from state.failures import StoreCorrupt
from state.model.snapshot import Request
from state.reader import Reader
from state.run_rows import ListedRun

KEPT = (
    *("id", "name", "owner", "accelerator", "state", "reason", "remedy", "waiting_until", "created_at", "updated_at"),
    *("steps_done", "steps_total", "stages", "sessions"),
)
"""Keys of a run's document that its row has too; of `stages` and `sessions` only the current one."""
Forecasts = Mapping[str, str | StoreCorrupt]
"""By run: when it will be done (ISO 8601, empty if unknown), or the damage that was found instead."""


def list_document(
    store: Reader | None,
    home: Path,
    now: datetime,
    warnings: Sequence[str],
    forecasts: Forecasts,
    alive: Callable[[str], bool | None] = process_id.is_alive,
) -> dict[str, Any]:
    """Describe every run in one row, the ones that need a person first, as `relay status --all` lists them.

    Rows are not verified against logs; damage that a forecast found is listed. `forecasts` holds those that are known.
    """
    rows: list[dict[str, Any]] = []
    damaged: list[dict[str, Any]] = []
    daemon = None if store is None else daemon_document(store.lease(), now, alive)
    for found in [] if store is None else store.listed(now):
        if isinstance(found, tuple):
            damaged.append(damaged_document(*found))
            continue
        known = forecasts.get(found.state.run.id, "")
        if isinstance(known, StoreCorrupt):
            damaged.append(damaged_document(found.state.run.id, known))
        else:
            rows.append(_row(found, now, daemon, known))
    newest_first = sorted(rows, key=lambda row: str(row["created_at"]), reverse=True)
    listed = sorted(newest_first, key=lambda row: int(row["rank"]))
    return {
        "format": FORMAT,
        "home": str(home),
        "at": now.isoformat(),
        "warnings": list(warnings),
        "daemon": daemon,
        "runs": listed,
        "damaged": damaged,
        "lost": lost_documents(store, HomeLayout(home)),
        "quota": [] if store is None else [quota_document(quota) for quota in store.quotas()],
        "things_to_do": things_to_do(listed),
        "filtered": False,
    }


def _row(found: ListedRun, now: datetime, daemon: dict[str, Any] | None, finish_at: str) -> dict[str, Any]:
    document = run_document(found.state, found.steps, now, found.watch.seconds)
    told = {**document, **failure_document(found.watch), "requests": [_request(one) for one in found.requests]}
    to_do = next_action(told, daemon, now)
    stage = current_stage(told)
    newest_s = sum(session["seconds"] or 0.0 for session in told["sessions"])
    goes_on = told["state"] in ("active", "waiting")
    return {
        **{name: told[name] for name in KEPT},
        "stages": [stage],
        "stage": stage,
        "session": session_cell(told),
        "age": duration((now - found.state.run.created_at).total_seconds()),
        "used_s": found.earlier_s + newest_s,
        "to_do": to_do,
        "sort": _sort_values(told, found.earlier_s + newest_s, finish_at),
        "rank": 2 * urgency(told["state"]) + (0 if to_do["command"] else 1),
        "ended_at": told["updated_at"] if told["state"] == "finished" else None,
        "finish_at": (finish_at or None) if goes_on else None,
        "actions": actions_for(told["state"]),
    }


def _request(request: Request) -> dict[str, Any]:
    return {"verb": request.verb}


def things_to_do(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the user has to do, each thing once with the runs that it is about, in the order of the rows."""
    about: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["state"] not in OVER and row["to_do"]["command"]:
            about.setdefault((row["to_do"]["message"], row["to_do"]["command"]), []).append(row["id"])
    return [{"message": message, "command": command, "runs": runs} for (message, command), runs in about.items()]


def _sort_values(run: Mapping[str, Any], used_s: float, finish_at: str) -> str:
    """Return the numbers by which columns are sorted, as `list.js` reads them: progress, session, age, used, done."""
    number = str(run["sessions"][-1]["number"]) if run["sessions"] else ""
    done_at = run["updated_at"] if run["state"] == "finished" else finish_at
    age = -datetime.fromisoformat(run["created_at"]).timestamp()
    done = f"{datetime.fromisoformat(done_at).timestamp():.0f}" if done_at else ""
    return f"{run['steps_done'] / run['steps_total']:.5f};{number};{age:.0f};{used_s:.0f};{done}"


def chosen_rows(query: Mapping[str, str]) -> dict[str, str]:
    """Return the pattern, state and order of a list's address; what it does not know counts as not given."""
    sort, state = query.get("sort", ""), query.get("state", "")
    return {
        "pattern": query.get("pattern", "")[:200],
        "state": state if state in STATES else "",
        "sort": sort if sort in SORTED_BY else "state",
    }


def arranged(document: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return the document with the rows that fit, in the order that is chosen, as `list.js` does it in the page."""
    pattern, state = chosen["pattern"].strip(), chosen["state"]
    rows = [
        row
        for row in document["runs"]
        if any(_fits(name, pattern) for name in (row["id"], row["name"])) and state in ("", row["state"])
    ]
    key = SORTED_BY[chosen["sort"]]
    return {**document, "runs": sorted(rows, key=key) if key else rows, "filtered": bool(pattern or state)}


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) if is_pattern(pattern) else pattern.lower() in name.lower()


def _number(place: int, sign: int) -> Callable[[Mapping[str, Any]], float]:
    """Return a key that sorts by one of the sort values; rows without it come last."""

    def key(row: Mapping[str, Any]) -> float:
        text = row["sort"].split(";")[place]
        return sign * float(text) if text else math.inf

    return key


SORTED_BY: dict[str, Callable[[Mapping[str, Any]], Any] | None] = {
    "state": None,  # as the document has them: by who needs a person
    "run": lambda row: row["id"],
    "progress": _number(0, -1),
    "session": _number(1, -1),
    "accelerator": lambda row: row["accelerator"],
    "age": _number(2, 1),
    "used": _number(3, -1),
    "done": _number(4, 1),
}
"""Key for each column by which the list can be sorted."""
