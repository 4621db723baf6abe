"""Get files to Kaggle as one dataset: under which name, how long it is waited for, and when another name is tried.

Kaggle takes a dataset and shows it later, sometimes never; a name that was used once need not become free again. So each
dataset is offered under a name of its own, looked for within bounds, and offered once more under the next name; then a
person is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.base.errors import NameTaken, NoRoom, Permanent
from orchestrator.base.humanize import duration
from orchestrator.engine.checkpoint_copies import PROCESSED, refuse_public
from orchestrator.engine.effects.context import EffectContext
from orchestrator.engine.ownership import Mark, open_to_parking, refuse_overtaken
from orchestrator.kaggle.gateway import DatasetSeen
from state.facts import RunParked
from state.model import COPIES_MAX, Run, copy_in, place_of


@dataclass(frozen=True, kw_only=True)
class DatasetUpload:
    """One dataset that Kaggle is to have: `name` is its first name, `place` the one that is used now."""

    name: str
    place: str
    taken: bool
    """Whether Kaggle took it, as far as we know."""
    sought_s: float
    """For how long it has been looked for since then, with this look."""
    run: Run
    files: Sequence[Path] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def following(self) -> str:
        """The name after this one."""
        return place_of(self.name, copy_in(self.name, self.place) + 1)

    def asks(self, reason: str) -> tuple[RunParked, ...]:
        """What asks a person about the following name, where that is not to be tried without one."""
        if copy_in(self.name, self.following) <= COPIES_MAX or not open_to_parking(self.run):
            return ()
        remedy = f"relay retry {self.run.id}"
        return (
            RunParked(reason=f"{reason}: look at the account's datasets and at Kaggle's status page", remedy=remedy),
        )


@dataclass(frozen=True)
class UploadStatus:
    """How an offer stands. `ready`: processed, though not every file need be listed; `dropped`: why it came to nothing."""

    what: Literal["ready", "offered", "awaited", "dropped"]
    seen: DatasetSeen | None = None
    reason: str = ""


def summed_up(offer: DatasetUpload, stand: UploadStatus) -> dict[str, float]:
    """For how long the offer has been looked for, by its name; empty where it is looked for no more."""
    match stand.what:
        case "offered":
            return {offer.place: 0.0}
        case "awaited":
            return {offer.place: offer.sought_s}
        case "ready" | "dropped":
            return {}


def upload_status(offer: DatasetUpload, seen: DatasetSeen | None, shell: EffectContext) -> UploadStatus:
    """How Kaggle's answer `seen` makes an offer stand; what is not there is made. Safe to repeat.

    Raises Overtaken where another home folder made it, Permanent where it is public or there is no room for it, and as
    `Gateway.create_dataset` does.
    """
    if seen is None:
        return _unseen(offer, shell) if offer.taken else _made(offer, shell)
    refuse_overtaken(Mark.on_dataset(seen), f"the dataset {seen.ref}", offer.run, shell.identity)
    if seen.status == "failed":
        shell.gateway.delete_dataset(offer.place)
        return UploadStatus("dropped", reason=f"Kaggle could not process the dataset {offer.place}")
    if seen.status == "ready":
        refuse_public(seen, offer.run.id)
        return UploadStatus("ready", seen)
    return unfinished(offer, seen.status, shell)


def unfinished(offer: DatasetUpload, how: str, shell: EffectContext) -> UploadStatus:
    """How an offer stands that Kaggle shows and has not finished with, or does not list all files of."""
    if not offer.taken:  # nobody noted that it was made
        return UploadStatus("offered")
    if offer.sought_s <= shell.limits.processing_s:
        return UploadStatus("awaited")
    word = f"is still {how}" if how in PROCESSED else how
    return UploadStatus(
        "dropped", reason=f"Kaggle took the dataset {offer.place}, and after {duration(offer.sought_s)} it {word}"
    )


def _made(offer: DatasetUpload, shell: EffectContext) -> UploadStatus:
    try:
        shell.gateway.create_dataset(offer.place, offer.files, offer.sha256, Mark.of(offer.run, shell.identity).text)
    except NameTaken:
        return UploadStatus(
            "offered"
        )  # by us, if a crash or a lost answer came between: it is looked for before that is decided
    except NoRoom as error:
        raise Permanent(
            f"{error}: delete datasets that you no longer need on Kaggle, then type relay retry {offer.run.id} (what was sent "
            "is not sent again)"
        ) from error
    return UploadStatus("offered")


def _unseen(offer: DatasetUpload, shell: EffectContext) -> UploadStatus:
    """Of what Kaggle took, or said that it has, and does not show."""
    if offer.sought_s <= shell.limits.visible_s:
        return UploadStatus("awaited")
    listed = offer.place in shell.gateway.list_datasets(offer.place)
    if listed and offer.sought_s <= shell.limits.processing_s:
        return UploadStatus("awaited")
    reason = f"Kaggle took the dataset {offer.place}, and after {duration(offer.sought_s)} it does not show it"
    return UploadStatus("dropped", reason=f"{reason}, though it lists it" if listed else reason)
