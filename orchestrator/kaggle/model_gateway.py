"""The port to the account's own Kaggle Models, which only `relay publish` needs. `models.ModelApi` implements it.

The general rules are those of `gateway`: Transient means that no change is known to have happened, Ambiguous that it may
have. Privacy belongs to a model, not to its variations and versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.platforms.port import DatasetFile, Reached, ignore_progress


@dataclass(frozen=True, kw_only=True)
class VariationPlace:
    """Place of versions: `framework` is spelt as in URLs, such as `jax` or `pyTorch`."""

    owner: str
    model: str
    framework: str
    variation: str

    @property
    def model_ref(self) -> str:
        """Reference of the model, as owner/model."""
        return f"{self.owner}/{self.model}"

    def __str__(self) -> str:
        return f"{self.model_ref}/{self.framework}/{self.variation}"


@dataclass(frozen=True, kw_only=True)
class ModelSeen:
    """A model of the account. `variations` are those with a version that has been processed, as framework/variation."""

    private: bool
    variations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VariationAbout:
    """Metadata of a new variation, in Markdown. The base is a Kaggle model, an address, or unknown."""

    overview: str
    usage: str
    license_name: str
    base: str = ""
    """Base model on Kaggle, as owner/model/framework/variation."""
    base_url: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelUpload:
    """Files of one version by their names in it, which may have folders, with their SHA-256."""

    files: Mapping[str, Path]
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by name, of files that the caller has just verified."""

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each file in bytes, as it will be listed."""
        return {name: path.stat().st_size for name, path in self.files.items()}


class ModelGateway(Protocol):
    """The account's own models on Kaggle."""

    def require_framework(self, name: str) -> None:
        """Raise BadInput for a framework that Kaggle does not have. Makes no call."""

    def find(self, owner: str, model: str) -> ModelSeen | None:
        """Return the model, or None if Kaggle says there is none (403 and 404 alike)."""

    def create(self, owner: str, model: str, description: str) -> None:
        """Create a private model. Raises NameTaken if it exists, Refused, or Ambiguous if the answer was lost."""

    def make_public(self, owner: str, model: str) -> None:
        """Make a model public with all its versions. Safe to repeat. Raises Refused, for example without a licence."""

    def versions(self, place: VariationPlace) -> tuple[int, ...]:
        """Return the numbers of all versions, processed or not; none if the variation does not exist."""

    def current_version(self, place: VariationPlace) -> int | None:
        """Return the newest processed version; None while there is none."""

    def version_files(self, place: VariationPlace, number: int) -> tuple[DatasetFile, ...]:
        """List a version's files, from all pages; none while it is being processed."""

    def processing_failure(self, place: VariationPlace, number: int) -> str:
        """Return why Kaggle failed to process a version; empty if it has not failed, as far as Kaggle says."""

    def create_variation(
        self, place: VariationPlace, upload: ModelUpload, about: VariationAbout, reached: Reached = ignore_progress
    ) -> int | None:
        """Upload files, resuming interrupted uploads, and create a variation with them as its first version.

        Returns the version's number, or None if the answer does not name it. Raises NameTaken if it exists, Refused, Ambiguous if the answer was lost.
        """

    def create_version(
        self, place: VariationPlace, upload: ModelUpload, notes: str, reached: Reached = ignore_progress
    ) -> int | None:
        """Upload files and add a version with them to a variation. Not safe to repeat: each call adds one.

        Returns and raises what `create_variation` does.
        """

    def forget_uploads(self, place: VariationPlace) -> None:
        """Delete the journal of a variation's uploads, once its version is there."""
