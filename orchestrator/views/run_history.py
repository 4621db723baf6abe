"""Collects the sources of a run's history: the database, and the files that its sessions left in the home folder."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.engine.home import HomeLayout
from orchestrator.views.document import status_document
from orchestrator.views.history.document import HistorySources, history_document
from stages.contract import REPORT_NAME, Report
from stages.documents import ContractError
from state.reader import Reader

POINTS_MAX = 300
"""Maximum number of points per curve."""
REPORT_BYTES_MAX = 2**20
ARTIFACT_BYTES_MAX = 8 * 2**20
"""Maximum size of one evaluation's transcripts, in bytes; the rest of a larger file is ignored."""
TRANSCRIPTS = "transcripts-{stage}.jsonl"


def read_history(store: Reader, home: HomeLayout, run: str, now: datetime) -> dict[str, Any]:
    """Return the history of one run. Read-only. Raises KeyError for an unknown run, RunDamaged for a damaged one."""
    found = store.rows(run).run
    document = status_document(store, home.path, now, run)["runs"][0]
    sources = HistorySources(
        facts=store.facts(run),
        points=store.series(run, POINTS_MAX),
        edges=store.step_edges(run),
        reports=reports_of(document, home),
        artifacts=artifacts_of(document, home),
        pipeline=found.pipeline,
    )
    return history_document(document, sources, now)


def reports_of(run: Mapping[str, Any], home: HomeLayout) -> dict[tuple[int, int], Report]:
    """Return the final reports of sessions that were collected and belong to the session."""
    found = {}
    for session in run["sessions"]:
        key = (session["number"], session["attempt"])
        report = _report(home.incoming_of(run["id"], session["slug"]) / REPORT_NAME)
        if report is not None and (report.run, report.session, report.attempt) == (run["id"], *key):
            found[key] = report
    return found


def _report(path: Path) -> Report | None:
    try:
        return Report.from_json(_text(path, REPORT_BYTES_MAX))
    except (OSError, ContractError):
        return None


def artifacts_of(run: Mapping[str, Any], home: HomeLayout) -> dict[str, str]:
    """Return the collected transcripts of each evaluation, by stage."""
    found = {}
    for stage in run["stages"]:
        path = home.artifacts(run["id"]) / TRANSCRIPTS.format(stage=stage["name"])
        if stage["kind"] == "evaluate" and path.is_file():
            found[stage["name"]] = _text(path, ARTIFACT_BYTES_MAX)
    return found


def _text(path: Path, bytes_max: int) -> str:
    with path.open("rb") as file:
        return file.read(bytes_max).decode(errors="replace")
