"""The port to a platform: what relay needs of whatever runs its sessions.

`orchestrator.kaggle.client.KaggleGateway` implements it for a Kaggle account, `orchestrator.slurm.platform.SlurmPlatform`
for a Slurm cluster, `orchestrator.ssh.platform.SshPlatform` for a machine with SSH, and the simulator's world for tests;
`tests/contract/test_platform.py` holds what all of them keep.

The words are Kaggle's, for which relay was made first. A kernel is a session's program under a name that was computed
beforehand, and a version of it one run of that program. A dataset is a set of files under a name, published whole, that
later sessions can mount. The owner is the account that both belong to.

Every call may raise Transient (including RateLimited): no change is known to have happened. Reads are safe to repeat.
Calls that change something document what repeating them does; Ambiguous means that the change may have happened, so
read the state back. All errors come from `orchestrator.base.errors` and carry the platform's own message. No message
ever contains a credential.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

Reached = Callable[[str, int], None]
"""Receives a file's name and the number of its bytes that have been read for sending. Called from several threads."""

SOURCES_NOT_ACCEPTED = "does not accept these sources"
"""Words of the error for a session whose datasets, models or kernels the platform does not mount."""

RENAMED = "Kaggle renamed the kernel"
"""Words of the error for a kernel that got another name."""

DATASET_DECLINED = "Kaggle declined to create the dataset"
"""Words of the error for a dataset that Kaggle refuses to create."""

ROOM = re.compile(
    r"\b(storage|disk|space)\b|\bquota\b|\btoo (large|big)\b|\b(size|capacity)\b[^.]*\b(limit|exceed\w*|maximum)\b"
    r"|\bexceed\w*\b[^.]*\b(limit|size|GB|GiB|gigabytes?)\b",
    re.IGNORECASE,
)
"""Wording for exceeded storage or size limits."""

TIME_LIMIT = "exceeded the max allowed execution duration"
"""Words in the message of a session that was stopped at its time limit; those of Kaggle."""


def ignore_progress(_name: str, _bytes: int) -> None:
    """Do nothing."""


class Worker(StrEnum):
    """Status of a session on its platform.

    NEW_SCRIPT: the kernel was saved and never run. CANCEL_ACKNOWLEDGED: it was stopped, by a person or at its time limit. UNKNOWN: the answer could not be interpreted. Neither is ever
    terminal.
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
        """True if the session has ended."""
        return self in (Worker.COMPLETE, Worker.ERROR, Worker.CANCEL_ACKNOWLEDGED)


@dataclass(frozen=True, kw_only=True)
class KernelPush:
    """Kernel to run. `slug` is its name. `source` must stay below 1,000,000 bytes."""

    slug: str
    source: str
    machine_shape: str = ""
    """Kaggle's machine name, such as `TpuV5E8` or `NvidiaTeslaT4`; empty means CPU."""
    dataset_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    internet: bool = True
    timeout_s: int | None = None
    """Time limit of this session, in seconds; None leaves the platform's own limit."""


@dataclass(frozen=True, kw_only=True)
class KernelFound:
    """A kernel in its current state on the platform."""

    ref: str
    version: int | None
    source: str
    private: bool = True


@dataclass(frozen=True, kw_only=True)
class KernelPushed:
    """An accepted push. `ref` is owner/slug; `version` is None if the platform did not return one."""

    ref: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class SessionSeen:
    """Status of one session, and the platform's message if it ended with an error."""

    worker: Worker
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """Line of a kernel's log, without newline.

    `number` counts lines of the whole log from 0; `at_s` is session time.
    """

    number: int
    stream: str
    at_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """Output file of a session.

    `name` is relative to the session's working folder; `url` may expire soon: list again if it fails.
    """

    name: str
    url: str
    refused: str = ""
    """Reason why a file with such a name cannot be fetched, in one sentence; its `name` is then truncated and only for
    display."""


