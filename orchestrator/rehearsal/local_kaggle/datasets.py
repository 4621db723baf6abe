"""Datasets of the local Kaggle: versions that take time to become ready, and what is visible of them meanwhile."""

import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from orchestrator.rehearsal.local_kaggle.delayed_effects import DelayedEffects
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules, denied
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files, spoilt

PROCESSING = (
    "NOT_YET_PERSISTED",
    "BLOBS_RECEIVED",
    "BLOBS_DECOMPRESSED",
    "BLOBS_COPIED_TO_SDS",
    "INDIVIDUAL_BLOBS_COMPRESSED",
)
READY = "READY"
FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Metadata of a dataset, as its owner gives it."""

    title: str = ""
    subtitle: str = ""
    description: str = ""
    license_name: str = ""
    is_private: bool = True
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """Immutable set of files."""

    number: int
    created: datetime
    ready_at: datetime
    notes: str
    files: Files
    deletes_older: bool = False
    """True if the versions before this one are deleted once it is ready."""
    fault: DatasetAction | None = None
    hidden_s: float | None = None
    """Seconds for which the dataset stays hidden after this first version was created; None if it is shown at once."""

    def is_ready(self, now: datetime) -> bool:
        """Return True if the version can be mounted, listed and downloaded."""
        return now >= self.ready_at and self.fault is not DatasetAction.FAIL

    def status(self, now: datetime) -> str:
        """Return Kaggle's processing status, which a fault may have falsified."""
        if self.is_ready(now) or self.fault is DatasetAction.READY_EARLY:
            return READY
        if now >= self.ready_at:
            return FAILED
        return PROCESSING[int(self.done(now) * len(PROCESSING))]

    def done(self, now: datetime) -> float:
        """Return the completed share of the processing, from 0 to 1."""
        return 1.0 if now >= self.ready_at else (now - self.created) / (self.ready_at - self.created)


@dataclass
class Dataset:
    """A named series of versions, oldest first."""

    id: int
    owner: str
    slug: str
    about: Describe
    versions: list[DatasetVersion] = field(default_factory=list)

    @property
    def ref(self) -> str:
        """Reference of the dataset, as owner/slug."""
        return f"{self.owner}/{self.slug}"

    def ready(self, now: datetime) -> DatasetVersion | None:
        """Return the newest version that can be mounted, listed and downloaded; None if there is none."""
        return next((version for version in reversed(self.versions) if version.is_ready(now)), None)

    def kept(self, now: datetime) -> list[DatasetVersion]:
        """Return the versions that have not been deleted."""
        ready = self.ready(now)
        oldest = ready.number if ready is not None and ready.deletes_older else 0
        return [version for version in self.versions if version.number >= oldest]

    def current(self, now: datetime) -> DatasetVersion:
        """Return the version that Kaggle shows: the newest ready one, or the newest if none is ready."""
        return self.ready(now) or self.versions[-1]

    def status(self, now: datetime) -> str:
        """Return the answer of GetDatasetStatus. A version in processing is hidden behind its ready predecessor."""
        return self.current(now).status(now)


