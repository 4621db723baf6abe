"""Upgrade of rows written by an older relay to what the current fold yields."""

from itertools import pairwise

from sqlalchemy import Engine

from state import machine
from state.engine import asking
from state.queries import facts_of, rows_of
from state.tables import write_changes


def fold_anew(engine: Engine) -> None:
    """Rewrite the rows of runs whose log contains a clock correction.

    Older relay versions did not move the times that lay ahead. Other runs are not touched, so that rows changed by hand
    are still detected.
    """
    with engine.begin() as connection:
        query = asking(connection)
        for run in [row["id"] for row in query("SELECT id FROM run")]:
            facts = list(facts_of(query, run))
            if any(after < before for (before, _), (after, _) in pairwise(facts)):
                write_changes(connection, rows_of(query, run), machine.fold(facts))
