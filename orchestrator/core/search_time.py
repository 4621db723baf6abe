"""How long something that Kaggle took, or may have taken, has been looked for: a push without an answer, a dataset not ready yet. Pure.

It is measured by looks as every wait is (`orchestrator.core.waits`), but of several things at once: each has a sum of its own, by the
name that it has on Kaggle.
"""

from dataclasses import replace
from datetime import datetime

from orchestrator.base.humanize import bounded_s
from orchestrator.core.plan import inputs_place
from orchestrator.core.waits import SHARE
from state.model import Phase, PollState, RunState, Snapshot


def search_time_s(watch: PollState, name: str, looked_at: datetime | None, interval_s: float, now: datetime) -> float:
    """Seconds for which `name` has been looked for with this look, where looks are usually that far apart.

    `looked_at` is the look before; None where it is not known, and this one adds nothing.
    """
    passed_s = 0.0 if looked_at is None else bounded_s(now - looked_at, SHARE * interval_s)
    return watch.sought_s.get(name, 0.0) + passed_s


def carried_on(watch: PollState, before: Snapshot) -> PollState:
    """What is remembered after a command, with what was remembered before it of all that is still looked for."""
    names = _names(before.state)
    kept = {name: seconds for name, seconds in before.watch.sought_s.items() if name in names}
    return replace(watch, sought_s=kept | watch.sought_s)


def _names(state: RunState) -> set[str]:
    """Names on Kaggle of whatever is looked for."""
    pushes = {session.slug for session in state.sessions if session.phase is Phase.PUSHING}
    datasets = {checkpoint.place for checkpoint in state.checkpoints if checkpoint.offered_at is not None}
    return pushes | datasets | ({inputs_place(state.run)} if state.run.inputs_offered_at is not None else set())
