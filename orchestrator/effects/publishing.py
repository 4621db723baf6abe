"""Make a dataset of a checkpoint, or of the pipeline's own files, and see that it is whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from orchestrator.custody import Custody, entries_of, lacking, listed_damage, refuse_public
from orchestrator.effects.looking import WELL
from orchestrator.effects.shell import Result, Shell
from orchestrator.errors import Transient
from orchestrator.files import Home
from orchestrator.kaggle.gateway import DatasetSeen
from orchestrator.pipeline import Pipeline
from orchestrator.plan import inputs_of
from orchestrator.quarantine import Quarantine
from stages.contract import COMPILED_NAME, MANIFEST_NAME, Manifest
from state.facts import (
    CheckpointPublished,
    InputsPublished,
)
from state.model import Checkpoint, RunState, Session, Snapshot, Watch


def publish(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: Shell) -> Result:
    """Make the checkpoint's dataset unless it exists; it counts once Kaggle lists every file with its size.

    Nothing is uploaded that is not, byte for byte, what was collected: a damaged copy is mended from Kaggle or given up.
    """
    custody = custody_of(snapshot.state, session, shell)
    checkpoint, found = custody.checkpoint, custody.quarantine.found
    seen = shell.gateway.find_dataset(checkpoint.name)
    if seen is None and (lost := custody.mend()):
        return Result((*found, custody.damaged(lost, pipeline)), _dataset_seen(snapshot, shell))
    files = published_files(checkpoint, shell.home)
    sha256 = {entry.path: entry.sha256 for entry in entries_of(checkpoint)}  # as `mend` has just found them
    began_s = shell.clock.monotonic()
    ready = offered(checkpoint.name, seen, files, session.run, shell, sha256)
    if ready is None or lacking(checkpoint, ready):
        watch = _dataset_seen(snapshot, shell)
        sent_s = shell.clock.monotonic() - began_s if seen is None else snapshot.watch.sent_s
        return Result(tuple(found), replace(watch, sent_s=sent_s))
    if damage := listed_damage(checkpoint, ready):
        for file, problem in damage.items():
            custody.quarantine.note(checkpoint.name, file, "dataset", problem)
        shell.gateway.delete_dataset(checkpoint.name)
        return Result(tuple(found), _later(shell, f"the dataset {checkpoint.name} is damaged and uploaded again"))
    fact = CheckpointPublished(number=session.number, attempt=session.attempt, sent_s=snapshot.watch.sent_s)
    return Result((*found, fact), _dataset_seen(snapshot, shell))


def custody_of(state: RunState, session: Session, shell: Shell) -> Custody:
    """What it takes to look after the checkpoint of a session."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint"
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    return Custody(state.checkpoint(session.checkpoint), session, shell.gateway, shell.home, quarantine)


def publish_inputs(snapshot: Snapshot, pipeline: Pipeline, shell: Shell) -> Result:
    """Make the dataset of the pipeline's own files unless it exists."""
    run = snapshot.state.run.id
    files = [shell.home.inputs(run) / Path(name).name for name in pipeline.inputs.files]
    ready = offered(inputs_of(run), shell.gateway.find_dataset(inputs_of(run)), files, run, shell)
    wanted = {path.name: path.stat().st_size for path in files}
    listed = {file.name: file.size_bytes for file in ready.files} if ready else {}
    return Result((InputsPublished(),) if listed == wanted else (), _dataset_seen(snapshot, shell))


def _dataset_seen(snapshot: Snapshot, shell: Shell) -> Watch:
    return replace(WELL, looked_at=snapshot.watch.looked_at, dataset_looked_at=shell.clock.now())


def offered(
    name: str,
    seen: DatasetSeen | None,
    files: Sequence[Path],
    run: str,
    shell: Shell,
    sha256: Mapping[str, str] | None = None,
) -> DatasetSeen | None:
    """The dataset, once Kaggle has processed it; it is made where it does not exist. READY alone is no evidence of its files.

    `sha256`: as of `Gateway.create_dataset`.
    Raises Permanent where it is public.
    """
    if seen is None:
        shell.gateway.create_dataset(name, files, sha256)
        return None
    if seen.status == "failed":
        shell.gateway.delete_dataset(name)
        raise Transient(f"Kaggle could not process the dataset {name}; it is uploaded again")
    if seen.status != "ready":
        return None
    refuse_public(seen, run)
    return seen


def published_files(checkpoint: Checkpoint, home: Home) -> list[Path]:
    """The manifest and every file that it names, on this disk; compiled programs that arrived damaged are not."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    manifest = Manifest.from_json(checkpoint.manifest)
    paths = [folder / entry.path for entry in manifest.files]
    return [folder / MANIFEST_NAME, *(path for path in paths if path.name != COMPILED_NAME or path.exists())]


def _later(shell: Shell, why: str) -> Watch:
    """No failure, but no use in asking again at once."""
    return Watch(not_before=shell.clock.now() + timedelta(seconds=shell.limits.retry_s), failure=why)