@dataclass(frozen=True, kw_only=True)
class FileWanted:
    """Expected properties of a download; None if unknown beforehand."""

    size_bytes: int | None = None
    size_bytes_max: int | None = None
    """Size limit in bytes, for use when `size_bytes` is unknown."""
    sha256: str | None = None
    damaged: Path | None = None
    """Path to move mismatching bytes to, on the same disk; None: they are deleted."""

    def too_large(self, size_bytes: int) -> bool:
        """Return whether this many bytes already exceed the expected size or the limit."""
        most = [limit for limit in (self.size_bytes, self.size_bytes_max) if limit is not None]
        return bool(most) and size_bytes > min(most)

    def problem(self, size_bytes: int, sha256: str) -> str:
        """Return why a file of that size and hash does not match, or an empty string."""
        if self.size_bytes is not None and size_bytes != self.size_bytes:
            return f"{size_bytes} bytes instead of {self.size_bytes}"
        if self.too_large(size_bytes):
            return f"more than {self.size_bytes_max} bytes"
        if self.sha256 is not None and sha256 != self.sha256.lower():
            return f"SHA-256 {sha256} instead of {self.sha256}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A completely downloaded file."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """A file of a dataset as the platform lists it."""

    name: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class DatasetSeen:
    """A dataset's current state. `status` is `ready`, `failed`, or a word for work in progress (`blobs_received`, …)."""

    ref: str
    version: int
    status: str
    private: bool
    files: tuple[DatasetFile, ...]
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Weekly accelerator quota, in seconds; `total_s` is None if the platform did not return it (unknown is not zero)."""

    used_s: float
    reserved_s: float
    total_s: float | None
    refreshes_at: datetime | None
    ever_run: bool = False
    """True if the platform reports that this account has run a session with this accelerator before."""

    @property
    def left_s(self) -> float | None:
        """Seconds that a new session may use, or None if unknown."""
        return None if self.total_s is None else max(0.0, self.total_s - self.used_s - self.reserved_s)


@dataclass(frozen=True, kw_only=True)
class KernelListed:
    """Kernel of the account, as the platform's list shows it. `machine_shape` is empty for a CPU and if the list omits it."""

    slug: str
    machine_shape: str = ""
    ran_at: datetime | None = None
    """Time of the last run by the platform's clock; None if the list omits it."""


@dataclass(frozen=True, kw_only=True)
class KernelsPage:
    """A page of the list of kernels. `following` is the next page's token, None on the last page."""

    kernels: tuple[KernelListed, ...] = ()
    following: str | None = None


class Platform(Protocol):
    """The account on a platform that relay works with."""

    @property
    def label(self) -> str:
        """Name of the platform in sentences, as `orchestrator.platforms.names` has it."""

    @property
    def abreast_max(self) -> int:
        """Maximum number of concurrent downloads, one thread each; 1 if calls are served one at a time."""

    @property
    def can_stop(self) -> bool:
        """True if `stop` ends a session; False if sessions end only by themselves, at their limit or by hand."""

    def owner(self) -> str:
        """Return the account's user name. Raises BadInput if the credentials are missing or refused."""

    def quota(self, accelerator: str) -> Quota | None:
        """Return the quota of `tpu` or `gpu`; None for `cpu`, which has none, and if there is no answer."""

    def find_kernel(self, slug: str) -> KernelFound | None:
        """Return the account's kernel with that slug, or None if the platform says there is none."""

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        """List the slugs of the account's own kernels that begin with `prefix`, from all pages, sorted.

        The list lags: a new kernel may be missing and a deleted one still listed. Only `find_kernel` is authoritative.
        """

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        """List the account's own kernels, most recently run first: the first page of 20, or the page of that token."""

    def push(self, kernel: KernelPush) -> KernelPushed:
        """Start one session of a kernel.

        Precondition: the caller found no kernel with that slug, so that no duplicate session can start.
        Raises NoSlot or Refused (nothing runs), Ambiguous (check with find_kernel), Permanent if a source is not
        accepted.
        """

    def stop(self, slug: str, version: int | None) -> None:
        """End a session without notice, or take it out of the queue; one that has ended counts as stopped.

        Call only if `can_stop`. Returns before the session has ended: `session` tells when it has.
        """

    def session(self, slug: str, version: int | None) -> SessionSeen:
        """Return the status of a kernel's session. An unreadable answer is UNKNOWN, never an exception."""

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        """Yield the log so far, from its first line; nothing if there is none yet.

        Lines are streamed, because a log may be larger than memory; errors may therefore be raised after some lines.
        """

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        """Yield lines from number `seen` on as they appear, each once despite reconnects, until the log ends."""

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        """List every output file of the session, from all pages. A file with an unsafe name is listed as `refused`."""

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        """Download to `into`: stream to `into` + `.part`, hash on the way, resume by range, then fsync and rename.

        Raises Corrupt if size or hash differ, or if the file is `refused`: the received bytes are moved to
        `wanted.damaged`, or deleted. Safe to repeat: an existing `into` that matches is kept.
        """

    # --- the account's datasets ------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        """Return the account's dataset with its newest version's status and all files, or None if there is none."""

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        """List the slugs of the account's own datasets that begin with `prefix`; it lags as `list_kernels` does."""

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        """Upload a file of a dataset that will be created soon: `create_dataset` uploads only what is still missing.

        Tries once. Safe to repeat or to abandon: nothing refers to the bytes until the dataset is created.
        Raises the same errors as `create_dataset`, except those for its slug.
        """

    def create_dataset(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        """Upload files (resuming interrupted uploads) and create one private dataset.

        May return before the platform has processed the dataset. `sha256` maps file names to the SHA-256 of files that the caller
        has just verified; those are not hashed again.

        Precondition: find_dataset returned None. Raises NameTaken, NoRoom or Refused (uploads are kept for the next
        attempt, unless the platform rejected the uploads themselves), Ambiguous if the answer was lost.
        """

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        """Download one file of a dataset, as `download` does."""

    def delete_dataset(self, slug: str) -> None:
        """Delete a dataset; one that does not exist counts as deleted."""
