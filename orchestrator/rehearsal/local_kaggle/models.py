"""Models of the local Kaggle: variations per framework, with numbered versions that take time to become ready."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from orchestrator.rehearsal.local_kaggle.datasets import extracted, refuse_names
from orchestrator.rehearsal.local_kaggle.delayed_effects import DelayedEffects
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, DatasetAction, ModelAction, ModelFault
from orchestrator.rehearsal.local_kaggle.model_records import (
    Declined,
    KaggleModel,
    ModelText,
    ModelVersion,
    Variation,
    VariationText,
    framework_named,
)
from orchestrator.rehearsal.local_kaggle.rules import CONSENT_MESSAGE, KaggleRefusal, Rules
from orchestrator.rehearsal.local_kaggle.stored_file import Files

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

LICENSES = (
    "Apache 2.0",
    "Attribution 3.0 IGO (CC BY 3.0 IGO)",
    "Attribution 3.0 Unported (CC BY 3.0)",
    "Attribution 4.0 International (CC BY 4.0)",
    "Attribution-NoDerivatives 4.0 International (CC BY-ND 4.0)",
    "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
    "Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)",
    "Attribution-NonCommercial-ShareAlike 3.0 IGO (CC BY-NC-SA 3.0 IGO)",
    "BSD-3-Clause",
    "CC BY-NC-SA 4.0",
    "CC BY-SA 3.0",
    "CC BY-SA 4.0",
    "CC0: Public Domain",
    "Community Data License Agreement - Permissive - Version 1.0",
    "Community Data License Agreement - Sharing - Version 1.0",
    "GNU Affero General Public License 3.0",
    "GNU Free Documentation License 1.3",
    "GNU Lesser General Public License 3.0",
    "GPL 2",
    "GPL 3",
    "MIT",
    "ODC Attribution License (ODC-By)",
    "ODC Public Domain Dedication and Licence (PDDL)",
    "Other",
    "Other (specified in description)",
)
"""Licences in Kaggle's documentation of model metadata, and two more from its maintainers (kaggle-cli issue 609)."""

OFFERED = datetime(2025, 1, 1, tzinfo=UTC)
"""Creation time of models that belong to other accounts."""


