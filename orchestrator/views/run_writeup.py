"""Collects the sources of a run's write-up: the database, and the files that its sessions left in the home folder."""

from datetime import UTC, datetime

from orchestrator.engine.home import HomeLayout
from orchestrator.views.run_comparison import compared_run
from orchestrator.views.run_history import read_history
from orchestrator.views.writeup.sources import WriteupSources
from state.reader import Reader

FACTS_MAX = 10_000_000
"""Upper bound of the facts of one run."""


def read_writeup(store: Reader, home: HomeLayout, run: str) -> WriteupSources:
    """Return what a write-up of one run is made of. Read-only.

    The clock is that of the run's last fact, so that a run at which nothing happens has one write-up only. Raises
    KeyError for an unknown run, RunDamaged for a damaged one.
    """
    store.load(run)
    facts = store.newest_facts(FACTS_MAX, run)
    now = facts[-1].at if facts else datetime.fromtimestamp(0, UTC)
    return WriteupSources(
        history=read_history(store, home, run, now),
        compared=compared_run(store, home, run, now),
        facts=facts,
        newest=store.last_metrics(run),
    )