class DatasetStore:
    """All datasets of the local Kaggle. The caller holds the world's lock."""

    def __init__(self, rules: Rules, injector: FaultInjector, delayed: DelayedEffects | None = None) -> None:
        self._rules = rules
        self._delayed = delayed or DelayedEffects()
        self._hidden: set[tuple[str, str]] = set()
        """Datasets that were accepted and are not visible, yet or ever, as (owner, slug)."""
        self._deleted_names: set[tuple[str, str]] = set()
        self.sent: Counter[str] = Counter()
        """Number of times that files were uploaded for a dataset, by slug, whatever the answer was."""
        self.deleted: list[Dataset] = []
        self._injector = injector
        self._datasets: dict[tuple[str, str], Dataset] = {}
        self._ids = 500_000

    def all(self) -> list[Dataset]:
        """Return every visible dataset, oldest first."""
        return [dataset for key, dataset in self._datasets.items() if key not in self._hidden]

    def exists(self, owner: str, slug: str) -> bool:
        """Return True if a visible dataset has this name."""
        return (owner, slug) in self._datasets and (owner, slug) not in self._hidden

    def find(self, owner: str, slug: str) -> Dataset:
        """Return a dataset. Raises KaggleRefusal as Kaggle does for a missing one."""
        dataset = self._datasets.get((owner, slug))
        if dataset is None or (owner, slug) in self._hidden:
            code = self._rules.missing_dataset_code
            raise denied("datasets.get") if code == 403 else KaggleRefusal(code, "Dataset not found")
        return dataset

    def find_by_id(self, number: int) -> Dataset:
        """Return the dataset with this id. Raises KaggleRefusal."""
        for dataset in self._datasets.values():
            if dataset.id == number:
                return dataset
        raise KaggleRefusal(404, "Dataset not found")

    def create(self, owner: str, slug: str, about: Describe, files: Files, now: datetime) -> Dataset:
        """Create a dataset with one version. Raises ValueError with the text of Kaggle's `error` field."""
        self.sent[slug] += 1
        if (owner, slug) in self._datasets or (owner, slug) in self._deleted_names:
            title = about.title
            raise ValueError(
                f'The requested title "{title}" is already in use by a dataset. Please choose another title.'
            )
        longest = self._rules.behaviour.name_characters_max
        if not 6 <= len(slug) <= longest:
            raise ValueError(f"The dataset slug must be between 6 and {longest} characters")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", slug):
            raise ValueError("The dataset slug must consist of letters, digits and hyphens")
        self._accept(files)
        self._ids += 1
        if not self._rules.behaviour.keeps_descriptions:
            about = replace(about, description="")
        dataset = Dataset(self._ids, owner, slug, about)
        dataset.versions.append(self._version(dataset, files, "Initial release", now))
        self._datasets[owner, slug] = dataset
        self._hide(dataset, now)
        return dataset

    def add_version(self, dataset: Dataset, files: Files, notes: str, now: datetime, delete_old: bool = False) -> None:
        """Add a version with exactly these files.

        Raises KaggleRefusal(403) while the first version is being processed, and ValueError as `create` does.
        """
        if dataset.ready(now) is None:
            raise denied("datasets.update")
        self._accept(files)
        dataset.versions.append(replace(self._version(dataset, files, notes, now), deletes_older=delete_old))

    def describe(self, dataset: Dataset, about: Describe) -> None:
        """Replace the metadata of a dataset, keeping its licence unless a new one is given."""
        dataset.about = replace(about, license_name=about.license_name or dataset.about.license_name)

    def delete(self, owner: str, slug: str) -> None:
        """Delete a dataset with all its versions. Raises KaggleRefusal if there is none."""
        self.deleted.append(self.find(owner, slug))
        del self._datasets[owner, slug]
        if not self._rules.frees_names:
            self._deleted_names.add((owner, slug))

    def version(self, owner: str, slug: str, number: int | None, now: datetime) -> DatasetVersion | None:
        """Return a ready version by number, or the newest ready one; None while it is not ready.

        Raises KaggleRefusal if the dataset or the version does not exist.
        """
        dataset = self.find(owner, slug)
        if number is None:
            return dataset.ready(now)
        for version in dataset.kept(now):
            if version.number == number:
                return version if version.is_ready(now) else None
        raise KaggleRefusal(404, f"Version {number} of {dataset.ref} was not found")

    def _hide(self, dataset: Dataset, now: datetime) -> None:
        """Hide a new dataset for some time, or forever, if a fault of its first version says so."""
        key, version = (dataset.owner, dataset.slug), dataset.versions[0]
        if version.hidden_s is None:
            return
        self._hidden.add(key)
        if version.hidden_s < float("inf"):
            self._delayed.after(now, version.hidden_s, lambda _at: self._hidden.discard(key))

    def _accept(self, files: Files) -> None:
        refuse_names(files)
        top_level = {path.split("/", 1)[0] for path in files}
        if len(top_level) > self._rules.dataset_files_max:
            raise ValueError(f"A dataset holds at most {self._rules.dataset_files_max} top-level files")

    def _version(self, dataset: Dataset, files: Files, notes: str, now: datetime) -> DatasetVersion:
        number = dataset.versions[-1].number + 1 if dataset.versions else 1
        processing_s = self._rules.wait_s(self._rules.dataset_processing_s, f"{dataset.ref}/{number}")
        ready_at = now + timedelta(seconds=processing_s)
        kept = dict(extracted(files.items(), now)) if self._rules.extracts_archives else dict(files)
        if not self._rules.behaviour.keeps_unknown:
            kept = rewritten(kept)
        version = DatasetVersion(number=number, created=now, ready_at=ready_at, notes=notes, files=kept)
        for fault in self._injector.dataset():
            version = _with_fault(version, fault)
        return version


def refuse_names(files: Files) -> None:
    """Raise ValueError with Kaggle's message if there are no files, or if a path is invalid or leaves the dataset."""
    if not files:
        raise ValueError("At least one file is required")
    for path in files:
        climbs = path.startswith("/") or ".." in PurePosixPath(path).parts
        if climbs or path != str(PurePosixPath(path)) or re.search(r"[\x00-\x1f\\]", path):
            raise ValueError(f"Invalid file name: {path!r}")


def _with_fault(version: DatasetVersion, fault: DatasetFault) -> DatasetVersion:
    match fault.action:
        case DatasetAction.SLOW:
            return replace(version, ready_at=version.ready_at + timedelta(seconds=fault.seconds))
        case DatasetAction.SPOIL:
            return replace(version, files=spoilt(version.files, lambda data: bytes([255 - data[0]]) + data[1:]))
        case DatasetAction.FAIL | DatasetAction.READY_EARLY:
            return replace(version, fault=fault.action)
        case DatasetAction.LAG:
            return replace(version, hidden_s=fault.seconds)
        case DatasetAction.VANISH:
            return replace(version, hidden_s=float("inf"))
        case DatasetAction.NO_ROOM:
            raise ValueError("You have exceeded the storage quota of your private datasets")


KNOWN_SUFFIXES = (".json", ".jsonl", ".csv", ".txt", ".md", ".zip", ".py")


def rewritten(files: Files) -> Files:
    """Return the files with a line end added to each whose suffix is unknown."""
    return {
        path: file if path.endswith(KNOWN_SUFFIXES) else Content.of_bytes(file.read() + b"\n", file.modified)
        for path, file in files.items()
    }


def extracted(files: Iterable[tuple[str, Content]], now: datetime) -> Iterable[tuple[str, Content]]:
    """Yield every file. A zip archive is replaced by its contents, in the archive's own folder."""
    for path, content in files:
        inside = _unzipped(content, now) if path.endswith(".zip") else None
        if inside is None:
            yield path, content
            continue
        place = path.rpartition("/")[0]
        yield from ((f"{place}/{name}".lstrip("/"), file) for name, file in inside.items())


def _unzipped(content: Content, now: datetime) -> Files | None:
    try:
        with content.open() as stream, zipfile.ZipFile(stream) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            inside = [member for member in members if ".." not in PurePosixPath(member.filename).parts]
            return {member.filename.lstrip("/"): Content.of_bytes(archive.read(member), now) for member in inside}
    except zipfile.BadZipFile:
        return None
