"""The checkpoints of a run as a table that fits 80 columns, followed by problems and their remedies."""

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import utc_time
from orchestrator.views.format import size

STYLES = {"published": "green", "collected": "cyan", "damaged": "bold red", "part": "bold red", "whole": "green"}
DIGEST_CHARS = 12


def checkpoints_view(document: dict[str, Any]) -> RenderableType:
    """Show the document that `inventory` returns."""
    run = document["run"]
    if not document["checkpoints"]:
        return Text(f"{run} has no checkpoint yet")
    parts: list[RenderableType] = [Text(run, style="bold"), _table(run, document["checkpoints"], document["platform"])]
    for found in document["problems"]:
        parts.append(Text(f"  {found['checkpoint']}: {found['problem']}", style="bold red"))
        parts.append(Text.assemble("    ", ("do: ", "dim"), (found["remedy"], "bold")))
    if document["verified"]:
        parts.append(Text(f"  {_verdict(document)}"))
    return Group(*parts)


def _verdict(document: dict[str, Any]) -> str:
    checked = "every byte on this disk and the chain of parents were checked"
    platform = document["platform"]
    if document["compared_with_kaggle"]:
        return f"{checked}, and names and sizes on {platform} compared"
    return f"{checked}; not compared with {platform}: {document['not_compared_because']}"


def _table(run: str, rows: list[dict[str, Any]], platform: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    table.add_column("  name", no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("status\nverified", no_wrap=True)
    table.add_column(platform, no_wrap=True)
    table.add_column("disk", no_wrap=True)
    table.add_column("digest\nparent", no_wrap=True)
    for row in rows:
        number = row["session"] if row["attempt"] == 1 else f"{row['session']}.{row['attempt']}"
        when = Text(f"\n{utc_time(datetime.fromisoformat(row['verified_at']))}", style="dim")
        table.add_row(
            f"  {row['name'].removeprefix(run + '-')}",
            f"{row['stage']}:{row['step']}",
            str(number),
            size(row["size_bytes"]),
            Text(row["status"], style=STYLES.get(row["status"], "")) + when,
            "yes" if row["dataset"] else "no",
            Text(row["here"], style=STYLES.get(row["here"], "")),
            Text(row["digest"][:DIGEST_CHARS]) + Text(f"\n{(row['parent'] or 'none')[:DIGEST_CHARS]}", style="dim"),
        )
    return table
