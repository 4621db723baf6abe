"""Uploads files to Kaggle as one dataset: under which name, how long relay waits, and when it tries another name.

Kaggle accepts a dataset and shows it later, sometimes never; a name that was used once may not become free again. So
each dataset is uploaded under a name of its own, searched for within time limits, and uploaded once more under the next
name; then the run is parked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from orchestrator.base.errors import NameTaken, NoRoom, Permanent
from orchestrator.base.humanize import duration
from orchestrator.core.search_time import search_time_s
from orchestrator.engine.checkpoint_checks import PROCESSED, refuse_public
from orchestrator.engine.effects.context import EffectContext, reset_failures
from orchestrator.engine.ownership import Mark, open_to_parking, refuse_overtaken
from orchestrator.platforms.names import name_in
from orchestrator.platforms.port import DatasetSeen
from state.facts.run import RunParked
from state.model.dataset_names import COPIES_MAX, copy_in, place_of
from state.model.poll_state import PollState
from state.model.run_state import Run
from state.model.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class DatasetUpload:
    """An upload of one dataset: `name` is its first name, `place` the current one."""

    name: str
    place: str
    taken: bool
    """True if relay knows that Kaggle accepted the dataset."""
    search_s: float
    """Seconds for which it has been searched for since Kaggle accepted it, this poll included."""
    run: Run
    files: Sequence[Path] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def following(self) -> str:
        """Name to try after the current one."""
        return place_of(self.name, copy_in(self.name, self.place) + 1)

    def asks(self, reason: str) -> tuple[RunParked, ...]:
        """Return the fact that parks the run, if the next name must not be tried without asking the user."""
        if copy_in(self.name, self.following) <= COPIES_MAX or not open_to_parking(self.run):
            return ()
        remedy = f"relay retry {self.run.id}"
        return (
            RunParked(
                reason=f"{reason}: look at the account's datasets and at the status page of {name_in(self.run.pipeline)}",
                remedy=remedy,
            ),
        )


@dataclass(frozen=True)
class UploadStatus:
    """Status of an upload. `ready`: processed, but the listing may lack files; `dropped`: failed, for `reason`."""

    what: Literal["ready", "offered", "awaited", "dropped"]
    seen: DatasetSeen | None = None
    reason: str = ""


def summed_up(offer: DatasetUpload, stand: UploadStatus) -> dict[str, float]:
    """Return the seconds searched so far, by dataset name; empty if the search is over."""
    match stand.what:
        case "offered":
            return {offer.place: 0.0}
        case "awaited":
            return {offer.place: offer.search_s}
        case "ready" | "dropped":
            return {}


def upload_status(offer: DatasetUpload, seen: DatasetSeen | None, shell: EffectContext) -> UploadStatus:
    """Return the status of an upload from Kaggle's answer `seen`; create a missing dataset. Safe to repeat.

    Raises Overtaken if another home folder made it, Permanent if it is public or there is no room for it, and the
    errors of `Platform.create_dataset`.
    """
    if seen is None:
        return _not_visible(offer, shell) if offer.taken else _create(offer, shell)
    refuse_overtaken(Mark.on_dataset(seen), f"the dataset {seen.ref}", offer.run, shell.identity)
    if seen.status == "failed":
        shell.gateway.delete_dataset(offer.place)
        return UploadStatus("dropped", reason=f"{shell.gateway.label} could not process the dataset {offer.place}")
    if seen.status == "ready":
        refuse_public(seen, offer.run.id)
        return UploadStatus("ready", seen)
    return unfinished(offer, seen.status, shell)


def unfinished(offer: DatasetUpload, how: str, shell: EffectContext) -> UploadStatus:
    """Return the status of an upload that Kaggle shows but is processing, or whose files it does not all list."""
    if not offer.taken:  # relay has not recorded yet that it was created
        return UploadStatus("offered")
    if offer.search_s <= shell.limits.processing_s:
        return UploadStatus("awaited")
    word = f"is still {how}" if how in PROCESSED else how
    return UploadStatus(
        "dropped",
        reason=f"{shell.gateway.label} took the dataset {offer.place}, and after {duration(offer.search_s)} it {word}",
    )


def _create(offer: DatasetUpload, shell: EffectContext) -> UploadStatus:
    try:
        shell.gateway.create_dataset(offer.place, offer.files, offer.sha256, Mark.of(offer.run, shell.identity).text)
    except NameTaken:
        return UploadStatus(
            "offered"
        )  # by relay, if a crash or a lost response came in between: search before deciding
    except NoRoom as error:
        raise Permanent(
            f"{error}: delete datasets that you no longer need on {shell.gateway.label}, then type relay retry {offer.run.id} (what "
            "was sent is not sent again)"
        ) from error
    return UploadStatus("offered")


def _not_visible(offer: DatasetUpload, shell: EffectContext) -> UploadStatus:
    """Return the status of an upload that Kaggle accepted, or said that it has, but does not show."""
    if offer.search_s <= shell.limits.visible_s:
        return UploadStatus("awaited")
    listed = offer.place in shell.gateway.list_datasets(offer.place)
    if listed and offer.search_s <= shell.limits.processing_s:
        return UploadStatus("awaited")
    reason = f"{shell.gateway.label} took the dataset {offer.place}, and after {duration(offer.search_s)} it does not show it"
    return UploadStatus("dropped", reason=f"{reason}, though it lists it" if listed else reason)


def search_s(place: str, snapshot: Snapshot, shell: EffectContext) -> float:
    """Return the seconds for which a dataset has been searched for, this poll included; usually one every `poll_s`."""
    watch = snapshot.watch
    return search_time_s(watch, place, watch.dataset_polled_at, shell.limits.poll_s, shell.clock.now())


def dataset_polled(snapshot: Snapshot, shell: EffectContext, sums: dict[str, float] | None = None) -> PollState:
    """Return the poll state after polling a dataset; `sums` is from `summed_up`, while the dataset is searched for."""
    return replace(reset_failures(snapshot.watch), dataset_polled_at=shell.clock.now(), search_s=sums or {})