class Models:
    """All models of the local Kaggle. The caller holds the world's lock."""

    def __init__(
        self, rules: Rules, injector: FaultInjector | None = None, delayed: DelayedEffects | None = None
    ) -> None:
        self._rules = rules
        self._injector = injector or FaultInjector(NO_FAULTS)
        self._delayed = delayed or DelayedEffects()
        self._models: dict[tuple[str, str], KaggleModel] = {}
        self._ids = 300_000

    def all(self) -> list[KaggleModel]:
        """Return every model, oldest first."""
        return list(self._models.values())

    def find(self, owner: str, slug: str) -> KaggleModel:
        """Return a model. Raises KaggleRefusal if there is none."""
        model = self._models.get((owner, slug))
        if model is None:
            raise KaggleRefusal(404, "Model not found")
        return model

    def variation(self, owner: str, slug: str, framework: str, variation: str) -> tuple[KaggleModel, Variation]:
        """Return a variation and its model. Raises KaggleRefusal if there is none."""
        model = self._models.get((owner, slug))
        found = model.find(framework, variation) if model is not None else None
        if model is None or found is None:
            raise KaggleRefusal(404, "Model instance not found")
        return model, found

    def version(self, ref: str) -> ModelVersion:
        """Return the version owner/model/framework/variation/N. Raises KaggleRefusal if there is none."""
        owner, slug, framework, variation, number = _parts(ref)
        return self.variation(owner, slug, framework, variation)[1].version(number)

    def files(self, ref: str, now: datetime) -> Files:
        """Return a version's files. Raises KaggleRefusal if they are not ready or the licence was not accepted."""
        return readable(self.version(ref), now)

    def is_source(self, ref: str) -> bool:
        """Return True if a session may mount the version: it exists and its licence was accepted."""
        try:
            return self.version(ref).accepted
        except KaggleRefusal:
            return False

    def is_ready(self, ref: str, now: datetime) -> bool:
        """Return True if a session that starts now finds the version mounted."""
        return self.is_source(ref) and self.version(ref).is_ready(now)

    def offer(self, ref: str, files: Files, accepted: bool = True) -> None:
        """Add a version published by another account, replacing one with the same number."""
        owner, slug, framework, name, number = _parts(ref)
        model = self._models.get((owner, slug))
        if model is None:
            model = self._model(owner, slug, ModelText(title=slug, is_private=False), OFFERED)
        variation = model.find(framework, name)
        if variation is None:
            variation = Variation(self._id(), framework_named(framework) or "OTHER", name, VariationText())
            model.variations.append(variation)
        version = ModelVersion(
            id=self._id(),
            number=number,
            created=OFFERED,
            ready_at=OFFERED,
            notes="",
            files=files,
            accepted=accepted,
        )
        others = [other for other in variation.versions if other.number != number]
        variation.versions = sorted([*others, version], key=lambda other: other.number)
        variation.numbered = max(variation.numbered, number)

    def create(self, owner: str, slug: str, about: ModelText, now: datetime) -> KaggleModel:
        """Create a model without variations. Raises Declined."""
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
            raise Declined(400, "The model slug must consist of lower-case letters and digits, joined by hyphens")
        if not about.title.strip():
            raise Declined(400, "The model needs a title")
        if (owner, slug) in self._models:
            raise Declined(409, f'The requested slug "{slug}" is already in use by a model. Please choose another one.')
        return self._model(owner, slug, about, now)

    def describe(self, model: KaggleModel, about: ModelText, now: datetime) -> None:
        """Replace the metadata of a model. Raises Declined if it would be public without a licence."""
        if not about.title.strip():
            raise Declined(400, "The model needs a title")
        if not about.is_private:
            for variation in model.variations:
                _require_license(variation.about, public=True)
        model.about, model.updated = about, now

    def delete(self, model: KaggleModel) -> None:
        """Delete a model with its variations and versions."""
        del self._models[model.owner, model.slug]

    def create_variation(
        self, model: KaggleModel, framework: str, slug: str, about: VariationText, files: Files, now: datetime
    ) -> Variation:
        """Create a variation with its first version. Raises Declined."""
        known = framework_named(framework)
        if known is None:
            raise Declined(400, "The framework of the model instance is not specified")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", slug):
            raise Declined(
                400, "The model instance slug must consist of letters, digits, hyphens, underscores and dots"
            )
        if model.find(known, slug) is not None:
            raise Declined(409, f"{model.ref} has a model instance {slug} of this framework already")
        _require_license(about, public=not model.about.is_private)
        _refuse_odd_base(about)
        _refuse_files(files)
        variation = Variation(self._id(), known, slug, about)

        def make(at: datetime, fault: ModelFault | None) -> Variation:
            if model.find(known, slug) is None:  # a late one may find that another was made meanwhile
                self._append_version(model, variation, files, "", at, fault)
                model.variations.append(variation)
            return variation

        return self._made(make, now)

    def describe_variation(self, model: KaggleModel, variation: Variation, about: VariationText, now: datetime) -> None:
        """Replace the metadata of a variation. Raises Declined."""
        _require_license(about, public=not model.about.is_private)
        _refuse_odd_base(about)
        variation.about, model.updated = about, now

    def add_version(
        self, model: KaggleModel, variation: Variation, files: Files, notes: str, now: datetime
    ) -> ModelVersion:
        """Add a version with exactly these files, even while an older one is being processed. Raises Declined."""
        _refuse_files(files)

        def make(at: datetime, fault: ModelFault | None) -> ModelVersion:
            return self._append_version(model, variation, files, notes, at, fault)

        return self._made(make, now)

    def _made(self, make: Callable[[datetime, ModelFault | None], T], now: datetime) -> T:
        """Make a version, or let a fault make it later: then the answer is a 504."""
        fault = self._injector.model()
        if fault is not None and fault.action is ModelAction.LATE:
            self._delayed.after(now, fault.seconds, lambda at: make(at, None))
            raise KaggleRefusal(504, "Gateway Timeout")
        return make(now, fault)

    def _append_version(
        self,
        model: KaggleModel,
        variation: Variation,
        files: Files,
        notes: str,
        now: datetime,
        fault: ModelFault | None,
    ) -> ModelVersion:
        number = variation.numbered + 1
        ref = f"{model.ref}/{variation.framework}/{variation.slug}/{number}"
        processing_s = self._rules.wait_s(self._rules.dataset_processing_s, ref)
        if fault is not None and fault.action is ModelAction.SLOW:
            processing_s += fault.seconds
        version = ModelVersion(
            id=self._id(),
            number=number,
            created=now,
            ready_at=now + timedelta(seconds=processing_s),
            notes=notes,
            files=dict(extracted(files.items(), now)) if self._rules.extracts_archives else dict(files),
            fault=DatasetAction.FAIL if fault is not None and fault.action is ModelAction.FAIL else None,
        )
        variation.versions.append(version)
        variation.numbered, model.updated = number, now
        return version

    def _model(self, owner: str, slug: str, about: ModelText, now: datetime) -> KaggleModel:
        model = KaggleModel(self._id(), owner, slug, about, now, now)
        self._models[owner, slug] = model
        return model

    def _id(self) -> int:
        self._ids += 1
        return self._ids


def readable(version: ModelVersion, now: datetime) -> Files:
    """Return a version's files. Raises KaggleRefusal if they are being processed or the licence was not accepted."""
    if not version.accepted:
        raise KaggleRefusal(403, CONSENT_MESSAGE)
    if not version.is_ready(now):
        raise KaggleRefusal(404, "The files of this model instance version are still being processed")
    return version.files


def _parts(ref: str) -> tuple[str, str, str, str, int]:
    """Split a reference into owner, model, framework, variation and number. Raises KaggleRefusal if it is malformed."""
    parts: Sequence[str] = ref.split("/")
    if len(parts) != 5 or not parts[4].isdecimal():
        raise KaggleRefusal(404, "Model instance version not found")
    return parts[0], parts[1], parts[2], parts[3], int(parts[4])


def _refuse_files(files: Files) -> None:
    """Raise Declined for no files, or for names that Kaggle does not take."""
    try:
        refuse_names(files)
    except ValueError as error:
        raise Declined(400, str(error)) from error


def _require_license(about: VariationText, public: bool) -> None:
    """Raise Declined for a licence that Kaggle does not list, or if a public model has none."""
    if not about.license_name:
        if public:
            raise Declined(400, "A license is required for a public model")
        return
    if not any(_means(about.license_name, known) for known in LICENSES):
        raise Declined(400, f'"{about.license_name}" is not a license that Kaggle knows')


def _means(given: str, known: str) -> bool:
    """Return True if a licence was given by its full name or by the abbreviation in its brackets."""
    short = re.search(r"\(([^()]*)\)$", known)
    names = [known, *([short[1]] if short and not known.startswith("Other") else [])]
    return given.strip().lower() in [name.lower() for name in names]


def _refuse_odd_base(about: VariationText) -> None:
    parts = about.base.split("/")
    if about.base and (len(parts) != 4 or not all(parts)):
        raise Declined(400, "The base model instance must be named as owner/model/framework/variation")
