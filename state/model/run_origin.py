"""Checkpoint of another run that a run begins from."""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract import HISTORY, Cursor
from stages.documents import Document

OFFERED, PUBLISHED = "offered", "published"


@dataclass(frozen=True, kw_only=True)
class RunOrigin(Document):
    """Checkpoint of another run, and what the run that begins from it takes over."""

    run: str
    """Id of the run that the checkpoint belongs to."""
    cursor: Cursor
    keeps: str
    """HISTORY of a fork, OPTIMIZER or WEIGHTS of a warm start (`stages.contract`)."""
    checkpoint: str = ""
    """Name of the checkpoint; empty until the other run has it."""
    digest: str = ""
    """Digest of its manifest; empty until the other run has it."""
    dataset: str = ""
    """Slug of its dataset on Kaggle when the run began; used if the other run is not in the database."""
    carried: str | None = None
    """Slug of its dataset on the run's own platform, if the checkpoint was made on another one; None before relay uploads it
    there."""
    carrying: str | None = None
    """OFFERED once the run's platform has accepted that dataset, PUBLISHED once it is complete; None before that."""

    absent_if_none: ClassVar[tuple[str, ...]] = ("carried", "carrying")

    @property
    def found(self) -> bool:
        """True once the other run has the checkpoint."""
        return bool(self.digest)

    @property
    def is_fork(self) -> bool:
        """True if the run continues the other run's history."""
        return self.keeps == HISTORY

    @property
    def place(self) -> str:
        """The checkpoint's place in the other run, as `STAGE:STEP`."""
        return f"{self.cursor.stage}:{self.cursor.step}"
