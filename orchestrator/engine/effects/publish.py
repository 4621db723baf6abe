"""Publishes a checkpoint as a dataset and checks that it is complete."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from orchestrator.engine.checkpoint_checks import entries_of, lacking, listed_damage
from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.effects.context import EffectContext, EffectResult, reset_failures
from orchestrator.engine.effects.dataset_upload import (
    DatasetUpload,
    UploadStatus,
    dataset_polled,
    search_s,
    summed_up,
    unfinished,
    upload_status,
)
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import DatasetSeen
from stages.contract import COMPILED_NAME, MANIFEST_NAME, Manifest
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, DatasetDropped, DatasetOffered
from state.model.poll_state import PollState
from state.model.run_state import Checkpoint, Session
from state.model.snapshot import Snapshot


def publish(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Create the checkpoint's dataset unless it exists; it is published once Kaggle lists every file with its size.

    Only the bytes that were collected are uploaded: a damaged copy is repaired from Kaggle or given up.
    """
    copies = shell.copies_of(snapshot.state, session)
    checkpoint, found = copies.checkpoint, copies.quarantine.found
    seen = shell.gateway.find_dataset(checkpoint.place)
    if seen is None and checkpoint.offered_at is None and (lost := copies.repair()):
        return EffectResult((*found, copies.damaged(lost, pipeline)), dataset_polled(snapshot, shell))
    offer = _offer_of(checkpoint, snapshot, shell)
    began_s = shell.clock.monotonic()
    status = upload_status(offer, seen, shell)
    if status.seen is None:
        sent_s = shell.clock.monotonic() - began_s if seen is None and not offer.taken else snapshot.watch.sent_s
        watch = replace(dataset_polled(snapshot, shell, summed_up(offer, status)), sent_s=sent_s)
        return EffectResult((*found, *_facts(session, offer, status)), watch)
    ready = status.seen
    if lacking(checkpoint, ready):
        status = unfinished(offer, "does not list all of its files", shell)
        watch = dataset_polled(snapshot, shell, summed_up(offer, status))
        return EffectResult((*found, *_facts(session, offer, status)), watch)
    if damage := listed_damage(checkpoint, ready):
        status = _withdrawn(damage, ready, copies)
        watch = _retry_later(snapshot, shell, status.reason)
        return EffectResult((*found, *_facts(session, offer, status)), watch)
    fact = CheckpointPublished(number=session.number, attempt=session.attempt, sent_s=snapshot.watch.sent_s)
    return EffectResult((*found, fact), replace(dataset_polled(snapshot, shell), sent_s=0.0))


def _offer_of(checkpoint: Checkpoint, snapshot: Snapshot, shell: EffectContext) -> DatasetUpload:
    return DatasetUpload(
        name=checkpoint.name,
        place=checkpoint.place,
        taken=checkpoint.offered_at is not None,
        search_s=search_s(checkpoint.place, snapshot, shell),
        run=snapshot.state.run,
        files=published_files(checkpoint, shell.home),
        sha256={entry.path: entry.sha256 for entry in entries_of(checkpoint)},  # as `repair` has just verified
    )


def _withdrawn(damage: dict[str, str], seen: DatasetSeen, copies: CheckpointCopies) -> UploadStatus:
    """Delete a dataset whose listing differs from the manifest."""
    for file, problem in damage.items():
        copies.quarantine.note(copies.checkpoint.name, file, "dataset", problem)
    copies.delete(seen)
    return UploadStatus("dropped", reason=f"the dataset {copies.checkpoint.place} is damaged and uploaded again")


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
