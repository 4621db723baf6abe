"""Make a dataset of a checkpoint, or of the pipeline's own files, and see that it is whole."""

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
from state.facts import (
    CheckpointPublished,
    DatasetDropped,
    DatasetOffered,
    Fact,
    InputsDropped,
    InputsOffered,
    InputsPublished,
)
from state.model import Checkpoint, PollState, RunState, Session, Snapshot


def publish(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Make the checkpoint's dataset unless it exists; it counts once Kaggle lists every file with its size.

    Nothing is uploaded that is not, byte for byte, what was collected: a damaged copy is mended from Kaggle or given up.
    """
    custody = custody_of(snapshot.state, session, shell)
    checkpoint, found = custody.checkpoint, custody.quarantine.found
    seen = shell.gateway.find_dataset(checkpoint.place)
    if seen is None and checkpoint.offered_at is None and (lost := custody.repair()):
        return EffectResult((*found, custody.damaged(lost, pipeline)), _dataset_seen(snapshot, shell))
    offer = _offer_of(checkpoint, snapshot, shell)
    began_s = shell.clock.monotonic()
    stand = upload_status(offer, seen, shell)
    if stand.seen is None:
        sent_s = shell.clock.monotonic() - began_s if seen is None and not offer.taken else snapshot.watch.sent_s
        watch = replace(_dataset_seen(snapshot, shell, summed_up(offer, stand)), sent_s=sent_s)
        return EffectResult((*found, *_facts(session, offer, stand)), watch)
    ready = stand.seen
    if lacking(checkpoint, ready):
        stand = unfinished(offer, "lists not all of its files", shell)
        seen_so = _dataset_seen(snapshot, shell, summed_up(offer, stand))
        return EffectResult((*found, *_facts(session, offer, stand)), seen_so)
    if damage := listed_damage(checkpoint, ready):
        for file, problem in damage.items():
            custody.quarantine.note(checkpoint.name, file, "dataset", problem)
        custody.delete(ready)
        reason = f"the dataset {checkpoint.place} is damaged and uploaded again"
        return EffectResult(
            (*found, *_facts(session, offer, UploadStatus("dropped", reason=reason))), _later(snapshot, shell, reason)
        )
    fact = CheckpointPublished(number=session.number, attempt=session.attempt, sent_s=snapshot.watch.sent_s)
    return EffectResult((*found, fact), replace(_dataset_seen(snapshot, shell), sent_s=0.0))


def custody_of(state: RunState, session: Session, shell: EffectContext) -> CheckpointCopies:
    """What it takes to look after the checkpoint of a session."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint"
    quarantine = Quarantine(shell.home, session.run, shell.clock.now())
    checkpoint = state.checkpoint(session.checkpoint)
    return CheckpointCopies(checkpoint, session, shell.gateway, shell.home, quarantine, state.run, shell.identity)


def publish_inputs(snapshot: Snapshot, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Make the dataset of the pipeline's own files unless it exists."""
    run = snapshot.state.run
    files = [shell.home.inputs(run.id) / Path(name).name for name in pipeline.inputs.files]
    name, place = inputs_of(run.id), inputs_place(run)
    offer = DatasetUpload(
        name=name,
        place=place,
        taken=run.inputs_offered_at is not None,
        sought_s=_sought_s(place, snapshot, shell),
        run=run,
        files=files,
    )
    stand = upload_status(offer, shell.gateway.find_dataset(place), shell)
    if stand.seen is not None:
        wanted = {path.name: path.stat().st_size for path in files}
        if {file.name: file.size_bytes for file in stand.seen.files} == wanted:
            return EffectResult((InputsPublished(),), _dataset_seen(snapshot, shell))
        stand = unfinished(offer, "lists other files than were sent", shell)
    facts: tuple[Fact, ...] = ()
    if stand.what == "offered":
        facts = (InputsOffered(dataset=place),)
    if stand.what == "dropped":
        facts = (InputsDropped(dataset=offer.following, reason=stand.reason), *offer.asks(stand.reason))
    return EffectResult(facts, _dataset_seen(snapshot, shell, summed_up(offer, stand)))


def _offer_of(checkpoint: Checkpoint, snapshot: Snapshot, shell: EffectContext) -> DatasetUpload:
    return DatasetUpload(
        name=checkpoint.name,
        place=checkpoint.place,
        taken=checkpoint.offered_at is not None,
        sought_s=_sought_s(checkpoint.place, snapshot, shell),
        run=snapshot.state.run,
        files=published_files(checkpoint, shell.home),
        sha256={entry.path: entry.sha256 for entry in entries_of(checkpoint)},  # as `mend` has just found them
    )


def _sought_s(place: str, snapshot: Snapshot, shell: EffectContext) -> float:
    """Seconds for which a dataset has been looked for with this look: usually there is one every `poll_s`."""
    watch = snapshot.watch
    return search_time_s(watch, place, watch.dataset_looked_at, shell.limits.poll_s, shell.clock.now())


def _facts(session: Session, offer: DatasetUpload, stand: UploadStatus) -> tuple[Fact, ...]:
    number, attempt = session.key
    match stand.what:
        case "offered":
            return (DatasetOffered(number=number, attempt=attempt, dataset=offer.place),)
        case "dropped":
            dropped = DatasetDropped(number=number, attempt=attempt, dataset=offer.following, reason=stand.reason)
            return (dropped, *offer.asks(stand.reason))
        case "ready" | "awaited":
            return ()


def _dataset_seen(snapshot: Snapshot, shell: EffectContext, sums: dict[str, float] | None = None) -> PollState:
    """What is remembered after a look at a dataset; `sums` by `summed_up`, where it is looked for."""
    return replace(reset_failures(snapshot.watch), dataset_looked_at=shell.clock.now(), sought_s=sums or {})


def published_files(checkpoint: Checkpoint, home: HomeLayout) -> list[Path]:
    """The manifest and every file that it names, on this disk; compiled programs that arrived damaged are not."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    manifest = Manifest.from_json(checkpoint.manifest)
    paths = [folder / entry.path for entry in manifest.files]
    return [folder / MANIFEST_NAME, *(path for path in paths if path.name != COMPILED_NAME or path.exists())]


def _later(snapshot: Snapshot, shell: EffectContext, why: str) -> PollState:
    """No failure, but no use in asking again at once."""
    again_at = shell.clock.now() + timedelta(seconds=shell.limits.retry_s)
    return replace(reset_failures(snapshot.watch), dataset_looked_at=None, not_before=again_at, failure=why)
