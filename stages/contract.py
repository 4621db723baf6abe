"""What the laptop and a session say to each other: order, report, manifest, progress. Standard library only."""

import functools
import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stages.documents import ContractError, Document, Versioned
from stages.safe_text import quoted

PROGRESS_PREFIX = "@relay "
"""A line of a kernel's log that starts so is a progress event; every other line is for people."""

LINES_KEPT, KEPT_CHARACTERS_MAX = 4096, 2000
"""So many lines of logs, of at most so many characters each, are not read again: a log is looked at often, and little of it is new."""

STAND_IN_METRIC = "stand_in_"
"""A metric whose name begins so says that what follows, a data set or `model`, was made up for a rehearsal where the step was done."""

SECONDS_MAX = 1e9
"""A time that is longer is none of a session's: thirty years."""

OUTPUT_DIRECTORY = "relay"
"""Everything that a session leaves for the laptop lies below this folder of `/kaggle/working`."""

CHECKPOINTS_DIRECTORY = "checkpoints"
"""Below it, one folder a checkpoint. Whatever else lies in a session's output is unfinished or not for the laptop."""

REPORT_NAME = "report.json"
REPORT_SEAL_NAME = "report.sha256"
"""Beside a report: its SHA-256, since nothing else says whether it arrived as it was written."""
MANIFEST_NAME = "manifest.json"
SEAL_NAME = "manifest.sha256"
"""Beside a manifest: its digest. A manifest says what other files are; only this says whether it is itself as it was written."""

ARTIFACTS_DIRECTORY = "artifacts"
"""Texts for people that a stage writes: they lie below this folder, in the packed state and in a session's output."""

BLOB_NAME = "state.bin"
"""The packed state. Neither an archive's nor a table's suffix: Kaggle unpacks the ones and rewrites the others."""
COMPILED_NAME = "compiled.bin"
"""The programs that were compiled, beside the packed state where they are worth it. No part of what a checkpoint is."""


def seal_of(data: bytes) -> bytes:
    """What a seal beside a document holds: the SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest().encode()


@dataclass(frozen=True, kw_only=True)
class Cursor(Document):
    """Where a pipeline stands: `step` steps of `stage` are done."""

    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class StageSpec(Document):
    """One stage of a pipeline, as the session needs to know it."""

    name: str
    kind: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Accelerator(Document):
    """What the session was promised. `machine_shape` is Kaggle's word; `devices` is 0 where any number will do."""

    machine_shape: str = ""
    platform: str = "cpu"
    devices: int = 0


@dataclass(frozen=True, kw_only=True)
class Parent(Document):
    """The checkpoint that a session must start from: its name and its manifest's digest."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Order(Versioned):
    """What one session has to do; baked into the pushed kernel.

    Times are seconds on the session's clock, which starts when the kernel's process does: the session stops itself so
    that everything is saved by `budget_s`, and Kaggle kills it at `limit_s`.
    """

    kind: ClassVar[str] = "order"

    run: str
    session: int
    attempt: int
    token: str
    slug: str
    pipeline_digest: str
    seed: int
    model: dict[str, Any]
    stages: tuple[StageSpec, ...]
    start: Cursor
    parent: Parent | None
    budget_s: float
    limit_s: float
    save_interval_s: float
    accelerator: Accelerator = field(default_factory=Accelerator)
    pins: tuple[str, ...] = ()
    keep_checkpoints: int = 2
    sources: dict[str, str] = field(default_factory=dict)
    """Modules of the user's own, by file name: text that is importable in the session."""
    stop_at: Cursor | None = None
    """The session saves and ends here, however much time is left: how a run is cut on purpose."""
    save_at: tuple[Cursor, ...] = ()
    """The session saves here too, however short ago it saved."""
    trace: bool = False
    """Whether the session writes down, bit for bit, what each step computed."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each of the user's own data files, by its name: by these they are known wherever Kaggle mounts them."""
    datasets: tuple[str, ...] = ()
    """`owner/slug` of the datasets that the pipeline lists, in its order."""
    wheels: str = ""
    """`owner/slug` of a mounted dataset of wheels to install pins from (`stages.session.wheels`); empty: from the network."""
    times: dict[str, float] = field(default_factory=dict)
    """What earlier sessions measured, in seconds, for the budget to begin with, by the names that reports have it under: `save_s`,
    and a stage `<stage>.step_s`, `<stage>.step_high_s` and `<stage>.first_step_s`. Empty where nothing is known."""
    created_at: str = ""
    """When the run began, in ISO form: tokens are computed from it. Not for the session: with `pipeline_rest` a lost database
    is made again from the kernels alone. Empty in the orders of an older relay."""
    pipeline_rest: dict[str, Any] = field(default_factory=dict)
    """What the pipeline says beyond `seed`, `model`, `stages` and `sources`."""
    home: str = ""
    """Id of the home folder that pushed it, so that another one that works on the same run notices. Not for the session."""
    generation: int = 0
    """Grows each time a person lets another home folder take the run over."""


