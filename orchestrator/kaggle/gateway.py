"""What relay needs of Kaggle, said in its own words: the port that `client.KaggleGateway` and the simulator's world implement.

Every call may raise Transient (RateLimited included): nothing is known to have changed. Reads are safe to repeat. A call
that changes something states below what happens when it is repeated; Ambiguous means "it may have happened: look". All
errors come from `orchestrator.base.errors` and carry the server's own message. No message ever contains a credential.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Worker(StrEnum):
    """What Kaggle says of a session.

    NEW_SCRIPT: the kernel was saved and never run. UNKNOWN: the answer made no sense. Neither is ever terminal.
    """

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_ACKNOWLEDGED = "cancel_acknowledged"
    NEW_SCRIPT = "new_script"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """Whether the session is over."""
        return self in (Worker.COMPLETE, Worker.ERROR, Worker.CANCEL_ACKNOWLEDGED)


@dataclass(frozen=True, kw_only=True)
class KernelPush:
    """One kernel to run. `slug` is the title too. `source` must stay below 1,000,000 bytes."""

    slug: str
    source: str
    machine_shape: str = ""
    """Kaggle's word, such as `TpuV5E8` or `NvidiaTeslaT4`; empty means CPU."""
    dataset_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    internet: bool = True
    timeout_s: int | None = None
    """Kaggle's own limit for this session; None leaves the global one."""


@dataclass(frozen=True, kw_only=True)
class KernelFound:
    """A kernel as Kaggle has it now."""

    ref: str
    version: int | None
    source: str
    private: bool = True


@dataclass(frozen=True, kw_only=True)
class KernelPushed:
    """An accepted push. `ref` is Kaggle's answer (owner/slug), `version` None where Kaggle did not say."""

    ref: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class SessionSeen:
    """Status of one session and the message Kaggle gives when it ended badly."""

    worker: Worker
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a kernel's log, newline stripped. `number` counts lines of the whole log from 0; `at_s` is session time."""

    number: int
    stream: str
    at_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """One file that a session left. `name` is relative to /kaggle/working; `url` is short-lived: list again when it fails."""

    name: str
    url: str
    refused: str = ""
    """Why a file of such a name cannot be fetched, in one sentence; its `name` is cut and only for people then."""


@dataclass(frozen=True, kw_only=True)
class FileWanted:
    """What a download must be. None where it is not known beforehand."""

    size_bytes: int | None = None
    size_bytes_max: int | None = None
    """More than this is not taken in, where `size_bytes` is not known."""
    sha256: str | None = None
    damaged: Path | None = None
    """Where bytes that are something else are moved, on the same disk; None: they are removed."""

    def too_large(self, size_bytes: int) -> bool:
        """Whether so many bytes are too many, whatever comes after them."""
        most = [limit for limit in (self.size_bytes, self.size_bytes_max) if limit is not None]
        return bool(most) and size_bytes > min(most)

    def problem(self, size_bytes: int, sha256: str) -> str:
        """What is wrong with a file of that size and hash, or nothing."""
        if self.size_bytes is not None and size_bytes != self.size_bytes:
            return f"{size_bytes} bytes instead of {self.size_bytes}"
        if self.too_large(size_bytes):
            return f"more than {self.size_bytes_max} bytes"
        if self.sha256 is not None and sha256 != self.sha256.lower():
            return f"SHA-256 {sha256} instead of {self.sha256}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A file that arrived whole."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """A published file as Kaggle lists it."""

    name: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class DatasetSeen:
    """A dataset as Kaggle has it. `status` is Kaggle's word in lower case (`ready`, `blobs_received`, `failed`, …)."""

    ref: str
    version: int
    status: str
    private: bool
    files: tuple[DatasetFile, ...]
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Weekly accelerator hours in seconds; `total_s` None where Kaggle did not say (unknown is not zero)."""

    used_s: float
    reserved_s: float
    total_s: float | None
    refreshes_at: datetime | None
    ever_run: bool = False
    """Whether Kaggle says that this account once ran a session with this accelerator."""

    @property
    def left_s(self) -> float | None:
        """Seconds that a new session may use, or None where unknown."""
        return None if self.total_s is None else max(0.0, self.total_s - self.used_s - self.reserved_s)


class Access(StrEnum):
    """Whether this account may read somebody's model or dataset."""

    READABLE = "readable"
    DENIED = "denied"
    """Kaggle answers 403: there is no such thing, it is private, or its licence has not been accepted."""
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class SourceSeen:
    """Somebody's model or dataset, as this account sees it; `size_bytes` None where Kaggle does not say."""

    ref: str
    access: Access
    size_bytes: int | None = None
    reason: str = ""
    """Kaggle's own words where it is not readable."""


