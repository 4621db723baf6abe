"""The comparison of runs as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import machine_time
from orchestrator.views.comparison_text import (
    accuracy_text,
    cell_text,
    gain_text,
    metric_text,
    significance_text,
    steps_per_hour_text,
    weights_text,
)
from orchestrator.views.curves import curve
from orchestrator.views.format import STYLES
from orchestrator.views.layout import plain_table, sentence

CURVE_COLUMNS = 24


def comparison_view(document: Mapping[str, Any]) -> RenderableType:
    """Show a comparison document."""
    parts: list[RenderableType] = [_runs(document["runs"])]
    for title, section in (
        ("differences of the pipelines", _differences(document)),
        ("weights", [sentence(weights_text(found)) for found in document["weights"]]),
        ("accuracy", _evaluations(document)),
        ("hours", _hours(document)),
        ("curves: last stage of each run that has them", _curves(document)),
        ("not compared", [sentence(text) for text in document["not_compared"]]),
        ("mind", [sentence(text, "yellow") for text in document["caveats"]]),
    ):
        shown = list(section)
        if shown:
            parts += [Text(), Text(title, style="bold"), *shown]
    return Group(*parts)


def _columns(first: str, runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a column for each run."""
    table = plain_table()
    table.add_column(first, overflow="fold")
    for run in runs:
        table.add_column(run["id"], overflow="fold")
    return table


def _indented(table: Table) -> RenderableType:
    return Padding(table, (0, 0, 0, 2), expand=False)


def _runs(runs: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _columns("run", runs)
    table.add_row("state", *(Text(run["state"], style=STYLES[run["state"]]) for run in runs))
    table.add_row("accelerator", *(run["accelerator"] for run in runs))
    table.add_row("steps", *(f"{run['steps_done']:,}/{run['steps_total']:,}" for run in runs))
    table.add_row("sessions", *(f"{run['sessions']}" for run in runs))
    table.add_row("quota used", *(machine_time(run["quota_s"]) for run in runs))
    table.add_row(
        "quota goodput", *("–" if run["goodput"] is None else f"{100 * run['goodput']:.1f} %" for run in runs)
    )
    return _indented(table)


def _differences(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not document["differences"]:
        yield sentence("none: the pipelines are equal")
        return
    table = _columns("key", document["runs"])
    for row in document["differences"]:
        table.add_row(Text(row["key"]), *(Text(cell_text(value)) for value in row["values"]))
    yield _indented(table)


def _evaluations(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    if document["evaluations"]:
        table = _columns("evaluation", document["runs"])
        for row in document["evaluations"]:
            table.add_row(Text(row["stage"]), *(Text(accuracy_text(value)) for value in row["values"]))
        yield _indented(table)
    for test in document["tests"]:
        yield sentence(significance_text(test))
        for note in test["notes"]:
            yield sentence(f"  {note}", "dim")


def _hours(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    hours = document["hours"]
    names = list(dict.fromkeys(stage["name"] for found in hours for stage in found["stages"]))
    if not names:
        return
    table = _columns("stage", document["runs"])
    for name in names:
        spent = [{stage["name"]: stage["quota_s"] for stage in found["stages"]}.get(name) for found in hours]
        table.add_row(Text(name), *("–" if seconds is None else machine_time(seconds) for seconds in spent))
    table.add_row("after the last step", *(machine_time(found["after_s"]) for found in hours))
    table.add_row("steps kept per hour", *(steps_per_hour_text(found["steps_per_hour"]) for found in hours))
    yield _indented(table)
    for found in hours:
        for gain in found["gains"]:
            yield sentence(gain_text(gain, found["run"]))


def _curves(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = plain_table()
    for title in ("metric", "run", "stage", "", "first → last"):
        table.add_column(title, overflow="fold")
    main = [found for found in document["curves"] if found["main"]] or document["curves"]
    for found in main:
        last = {line["run"]: (line, end) for line, end in zip(found["lines"], found["ends"], strict=True)}
        for number, (run, (line, end)) in enumerate(last.items()):
            table.add_row(
                Text("" if number else found["title"]),
                Text(run),
                Text(end["stage"]),
                curve(line["value"], CURVE_COLUMNS),
                f"{metric_text(end['first'], found['share'])} → {metric_text(end['last'], found['share'])}",
            )
    if main:
        yield _indented(table)
