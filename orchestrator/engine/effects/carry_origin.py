"""Publishes another run's checkpoint, from which this run begins, on this run's platform, and checks that it is complete."""

from orchestrator.core.moving import carried_origin_of
from orchestrator.core.origins import origin_checkpoint
from orchestrator.engine.checkpoint_checks import damage_here, entries_of, lacking, listed_damage
from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.dataset_upload import (
    DatasetUpload,
    UploadStatus,
    dataset_polled,
    search_s,
    summed_up,
    unfinished,
    upload_status,
)
from orchestrator.engine.effects.publish import published_files
from orchestrator.engine.quarantine import Quarantine
from orchestrator.platforms.port import DatasetSeen
from state.facts.base import Fact
from state.facts.run import OriginCarried, OriginDropped, OriginOffered, RunParked
from state.model.run_origin import OFFERED
from state.model.run_state import Checkpoint, RunState
from state.model.snapshot import Snapshot


def carry_origin(snapshot: Snapshot, shell: EffectContext) -> EffectResult:
    """Create the dataset unless it exists; the checkpoint is carried over once its listing fits the manifest.

    Only bytes that match the manifest are uploaded: a damaged copy on this disk is fetched again from the other run's
    platform. If no intact copy is left, the run is parked.
    """
    run, other = snapshot.state.run, snapshot.origin
    assert run.origin is not None, "it begins from a checkpoint"
    assert other is not None, "it has the checkpoint"
    checkpoint = origin_checkpoint(run.origin, other)
    assert checkpoint is not None, "it has been found"
    name = carried_origin_of(run.id)
    place, taken = run.origin.carried or name, run.origin.carrying == OFFERED
    seen = shell.gateway.find_dataset(place)
    found: tuple[Fact, ...] = ()
    if seen is None and not taken:
        found, lost = _repaired(checkpoint, other, shell)
        if lost:
            reason = f"no intact copy of {checkpoint.name}, which the run begins from, is left: {lost}"
            return EffectResult((*found, RunParked(reason=reason, remedy=f"relay cancel {run.id}")))
    offer = DatasetUpload(
        name=name,
        place=place,
        taken=taken,
        search_s=search_s(place, snapshot, shell),
        run=run,
        files=published_files(checkpoint, shell.home),
        sha256={entry.path: entry.sha256 for entry in entries_of(checkpoint)},
    )
    status = upload_status(offer, seen, shell)
    if status.seen is not None:
        status = _compared(checkpoint, offer, status.seen, shell) or status
        if status.seen is not None:
            return EffectResult((*found, OriginCarried(dataset=place)), dataset_polled(snapshot, shell))
    facts: tuple[Fact, ...] = ()
    if status.what == "offered":
        facts = (OriginOffered(dataset=place),)
    if status.what == "dropped":
        facts = (OriginDropped(dataset=offer.following, reason=status.reason), *offer.asks(status.reason))
    return EffectResult((*found, *facts), dataset_polled(snapshot, shell, summed_up(offer, status)))


def _repaired(checkpoint: Checkpoint, other: RunState, shell: EffectContext) -> tuple[tuple[Fact, ...], str]:
    """Repair the copy on this disk; return the damage that was found, and why it cannot be repaired."""
    if not damage_here(checkpoint, shell.home):
        return (), ""
    session = other.session(checkpoint.session, checkpoint.attempt)
    quarantine = Quarantine(shell.home, other.run.id, shell.clock.now())
    gateway = shell.reach(other.run, other.run.platform)
    copies = CheckpointCopies(
        checkpoint, session, gateway, shell.home, quarantine, other.run, shell.identity, shell.reach
    )
    lost = copies.repair()
    return tuple(quarantine.found), lost


def _compared(
    checkpoint: Checkpoint, offer: DatasetUpload, seen: DatasetSeen, shell: EffectContext
) -> UploadStatus | None:
    """Return the status of a dataset whose listing does not fit the manifest yet, or never will; None if it fits."""
    if lacking(checkpoint, seen):
        return unfinished(offer, "does not list all of its files", shell)
    if listed_damage(checkpoint, seen):
        shell.gateway.delete_dataset(offer.place)
        return UploadStatus("dropped", reason=f"the dataset {offer.place} is damaged and uploaded again")
    return None
