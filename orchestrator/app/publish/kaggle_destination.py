"""Kaggle Models as the place to publish at: what may go where, what becomes public, and which texts go with it."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.app.app import App
from orchestrator.app.publish import documents
from orchestrator.app.publish.export_folder import ExportFolder, WantedExport
from orchestrator.app.publish.kaggle_model import NewVersion, VersionPublisher, is_there, published_at
from orchestrator.app.publish.progress import PublishReport
from orchestrator.base.disk import disk_errors, private_folder, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.kaggle.gateway import Access
from orchestrator.kaggle.model_gateway import ModelSeen, ModelUpload, VariationAbout, VariationPlace
from orchestrator.pipeline.model import Pipeline
from stages.contract import FileEntry
from stages.formats.card import base_model
from stages.formats.export_manifest import EXPORT_NAME, ExportManifest
from stages.session import packing
from state.facts.checkpoint import ModelPublished
from state.model.run_state import RunState

SITE = "https://www.kaggle.com/models"
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VARIATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class KaggleChoice:
    """The model, as owner/name, and what the user chose for its variation; None stands for the layout's default."""

    model: str
    framework: str | None = None
    variation: str | None = None
    public: bool = False


class KaggleDestination:
    """A Kaggle Model of the account. Raises BadInput, before anything is made, for what cannot be published there."""

    def __init__(self, app: App, state: RunState, choice: KaggleChoice) -> None:
        self._app = app
        self._state = state
        self._choice = choice
        self._owner, self._slug = _parts(choice)
        self._seen = self._checked()
        self._forget: Callable[[], None] = lambda: None

    def place(self, manifest: ExportManifest) -> VariationPlace:
        """Return where a version of this export goes."""
        return VariationPlace(
            owner=self._owner,
            model=self._slug,
            framework=self._choice.framework or documents.FRAMEWORKS[manifest.layout],
            variation=self._choice.variation or documents.variation_of(manifest),
        )

    def becomes_public(self, export: ExportFolder) -> list[str]:
        """Return a line for each thing that everybody will see; none if the model stays private."""
        if not self._choice.public:
            return []
        place, seen = self.place(export.manifest), self._seen
        others = () if seen is None or not seen.private else seen.variations
        return [
            f"the Kaggle Model {place.model_ref}"
            + (f", with all versions of its variations {', '.join(others)}" if others else ""),
            f"a version of {place}: {counted(len(export.manifest.files), 'file')}, {export.size_bytes:,} bytes",
        ]

    def publish(self, export: ExportFolder, report: PublishReport) -> tuple[ModelPublished, list[str]]:
        """Publish the export; returns the fact and lines for the user."""
        manifest, place = export.manifest, self.place(export.manifest)
        folder = self._app.home.publishing / str(place).replace("/", "+")
        version = self._version(export, place, folder)
        publisher = VersionPublisher(self._app.own_models, self._app.clock, folder, report)
        wanted = WantedExport(
            layout=manifest.layout,
            dtype=manifest.dtype,
            checkpoint=manifest.checkpoint,
            weights_sha256=manifest.weights_sha256,
        )
        known = next((fact for fact in self._published(wanted) if published_at(fact)[0] == place), None)
        number = publisher.publish(version, known, public=self._choice.public)
        self._forget = partial(publisher.forget, place)
        ref = f"{place}/{number}"
        fact = ModelPublished(
            place="kaggle",
            model=ref,
            url=f"{SITE}/{ref}",
            public=self._choice.public,
            layout=manifest.layout,
            dtype=manifest.dtype,
            cursor=manifest.cursor,
            checkpoint=manifest.checkpoint,
            weights_sha256=manifest.weights_sha256,
            files=len(version.upload.files),
            size_bytes=sum(version.upload.sizes.values()),
        )
        return fact, _lines(fact)

    def published(self, wanted: WantedExport) -> list[str]:
        """Return the lines of a version that was published before and still is there; none if an export is needed.

        It is needed also to make a private model public, since the question about that tells its files and licences.
        """
        if self._choice.public and (self._seen is None or self._seen.private):
            return []
        model = Pipeline.from_canonical(self._state.run.pipeline).loaded_model
        framework = self._choice.framework or documents.FRAMEWORKS[wanted.layout]
        for fact in self._published(wanted):
            place, chosen = published_at(fact)[0], self._choice.variation
            usual = model is not None and documents.is_usual_variation(
                place.variation, wanted.layout, base_model(model)
            )
            if place.framework == framework and (place.variation == chosen or (chosen is None and usual)):
                return _lines(fact) if is_there(self._app.own_models, fact) else []
        return []

    def _published(self, wanted: WantedExport) -> Iterator[ModelPublished]:
        """Yield the facts of versions of this model with the same weights, the newest first."""
        for _, fact in reversed(self._app.store.facts(self._state.run.id)):
            if not isinstance(fact, ModelPublished) or fact.place != "kaggle" or not wanted.is_in(fact):
                continue
            if published_at(fact)[0].model_ref == f"{self._owner}/{self._slug}":
                yield fact

    def finish(self) -> None:
        self._forget()

    def _checked(self) -> ModelSeen | None:
        account = self._app.gateway.owner()
        if self._owner != account:
            raise BadInput(
                f"--model {self._choice.model}: the credentials are {account}'s: write --model {account}/{self._slug}"
            )
        if self._choice.framework is not None:
            self._app.own_models.require_framework(self._choice.framework)
        self._require_base()
        seen = self._app.own_models.find(self._owner, self._slug)
        if seen is not None and not seen.private and not self._choice.public:
            raise BadInput(
                f"{self._choice.model} is public, and so would be every version of it: add --public, or name another model"
            )
        return seen

    def _require_base(self) -> None:
        """Raise BadInput unless this account may read the base model, which on Kaggle means that it accepted its licence."""
        base = self._base
        if not base:
            return
        seen = self._app.gateway.see_model(base)
        if seen.access is not Access.READABLE:
            raise BadInput(
                f"the licence of the base model {base} is not accepted by this account, or the model is gone ({seen.reason}): "
                f"accept it on {SITE}/{base} first"
            )

    @property
    def _base(self) -> str:
        model = Pipeline.from_canonical(self._state.run.pipeline).loaded_model
        return model.kaggle_model if model is not None else ""

    def _version(self, export: ExportFolder, place: VariationPlace, folder: Path) -> NewVersion:
        """Write the two files that an export lacks, and describe the version."""
        manifest = export.manifest
        notice, listing = folder / documents.NOTICE_NAME, folder / EXPORT_NAME
        text = documents.notice(manifest).encode()
        with disk_errors(folder):
            write_whole(private_folder(folder) / notice.name, text)
            entry = FileEntry(path=notice.name, size_bytes=len(text), sha256=packing.sha256_of(notice))
            named = documents.manifest_of_version(manifest, place.variation, (entry,))
            write_whole(listing, named.to_json().encode())
            card = (export.path / documents.CARD_NAME).read_text(encoding="utf-8")
        names = documents.names_in_version(manifest, place.variation)
        files = {name: export.path / path for name, path in names.items()}
        base = self._base.rpartition("/")[0]
        return NewVersion(
            place=place,
            upload=ModelUpload(
                files={**files, notice.name: notice, listing.name: listing},
                sha256={entry.path: entry.sha256 for entry in named.files},
            ),
            content=hashlib.sha256(named.to_json().encode()).hexdigest(),
            about=VariationAbout(
                overview=documents.overview(manifest),
                usage=documents.usage(manifest, str(place)),
                license_name=documents.LICENCE,
                base=base,
                base_url=""
                if base or manifest.base_model.count("/") != 1
                else f"https://huggingface.co/{manifest.base_model}",
            ),
            description=documents.description(card),
            notes=f"{manifest.run}, {manifest.cursor.stage} step {manifest.cursor.step}, checkpoint {manifest.checkpoint[:12]}",
        )


def usual_layout(pipeline: Pipeline) -> str:
    """Return the format in which Tunix's loaders take the model: their own, for a family that they read so."""
    trained = pipeline.loaded_model
    return "tunix" if trained is None or trained.family.has_flax else "safetensors"


def _parts(choice: KaggleChoice) -> tuple[str, str]:
    owner, _, slug = choice.model.partition("/")
    if not owner or not SLUG.fullmatch(slug):
        raise BadInput(
            f"--model {choice.model}: write owner/name, where the name has lower-case letters, digits and single hyphens"
        )
    if choice.variation is not None and not VARIATION.fullmatch(choice.variation):
        raise BadInput(f"--variation {choice.variation}: write letters, digits, hyphens, underscores and dots")
    return owner, slug


def _lines(fact: ModelPublished) -> list[str]:
    return [
        f"Model ID  {fact.model}",
        f"page      {fact.url}",
        f'notebook  unrestricted_kaggle_model = "{published_at(fact)[0].model_ref}"',
        f'load      kagglehub.model_download("{fact.model}")',
    ]