@dataclass(frozen=True, kw_only=True)
class KernelListed:
    """One of the account's kernels in Kaggle's list. `machine_shape` is empty for a CPU and where the list does not say."""

    slug: str
    machine_shape: str = ""
    ran_at: datetime | None = None
    """When it ran last, by Kaggle's clock; None where the list does not say."""


@dataclass(frozen=True, kw_only=True)
class KernelsPage:
    """A page of Kaggle's list of kernels. `following` is the token of the page after it, None on the last."""

    kernels: tuple[KernelListed, ...] = ()
    following: str | None = None


class Gateway(Protocol):
    """The account that relay works with."""

    @property
    def abreast_max(self) -> int:
        """So many files may be fetched at once, each by a thread; 1 where calls are only answered one after the other."""

    def owner(self) -> str:
        """The account's user name. Raises BadInput when the credentials are missing or refused."""

    def quota(self, accelerator: str) -> Quota | None:
        """Quota of `tpu` or `gpu`; None for `cpu`, which has none, and where the answer is missing."""

    def find_kernel(self, slug: str) -> KernelFound | None:
        """The account's kernel of that slug, or None where Kaggle answers that there is none (403 and 404 alike)."""

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        """Slugs of the account's own kernels that begin so, all pages, sorted.

        What was saved lately may be missing and what was deleted lately may be there: only `find_kernel` tells.
        """

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        """The account's own kernels that ran last, the newest first: the first page of twenty, or the one of that token."""

    def push(self, kernel: KernelPush) -> KernelPushed:
        """Start one session of a kernel.

        Precondition: the caller found no kernel of that slug, so no second session can start by mistake.
        Raises NoSlot or Refused (nothing runs), Ambiguous (find_kernel tells), Permanent where a source is not accepted.
        """

    def session(self, slug: str, version: int | None) -> SessionSeen:
        """Status of a kernel's session. An answer that makes no sense is UNKNOWN, never an exception."""

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        """The log as far as Kaggle shows it now, from its first line; empty where there is none yet.

        It comes as it is read, since it may be larger than the memory; so may its errors.
        """

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        """Lines from number `seen` on as they appear, each once however often the stream is cut, until the log ends."""

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        """Every file that the session left, all pages. A name that no file here may have is listed as `refused`."""

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        """Fetch to `into`, hashed while it streams through `into` + `.part`, resumed by range after a cut, fsynced, renamed.

        Raises Corrupt where size or hash differ, or where the file is `refused`: what came is moved to `wanted.damaged`, or
        removed. Safe to repeat: a whole `into` that fits is kept.
        """

    # --- what others made ------------------------------------------------------

    def see_model(self, ref: str) -> SourceSeen:
        """A model's version (`owner/model/framework/variation/version`), asked as far as to the address of one of its files.

        Who may see a model need not be allowed to read it: its licence may have to be accepted first.
        """

    def see_dataset(self, ref: str) -> SourceSeen:
        """Anybody's dataset (`owner/slug`)."""

    # --- the account's datasets ------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        """The account's dataset with its newest version's status and all its files, or None where there is none."""

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        """Slugs of the account's own datasets that begin so, as `list_kernels` does; only `find_dataset` tells."""

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        """Send a file of a dataset that is to be made soon: `create_dataset` sends only what is not there by then.

        Tried once. Safe to repeat, and to leave at that: nothing on Kaggle refers to the bytes before the dataset is made.
        Raises as `create_dataset` does, but for its slug.
        """

    def create_dataset(
        self, slug: str, files: Sequence[Path], sha256: Mapping[str, str] | None = None, description: str = ""
    ) -> None:
        """Upload files (resuming cut uploads) and make one private dataset of them; returns before Kaggle has processed it.

        `sha256` by file name, of files that the caller has just compared: they need not be read once more to be known again.

        Precondition: find_dataset answered None. Raises NameTaken, NoRoom or Refused (what was sent is kept for the next try,
        unless it is what Kaggle does not take), Ambiguous where the answer was lost.
        """

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        """Fetch one file of a dataset, as `download` does."""

    def delete_dataset(self, slug: str) -> None:
        """Remove a dataset; one that does not exist counts as removed."""
