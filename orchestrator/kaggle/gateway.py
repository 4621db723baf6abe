"""The port to a Kaggle account: a platform, and what only Kaggle has, models and datasets of any owner.

`client.KaggleGateway` and the simulator's world implement it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.platforms.port import Platform


class Access(StrEnum):
    """Permission of this account to read a model or dataset."""

    READABLE = "readable"
    DENIED = "denied"
    """Kaggle returns 403: the resource does not exist, is private, or its licence has not been accepted."""
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class SourceSeen:
    """A model or dataset as this account sees it; `size_bytes` is None if Kaggle does not return it."""

    ref: str
    access: Access
    size_bytes: int | None = None
    reason: str = ""
    """Kaggle's own message if the source is not readable."""


class Gateway(Platform, Protocol):
    """The Kaggle account that relay works with."""

    def see_model(self, ref: str) -> SourceSeen:
        """Look up a model version (`owner/model/framework/variation/version`), including the URL of one of its files.

        An account that can see a model cannot always read it: its licence may have to be accepted first.
        """

    def download_model(self, ref: str, into: Path) -> None:
        """Download every file of a model version below `into`. Safe to repeat: whole files are kept.

        Kaggle gives no checksums of models: only the sizes are compared. Precondition: `see_model` found it readable.
        """

    def see_dataset(self, ref: str) -> SourceSeen:
        """Look up a dataset of any owner (`owner/slug`)."""

    def add_dataset_version(self, slug: str, files: Sequence[Path], notes: str) -> None:
        """Upload files and make them the next version of a dataset, which then has these files alone.

        Returns before Kaggle has processed the version. Not safe to repeat: each call adds a version. Precondition: an
        earlier version is ready. Raises Refused, or Ambiguous if the answer was lost.
        """
