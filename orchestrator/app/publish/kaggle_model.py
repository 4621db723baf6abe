"""Publishes one version of a Kaggle Model: uploads, waits until Kaggle has processed it, and compares its list of files.

A version cannot be taken back, and adding one is not safe to repeat. So the numbers of the versions are read before and
after, and a note on disk names the number before: whoever tries again with the same files, in this process or the next,
first looks for the version that the earlier try may have made.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.app.publish.progress import PublishReport
from orchestrator.base.clock import Clock
from orchestrator.base.disk import disk_errors, private_folder, write_whole
from orchestrator.base.errors import Ambiguous, NameTaken, Refused, Transient
from orchestrator.base.humanize import duration
from orchestrator.kaggle.model_gateway import ModelGateway, ModelUpload, VariationAbout, VariationPlace
from stages.documents import ContractError, Versioned
from state.facts.checkpoint import ModelPublished

SEARCH_S_MAX = 120.0
"""Seconds for which a new version is looked for in Kaggle's list."""
PROCESSING_S_MAX = 3600.0
"""Seconds for which Kaggle may process a version."""
LISTING_S_MAX = 120.0
"""Seconds for which the list of files of a processed version may be incomplete."""
PAUSE_S_MAX = 30.0
INTENT_NAME = "intent.json"


@dataclass(frozen=True, kw_only=True)
class PublishIntent(Versioned):
    """A version that is about to be made: the newest number before it, and the digest of its export.json."""

    kind: ClassVar[str] = "publish-intent"

    before: int
    content: str


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A version to publish. `content` is the digest of its export.json, which names every other file's."""

    place: VariationPlace
    upload: ModelUpload
    content: str
    about: VariationAbout
    description: str
    notes: str


def published_at(fact: ModelPublished) -> tuple[VariationPlace, int]:
    """Return the variation and the number of a version on Kaggle."""
    owner, model, framework, variation, number = fact.model.split("/")
    return VariationPlace(owner=owner, model=model, framework=framework, variation=variation), int(number)


def is_there(models: ModelGateway, fact: ModelPublished) -> bool:
    """Return whether Kaggle still has the version that was published, with as many files and bytes.

    Their names prove nothing: the library that writes Tunix's checkpoints names its files anew in each export.
    """
    listed = models.version_files(*published_at(fact))
    return (len(listed), sum(file.size_bytes for file in listed)) == (fact.files, fact.size_bytes)


