"""The numbers and words of Kaggle that the local one obeys, and the refusal it answers with."""

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
"""Where a source is mounted below `/kaggle/input`; both forms were seen within one hour."""

TIME_LIMIT_MESSAGE = "Your notebook was stopped because it exceeded the max allowed execution duration."
OUTPUT_LIMIT_MESSAGE = "Your notebook was stopped because its output exceeded the maximum allowed size."


CONSENT_MESSAGE = "Permission 'models.get' was denied: please accept the model's license on its page first"
"""What is answered to who did not accept a model's licence; Kaggle's own wording is not known."""


class MachineKind(StrEnum):
    """What a session runs on."""

    TPU = "tpu"
    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True)
class PerKind:
    """One number for each kind of session."""

    tpu: float
    gpu: float
    cpu: float

    @classmethod
    def all(cls, value: float) -> Self:
        """The same number for every kind."""
        return cls(value, value, value)

    def of(self, kind: MachineKind) -> float:
        """The number of this kind."""
        return {MachineKind.TPU: self.tpu, MachineKind.GPU: self.gpu, MachineKind.CPU: self.cpu}[kind]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What Kaggle allows and how long it takes.

    The defaults are the documented or measured ones. `pins_versions` and the two codes are points on which nobody has shown what Kaggle does: whoever relies on them should hold under either value.
    """

    seed: int = 0
    session_limit_s: PerKind = PerKind(9 * HOUR_S, 12 * HOUR_S, 12 * HOUR_S)
    quota_s: PerKind = PerKind(20 * HOUR_S, 30 * HOUR_S, 0.0)
    quota_refresh: datetime = datetime(2030, 1, 5, tzinfo=UTC)
    """Any one moment at which the weekly quota starts anew."""
    slots: PerKind = PerKind(1, 2, 5)
    queue_s: PerKind = PerKind(600.0, 60.0, 20.0)
    dataset_processing_s: float = 60.0
    waits_vary: float = 0.0
    """Share by which each wait in the queue and each processing of a dataset is longer or shorter than that."""
    dataset_files_max: int = 50
    """Files at the top level of a dataset."""
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
    """Whether the list of outputs already shows the log of a session that runs; the stream always does."""
    log_wait_s: float = 10.0
    """How long the log stream of a queued session is held open before it is answered 404."""
    pins_versions: bool = False
    """Whether `owner/slug/3` mounts version 3 instead of the newest."""
    missing_kernel_code: int = 403
    missing_dataset_code: int = 404
    frees_names: bool = True
    """Whether the name of a deleted kernel or dataset can be used again."""

    @classmethod
    def brisk(cls, session_limit_s: float, seed: int = 0) -> Self:
        """For a rehearsal in real time: sessions of that length, hardly any waiting, all else as on Kaggle."""
        return replace(
            cls(seed=seed),
            session_limit_s=PerKind.all(session_limit_s),
            queue_s=PerKind.all(0.5),
            dataset_processing_s=1.0,
        )

    def choose(self, among: Sequence[T], key: str) -> T:
        """One of several, always the same for the same seed and key."""
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        return among[int.from_bytes(digest[:4], "big") % len(among)]

    def wait_s(self, usual_s: float, key: str) -> float:
        """How long this wait is, always the same for the same seed and key."""
        digest = hashlib.sha256(f"{self.seed}:wait:{key}".encode()).digest()
        return usual_s * (1.0 + self.waits_vary * (2.0 * int.from_bytes(digest[:4], "big") / 2**32 - 1.0))

    def week(self, now: datetime) -> tuple[datetime, datetime]:
        """Start of this quota week and of the next one."""
        weeks = (now - self.quota_refresh) // WEEK
        start = self.quota_refresh + weeks * WEEK
        return start, start + WEEK


class KaggleRefusal(Exception):
    """An answer with an HTTP status of 400 or more: the call had no effect."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def denied(permission: str) -> KaggleRefusal:
    """403 in Kaggle's words."""
    return KaggleRefusal(403, f"Permission '{permission}' was denied")


def slot_message(kind: MachineKind, slots: int) -> str:
    """What SaveKernel answers, with status 200, when too many sessions are alive."""
    return f"Maximum batch {kind.value.upper()} session count of {slots} reached."


def quota_message(kind: MachineKind, hours: float) -> str:
    """What SaveKernel answers when the week's hours are spent. Kaggle's own wording is not known."""
    return f"Your weekly {kind.value.upper()} quota of {hours:g} hours has been exceeded."
