"""A command that only looks is there at once: it imports nothing that only the daemon, a rehearsal or training needs."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.homes import finished_run, live_run
from state.store import Store
from tests.unit.test_machine import AT

PROGRAM = """
import sys
from orchestrator.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sys.modules, file=sys.stderr)
"""
HEAVY = (
    "jax",
    "kaggle",
    "kagglesdk",
    "requests",
    "yaml",
    "alembic",
    "sqlalchemy",
    "jinja2",
    "apprise",
)
OURS = (
    "orchestrator.app.app",
    "orchestrator.engine.daemon",
    "orchestrator.engine.effects",
    "orchestrator.engine.adopt",
    "orchestrator.pipeline.loader",
)


def imported(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["logs", "old-0001"], ["artifacts", "old-0001"]])
def test_a_command_that_only_looks_imports_nothing_that_it_does_not_need(tmp_path: Path, command: list[str]) -> None:
    store = Store.at(tmp_path)
    finished_run(store, "old-0001", 2, AT + timedelta(days=1))
    found = imported("--home", str(tmp_path), *command)
    assert "state.read_only" in found
    assert sorted(found.intersection({*HEAVY, *OURS, "pydantic"})) == [], "of a run that is over"


@pytest.mark.slow
def test_the_status_of_a_live_run_waits_for_its_forecast_but_not_for_the_writers_library(tmp_path: Path) -> None:
    live_run(Store.at(tmp_path), "new-0001", 2, AT + timedelta(days=1))
    found = imported("--home", str(tmp_path), "status")
    assert "orchestrator.core.forecast" in found
    assert sorted(found.intersection({*HEAVY, *OURS})) == []


@pytest.mark.slow
def test_help_waits_for_no_database_and_no_screen() -> None:
    assert sorted(imported("--help").intersection({"rich", "pydantic", *HEAVY, *OURS})) == []