class VersionPublisher:
    """Publishes versions. `folder` keeps the note about one place between tries."""

    def __init__(self, models: ModelGateway, clock: Clock, folder: Path, report: PublishReport) -> None:
        self._models = models
        self._clock = clock
        self._folder = folder
        self._report = report

    def publish(self, version: NewVersion, known: ModelPublished | None, *, public: bool) -> int:
        """Publish a version and return its number; the model is made, privately, if there is none.

        `known` tells of a version with the same weights: nothing is uploaded if Kaggle still has it. The model becomes public last, once the version is whole.

        The note and the journal of the uploads stay until `forget`, which is for after the version was recorded.

        Raises Refused if Kaggle declines or fails to process it, Transient if the same command should be tried again.
        """
        place = version.place
        self._require_model(version)
        if known is not None and is_there(self._models, known):
            self._report.say(f"{known.model} has the same weights already: nothing is sent")
            number = published_at(known)[1]
        else:
            number = self._version(version)
            self._wait(version, number)
        if public:
            self._make_public(place)
        return number

    def forget(self, place: VariationPlace) -> None:
        """Forget the uploads and the note of a place."""
        self._models.forget_uploads(place)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- the model --------------------------------------------------------------

    def _require_model(self, version: NewVersion) -> None:
        place = version.place
        if self._models.find(place.owner, place.model) is not None:
            return
        self._report.say(f"creating {place.model_ref}, private")
        try:
            self._models.create(place.owner, place.model, version.description)
        except (Ambiguous, NameTaken):
            if self._models.find(place.owner, place.model) is None:
                raise

    def _make_public(self, place: VariationPlace) -> None:
        try:
            self._models.make_public(place.owner, place.model)
        except Ambiguous as error:
            if self._is_private(place):
                raise Transient(f"{error}: type the same command again") from error
        if self._is_private(place):
            raise Refused(f"Kaggle did not make {place.model_ref} public, and gave no reason: do so on its page")
        self._report.say(f"{place.model_ref} is public now")

    def _is_private(self, place: VariationPlace) -> bool:
        seen = self._models.find(place.owner, place.model)
        return seen is None or seen.private

    # --- the version ------------------------------------------------------------

    def _version(self, version: NewVersion) -> int:
        """Make the version, unless an earlier try has, and return its number."""
        place = version.place
        before = max(self._models.versions(place), default=0)
        intended = self._intent()
        tried = intended is not None and intended.content == version.content
        if intended is not None and tried and before > intended.before:
            self._report.say(f"{place}/{before} was made by an earlier try")
            return before
        self._note(PublishIntent(before=before, content=version.content))
        try:
            number = self._add(version, before, tried=tried)
        except Ambiguous as error:
            self._report.say(f"{error}: looking for it")
            return self._found(place, before, str(error))
        return number or self._found(place, before, f"Kaggle accepted a version of {place} and does not list it")

    def _add(self, version: NewVersion, before: int, *, tried: bool) -> int | None:
        place = version.place
        with self._report.sending(version.upload.sizes) as reached:
            if before:
                return self._models.create_version(place, version.upload, version.notes, reached)
            try:
                return self._models.create_variation(place, version.upload, version.about, reached)
            except NameTaken as error:
                if tried:  # the earlier try made it, and its version is not listed yet
                    raise Ambiguous(str(error)) from error
                # it exists, and all its versions were deleted
                return self._models.create_version(place, version.upload, version.notes, reached)

    def _found(self, place: VariationPlace, before: int, unclear: str) -> int:
        for _ in self._pauses(SEARCH_S_MAX):
            if newer := [number for number in self._models.versions(place) if number > before]:
                return max(newer)
        raise Transient(f"{unclear}: type the same command again, which looks for it first")

    def _wait(self, version: NewVersion, number: int) -> None:
        """Wait until Kaggle has processed the version and lists exactly its files."""
        place = version.place
        ready_s: float | None = None
        began_s = self._clock.monotonic()
        for _ in self._pauses(PROCESSING_S_MAX):
            if (self._models.current_version(place) or 0) >= number:
                if self._has_files(version, number):
                    return
                now_s = self._clock.monotonic()
                ready_s = now_s if ready_s is None else ready_s
                if now_s - ready_s > LISTING_S_MAX:
                    difference = self._difference(version, number)
                    self.forget(place)
                    raise Refused(
                        f"{place}/{number} on Kaggle does not have the files that were exported ({difference}): delete that "
                        "version on Kaggle, and type the same command again"
                    )
            elif failure := self._models.processing_failure(place, number):
                self.forget(place)
                raise Refused(
                    f"Kaggle failed to process {place}/{number} ({failure}): the same command makes another version"
                )
        lasted = duration(self._clock.monotonic() - began_s)
        raise Transient(
            f"Kaggle has not finished {place}/{number} within {lasted}: type the same command again to wait on"
        )

    def _has_files(self, version: NewVersion, number: int) -> bool:
        listed = self._models.version_files(version.place, number)
        return {file.name: file.size_bytes for file in listed} == version.upload.sizes

    def _difference(self, version: NewVersion, number: int) -> str:
        """Return the first file that Kaggle lacks, lists with another size, or has beside ours."""
        listed = {file.name: file.size_bytes for file in self._models.version_files(version.place, number)}
        sizes = version.upload.sizes
        name = min(set(listed.items()) ^ set(sizes.items()))[0]
        return f"{name}: {listed.get(name, 'no')} bytes instead of {sizes.get(name, 'none')}"

    def _pauses(self, seconds_max: float) -> Iterator[None]:
        """Yield at once and then after pauses that double, until so many seconds have passed."""
        ends_at_s, pause_s = self._clock.monotonic() + seconds_max, 1.0
        yield
        while self._clock.monotonic() < ends_at_s:
            self._clock.sleep(pause_s)
            pause_s = min(PAUSE_S_MAX, 2 * pause_s)
            yield

    def _intent(self) -> PublishIntent | None:
        try:
            return PublishIntent.from_json((self._folder / INTENT_NAME).read_bytes())
        except (OSError, ContractError):
            return None

    def _note(self, intent: PublishIntent) -> None:
        path = self._folder / INTENT_NAME
        with disk_errors(path):
            write_whole(private_folder(path.parent) / path.name, intent.to_json().encode())
