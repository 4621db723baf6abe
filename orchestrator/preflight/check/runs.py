"""Checks of relay's own database: that this relay can read it, and runs in it that block a new one. Read-only."""

from collections.abc import Iterator

from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.check.findings import CheckSubject, Finding, note, ok, problem, warning
from orchestrator.views.lost import lost_sentence, pipeline_of
from state.database import Database
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable
from state.model.run_state import Run
from state.model.statuses import RunStatus
from state.read_only import ReadOnlyStore
from state.reader import Reader
from state.revisions import NEWER, SchemaError, newest_revision, revision_of

OVER = (RunStatus.FINISHED, RunStatus.CANCELLED)


def database(subject: CheckSubject) -> Iterator[Finding]:
    """Check the database in relay's home folder."""
    home = HomeLayout(subject.home)
    if not home.database.exists():
        if lost := home.run_folders():
            yield _lost(home, lost, gone=True)
        else:
            yield ok("runs", f"there is no run in {subject.home} yet")
        return
    try:
        store = ReadOnlyStore(subject.home)
        yield from _runs(store, subject)
        yield from _damaged_or_lost(store, home, subject.pipeline.name)
    except SchemaError:
        yield _other_schema(subject)
    except (StoreUnavailable, StoreCorrupt) as error:
        yield problem("runs", str(error), "fix that first: no run can start without the database")


def _other_schema(subject: CheckSubject) -> Finding:
    with Database.read_only(subject.home / "relay.db").transaction() as query:
        revision = revision_of(query)
    if revision is not None and revision > newest_revision():
        return problem(
            "runs", f"{subject.home / 'relay.db'}: {NEWER}", "update relay, or name another folder with --home"
        )
    return note(
        "runs",
        f"{subject.home / 'relay.db'} is an older relay's: the next command that writes brings it up to date and keeps a copy "
        "beside it",
    )


def _damaged_or_lost(store: Reader, home: HomeLayout, name: str) -> Iterator[Finding]:
    """Report runs of this name that the database has lost or that are damaged: they may be of this pipeline."""
    known = {run for run, _ in store.run_names()}
    if lost := [run for run in home.run_folders() if run not in known and pipeline_of(run) == name]:
        yield _lost(home, lost)
    for run in sorted(run for run in known if pipeline_of(run) == name):
        try:
            store.load(run)
        except RunDamaged as error:
            yield problem(
                "runs", f"run {run} is damaged in the database: {error.why}", f"relay doctor {run} looks closer"
            )


def _lost(home: HomeLayout, lost: list[str], *, gone: bool = False) -> Finding:
    said, _, remedy = lost_sentence(home, lost, gone=gone).rpartition(": ")
    return problem("runs", said, remedy)


def _runs(store: Reader, subject: CheckSubject) -> Iterator[Finding]:
    going = [run for run in store.runs() if run.status not in OVER]
    mine = [run for run in going if run.name == subject.pipeline.name]
    yield from (_open(run, subject.pipeline) for run in mine)
    if not mine:
        yield ok("runs", f"no run called {subject.pipeline.name} is open in {subject.home}")
    others = [run.id for run in going if run.accelerator == subject.pipeline.slot and run not in mine]
    if len(others) >= subject.pipeline.slots and subject.pipeline.hardware.quota:
        yield warning(
            "runs",
            f"{', '.join(others)} uses the same accelerator, so the runs take turns and share the week's hours",
            f"wait for its end, or relay pause {others[0]}",
        )


def _open(run: Run, pipeline: Pipeline) -> Finding:
    if Pipeline.from_canonical(run.pipeline) == pipeline:
        return problem(
            "runs",
            f"run {run.id} of this very pipeline is {run.status}, and relay start refuses a second one",
            "relay daemon continues it; relay start --new starts another",
        )
    return problem(
        "runs",
        f"run {run.id} has this name but a different pipeline, and is {run.status}",
        f"relay edit {run.id} --pipeline FILE changes that run; or write another name into the file, or relay cancel {run.id}",
    )
