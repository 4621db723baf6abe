"""The status as text: one run in detail, or several runs in a few lines each, those that need attention first."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import local_time
from orchestrator.views.curves import Curves, bar
from orchestrator.views.format import STYLES
from orchestrator.views.layout import WideOrNarrow, labelled, sentence
from orchestrator.views.tables import current_stage
from orchestrator.views.text import OVER, quota_text, run_view

RUNS_SHOWN = 8
SESSIONS_SHOWN = 5
NAME_COLUMNS = 28


def status_view(document: dict[str, Any], curves: Mapping[str, Curves] | None = None) -> RenderableType:
    """Show the runs of a status document; a single run is shown in detail, with `curves` by run."""
    now = datetime.fromisoformat(document["at"])
    parts: list[RenderableType] = [Text(sentence, style="yellow") for sentence in document.get("warnings", ())]
    parts += _damaged_and_lost(document)
    runs = document["runs"]
    if not runs and (document["damaged"] or document["lost"]):
        return Group(*parts)
    if not runs:
        return Group(*parts, Text(f"No runs in {document['home']}. Start one with: relay start PIPELINE"))
    if len(runs) == 1 and not document["damaged"]:
        known = (curves or {}).get(runs[0]["id"])
        return Group(*parts, run_view(runs[0], now, document["quota"], known, SESSIONS_SHOWN))
    ordered = sorted(runs, key=_newest, reverse=True)
    ordered.sort(key=_attention_rank)
    columns = min(NAME_COLUMNS, max(len(run["id"]) for run in runs))
    parts += [_in_brief(run, now, columns) for run in ordered[:RUNS_SHOWN]]
    rest = len(ordered[RUNS_SHOWN:]) + document["others"]
    if rest:
        parts.append(Text(f"{rest:,} more: relay status --json names them all", style="dim"))
    quotas = [(f"{q['accelerator']} quota of {q['owner']}", Text(quota_text(q, now))) for q in document["quota"]]
    parts += [labelled(quotas)] if quotas else []
    return Group(*parts, Text("one in detail: relay status RUN", style="dim"))


def _damaged_and_lost(document: dict[str, Any]) -> Iterator[RenderableType]:
    """Show damaged runs, and runs that are missing from the database."""
    for run in document["damaged"]:
        yield Text.assemble((run["id"], "bold"), "  ", ("damaged", "bold red"))
        yield Text.assemble("  ", (run["message"], "yellow"), "; type: ", (run["command"], "bold"))
    for run in document["lost"][:1]:
        yield sentence(run["message"], "yellow")


def _attention_rank(run: dict[str, Any]) -> int:
    """Return the sort rank: 0 if the run needs a person, then open runs, then finished ones."""
    if run["to_do"]["command"]:
        return 0 if run["state"] == "parked" else 1
    return 3 if run["state"] in OVER else 2


def _newest(run: dict[str, Any]) -> str:
    return str(run["created_at"])


def _in_brief(run: dict[str, Any], now: datetime, columns: int) -> RenderableType:
    """Show a run in two lines: its progress, and what to do unless it is over."""
    share = run["steps_done"] / run["steps_total"]
    stage = current_stage(run)
    at = f"{stage['name']} {stage['seen']}/{stage['target']}"
    name, state = (run["id"], "bold"), (run["state"], STYLES[run["state"]])
    percent = f"{100 * share:3.0f} %"
    goes_on = run["state"] in ("active", "waiting") and run.get("forecast")
    end = f", done {local_time(datetime.fromisoformat(run['forecast']['finish_at']), now)}" if goes_on else ""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=columns, overflow="fold")
    grid.add_column(width=9)
    grid.add_column()
    grid.add_row(Text.assemble(name), Text.assemble(state), f"{bar(share, 1, 10)} {percent}  {at}{end}")
    narrow = Text.assemble(name, "  ", state, f" {percent}\n  {at}{end}")
    lines: list[RenderableType] = [WideOrNarrow(grid, narrow, 72)]
    if run["state"] not in OVER:
        lines.append(_advice(run["to_do"]))
    return Group(*lines)


def _advice(to_do: dict[str, Any]) -> Text:
    if to_do["command"] is None:
        return Text(f"  {to_do['message']}", style="dim")
    return Text.assemble("  ", (to_do["message"], "yellow"), "; type: ", (to_do["command"], "bold"))
