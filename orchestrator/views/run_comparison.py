"""Collects the sources of a comparison: the database, and the verdicts of evaluations in the home folder."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.engine.home import HomeLayout
from orchestrator.views.document import FORMAT, status_document
from orchestrator.views.history.compared_run import ComparedRun
from orchestrator.views.history.comparison import comparison_document
from orchestrator.views.history.verdicts import verdicts_in
from orchestrator.views.run_history import POINTS_MAX
from stages.contract import VERDICTS
from state.reader import Reader

VERDICTS_BYTES_MAX = 16 * 2**20


def read_comparison(store: Reader, home: HomeLayout, runs: Sequence[str], now: datetime) -> dict[str, Any]:
    """Return the comparison of runs with the first of them. Read-only.

    Raises KeyError for an unknown run, RunDamaged for a damaged one.
    """
    return {"format": FORMAT, **comparison_document([compared_run(store, home, run, now) for run in runs], now)}


def compared_run(store: Reader, home: HomeLayout, run: str, now: datetime) -> ComparedRun:
    """Read what is known of one run."""
    document = status_document(store, home.path, now, run)["runs"][0]
    return ComparedRun(
        document=document,
        pipeline=json.loads(store.rows(run).run.pipeline),
        points=store.series(run, POINTS_MAX),
        seen=store.step_times(run, POINTS_MAX),
        verdicts={stage["name"]: found for stage in document["stages"] if (found := _verdicts(home, run, stage))},
    )


def _verdicts(home: HomeLayout, run: str, stage: dict[str, Any]) -> dict[str, bool]:
    """Return the collected verdicts of an evaluation; empty if there are none."""
    path = home.artifacts(run) / VERDICTS.format(stage=stage["name"])
    if stage["kind"] != "evaluate" or not path.is_file():
        return {}
    with path.open("rb") as file:
        return verdicts_in(file.read(VERDICTS_BYTES_MAX).decode(errors="replace"))
