"""Rows of an older relay, brought to what this one folds its facts to."""

from itertools import pairwise

from sqlalchemy import Engine

from state import machine
from state.engine import asking
from state.queries import facts_of, rows_of
from state.tables import write_changes


def fold_anew(engine: Engine) -> None:
    """Write the rows of runs whose clock was once put right: older relays left the times that lay ahead where they were.

    All others are left alone, so that rows which somebody changed by hand are still found.
    """
    with engine.begin() as connection:
        query = asking(connection)
        for run in [row["id"] for row in query("SELECT id FROM run")]:
            facts = list(facts_of(query, run))
            if any(after < before for (before, _), (after, _) in pairwise(facts)):
                write_changes(connection, rows_of(query, run), machine.fold(facts))
