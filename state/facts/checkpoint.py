"""Facts about a collected checkpoint: its upload, its verification, its removal."""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract import Cursor
from state.facts.base import Fact, SessionFact


@dataclass(frozen=True, kw_only=True)
class PublishIntended(SessionFact):
    name: ClassVar[str] = "publish_intended"


@dataclass(frozen=True, kw_only=True)
class DatasetOffered(SessionFact):
    """Kaggle accepted the checkpoint's files as a dataset with this slug, or already has one; relay polls for it."""

    name: ClassVar[str] = "dataset_offered"
    dataset: str


@dataclass(frozen=True, kw_only=True)
class DatasetDropped(SessionFact):
    """The checkpoint's upload failed for good. The next one uses the slug `dataset`: the old one may stay reserved."""

    name: ClassVar[str] = "dataset_dropped"
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckpointPublished(SessionFact):
    name: ClassVar[str] = "checkpoint_published"
    sent_s: float = 0.0
    """Upload time in seconds, without files sent earlier; 0 if another process did it."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInspected(SessionFact):
    """Every byte of the checkpoint's dataset matches the manifest."""

    name: ClassVar[str] = "checkpoint_inspected"


@dataclass(frozen=True, kw_only=True)
class CheckpointWithdrawn(SessionFact):
    """The checkpoint's dataset was damaged and has been removed; the copy on the local disk is intact."""

    name: ClassVar[str] = "checkpoint_withdrawn"
    reason: str
    dataset: str = ""
    """Slug of the next dataset; empty if it keeps its slug."""


@dataclass(frozen=True, kw_only=True)
class CheckpointCarried(SessionFact):
    """The checkpoint's dataset is on a platform that the run has left; it is published once more, on the run's own.

    The dataset that it has is left where it is, and no session of this run mounts it any more.
    """

    name: ClassVar[str] = "checkpoint_carried"


@dataclass(frozen=True, kw_only=True)
class CheckpointDamaged(SessionFact):
    """No intact copy of the session's checkpoint is left, neither on the local disk nor on Kaggle."""

    name: ClassVar[str] = "checkpoint_damaged"
    reason: str
    steps_lost: int = 0


@dataclass(frozen=True, kw_only=True)
class CheckpointPruned(Fact):
    name: ClassVar[str] = "checkpoint_pruned"
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class DamageFound(Fact):
    """A file does not match its manifest; no session has trained on it."""

    name: ClassVar[str] = "damage_found"
    checkpoint: str
    file: str
    place: str
    """Location of the damaged file: `output`, `disk` or `dataset`."""
    problem: str
    kept: str = ""
    """Name of the file in the run's quarantine; empty if there was nothing to keep or no disk space for it."""


@dataclass(frozen=True, kw_only=True)
class ModelPublished(Fact):
    """An export of a checkpoint was published as a model, and the list of its files was compared with the export."""

    name: ClassVar[str] = "model_published"
    place: str
    """`kaggle` or `huggingface`."""
    model: str
    """owner/model/framework/variation/version on Kaggle, owner/model@commit at Hugging Face."""
    url: str
    public: bool
    layout: str
    dtype: str
    cursor: Cursor
    checkpoint: str
    """Digest of the exported checkpoint's manifest."""
    weights_sha256: str
    """Digest of the exported weights, as in the export's manifest."""
    files: int
    size_bytes: int
