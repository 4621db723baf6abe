"""Run every check in order. A check that cannot run is reported and does not hide the others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.app.app import App
from orchestrator.app.doctor import database, homes, kaggle, machine
from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.base.errors import BadInput, DiskRefused, RelayError
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.names import KAGGLE, name_in
from orchestrator.preflight.check.findings import Finding, Severity, note, ok, problem, warning
from orchestrator.views.lost import pipeline_of
from state.failures import StoreCorrupt, StoreUnavailable
from state.model.run_state import RunState

FORMAT = 1

Look = Callable[[DoctorSubject], Iterable[Finding]]
KaggleLook = Callable[[DoctorSubject, Gateway], Iterable[Finding]]

HERE: tuple[tuple[str, Look], ...] = (
    ("database", database.database),
    ("runs", database.lost),
    ("backups", database.copies),
    ("checkpoints", machine.checkpoints),
    ("quarantine", machine.quarantine),
    ("daemon", machine.daemon),
    ("homes", homes.copied_home),
    ("disk", machine.disk_space),
    ("permissions", machine.permissions),
    ("credentials", kaggle.credentials),
)
"""Local checks, which need no network."""

THERE: tuple[tuple[str, KaggleLook], ...] = (
    ("account", kaggle.account),
    ("homes", homes.foreign_work),
)
"""Checks that query Kaggle; the account comes first. Other platforms: `_elsewhere`."""


def examine(app: App, name: str | None, *, offline: bool) -> dict[str, Any]:
    """Return all findings as the document that docs/doctor.md describes. Raises BadInput for an unknown run."""
    patient = DoctorSubject(app.home, Path.home(), app.settings.environ, app.clock.now())
    if name is not None:
        patient = DoctorSubject(app.home, Path.home(), app.settings.environ, app.clock.now(), _run_named(patient, name))
    found = [finding for key, look in HERE for finding in _run_check(key, partial(look, patient))]
    if not offline:
        if patient.on_kaggle:
            found += _run_check("clock", lambda: kaggle.clock(patient, app.clock))
            found += _kaggle_findings(app, patient, found)
        found += [finding for state in patient.platforms() for finding in _elsewhere(app, patient, state)]
    return {
        "format": FORMAT,
        "home": str(app.home.path),
        "run": patient.run or None,
        "offline": offline,
        "problems": sum(finding.state is Severity.PROBLEM for finding in found),
        "warnings": sum(finding.state is Severity.WARNING for finding in found),
        "findings": [asdict(finding) for finding in found],
    }


def exit_status(found: dict[str, Any]) -> int:
    """Return 1 if there is a problem or a warning, else 0."""
    return 1 if found["problems"] or found["warnings"] else 0


def _run_named(patient: DoctorSubject, name: str) -> str:
    """Return the id of a run in the database or with a folder here. Raises BadInput unless exactly one matches."""
    known = sorted(
        {*patient.run_ids(), *patient.home.run_folders(), *(one.run for one in patient.defects() if one.run)}
    )
    found = [run for run in known if run == name] or [run for run in known if pipeline_of(run) == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{name} has {len(found)} runs: name one of {', '.join(found)}")
    raise BadInput(
        f"there is no run {name}: " + (f"the runs are {', '.join(known)}" if known else "there is none here yet")
    )


def _kaggle_findings(app: App, patient: DoctorSubject, here: list[Finding]) -> Iterator[Finding]:
    if any(finding.key == "credentials" and finding.state is Severity.PROBLEM for finding in here):
        yield note("kaggle", "what is on Kaggle was not checked: that needs credentials")
        return
    for key, look in THERE:
        found = list(_run_check(key, partial(_ask, look, app, patient)))
        yield from found
        if any(finding.state is Severity.PROBLEM for finding in found):
            return


def _elsewhere(app: App, patient: DoctorSubject, state: RunState) -> Iterator[Finding]:
    """Ask the platform of a run that is not on Kaggle: whether it answers, as whom, and who works on its runs."""
    name = name_in(state.run.pipeline)
    found = list(_run_check("account", partial(_account, app, patient, state), name))
    yield from found
    if not any(finding.state in (Severity.PROBLEM, Severity.WARNING) for finding in found):
        yield from _run_check("homes", lambda: homes.foreign_work(patient, app.platform_of(state.run.id)), name)


def _account(app: App, patient: DoctorSubject, state: RunState) -> Iterator[Finding]:
    platform = app.platform_of(state.run.id)
    owner = platform.owner()
    yield ok("account", f"{platform.label} answers: the account is {owner}")
    if others := sorted({each.run.owner for each in patient.states_on(platform.label)} - {owner}):
        yield warning(
            "account", f"there are runs here of {', '.join(others)}, and the account is {owner}", "cancel them"
        )


def _ask(look: KaggleLook, app: App, patient: DoctorSubject) -> Iterable[Finding]:
    return look(patient, app.gateway)


def _run_check(key: str, look: Callable[[], Iterable[Finding]], platform: str = KAGGLE) -> Iterator[Finding]:
    """Run one check and yield its findings. A platform that does not answer or an unusable disk becomes a finding too."""
    try:
        yield from look()
    except (BadInput, DiskRefused, StoreCorrupt, StoreUnavailable) as error:
        yield problem(key, str(error), "")
    except RelayError as error:
        yield warning(key, f"could not be checked: {platform} does not answer ({error})", "try again in a minute")
    except OSError as error:
        yield problem(
            key, f"{error.filename or key} cannot be read: {error.strerror or error}", "give relay the right to read it"
        )
