"""Limits, durations and messages of Kaggle that the local one reproduces, and the exception for its refusals."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self, TypeVar

T = TypeVar("T")

HOUR_S = 3600.0
WEEK = timedelta(days=7)

DATASET_LAYOUTS = ("{slug}", "datasets/{owner}/{slug}")
KERNEL_LAYOUTS = ("{slug}", "notebooks/{owner}/{slug}")
"""Folders below `/kaggle/input` where a source may be mounted; both forms were seen within one hour."""

TIME_LIMIT_MESSAGE = "Your notebook was stopped because it exceeded the max allowed execution duration."
OUTPUT_LIMIT_MESSAGE = "Your notebook was stopped because its output exceeded the maximum allowed size."


CONSENT_MESSAGE = "Permission 'models.get' was denied: please accept the model's license on its page first"
"""Answer to an account that has not accepted a model's licence. Kaggle's own wording is not known."""


class MachineKind(StrEnum):
    """Kind of machine that a session runs on."""

    TPU = "tpu"
    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True)
class PerKind:
    """Number for each kind of machine."""

    tpu: float
    gpu: float
    cpu: float

    @classmethod
    def all(cls, value: float) -> Self:
        """Return an instance with the same number for every kind."""
        return cls(value, value, value)

    def of(self, kind: MachineKind) -> float:
        """Return the number of a kind."""
        return {MachineKind.TPU: self.tpu, MachineKind.GPU: self.gpu, MachineKind.CPU: self.cpu}[kind]


@dataclass(frozen=True, kw_only=True)
class AssumedBehaviour:
    """Behaviour that relay assumes of Kaggle. `differences` changes single values, as `relay rehearse --differs` asks."""

    session_limit_share: float = 1.0
    """Share of a session's limit after which it is ended."""
    declined_code: int = 0
    """HTTP status that declines a push; 0: status 200 with a text in `error`."""
    keeps_declined: bool = True
    """True if the source of a declined push is kept."""
    names_rejected: bool = True
    """True if a push names the data sources that it rejected."""
    name_suffix: str = ""
    """Text that Kaggle adds to the name of a new kernel."""
    name_characters_max: int = 50
    names_accelerators: bool = True
    """True if the list of kernels names their accelerators."""
    lists_all: bool = True
    """True if lists are complete; otherwise every second entry is missing."""
    tells_never_run: bool = True
    """True if the status of a version that never ran is NEW_SCRIPT, not QUEUED."""
    tells_versions: bool = True
    """True if a version label selects a version; otherwise the newest one is always answered for."""
    limit_cancels: bool = True
    """True if a session that reaches the limit is CANCEL_ACKNOWLEDGED with a reason; otherwise ERROR without one."""
    keeps_unclean: bool = True
    """True if a session that does not end by itself keeps its output."""
    output_listed_s: float = 0.0
    """Seconds after a session's end until its largest file is listed."""
    mounts_outputs: bool = True
    """True if the output of a kernel can be mounted."""
    mounts_models: bool = True
    """True if a model that was accepted as a source is mounted."""
    accepts_licences: bool = True
    """True if the account has accepted the licences of the models that it is offered."""
    keeps_descriptions: bool = True
    """True if a dataset's description is returned."""
    keeps_unknown: bool = True
    """True if files with an unknown suffix stay as they are in a dataset; otherwise a line end is added to each."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Limits and durations of Kaggle.

    Defaults are documented or measured. For `pins_versions` and the two `missing_*_code` values Kaggle's behaviour is
    unknown: code that depends on them should work with either value.
    """

    seed: int = 0
    session_limit_s: PerKind = PerKind(9 * HOUR_S, 12 * HOUR_S, 12 * HOUR_S)
    quota_s: PerKind = PerKind(20 * HOUR_S, 30 * HOUR_S, 0.0)
    quota_refresh: datetime = datetime(2030, 1, 5, tzinfo=UTC)
    """Any moment at which the weekly quota was renewed; it defines the weeks."""
    slots: PerKind = PerKind(1, 2, 5)
    queue_s: PerKind = PerKind(600.0, 60.0, 20.0)
    dataset_processing_s: float = 60.0
    waits_vary: float = 0.0
    """Share by which each queue wait and each dataset processing may be longer or shorter."""
    dataset_files_max: int = 50
    """Maximum number of files at the top level of a dataset."""
    source_bytes_max: int = 1_000_000
    output_bytes_max: int = 20 * 1024**3
    page_size: int = 20
    page_size_max: int = 200
    url_ttl_s: float = HOUR_S
    upload_ttl_s: float = 7 * 24 * HOUR_S
    dataset_layouts: tuple[str, ...] = DATASET_LAYOUTS
    kernel_layouts: tuple[str, ...] = KERNEL_LAYOUTS
    extracts_archives: bool = True
    log_while_running: bool = False
    """True if the output listing includes the log of a running session; the log stream always does."""
    log_wait_s: float = 10.0
    """Seconds for which the log stream of a queued session is held open before the answer 404."""
    pins_versions: bool = False
    """True if the source `owner/slug/3` mounts version 3; otherwise the newest version is mounted."""
    missing_kernel_code: int = 403
    missing_dataset_code: int = 404
    frees_names: bool = True
    """True if the name of a deleted kernel or dataset can be used again."""
    behaviour: AssumedBehaviour = AssumedBehaviour()

    @classmethod
    def brisk(cls, session_limit_s: float, seed: int = 0) -> Self:
        """Return rules for a rehearsal in real time: the given session limit, short waits, otherwise the defaults."""
        return replace(
            cls(seed=seed),
            session_limit_s=PerKind.all(session_limit_s),
            queue_s=PerKind.all(0.5),
            dataset_processing_s=1.0,
        )

    def listed(self, entries: Sequence[T]) -> Sequence[T]:
        """Return the entries of a list that Kaggle shows."""
        return entries if self.behaviour.lists_all else entries[1::2]

    def choose(self, among: Sequence[T], key: str) -> T:
        """Choose one of several pseudo-randomly; the same seed and key give the same choice."""
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        return among[int.from_bytes(digest[:4], "big") % len(among)]

    def wait_s(self, usual_s: float, key: str) -> float:
        """Return a wait varied by `waits_vary`, in seconds; the same seed and key give the same wait."""
        digest = hashlib.sha256(f"{self.seed}:wait:{key}".encode()).digest()
        return usual_s * (1.0 + self.waits_vary * (2.0 * int.from_bytes(digest[:4], "big") / 2**32 - 1.0))

    def week(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the start of this quota week and of the next one."""
        weeks = (now - self.quota_refresh) // WEEK
        start = self.quota_refresh + weeks * WEEK
        return start, start + WEEK


class KaggleRefusal(Exception):
    """An HTTP error response (status 400 or more). The call had no effect."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def denied(permission: str) -> KaggleRefusal:
    """Return a 403 refusal in Kaggle's words."""
    return KaggleRefusal(403, f"Permission '{permission}' was denied")


def slot_message(kind: MachineKind, slots: int) -> str:
    """Return SaveKernel's error, sent with status 200, for too many live sessions."""
    return f"Maximum batch {kind.value.upper()} session count of {slots} reached."


def quota_message(kind: MachineKind, hours: float) -> str:
    """Return SaveKernel's error for a spent weekly quota. Kaggle's own wording is not known."""
    return f"Your weekly {kind.value.upper()} quota of {hours:g} hours has been exceeded."