@dataclass(frozen=True, kw_only=True)
class FileEntry(Document):
    """One file of a checkpoint. `path` is relative to its manifest and stays below it: anything else is a ContractError."""

    path: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not stays_below(self.path) or self.size_bytes < 0:
            raise ContractError(f"a checkpoint's file cannot be {quoted(self.path)} of {self.size_bytes} bytes")


@dataclass(frozen=True, kw_only=True)
class Manifest(Versioned):
    """Size and SHA-256 of every file of a checkpoint, and where in the chain it belongs.

    `digests` are SHA-256 of contents that do not depend on how files are laid out (`weights`, `adapter`, `optimizer`, …):
    two runs that computed the same numbers have the same `digests`, whatever sessions they were cut into.
    """

    kind: ClassVar[str] = "manifest"

    run: str
    session: int
    attempt: int
    token: str
    cursor: Cursor
    parent: str | None
    """Digest of the checkpoint that the whole session started from: all checkpoints of one session have the same
    parent, so the laptop may adopt any of them, whichever arrives intact."""
    files: tuple[FileEntry, ...]
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the checkpoint's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together, the manifest itself not counted."""
        return sum(entry.size_bytes for entry in self.files)


@dataclass(frozen=True, kw_only=True)
class StageReport(Document):
    """How far one stage is and what it measured last."""

    done: int
    target: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report(Versioned):
    """What a session leaves behind.

    outcome: `finished` (the pipeline is done), `yielded` (stopped itself in time) or `failed`. A failed session has a
    `cause`, a short stable key that tells two failures of the same kind from two different ones, a `reason` for people, and
    says by `transient` whether the same order may well succeed in another session. `reached` is the last step that was
    finished, saved or not; `checkpoint` is the newest one that this session saved. `timings` are seconds: `session_s`,
    `restore_s`, `save_s` (the longest) and, a stage, `<stage>.first_step_s` (loading and compiling included) and
    `<stage>.step_s` (the median of the last ones) and `<stage>.step_high_s` (what they hardly ever exceeded).
    """

    kind: ClassVar[str] = "report"

    run: str
    session: int
    attempt: int
    token: str
    outcome: str
    started: Cursor
    reached: Cursor
    checkpoint: Manifest | None = None
    cause: str = ""
    reason: str = ""
    transient: bool = False
    traceback: str = ""
    stages: dict[str, StageReport] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """The session's seconds by class (`stages.session.time_accounting.Spent`), up to the report; empty in those of an older relay."""
    versions: dict[str, str] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()
    """The data sets, and `model`, in whose place this session had something made up for rehearsals."""


@dataclass(frozen=True, kw_only=True)
class Progress(Versioned):
    """One event of a session's log. `number` counts from 0 within a session, so a replayed log is told from news.

    event: `started`, `restored`, `step`, `saved`, `stage` (one is done), `account`, `stopping`, `failed`, `finished`.
    `at_s` is the session's clock.
    """

    kind: ClassVar[str] = "progress"

    number: int
    event: str
    at_s: float
    stage: str = ""
    step: int = 0
    target: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Now and then, and with each `saved`: the session's seconds by class until this event (`stages.session.time_accounting.Spent`). With a
    `saved` they are those at the moment in which the state was taken, so what was done after it is known if it is lost."""

    def __post_init__(self) -> None:
        if not abs(self.at_s) <= SECONDS_MAX:
            raise ContractError(f"no session has an event at {self.at_s:g} s")

    def line(self) -> str:
        """The event as one line of the kernel's log, newline not included."""
        return PROGRESS_PREFIX + self.to_json()

    @classmethod
    def from_line(cls, line: str) -> "Progress | None":
        """The event, or None for a line that is meant for people (one that is cut off or of another relay counts as such).

        Equal lines give one event: a log is read again at each look, when it is collected and when it is shown.
        """
        if not line.startswith(PROGRESS_PREFIX):
            return None
        return _event(line) if len(line) <= KEPT_CHARACTERS_MAX else _event.__wrapped__(line)


@functools.lru_cache(maxsize=LINES_KEPT)
def _event(line: str) -> Progress | None:
    try:
        return Progress.from_json(line[len(PROGRESS_PREFIX) :])
    except ContractError:
        return None


def checkpoint_folder(cursor: Cursor) -> str:
    """Where a session leaves the checkpoint of that cursor, below `/kaggle/working`."""
    return f"{OUTPUT_DIRECTORY}/{CHECKPOINTS_DIRECTORY}/{cursor.stage}-{cursor.step:08d}"


def clashing(paths: Iterable[str]) -> str:
    """The first name that would overwrite another's file on some disk, or nothing: equal but for case, a folder and a file."""
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = unicodedata.normalize("NFC", path).casefold().split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        whole = "/".join(parts)
        if whole in files or whole in folders or above & files:
            return path
        files.add(whole)
        folders |= above
    return ""


def stays_below(path: str) -> bool:
    """Whether a relative path names something below the folder that it is joined to, on any system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(mark in path for mark in "\\\0:")
