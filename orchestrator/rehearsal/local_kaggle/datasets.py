"""The local Kaggle's datasets: versions that take time until they are ready, and what is seen of them meanwhile."""

import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from orchestrator.rehearsal.local_kaggle.delayed_effects import Later
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault, FaultInjector
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
    """What the owner says of a dataset."""

    title: str = ""
    subtitle: str = ""
    description: str = ""
    license_name: str = ""
    is_private: bool = True
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """One immutable set of files."""

    number: int
    created: datetime
    ready_at: datetime
    notes: str
    files: Files
    deletes_older: bool = False
    """Whether the versions before it go once it is ready."""
    fault: DatasetAction | None = None
    hidden_s: float | None = None
    """For how long the dataset is not shown after this version, its first, was made; None: it is shown at once."""

    def is_ready(self, now: datetime) -> bool:
        """Whether it can be mounted, listed and downloaded."""
        return now >= self.ready_at and self.fault is not DatasetAction.FAIL

    def status(self, now: datetime) -> str:
        """Kaggle's word for how far it is, which a fault may have made a lie."""
        if self.is_ready(now) or self.fault is DatasetAction.READY_EARLY:
            return READY
        if now >= self.ready_at:
            return FAILED
        return PROCESSING[int(self.done(now) * len(PROCESSING))]

    def done(self, now: datetime) -> float:
        """The share of its processing that is over, from 0 to 1."""
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
        """owner/slug."""
        return f"{self.owner}/{self.slug}"

    def ready(self, now: datetime) -> DatasetVersion | None:
        """The newest version that can be mounted, listed and downloaded."""
        return next((version for version in reversed(self.versions) if version.is_ready(now)), None)

    def kept(self, now: datetime) -> list[DatasetVersion]:
        """The versions that have not been deleted."""
        ready = self.ready(now)
        oldest = ready.number if ready is not None and ready.deletes_older else 0
        return [version for version in self.versions if version.number >= oldest]

    def current(self, now: datetime) -> DatasetVersion:
        """The version that Kaggle shows: the newest ready one, or the newest where none is ready yet."""
        return self.ready(now) or self.versions[-1]

    def status(self, now: datetime) -> str:
        """What GetDatasetStatus answers: a version that is being processed is hidden behind its ready predecessor."""
        return self.current(now).status(now)


class DatasetStore:
    """All datasets of the local Kaggle. The caller holds the world's lock."""

    def __init__(self, rules: Rules, misfortune: FaultInjector, later: Later | None = None) -> None:
        self._rules = rules
        self._later = later or Later()
        self._hidden: set[tuple[str, str]] = set()
        """What was accepted and is not shown, yet or ever."""
        self._deleted_names: set[tuple[str, str]] = set()
        self.sent: Counter[str] = Counter()
        """How often files were sent for a dataset of each name, whatever was answered."""
        self.deleted: list[Dataset] = []
        self._misfortune = misfortune
        self._datasets: dict[tuple[str, str], Dataset] = {}
        self._ids = 500_000

    def all(self) -> list[Dataset]:
        """Every dataset that is shown, oldest first."""
        return [dataset for key, dataset in self._datasets.items() if key not in self._hidden]

    def exists(self, owner: str, slug: str) -> bool:
        """Whether there is such a dataset, for all that is shown."""
        return (owner, slug) in self._datasets and (owner, slug) not in self._hidden

    def find(self, owner: str, slug: str) -> Dataset:
        """The dataset; raises the refusal with which Kaggle hides what does not exist."""
        dataset = self._datasets.get((owner, slug))
        if dataset is None or (owner, slug) in self._hidden:
            code = self._rules.missing_dataset_code
            raise denied("datasets.get") if code == 403 else KaggleRefusal(code, "Dataset not found")
        return dataset

    def find_by_id(self, number: int) -> Dataset:
        """The dataset of that number; raises KaggleRefusal."""
        for dataset in self._datasets.values():
            if dataset.id == number:
                return dataset
        raise KaggleRefusal(404, "Dataset not found")

    def create(self, owner: str, slug: str, about: Describe, files: Files, now: datetime) -> Dataset:
        """A new dataset with one version; raises ValueError with the sentence that Kaggle answers in `error`."""
        self.sent[slug] += 1
        if (owner, slug) in self._datasets or (owner, slug) in self._deleted_names:
            title = about.title
            raise ValueError(
                f'The requested title "{title}" is already in use by a dataset. Please choose another title.'
            )
        if not 6 <= len(slug) <= 50:
            raise ValueError("The dataset slug must be between 6 and 50 characters")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", slug):
            raise ValueError("The dataset slug must consist of letters, digits and hyphens")
        self._accept(files)
        self._ids += 1
        dataset = Dataset(self._ids, owner, slug, about)
        dataset.versions.append(self._version(dataset, files, "Initial release", now))
        self._datasets[owner, slug] = dataset
        self._hide(dataset, now)
        return dataset

    def add_version(self, dataset: Dataset, files: Files, notes: str, now: datetime, delete_old: bool = False) -> None:
        """A new version with exactly these files.

        Raises KaggleRefusal(403) while the first version is being processed, and ValueError as `create` does.
        """
        if dataset.ready(now) is None:
            raise denied("datasets.update")
        self._accept(files)
        dataset.versions.append(replace(self._version(dataset, files, notes, now), deletes_older=delete_old))

    def describe(self, dataset: Dataset, about: Describe) -> None:
        """Replace what is said of a dataset."""
        dataset.about = replace(about, license_name=about.license_name or dataset.about.license_name)

    def delete(self, owner: str, slug: str) -> None:
        """Remove a dataset with all its versions; raises KaggleRefusal where there is none."""
        self.deleted.append(self.find(owner, slug))
        del self._datasets[owner, slug]
        if not self._rules.frees_names:
            self._deleted_names.add((owner, slug))

    def version(self, owner: str, slug: str, number: int | None, now: datetime) -> DatasetVersion | None:
        """A ready version by number, or the newest ready one; None while there is none. Unknown numbers are refused."""
        dataset = self.find(owner, slug)
        if number is None:
            return dataset.ready(now)
        for version in dataset.kept(now):
            if version.number == number:
                return version if version.is_ready(now) else None
        raise KaggleRefusal(404, f"Version {number} of {dataset.ref} was not found")

    def _hide(self, dataset: Dataset, now: datetime) -> None:
        """Show a new dataset only later, or never, where a fault of its first version says so."""
        key, version = (dataset.owner, dataset.slug), dataset.versions[0]
        if version.hidden_s is None:
            return
        self._hidden.add(key)
        if version.hidden_s < float("inf"):
            self._later.after(now, version.hidden_s, lambda _at: self._hidden.discard(key))

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
        version = DatasetVersion(number=number, created=now, ready_at=ready_at, notes=notes, files=kept)
        for fault in self._misfortune.dataset():
            version = _struck(version, fault)
        return version


def refuse_names(files: Files) -> None:
    """Raise ValueError with Kaggle's sentence where there is no file, or one whose path leads elsewhere."""
    if not files:
        raise ValueError("At least one file is required")
    for path in files:
        climbs = path.startswith("/") or ".." in PurePosixPath(path).parts
        if climbs or path != str(PurePosixPath(path)) or re.search(r"[\x00-\x1f\\]", path):
            raise ValueError(f"Invalid file name: {path!r}")


def _struck(version: DatasetVersion, fault: DatasetFault) -> DatasetVersion:
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


def extracted(files: Iterable[tuple[str, Content]], now: datetime) -> Iterable[tuple[str, Content]]:
    """Every file, a zip archive replaced by what is in it: at the archive's own place, its name lost."""
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
