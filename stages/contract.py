"""What the laptop and a session say to each other: order, report, manifest, progress. Plain JSON, standard library only.

Every document carries `format`. A reader keeps fields that it does not know (they are written out again unchanged) and
refuses a document whose format is newer than its own.
"""

import functools
import hashlib
import json
import types
import typing
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Self

FORMAT = 1

PROGRESS_PREFIX = "@relay "
"""A line of a kernel's log that starts so is a progress event; every other line is for people."""

OUTPUT_DIRECTORY = "relay"
"""Everything that a session leaves for the laptop lies below this folder of `/kaggle/working`."""

CHECKPOINTS_DIRECTORY = "checkpoints"
"""Below it, one folder a checkpoint. Whatever else lies in a session's output is unfinished or not for the laptop."""

REPORT_NAME = "report.json"
MANIFEST_NAME = "manifest.json"
PAPERS_DIRECTORY = "papers"
"""Texts for people that a stage writes: they lie below this folder, in the packed state and in a session's output."""

BLOB_NAME = "state.bin"
"""The packed state. Neither an archive's nor a table's suffix: Kaggle unpacks the ones and rewrites the others."""
COMPILED_NAME = "compiled.bin"
"""The programs that were compiled, beside the packed state where they are worth it. No part of what a checkpoint is."""


class ContractError(ValueError):
    """A document that cannot be read; the message is one sentence for a person."""


class NewerFormat(ContractError):
    """The document was written by a newer relay."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Base of everything that travels as JSON."""

    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    """Fields that this version does not know, kept so that passing a document on loses nothing."""

    def to_dict(self) -> dict[str, Any]:
        """The plain JSON value, unknown fields included."""
        hints = _hints(type(self))
        known = {f.name: _plain(getattr(self, f.name), hints[f.name]) for f in fields(self) if f.name != "extra"}
        return {**self.extra, **known}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The document; raises ContractError naming the field that does not fit."""
        read: Self = _document(cls, value, cls.__name__.lower())
        return read


@dataclass(frozen=True, kw_only=True)
class Versioned(Document):
    """A document that is written to a file or a log by itself."""

    kind: ClassVar[str]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII. Equal documents give equal bytes."""
        return json.dumps(
            {"format": FORMAT, "document": self.kind, **self.to_dict()},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read one document; raises NewerFormat or ContractError with a sentence for a person."""
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"this {cls.kind} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ContractError(f"this {cls.kind} is not a JSON object")
        found = value.pop("format", None)
        named = value.pop("document", None)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise ContractError(f"this {cls.kind} does not say its format")
        if found > FORMAT:
            raise NewerFormat(
                f"this {cls.kind} has format {found}, and this relay reads up to {FORMAT}: update relay to go on"
            )
        if named != cls.kind:
            raise ContractError(f"expected a {cls.kind} and found {named!r}")
        return cls.from_dict(value)


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


@dataclass(frozen=True, kw_only=True)
class FileEntry(Document):
    """One file of a checkpoint. `path` is relative to its manifest and stays below it: anything else is a ContractError."""

    path: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not stays_below(self.path) or self.size_bytes < 0:
            raise ContractError(f"a checkpoint's file cannot be {self.path!r} of {self.size_bytes} bytes")


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
    `<stage>.step_s` (the median of the last ones).
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
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Progress(Versioned):
    """One event of a session's log. `number` counts from 0 within a session, so a replayed log is told from news.

    event: `started`, `restored`, `step`, `saved`, `stage` (one is done), `stopping`, `failed`, `finished`.
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

    def line(self) -> str:
        """The event as one line of the kernel's log, newline not included."""
        return PROGRESS_PREFIX + self.to_json()

    @classmethod
    def from_line(cls, line: str) -> "Progress | None":
        """The event, or None for a line that is meant for people (a cut-off event counts as such)."""
        if not line.startswith(PROGRESS_PREFIX):
            return None
        try:
            return cls.from_json(line[len(PROGRESS_PREFIX) :])
        except NewerFormat:
            raise
        except ContractError:
            return None


def stays_below(path: str) -> bool:
    """Whether a relative path names something below the folder that it is joined to, on any system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(mark in path for mark in "\\\0:")


_type_hints = functools.cache(typing.get_type_hints)


def _hints(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = _type_hints(cls)
    return found


def _plain(value: Any, hint: Any = None) -> Any:
    if isinstance(value, Versioned):
        return {"format": FORMAT, "document": value.kind, **value.to_dict()}
    if isinstance(value, Document):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        inner = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None
        return {key: _plain(item, inner) for key, item in value.items()}
    if hint is float:
        return float(value)  # 60 and 60.0 are equal documents, so they have to be equal bytes
    return value


def _refuse_constant(name: str) -> None:
    raise ContractError(f"{name} is not a number")


def _document(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ContractError(f"{where} is not a JSON object")
    hints = _hints(cls)
    known = {f.name: f for f in fields(cls) if f.name != "extra"}
    missing = [name for name, f in known.items() if name not in value and _required(f)]
    if missing:
        raise ContractError(f"{where} lacks {', '.join(missing)}")
    given = {name: _read(hints[name], value[name], f"{where}.{name}") for name in known if name in value}
    extra = {name: item for name, item in value.items() if name not in known}
    return cls(extra=extra, **given)


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _read(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        inner = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        return None if value is None else _read(inner[0], value, where)
    if origin is tuple:
        return _items(typing.get_args(hint)[0], value, where)
    if origin is dict:
        return _mapping(typing.get_args(hint)[1], value, where)
    if is_dataclass(hint):
        return _nested(hint, value, where)
    return _scalar(hint, value, where)


def _items(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ContractError(f"{where} is not a list")
    return tuple(_read(hint, item, f"{where}[{index}]") for index, item in enumerate(value))


def _mapping(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError(f"{where} is not a JSON object")
    return {key: _read(hint, item, f"{where}.{key}") for key, item in value.items()}


def _nested(hint: Any, value: Any, where: str) -> Any:
    if issubclass(hint, Versioned):
        return hint.from_json(json.dumps(value))
    return _document(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value, where)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ContractError(f"{where} should be {hint.__name__}, found {value!r}")
    return value


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ContractError(f"{where} is too large a number") from error
