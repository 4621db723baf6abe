"""The runs as metrics for monitors, in the OpenMetrics text format 1.0. Pure.

Source of the format: https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.views.run_choice import STATES, hours_used_s

MEDIA_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Sample = tuple[Mapping[str, str], float]
"""Labels and value."""


@dataclass(frozen=True)
class MetricFamily:
    """Samples of one name."""

    name: str
    about: str
    samples: Iterable[Sample]
    kind: str = "gauge"
    unit: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the family."""
        yield f"# TYPE {self.name} {self.kind}"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}"
        yield f"# HELP {self.name} {_escaped(self.about)}"
        for labels, value in self.samples:
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{shown}}} {_number(value)}" if shown else f"{self.name} {_number(value)}"


def open_metrics(document: Mapping[str, Any]) -> str:
    """Return the metrics of a `monitor_document` as text."""
    families = (*_about_relay(document), *_about_runs(document["runs"]), *_about_quota(document["quota"]))
    return "".join(f"{line}\n" for family in families for line in family.lines()) + "# EOF\n"


def _about_relay(document: Mapping[str, Any]) -> Iterator[MetricFamily]:
    daemon = document["daemon"]
    yield MetricFamily(
        "relay_daemon_running", "1 if a daemon works on this home folder.", [({}, bool(daemon and daemon["runs"]))]
    )
    yield MetricFamily("relay_damaged_runs", "Runs whose facts or rows are damaged.", [({}, len(document["damaged"]))])


def _about_runs(runs: Iterable[Mapping[str, Any]]) -> Iterator[MetricFamily]:
    runs = list(runs)
    each = [({"run": run["id"]}, run) for run in runs]
    states = [
        ({**label, "relay_run_state": state}, float(run["state"] == state)) for label, run in each for state in STATES
    ]
    yield MetricFamily("relay_run_state", "State of a run.", states, "stateset")
    for name, about, value in RUN_VALUES:
        yield MetricFamily(f"relay_run_{name}", about, [(label, value(run)) for label, run in each])
    live = [(label, run["sessions"][-1]) for label, run in each if run["sessions"] and _is_live(run)]
    for name, key, about in SESSION_CLOCKS:
        clock = [({**label, "session": str(s["number"])}, s[key]) for label, s in live if s[key] is not None]
        yield MetricFamily(f"relay_session_{name}_seconds", about, clock, unit="seconds")
    ends = [
        (label, datetime.fromisoformat(run["forecast"]["finish_at"]).timestamp())
        for label, run in each
        if run["forecast"]
    ]
    yield MetricFamily(
        "relay_run_finish_timestamp_seconds", "Expected end of a run, as a Unix time.", ends, unit="seconds"
    )
    used = [(label, hours_used_s(run)) for label, run in each]
    yield MetricFamily(
        "relay_run_machine_seconds", "Time of the run's sessions on their machines.", used, unit="seconds"
    )
    last = [
        ({**label, "stage": stage["name"], "metric": name}, value)
        for label, run in each
        for stage in run["stages"]
        for name, value in stage["metrics"].items()
    ]
    yield MetricFamily("relay_run_last_value", "Last value of a metric of a stage.", last)
    made_up = [
        ({**label, "stage": stage["name"], "stand_in": name}, 1.0)
        for label, run in each
        for stage in run["stages"]
        for name in stage["stand_ins"]
    ]
    yield MetricFamily("relay_run_stand_in", "1 for what a rehearsal's stand-in replaced in a stage.", made_up)


def _about_quota(quota: Iterable[Mapping[str, Any]]) -> Iterator[MetricFamily]:
    quota = list(quota)
    for key, about in (("used", "used this week"), ("left", "left this week"), ("total", "of a week")):
        name = "limit" if key == "total" else key
        rows = [
            ({"owner": row["owner"], "accelerator": row["accelerator"]}, row[f"{key}_s"])
            for row in quota
            if row[f"{key}_s"] is not None
        ]
        yield MetricFamily(f"relay_quota_{name}_seconds", f"Quota {about}, as last read.", rows, unit="seconds")


def _is_live(run: Mapping[str, Any]) -> bool:
    last = run["sessions"][-1]
    return last["outcome"] is None and last["ended_at"] is None and run["state"] not in ("finished", "cancelled")


RUN_VALUES: tuple[tuple[str, str, Any], ...] = (
    ("steps_done", "Steps that the newest verified checkpoint contains.", lambda run: run["steps_done"]),
    ("steps_seen", "Steps that sessions reported.", lambda run: sum(stage["seen"] for stage in run["stages"])),
    ("steps_target", "Steps of the whole pipeline.", lambda run: run["steps_total"]),
    ("sessions", "Sessions so far, with attempts.", lambda run: run["totals"].sessions),
    ("sessions_failed", "Sessions that failed or were lost.", lambda run: run["totals"].failed),
    ("failures", "Consecutive failures of calls that will be retried.", lambda run: run["failures"]),
    ("damage", "Files of checkpoints that were found damaged.", lambda run: run["totals"].damage),
    ("needs_person", "1 if there is a command to type.", lambda run: run["to_do"]["command"] is not None),
)  # fmt: skip
SESSION_CLOCKS = (
    ("elapsed", "seconds", "Time of the live session on its machine."),
    ("limit", "limit_s", "Longest time of the live session."),
    ("budget", "budget_s", "Time after which the live session stops itself."),
)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Return a number as the format writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
