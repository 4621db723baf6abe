"""Rendering of the dashboard's pages that reports do not have: the list of runs, actions, the log."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from orchestrator.core.request_rules import actions_for
from orchestrator.views.log_tail import LogPart
from orchestrator.views.pages import render
from orchestrator.views.run_choice import STATES
from state.run_rows import AnsweredRequest

LIST, TIMES, LOG, SHEET = "list.js", "times.js", "log.js", "dashboard.css"
SERVED = {**render.SERVED, **dict.fromkeys((LIST, TIMES, LOG), "text/javascript"), SHEET: "text/css"}
"""Static files that pages of the dashboard request, with their media types."""
COLUMNS = {
    "run": "Run",
    "state": "State",
    "progress": "Stage and progress",
    "session": "Session",
    "accelerator": "Accelerator",
    "age": "Age",
    "used": "Hours used",
    "done": "Done",
}
"""Columns of the list by which it can be sorted, with their headings."""


def list_section(document: Mapping[str, Any], sort: str = "state") -> str:
    """Render the table of all runs of a list document, which is sorted by the column `sort`."""
    return render.template("list/section.html.j2", document=document, columns=COLUMNS, sort=sort)


def list_page(document: Mapping[str, Any], live: render.LiveSource, chosen: Mapping[str, str], leave: str) -> str:
    """Render the page that lists all runs.

    `chosen` holds `pattern`, `state` and `sort`; `leave` is the token of the form that ends the visit, empty without one.
    """
    return render.template(
        "list/page.html.j2",
        runs=Markup(list_section(document, chosen["sort"])),
        states=STATES,
        chosen=chosen,
        leave=leave,
        live=live,
        links=(TIMES, LIST, render.LIVE),
    )


def actions_part(run: str, state: str) -> str:
    """Render the buttons of what can be done to a run."""
    return render.template("actions.html.j2", run={"id": run, "state": state}, actions=actions_for(state))


def login_page(next_path: str, problem: str = "") -> str:
    """Render the page that asks for the token; `next_path` is shown after that."""
    return render.template("acting/login.html.j2", next_path=next_path, problem=problem)


def confirm_page(run: str, verb: str, lines: Sequence[str], values: Mapping[str, Any]) -> str:
    """Render what an action will do, and the form that has it done.

    `values`: `token` of the form (empty: the visitor has to log in first), `pending` (True if a session can be abandoned),
    `attended` (True if a daemon runs) and, for a changed pipeline, its `text`.
    """
    return render.template("acting/confirm.html.j2", run=run, verb=verb, lines=lines, **values)


def edit_page(run: str, text: str, token: str, problem: str = "") -> str:
    """Render the form in which a run's pipeline is edited."""
    return render.template("acting/edit.html.j2", run=run, text=text, token=token, problem=problem)


def requests_page(run: str, receipt: str, made: Sequence[AnsweredRequest]) -> str:
    """Render the requests about a run, newest first, below what was said when the newest one was stored."""
    return render.template("acting/requests.html.j2", run=run, receipt=receipt, made=made, links=(TIMES,))


def refused_page(run: str, sentence: str) -> str:
    """Render one sentence that says why nothing was done."""
    return render.template("acting/refused.html.j2", run=run, sentence=sentence)


def log_page(run: str, part: LogPart) -> str:
    """Render the end of a run's newest log, which a script follows."""
    return render.template("acting/log.html.j2", run={"id": run}, part=asdict(part), links=(TIMES, LOG))
