"""Detect other home folders that work on the account's runs, by ownership marks and by kernels unknown here."""

from collections.abc import Iterator
from datetime import UTC, datetime

from kaggle_kernels import build
from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.base.humanize import when
from orchestrator.core.plan import parse_key, slug_of
from orchestrator.engine.adopt.evidence import Key, runs_on_kaggle
from orchestrator.engine.ownership import OPEN, Mark, take_over
from orchestrator.platforms.names import KAGGLE
from orchestrator.platforms.port import Platform
from orchestrator.preflight.check.findings import Finding, note, ok, warning
from stages.documents import NewerFormat
from state.model.dataset_names import copy_in, name_in
from state.model.run_state import Run, RunState

RUNS_CHECKED_MAX = 12
"""Maximum number of kernels of one run whose marks are read, newest first."""
RUNS_NAMED_MAX = 3
UNNAMED = "-"
"""Placeholder id of a home folder that has no id yet: it is new, or a copy of one that has."""
TIMES = range(10**9, 10**10)
"""Generations that are the time of a takeover, in seconds since 1970. A run begins with generation 0."""


def copied_home(patient: DoctorSubject) -> Iterator[Finding]:
    """Find open runs that, by the database, belong to another home folder: this folder is then a copy."""
    for state in patient.states():
        if state.run.status in OPEN and belongs_elsewhere(state.run, patient.identity):
            yield _elsewhere(state.run, Mark(state.run.home, state.run.generation), "as the database says", patient.now)


def foreign_work(patient: DoctorSubject, gateway: Platform) -> Iterator[Finding]:
    """Find work of other home folders on the runs here, and runs on the platform that are missing from this database."""
    known = patient.run_ids()
    for state in patient.states_on(gateway.label):
        yield from foreign_work_on(state, patient.identity, gateway, patient.now)
    if patient.run:
        return
    unknown = [one.run for one in runs_on_kaggle(gateway) if one.run not in known]
    if unknown:
        adopt = "relay adopt" if gateway.label == KAGGLE else "relay adopt RUN --pipeline FILE"
        homes = [_with_its_home(run, gateway) for run in unknown[:RUNS_NAMED_MAX]]
        yield note(
            "homes",
            f"the account has runs that this home does not know: {', '.join([*homes, *unknown[RUNS_NAMED_MAX:]])}",
            f"{adopt} brings one here, unless another home on the account works on it",
        )
    else:
        yield ok("homes", "every run of relay's on the account is known here")


def foreign_work_on(state: RunState, identity: str, gateway: Platform, now: datetime) -> Iterator[Finding]:
    """Report whether another home folder works on a run, judged by its kernels and checkpoints.

    `identity` is the id of this home folder; empty if it has none.
    """
    run, own = state.run, Mark.of(state.run, identity or UNNAMED)
    there = _keys(run.id, gateway)
    for mark, place in _marks(run.id, there, gateway):
        if mark.overtakes(own):
            if not (belongs_elsewhere(run, identity) and mark.home == run.home):  # already reported from the database
                yield _elsewhere(run, mark, f"as the mark on {place} says", now)
            return
    strange = sorted(set(there) - {session.key for session in state.sessions})
    if strange:
        names = ", ".join(slug_of(run.id, *key) for key in strange[:RUNS_NAMED_MAX])
        yield warning(
            "homes",
            f"{gateway.label} has {names}, which this database does not know: it is older than they are, or another home works "
            f"on {run.id}",
            f"make sure that only one daemon works on {run.id}: relay daemon adopts what it planned itself, and relay "
            f"cancel {run.id} ends it here",
        )


def belongs_elsewhere(run: Run, identity: str) -> bool:
    """Return whether the database names another home folder as the run's owner."""
    return bool(run.home) and run.home != identity


def _elsewhere(run: Run, mark: Mark, how: str, now: datetime) -> Finding:
    taken = (
        f"since {when(datetime.fromtimestamp(mark.generation, UTC), now)}"
        if mark.generation in TIMES
        else "since it began"
    )
    return warning(
        "homes",
        f"the home folder {mark.home} works on {run.id} {taken}, {how}",
        f"leave it there, and relay cancel {run.id} gives it up here; or stop the daemon there, and {take_over(run)} "
        "continues it here",
    )


def _keys(run: str, gateway: Platform) -> list[Key]:
    """Return the sessions of a run that have a kernel, oldest first."""
    return sorted(key for slug in gateway.list_kernels(f"{run}-s") if (key := parse_key(run, "s", slug)) is not None)


def _marks(run: str, there: list[Key], gateway: Platform) -> Iterator[tuple[Mark, str]]:
    """Yield the mark on the run's newest kernel and the one on its newest checkpoint, each with its location."""
    on_kernel = _newest_mark(run, there, gateway)
    if on_kernel is not None:
        yield on_kernel[0], f"{slug_of(run, *on_kernel[1])} and what followed"
    places = [place for place in gateway.list_datasets(f"{run}-c") if parse_key(run, "c", name_in(place)) is not None]
    newest = max(places, key=lambda place: _checkpoint_order(run, place), default=None)
    dataset = None if newest is None else gateway.find_dataset(newest)
    if dataset is not None:
        yield Mark.on_dataset(dataset), f"the dataset {newest}"


def _checkpoint_order(run: str, place: str) -> tuple[Key, int]:
    """Return the session that a dataset belongs to, and the number of its name; later names have higher numbers."""
    return parse_key(run, "c", name_in(place)) or (0, 0), copy_in(name_in(place), place)


def _newest_mark(run: str, there: list[Key], gateway: Platform) -> tuple[Mark, Key] | None:
    """Return the mark on a run's newest kernel, and the earliest of the consecutive kernels that bear the same mark.

    Returns None if the newest kernel has no mark.
    """
    found: tuple[Mark, Key] | None = None
    for key in list(reversed(there))[:RUNS_CHECKED_MAX]:
        mark = _mark(run, slug_of(run, *key), gateway)
        if mark is None or not mark.home or (found is not None and mark != found[0]):
            break
        found = (mark, key)
    return found


def _mark(run: str, slug: str, gateway: Platform) -> Mark | None:
    """Return the mark on a kernel; None if the kernel is not of the run, or has a newer format."""
    kernel = gateway.find_kernel(slug)
    try:
        order = None if kernel is None else build.order_in(kernel.source)
    except NewerFormat:
        return None
    return None if order is None or order.run != run else Mark.on_order(order)


def _with_its_home(run: str, gateway: Platform) -> str:
    found = _newest_mark(run, _keys(run, gateway)[-1:], gateway)
    return run if found is None else f"{run} (of the home folder {found[0].home})"
