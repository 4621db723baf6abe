"""Checks of the database: presence, integrity, version, missing runs, backups."""

from collections.abc import Iterator

from orchestrator.app.doctor.subject import DoctorSubject
from orchestrator.base.humanize import when
from orchestrator.preflight.check.findings import Finding, note, ok, problem, warning
from orchestrator.views.lost import lost_sentence
from state.backups import Defect, defects, newest_fact
from state.database import Database
from state.failures import StoreCorrupt, StoreUnavailable
from state.revisions import NEWER, newest_revision, revision_of


def database(patient: DoctorSubject) -> Iterator[Finding]:
    """Run SQLite's integrity check and compare the facts of each run with its rows."""
    path = patient.home.database
    if not patient.has_database:
        yield _absent(patient)
        return
    try:
        found = [one for one in patient.defects() if not patient.run or one.run in ("", patient.run)]
    except StoreUnavailable as error:
        yield problem("database", str(error), "fix that first: nothing else can be checked before")
        return
    for defect in found:
        yield _of(defect, patient)
    if not any(one.severe for one in found):
        runs = patient.run_ids()
        count = "no runs" if not runs else f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
        yield ok("database", f"{path} is intact, and the facts of {count} match their rows")
        yield from _revision(patient)


def _absent(patient: DoctorSubject) -> Finding:
    path, lost = patient.home.database, patient.home.run_folders()
    if not lost:
        return ok("database", f"there is no database in {patient.home.path} yet, and no run")
    said, _, remedy = lost_sentence(patient.home, lost, gone=True).rpartition(": ")
    assert said.startswith(str(path))
    return problem("database", said, remedy)


def _of(defect: Defect, patient: DoctorSubject) -> Finding:
    if not defect.severe:
        return note("database", defect.says)
    back = "relay restore puts a backup in its place" if patient.backups.newest() else "there is no backup of it"
    if not defect.run:
        adopt = "relay adopt lists the runs that can be rebuilt from what their platform has, once it is moved away"
        return problem("database", defect.says, f"{back}; {adopt}")
    adopt = f"relay adopt {defect.run} rebuilds the run from what its platform has, and touches no other"
    return problem("database", f"run {defect.run}: {defect.says}", f"{adopt}; {back}")


def _revision(patient: DoctorSubject) -> Iterator[Finding]:
    with Database.read_only(patient.home.database).transaction() as query:
        revision = revision_of(query)
    if revision is not None and revision > newest_revision():
        yield problem(
            "database", f"{patient.home.database}: {NEWER}", "update relay, or name another folder with --home"
        )
    elif revision is None:
        yield note("database", "it has no tables yet: the next command that writes makes them")
    elif revision != newest_revision():
        yield note(
            "database", "it is an older relay's: the next command that writes brings it up to date and keeps a copy"
        )


def lost(patient: DoctorSubject) -> Iterator[Finding]:
    """Find runs that have a folder here but are missing from the database."""
    if not patient.has_database:
        return
    known = set(patient.run_ids())
    folders = [run for run in patient.home.run_folders() if patient.run in ("", run) and run not in known]
    for run in folders:
        yield problem(
            "runs",
            f"{patient.home.run(run)} is here, and the database does not know the run",
            f"relay adopt {run} rebuilds it from what its platform has",
        )


def copies(patient: DoctorSubject) -> Iterator[Finding]:
    """Check the backups; the newest is read as a whole."""
    found = patient.backups.all()
    if not found:
        if patient.has_database:
            yield note(
                "backups",
                "there is none yet: the daemon makes one at each published checkpoint",
                "relay backup makes one now",
            )
        return
    newest = found[-1]
    try:
        wrong = [one for one in defects(newest) if one.severe]
        at = None if wrong else newest_fact(newest)
    except (StoreCorrupt, StoreUnavailable) as error:
        yield warning("backups", f"{newest} cannot be read: {error}", "relay backup makes another")
        return
    if wrong:
        yield warning(
            "backups",
            f"{newest} is damaged: {wrong[0].says}",
            "relay backup makes another, once the database is repaired",
        )
        return
    until = f"knows what happened until {when(at, patient.now)}" if at else "knows of nothing yet"
    yield ok("backups", f"{len(found)} in {patient.backups.home.backups}; the newest is intact and {until}")
