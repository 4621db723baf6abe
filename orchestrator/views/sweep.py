"""Text of `relay sweep` before it asks: its runs, what they share, and the hours that they take."""

from collections.abc import Sequence
from typing import Any

from orchestrator.base.humanize import counted, machine_time


def sweep_lines(shared: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line for each run, what they share, and the sum of their hours.

    Each of `runs` has `name`, `values` and `forecast` (None if it cannot be forecast).
    """
    lines = [f"{counted(len(runs), 'run')}:"]
    width = max(len(run["name"]) for run in runs)
    for run in runs:
        values = ", ".join(f"{key} {value}" for key, value in run["values"].items())
        lines.append(f"  {run['name']:<{width}}  {values}  {_hours(run['forecast'])}")
    if shared:
        lines.append(
            f"  {runs[0]['name']} trains the stages until {shared}; the others fork from it once that is published"
        )
    else:
        lines.append("  the first stage differs, so they share nothing: each trains all stages")
    forecasts = [run["forecast"] for run in runs]
    if all(forecasts):
        total_s = sum(found["quota_s"] or found["training_s"] for found in forecasts)
        lines.append(f"  together about {machine_time(total_s)}, one session after the other")
    return lines


def _hours(forecast: dict[str, Any] | None) -> str:
    if forecast is None:
        return "(no time is known of its steps)"
    return f"about {machine_time(forecast['quota_s'] or forecast['training_s'])}"
