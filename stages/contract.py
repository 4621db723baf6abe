"""Documents exchanged between the laptop and a session: order, report, manifest, progress. Standard library only."""

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stages.documents import ContractError, Document, Versioned
from stages.file_names import stays_below
from stages.numerics import WARN, Numerics
from stages.safe_text import quoted

PROGRESS_PREFIX = "@relay "
"""Prefix of the kernel log lines that are progress events; all other lines are meant for people."""

LINES_KEPT, KEPT_CHARACTERS_MAX = 4096, 2000
"""Number of parsed log lines to cache, and the longest line to cache, in characters. Each poll reads a log again,
and few of its lines are new."""

STAND_IN_METRIC = "stand_in_"
"""Prefix of a metric which says that a data set, or `model`, was replaced by a stand-in for a rehearsal; the rest of
the metric's name says which."""

SECONDS_MAX = 1e9
"""Upper bound of a session time, in seconds (about thirty years); longer times are rejected as invalid."""

OUTPUT_DIRECTORY = "relay"
"""Folder below `/kaggle/working` that holds everything a session leaves for the laptop."""

CHECKPOINTS_DIRECTORY = "checkpoints"
"""Folder below OUTPUT_DIRECTORY with one folder per checkpoint. Anything else in a session's output is
unfinished or not for the laptop."""

REPORT_NAME = "report.json"
REPORT_SEAL_NAME = "report.sha256"
"""File beside a report with the report's SHA-256, the only means to detect a report damaged in transfer."""
MANIFEST_NAME = "manifest.json"
SEAL_NAME = "manifest.sha256"
"""File beside a manifest with the manifest's digest. A manifest describes the other files; only this file
verifies the manifest itself."""

ARTIFACTS_DIRECTORY = "artifacts"
"""Folder of readable text files that a stage writes, both in the packed state and in a session's output."""

ANSWERS = "answers-{stage}.jsonl"
"""Name of the artifact with the answers that a stage `answer` gave."""

PROBE = "probe.json"
"""Name of the artifact with what a probe saw (`stages.probing.findings.ProbeReport`)."""

VERDICTS = "verdicts-{stage}.jsonl"
"""File name of the artifact of an evaluation with the verdict on each answer: `key` of the problem, `set`, `right`."""

EXPORTS_DIRECTORY = "exports"
"""Folder below OUTPUT_DIRECTORY with one folder per stage that exported a model. Checkpoints do not contain them."""

BLOB_NAME = "state.bin"
"""File name of the packed state. The suffix is neither an archive's, which Kaggle unpacks, nor a
table's, which it rewrites."""
COMPILED_NAME = "compiled.bin"
"""File name of the compiled programs, stored beside the packed state where they save more time than they cost. They are
not part of a checkpoint's identity."""


HISTORY = "history"
"""Beginning of a fork: the other run's checkpoint with everything in it, continued at the same step."""
OPTIMIZER = "optimizer"
"""Beginning of a warm start: weights and optimizer state of the checkpoint; the first stage begins at step 0."""
WEIGHTS = "weights"
"""Beginning of a warm start: the weights of the checkpoint alone; the first stage begins at step 0."""


def seal_of(data: bytes) -> bytes:
    """Return the content of a document's seal file: the SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest().encode()


@dataclass(frozen=True, kw_only=True)
class Cursor(Document):
    """Position within a pipeline: `step` steps of `stage` are done."""

    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class StageSpec(Document):
    """Stage of a pipeline, with the fields that a session needs."""

    name: str
    kind: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Accelerator(Document):
    """Accelerator that the session was promised. `machine_shape` is Kaggle's name; `devices`, those of all processes, is 0
    where any number is accepted."""

    absent_if_none: ClassVar[tuple[str, ...]] = ("processes",)

    machine_shape: str = ""
    platform: str = "cpu"
    devices: int = 0
    processes: int | None = None
    """Number of processes, on one or several hosts, that run the session together; None for one."""


@dataclass(frozen=True, kw_only=True)
class Parent(Document):
    """Checkpoint that a session must start from: its name and its manifest's digest."""

    name: str
    digest: str
    run: str = ""
    """Run that the checkpoint belongs to; empty for the order's own run."""
    keeps: str = ""
    """Part of another run's checkpoint that the order's run begins with: HISTORY, OPTIMIZER or WEIGHTS; empty for a
    checkpoint of the order's own run."""


@dataclass(frozen=True, kw_only=True)
class Order(Versioned):
    """Work order of one session, baked into the pushed kernel.

    Times are seconds on the session's clock, which starts with the kernel's process: the session stops itself early
    enough that everything is saved by `budget_s`; Kaggle kills it at `limit_s`.
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
    lock: str = ""
    """Lock of all packages behind the pins, with hashes (`stages.session.package_lock`); if empty, the pins are
    installed alone, without hashes."""
    keep_checkpoints: int = 2
    sources: dict[str, str] = field(default_factory=dict)
    """The user's own modules, source text by file name, importable in the session."""
    stop_at: Cursor | None = None
    """Cursor at which the session saves and ends even if time is left; used to cut a run on purpose."""
    save_at: tuple[Cursor, ...] = ()
    """Cursors at which the session saves regardless of the save interval."""
    trace: bool = False
    """True if the session records, bit for bit, what each step computed."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each of the user's own data files, by name; identifies them wherever Kaggle mounts them."""
    datasets: tuple[str, ...] = ()
    """`owner/slug` of the datasets that the pipeline lists, in the pipeline's order."""
    wheels: str = ""
    """`owner/slug` of a mounted dataset of wheels to install pins from (`stages.session.wheels`); if empty, pins are
    installed from the network."""
    times: dict[str, float] = field(default_factory=dict)
    """Seconds measured by earlier sessions, as initial estimates for the budget. Keys are those of a report's
    timings: `save_s`, and per stage `<stage>.step_s`, `<stage>.step_high_s` and `<stage>.first_step_s`. Empty
    if nothing was measured yet."""
    created_at: str = ""
    """Time at which the run began, in ISO format; tokens are derived from it. The session does not use it:
    together with `pipeline_rest` it allows a lost database to be rebuilt from the kernels alone. Empty in
    the orders of an older relay."""
    pipeline_rest: dict[str, Any] = field(default_factory=dict)
    """Fields of the pipeline other than `seed`, `model`, `stages` and `sources`."""
    home: str = ""
    """Id of the home folder that pushed the order, so that another home working on the same run
    notices. Unused by the session."""
    generation: int = 0
    """Counter that grows each time a user lets another home folder take over the run."""
    exactness: str = WARN
    """`strict` if the session must not train where it would compute other bits than its parent; `warn` if it reports it."""


