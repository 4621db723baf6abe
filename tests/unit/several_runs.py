"""Several runs in one home folder, in different states: what tests of lists and pages look at."""

from pathlib import Path

from state.facts.run import RunParked, RunResumed, RunWaiting, RunWoken
from state.store import Store
from tests.unit.histories import AT, Told, trained


def several(home: Path) -> Store:
    """A run that came to its end, one that waits, one that is parked and one that has only begun."""
    store = trained().keep(home)
    waits, parked, begun = Told(run="waits-0002"), Told(run="broke-0003"), Told(run="young-0004")
    waits.session(200, lost=12)
    waits.happen(RunWaiting(until="2030-01-12T00:00:00+00:00", reason="this week's TPU hours are spent"))
    parked.session(90)
    parked.happen(RunWaiting(until="2030-01-12T00:00:00+00:00", reason="hours"))
    parked.happen(RunWoken(), after_s=100_000)
    parked.happen(RunParked(reason="paused by you", remedy="relay resume broke-0003"))
    parked.happen(RunResumed(), after_s=900)
    parked.failure("Traceback (most recent call last):\nValueError: no data")
    parked.happen(RunParked(reason="it broke", remedy="relay retry broke-0003", excerpt="ValueError: no data"))
    for told in (waits, parked, begun):
        store.begin_run(told.started(), AT, later=told.past, metrics=told.metrics)
    return store
