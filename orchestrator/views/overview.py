"""The status as text: one run in detail, or a table of several runs and what has to be done about them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import duration, local_time, machine_time
from orchestrator.views.curves import Curves
from orchestrator.views.format import STYLES, elapsed_text, quota_text
from orchestrator.views.layout import FirstThatFits, HangingText, labelled, plain_table, sentence
from orchestrator.views.next_action import OVER
from orchestrator.views.run_choice import RUNS_LISTED, hours_used_s, in_order
from orchestrator.views.tables import current_stage

SESSIONS_SHOWN = 5
NAMES_SHOWN = 3
"""Maximum number of runs that are named with what has to be done about all of them."""
LIST_COLUMNS = (
    ("run", "state", "progress", "stage", "session", "accelerator", "age", "hours used", "done"),
    ("run", "state", "progress", "stage", "session", "hours used", "done"),
    ("run", "state", "progress", "stage", "done"),
    ("run", "state", "progress", "done"),
    ("run", "state", "progress"),
)
"""Columns of the list: the first row of them that fits into the terminal is shown."""
COLUMN_WIDTHS_MAX = {"run": 36, "stage": 28, "accelerator": 20}
"""Widths at which longer texts wrap."""


def status_view(
    document: dict[str, Any],
    curves: Mapping[str, Curves] | None = None,
    sort: str = "attention",
    most: int | None = RUNS_LISTED,
    *,
    filtered: bool = False,
) -> RenderableType:
    """Show the runs of a status document; a single run is shown in detail, with `curves` by run.

    Several runs are a table of at most `most` rows (None: all) in the order `sort`, one of `run_choice.SORTS`.
    `filtered` tells that some runs may have been left out.
    """
    now = datetime.fromisoformat(document["at"])
    parts: list[RenderableType] = [Text(sentence, style="yellow") for sentence in document.get("warnings", ())]
    parts += _damaged_and_lost(document)
    runs = document["runs"]
    if not runs and (document["damaged"] or document["lost"]):
        return Group(*parts)
    if not runs:
        said = f"No runs in {document['home']}. Start one with: relay start PIPELINE"
        return Group(*parts, Text("no run matches; relay status lists all runs" if filtered else said))
    if len(runs) == 1 and not document["damaged"]:
        from orchestrator.views.text import run_view  # on use: lists need none of what it imports

        known = (curves or {}).get(runs[0]["id"])
        return Group(*parts, run_view(runs[0], now, document["quota"], known, SESSIONS_SHOWN))
    shown = in_order(runs, sort)[:most]
    parts += [_list_table(shown, now), *_things_to_do(shown)]
    if rest := len(runs) - len(shown) + document["others"]:
        parts.append(Text(f"{rest:,} more: relay status --all shows them too", style="dim"))
    if late := document.get("unforecast", 0):
        parts.append(Text(f"{late} runs have no current forecast: relay status RUN computes it", style="dim"))
    quotas = [(f"{q['accelerator']} quota of {q['owner']}", Text(quota_text(q, now))) for q in document["quota"]]
    parts += [labelled(quotas)] if quotas else []
    return Group(*parts, Text("one run in detail: relay status RUN", style="dim"))


def _damaged_and_lost(document: dict[str, Any]) -> Iterator[RenderableType]:
    """Show damaged runs, and runs that are missing from the database."""
    for run in document["damaged"]:
        yield Text.assemble((run["id"], "bold"), "  ", ("damaged", "bold red"))
        said = Text.assemble((run["message"], "yellow"), "; type: ", (run["command"], "bold"))
        yield Padding(said, (0, 0, 0, 2), expand=False)
    for run in document["lost"][:1]:
        yield sentence(run["message"], "yellow")


def _list_table(runs: list[dict[str, Any]], now: datetime) -> RenderableType:
    """Show one row per run, with as many columns as fit."""
    rows = [_cells(run, now) for run in runs]
    return FirstThatFits([_table_of(rows, columns) for columns in LIST_COLUMNS])


def _table_of(rows: list[dict[str, Text]], columns: Sequence[str]) -> Table:
    table = plain_table()
    for column in columns:
        table.add_column(column, max_width=COLUMN_WIDTHS_MAX.get(column), no_wrap=column == "state")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    return table


def _cells(run: dict[str, Any], now: datetime) -> dict[str, Text]:
    """Return the cells of a run's row by column."""
    stage, used_s = current_stage(run), hours_used_s(run)
    age = duration((now - datetime.fromisoformat(run["created_at"])).total_seconds())
    return {
        "run": Text(run["id"], style="bold", overflow="fold"),
        "state": Text(run["state"], style=STYLES[run["state"]]),
        "progress": Text(f"{100 * run['steps_done'] / run['steps_total']:3.0f} %"),
        "stage": Text(f"{stage['name']} {stage['seen']}/{stage['target']}", overflow="fold"),
        "session": Text(session_cell(run)),
        "accelerator": Text(run["accelerator"], overflow="fold"),
        "age": Text(age),
        "hours used": Text(machine_time(used_s) if used_s else ""),
        "done": Text(_end(run, now)),
    }


def _end(run: dict[str, Any], now: datetime) -> str:
    """Return when the run ended, or will end if it goes on; empty if that is unknown."""
    if run["state"] == "finished":
        return local_time(datetime.fromisoformat(run["updated_at"]), now)
    goes_on = run["state"] in ("active", "waiting") and run.get("forecast")
    return f"about {local_time(datetime.fromisoformat(run['forecast']['finish_at']), now)}" if goes_on else ""


def session_cell(run: dict[str, Any]) -> str:
    """Return the number of the newest session, and its clock or phase while it is live."""
    if not run["sessions"]:
        return ""
    session = run["sessions"][-1]
    if session["outcome"] is not None or run["state"] in OVER:
        return str(session["number"])
    if session["phase"] != "running" or session["seconds"] is None:
        return f"{session['number']}: {session['phase']}"
    return f"{session['number']}: {elapsed_text(session['seconds'], session['limit_s'])}"


def _things_to_do(runs: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """Show what the user has to do, each thing once with the runs that it is about."""
    about: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        if run["state"] not in OVER and run["to_do"]["command"]:
            about.setdefault((run["to_do"]["message"], run["to_do"]["command"]), []).append(run["id"])
    for (message, command), names in about.items():
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        said = Text.assemble((", ".join(names[:NAMES_SHOWN]) + more, "bold"), ": ", (message, "yellow"))
        yield HangingText(Text.assemble(said, "; type: ", (command, "bold")))