@dataclass(frozen=True, kw_only=True)
class FileEntry(Document):
    """File of a checkpoint. `path` is relative to its manifest and must stay below it;
    otherwise raises ContractError."""

    path: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not stays_below(self.path) or self.size_bytes < 0:
            raise ContractError(f"a checkpoint's file cannot be {quoted(self.path)} of {self.size_bytes} bytes")


@dataclass(frozen=True, kw_only=True)
class Manifest(Versioned):
    """Size and SHA-256 of every file of a checkpoint, and its place in the chain of checkpoints.

    `digests` are SHA-256 of contents, independent of the file layout (`weights`, `adapter`, `optimizer`, …): two runs
    that computed the same numbers have the same `digests`, regardless of how they were cut into sessions.
    """

    kind: ClassVar[str] = "manifest"
    absent_if_none: ClassVar[tuple[str, ...]] = ("numerics",)

    run: str
    session: int
    attempt: int
    token: str
    cursor: Cursor
    parent: str | None
    """Digest of the checkpoint that the session started from. All checkpoints of one session have the same parent, so
    the laptop may adopt any of them that arrives intact."""
    files: tuple[FileEntry, ...]
    digests: dict[str, str] = field(default_factory=dict)
    numerics: Numerics | None = None
    """Record of what determines the bits of these numbers; None in manifests of an older relay."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON; it is the checkpoint's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Total size of all files in bytes, without the manifest itself."""
        return sum(entry.size_bytes for entry in self.files)


@dataclass(frozen=True, kw_only=True)
class StageReport(Document):
    """Progress of one stage and its latest metrics."""

    done: int
    target: int
    metrics: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    """Peaks of the stage's memory in this session, and the machine's limits, in bytes: `device_bytes` (the device that
    used most), `device_limit_bytes`, `host_bytes` and `host_limit_bytes`; empty in reports of an older relay, and for
    a stage without JAX."""


@dataclass(frozen=True, kw_only=True)
class Report(Versioned):
    """Result document of a session.

    `outcome` is `finished` (the pipeline is done), `yielded` (the session stopped itself in time) or `failed`. A failed
    session has a `cause` (a short stable key: failures of the same kind have the same one), a `reason` for people, and
    `transient`, which is true if the same order may succeed in another session. `reached` is the last step that was
    finished, saved or not; `checkpoint` is the newest one that this session saved. `timings` are seconds: `session_s`,
    `restore_s`, `save_s` (the longest save) and, per stage, `<stage>.first_step_s` (loading and compiling included),
    `<stage>.step_s` (median of recent steps) and `<stage>.step_high_s` (a high quantile of recent steps).
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
    """Seconds of the session by class (`stages.session.time_accounting.TimeClass`) up to the report; empty
    in reports of an older relay."""
    versions: dict[str, str] = field(default_factory=dict)
    numerics: Numerics | None = None
    """Record of what determines this session's bits, without the list of its packages; None if it ended too early."""
    environment: str = ""
    """Sentence on what the packages were held to: a lock with its digest, or the pins alone and why; empty in reports of
    an older relay and of sessions that need no packages."""
    stand_ins: tuple[str, ...] = ()
    """Data sets (and `model`) that were replaced by stand-ins made for a rehearsal."""


@dataclass(frozen=True, kw_only=True)
class Progress(Versioned):
    """Event of a session's log. `number` counts from 0 within a session and
    identifies events that were read before.

    `event` is `started`, `restored`, `step`, `saved`, `stage` (a stage is done), `account`, `stopping`, `failed` or
    `finished`. `at_s` is the time on the session's clock.
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
    """Seconds of the session by class (`stages.session.time_accounting.TimeClass`) until this event; sent
    periodically and with each `saved` event. For `saved` they end when the state was copied, so the time spent
    after it is known if it is lost."""

    def __post_init__(self) -> None:
        if not abs(self.at_s) <= SECONDS_MAX:
            raise ContractError(f"an event cannot be at {self.at_s:g} s: no session is that long")

    def line(self) -> str:
        """Return the event as one line of the kernel's log, without the newline."""
        return PROGRESS_PREFIX + self.to_json()

    @classmethod
    def from_line(cls, line: str) -> "Progress | None":
        """Parse a log line; None for a line meant for people, a truncated line, or a line of an incompatible relay.

        Equal lines return the same object from a cache: a log is read again at each poll,
        when collected and when shown.
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
    """Return the folder, relative to `/kaggle/working`, in which a session leaves the checkpoint of that cursor."""
    return f"{OUTPUT_DIRECTORY}/{CHECKPOINTS_DIRECTORY}/{cursor.stage}-{cursor.step:08d}"
