"""Choice and order of the runs in a list: by pattern, state and age, and what the list is sorted by."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import BadInput
from state.model.statuses import RunStatus

if TYPE_CHECKING:  # `relay --help` imports this module
    from state.model.run_state import Run

RUNS_LISTED = 20
"""Maximum number of runs in a list that does not show all."""
STATES = tuple(status.value for status in RunStatus)
SORTS = ("attention", "name", "age", "progress", "hours", "done")
_AGE = re.compile(r"(\d{1,4})(min|[hdw])")
_AGES = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
OVER = (RunStatus.FINISHED.value, RunStatus.CANCELLED.value)
FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class RunChoice:
    """The runs that a list shows."""

    pattern: str = ""
    """Shell pattern of an id or of a pipeline's name; empty: any."""
    states: tuple[str, ...] = ()
    """States to show; empty: all."""
    since: datetime | None = None
    """Show only runs that changed at or after this time."""
    most: int | None = None
    """Maximum number of runs, the most urgent ones; None: all."""
    brief: bool = False
    """True if less may be read of each run, as in a list; implied by `most`."""

    @property
    def filters(self) -> bool:
        """True if runs may be left out whatever their number."""
        return bool(self.pattern or self.states or self.since)

    def takes(self, run: "Run") -> bool:
        """Return whether the list shows a run."""
        named = not self.pattern or any(fnmatch.fnmatchcase(name, self.pattern) for name in (run.id, run.name))
        timely = self.since is None or run.updated_at >= self.since
        return named and timely and (not self.states or run.status.value in self.states)


EVERY_RUN = RunChoice()


def is_pattern(name: str) -> bool:
    """Return whether a name on the command line is a shell pattern, which no run's id can be."""
    return any(sign in name for sign in "*?[")


def time_since(given: str, now: datetime) -> datetime:
    """Parse `30min`, `12h`, `3d`, `2w`, or a date or time in ISO 8601 (UTC unless it has an offset). Raises BadInput."""
    if found := _AGE.fullmatch(given.strip()):
        return now - int(found[1]) * _AGES[found[2]]
    try:
        at = datetime.fromisoformat(given.strip())
    except ValueError as error:
        raise BadInput(
            f"--since {given!r} is no time: write 30min for minutes, hours, days or weeks such as 12h, 3d or 2w, or a date such as 2027-01-09"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def urgency(state: str) -> int:
    """Return the rank of a state in a list: parked runs first, then open ones, then those that are over."""
    return 0 if state == RunStatus.PARKED.value else 2 if state in OVER else 1


def most_urgent(runs: "Sequence[Run]", most: int | None) -> list[str]:
    """Return the ids of the `most` most urgent of these runs (None: all), oldest first; newer ones before older ones."""
    newest = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    kept = sorted(newest, key=lambda run: urgency(run.status.value))[:most]
    return [run.id for run in sorted(kept, key=lambda run: (run.created_at, run.id))]


def hours_used_s(run: Mapping[str, Any]) -> float:
    """Return the seconds of machine time of all sessions of a run of the status document, also of one told in brief."""
    return float(run.get("earlier_s", 0.0) + sum(session["seconds"] or 0.0 for session in run["sessions"]))


def in_order(runs: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Sort runs of a status document: the newest first, then by one of `SORTS`.

    `attention`: those that need a person first, then open ones; `progress` and `hours`: the most first; `done`: the
    earliest end first, those without a forecast last.
    """
    ordered = sorted(runs, key=lambda run: str(run["created_at"]), reverse=True)
    return ordered if by == "age" else sorted(ordered, key=KEYS[by])


def _attention(run: dict[str, Any]) -> int:
    needs_person = bool(run["to_do"]["command"])
    return 2 * urgency(run["state"]) + (0 if needs_person else 1)


def _done(run: dict[str, Any]) -> datetime:
    forecast = run.get("forecast")
    return datetime.fromisoformat(forecast["finish_at"]) if forecast else FAR


KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "attention": _attention,
    "name": lambda run: run["id"],
    "progress": lambda run: -run["steps_done"] / run["steps_total"],
    "hours": lambda run: -hours_used_s(run),
    "done": _done,
}
