"""Publishes a checkpoint, or the pipeline's own files, as a dataset and checks that it is complete."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from orchestrator.core.plan import inputs_of, inputs_place
from orchestrator.core.search_time import search_time_s
from orchestrator.engine.checkpoint_copies import CheckpointCopies, entries_of, lacking, listed_damage
from orchestrator.engine.effects.context import EffectContext, EffectResult, reset_failures
from orchestrator.engine.effects.dataset_upload import DatasetUpload, UploadStatus, summed_up, unfinished, upload_status
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.pipeline.model import Pipeline
from stages.contract import COMPILED_NAME, MANIFEST_NAME, Manifest
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, DatasetDropped, DatasetOffered
from state.facts.run import InputsDropped, InputsOffered, InputsPublished
from state.model.poll_state import PollState
from state.model.run_state import Checkpoint, RunState, Session
from state.model.snapshot import Snapshot


def publish(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Create the checkpoint's dataset unless it exists; it is published once Kaggle lists every file with its size.

    Only the bytes that were collected are uploaded: a damaged copy is repaired from Kaggle or given up.
    """
    copies = custody_of(snapshot.state, session, shell)
    checkpoint, found = copies.checkpoint, copies.quarantine.found
    seen = shell.gateway.find_dataset(checkpoint.place)
    if seen is None and checkpoint.offered_at is None and (lost := copies.repair()):
        return EffectResult((*found, copies.damaged(lost, pipeline)), _dataset_seen(snapshot, shell))
    offer = _offer_of(checkpoint, snapshot, shell)
    began_s = shell.clock.monotonic()
    status = upload_status(offer, seen, shell)
    if status.seen is None:
        sent_s = shell.clock.monotonic() - began_s if seen is None and not offer.taken else snapshot.watch.sent_s
        watch = replace(_dataset_seen(snapshot, shell, summed_up(offer, status)), sent_s=sent_s)
        return EffectResult((*found, *_facts(session, offer, status)), watch)
    ready = status.seen
    if lacking(checkpoint, ready):
        status = unfinished(offer, "does not list all of its files", shell)
        watch = _dataset_seen(snapshot, shell, summed_up(offer, status))
        return EffectResult((*found, *_facts(session, offer, status)), watch)
    if damage := listed_damage(checkpoint, ready):
        for file, problem in damage.items():
            copies.quarantine.note(checkpoint.name, file, "dataset", problem)
        copies.delete(ready)
        reason = f"the dataset {checkpoint.place} is damaged and uploaded again"
        return EffectResult(
            (*found, *_facts(session, offer, UploadStatus("dropped", reason=reason))),
            _retry_later(snapshot, shell, reason),
        )
    fact = CheckpointPublished(number=session.number, attempt=session.attempt, sent_s=snapshot.watch.sent_s)
    return EffectResult((*found, fact), replace(_dataset_seen(snapshot, shell), sent_s=0.0))


def custody_of(state: RunState, session: Session, shell: EffectContext) -> CheckpointCopies:
    """Return the access to all copies of a session's checkpoint."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint"
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    checkpoint = state.checkpoint(session.checkpoint)
    return CheckpointCopies(checkpoint, session, shell.gateway, shell.home, quarantine, state.run, shell.identity)


def publish_inputs(snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Create the dataset of the pipeline's own files unless it exists."""
    run = snapshot.state.run
    files = [shell.home.inputs(run.id) / Path(name).name for name in pipeline.inputs.files]
    name, place = inputs_of(run.id), inputs_place(run)
    offer = DatasetUpload(
        name=name,
        place=place,
        taken=run.inputs_offered_at is not None,
        search_s=_search_s(place, snapshot, shell),
        run=run,
        files=files,
    )
    status = upload_status(offer, shell.gateway.find_dataset(place), shell)
    if status.seen is not None:
        wanted = {path.name: path.stat().st_size for path in files}
        if {file.name: file.size_bytes for file in status.seen.files} == wanted:
            return EffectResult((InputsPublished(),), _dataset_seen(snapshot, shell))
        status = unfinished(offer, "lists other files than were sent", shell)
    facts: tuple[Fact, ...] = ()
    if status.what == "offered":
        facts = (InputsOffered(dataset=place),)
    if status.what == "dropped":
        facts = (InputsDropped(dataset=offer.following, reason=status.reason), *offer.asks(status.reason))
    return EffectResult(facts, _dataset_seen(snapshot, shell, summed_up(offer, status)))


def _offer_of(checkpoint: Checkpoint, snapshot: Snapshot, shell: EffectContext) -> DatasetUpload:
    return DatasetUpload(
        name=checkpoint.name,
        place=checkpoint.place,
        taken=checkpoint.offered_at is not None,
        search_s=_search_s(checkpoint.place, snapshot, shell),
        run=snapshot.state.run,
        files=published_files(checkpoint, shell.home),
        sha256={entry.path: entry.sha256 for entry in entries_of(checkpoint)},  # as `repair` has just verified
    )


def _search_s(place: str, snapshot: Snapshot, shell: EffectContext) -> float:
    """Return the seconds for which a dataset has been searched for, this poll included; usually one every `poll_s`."""
    watch = snapshot.watch
    return search_time_s(watch, place, watch.dataset_polled_at, shell.limits.poll_s, shell.clock.now())


def _facts(session: Session, offer: DatasetUpload, status: UploadStatus) -> tuple[Fact, ...]:
    number, attempt = session.key
    match status.what:
        case "offered":
            return (DatasetOffered(number=number, attempt=attempt, dataset=offer.place),)
        case "dropped":
            dropped = DatasetDropped(number=number, attempt=attempt, dataset=offer.following, reason=status.reason)
            return (dropped, *offer.asks(status.reason))
        case "ready" | "awaited":
            return ()


def _dataset_seen(snapshot: Snapshot, shell: EffectContext, sums: dict[str, float] | None = None) -> PollState:
    """Return the poll state after polling a dataset; `sums` is from `summed_up`, while the dataset is searched for."""
    return replace(reset_failures(snapshot.watch), dataset_polled_at=shell.clock.now(), search_s=sums or {})


def published_files(checkpoint: Checkpoint, home: HomeLayout) -> list[Path]:
    """Return the local manifest and the files that it names, without compiled programs that arrived damaged."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    manifest = Manifest.from_json(checkpoint.manifest)
    paths = [folder / entry.path for entry in manifest.files]
    return [folder / MANIFEST_NAME, *(path for path in paths if path.name != COMPILED_NAME or path.exists())]


def _retry_later(snapshot: Snapshot, shell: EffectContext, why: str) -> PollState:
    """Return the poll state that retries later, without counting a failure."""
    again_at = shell.clock.now() + timedelta(seconds=shell.limits.retry_s)
    return replace(reset_failures(snapshot.watch), dataset_polled_at=None, not_before=again_at, failure=why)
