"""Findings of `relay check` and `relay doctor` as text: a mark and a sentence for each, with its remedy below."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import counted
from orchestrator.base.systems import shell_word

MARKS = {"ok": ("✓", "green"), "note": ("·", "cyan"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


def check_view(document: dict[str, Any]) -> RenderableType:
    """Show all findings in order, then a summary line."""
    return Group(_findings(document), Text(), Text(_summary(document)))


def doctor_view(document: dict[str, Any]) -> RenderableType:
    """Show the findings of `relay doctor`, then a summary line."""
    count = document["problems"] + document["warnings"]
    what = f"run {document['run']}" if document["run"] else document["home"]
    said = f"no problem was found in {what}" if not count else f"{counted(count, 'problem')} found in {what}"
    unseen = "; what is on the platform was not checked (--offline)" if document["offline"] else ""
    return Group(_findings(document), Text(), Text(said + unseen))


def _findings(document: dict[str, Any]) -> RenderableType:
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    told = ""
    for finding in document["findings"]:
        mark, style = MARKS[finding["state"]]
        table.add_row(Text(mark, style), "" if finding["key"] == told else finding["key"], _sentence(finding, style))
        told = finding["key"]
    return table


def _sentence(finding: dict[str, Any], style: str) -> Text:
    text = Text(finding["sentence"], style="" if finding["state"] in ("ok", "note") else style)
    if finding["remedy"]:
        text.append(f"\n→ {finding['remedy']}", style="not bold default")
    if finding["link"] and finding["state"] != "ok" and finding["link"] not in finding["remedy"]:
        text.append(f"\n  {finding['link']}", style="not bold default")
    return text


def _summary(document: dict[str, Any]) -> str:
    path, problems, warnings = document["path"], document["problems"], document["warnings"]
    beside = f", and {counted(warnings, 'warning')}" if warnings else ""
    start = f"relay start {shell_word(path)}"
    if document["pipeline"] is None:
        return f"{counted(problems, 'mistake')} in {path}: nothing else was checked"
    if problems:
        return f"{counted(problems, 'problem')} to fix before {document['pipeline']} can run{beside}"
    unseen = "; what is on the platform was not checked (--offline)" if document["offline"] else ""
    if warnings:
        return f"no problem was found with {document['pipeline']}, and {counted(warnings, 'warning')} to read first{unseen}: {start}"
    return f"no problem was found with {document['pipeline']}{unseen}: {start}"
