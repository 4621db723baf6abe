"""Measures how long relay has searched for an unclear push, or for a dataset that is not ready yet. Pure."""

from dataclasses import replace
from datetime import datetime

from orchestrator.base.humanize import bounded_s
from orchestrator.core.plan import inputs_place
from orchestrator.core.waits import SHARE
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from state.model.statuses import Phase


def search_time_s(watch: PollState, name: str, polled_at: datetime | None, interval_s: float, now: datetime) -> float:
    """Return for how many seconds `name` has been searched for, this poll included.

    `interval_s` is the usual poll interval. `polled_at` is the previous poll; if it is None, this one adds nothing.
    """
    passed_s = 0.0 if polled_at is None else bounded_s(now - polled_at, SHARE * interval_s)
    return watch.search_s.get(name, 0.0) + passed_s


def with_search_times(watch: PollState, before: Snapshot) -> PollState:
    """Return the poll state after a command, keeping the search times of everything still searched for."""
    names = _names(before.state)
    kept = {name: seconds for name, seconds in before.watch.search_s.items() if name in names}
    return replace(watch, search_s=kept | watch.search_s)


def _names(state: RunState) -> set[str]:
    """Return the names on Kaggle of everything that relay is searching for."""
    pushes = {session.slug for session in state.sessions if session.phase is Phase.PUSHING}
    datasets = {checkpoint.place for checkpoint in state.checkpoints if checkpoint.offered_at is not None}
    return pushes | datasets | ({inputs_place(state.run)} if state.run.inputs_offered_at is not None else set())
