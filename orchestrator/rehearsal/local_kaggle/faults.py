"""Seeded faults of the local Kaggle: which sessions stall or die, and which calls fail or return nonsense."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, read_yaml
from orchestrator.base.validation import Mistakes, validated


class SessionAction(StrEnum):
    """Fault of a session. The first four strike while it runs, the others at its start or end, or when it is polled."""

    SLOW = "slow"
    """The session works at a tenth of its speed from then on, as on an overloaded machine."""
    STALL = "stall"
    """The session hangs until the session limit kills it."""
    KILL = "kill"
    """The session dies without notice, in the middle of its work."""
    CANCEL = "cancel"
    """The session is CANCEL_ACKNOWLEDGED before its limit, without a reason."""
    UNMOUNT = "unmount"
    """The session starts without any of its inputs."""
    MOUNT_PREVIOUS = "mount_previous"
    """Each input is replaced by its predecessor: its older version, or else the dataset or output created before it."""
    STALE_STATUS = "stale_status"
    """Every other poll of the session's status returns the state of `seconds` earlier."""
    HOLD_SLOT = "hold_slot"
    """The session's slot is free only `seconds` after its end."""
    SPOIL_OUTPUT = "spoil_output"
    """The largest output file lacks its last byte."""
    FLIP_OUTPUT = "flip_output"
    """A bit of the largest output file is flipped."""
    SWAP_OUTPUT = "swap_output"
    """The two largest output files have each other's names."""
    DROP_OUTPUT = "drop_output"
    """The largest output file is missing."""
    LOSE_OUTPUT = "lose_output"
    """The session leaves neither files nor a log."""
    LOSE_LOG = "lose_log"
    """The session leaves files but no log."""
    LOSE_REPORT = "lose_report"
    """The session leaves no report."""
    FOREIGN_REPORT = "foreign_report"
    """The session leaves another run's report."""


TRIGGERED = (SessionAction.SLOW, SessionAction.STALL, SessionAction.KILL, SessionAction.CANCEL)
LASTING = (SessionAction.STALE_STATUS, SessionAction.HOLD_SLOT)


class PushAction(StrEnum):
    """Fault of a push; its session runs all the same, now or later."""

    NO_VERSION = "no_version"
    """The response does not say which version runs."""
    PHANTOM = "phantom"
    """The response names a newer version than the one that runs; that version exists and never runs."""
    REFUSE_INPUTS = "refuse_inputs"
    """The response rejects all sources as invalid, and the session runs without them."""
    LATE = "late"
    """The response is a 504, and the push takes effect `seconds` later."""
    LAG = "lag"
    """For `seconds`, GetKernel and ListKernels do not show the new version, although its session runs."""


class DatasetAction(StrEnum):
    """Fault of a new dataset version."""

    FAIL = "fail"
    """The version is never ready: its status is FAILED."""
    SLOW = "slow"
    """The version becomes ready `seconds` late."""
    READY_EARLY = "ready_early"
    """The status is READY at once, before the files are visible."""
    SPOIL = "spoil"
    """A byte of the largest file is changed."""
    LAG = "lag"
    """The dataset is neither shown nor listed for `seconds`, although its name is taken."""
    VANISH = "vanish"
    """The dataset is accepted but never shown or listed, and its name stays taken."""
    NO_ROOM = "no_room"
    """The dataset is declined after its files were uploaded, because the account's storage is full."""


class ModelAction(StrEnum):
    """Fault of a new version of a model."""

    FAIL = "fail"
    """The version is never ready: its status is FAILED."""
    SLOW = "slow"
    """The version becomes ready `seconds` late."""
    LATE = "late"
    """The response is a 504, and the version is made `seconds` later."""


class CallAction(StrEnum):
    """Fault of a call."""

    STATUS = "status"
    """The response is an error status with Kaggle's nested body; the call has no effect."""
    EMPTY = "empty"
    """The response is `{}` with status 200; the call has no effect."""
    HTML = "html"
    """The response is an HTML page with status 200; the call has no effect."""
    CUT = "cut"
    """The connection ends after `after_bytes` of the file. An upload is answered with `status` if that is set."""
    LOST = "lost"
    """The call takes effect, and the connection ends without a response."""
    FLIP = "flip"
    """A bit of byte number `after_bytes` of a file is flipped in transit."""
    HANG = "hang"
    """The response comes `seconds` late."""


STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Checks of a fault in a file by pydantic: no unknown keys, and no value of another type."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class SessionFault:
    """Fault of the `session`-th session that starts (1 is the first; 0 is the first to reach `step`).

    A triggered fault strikes once: `after_s` seconds into the session, or when a progress event shows stage `stage`
    (empty for any) at step `step` or later. It is then delayed by up to `within_s` seconds, so that it strikes
    somewhere inside the next step.
    """

    __pydantic_config__ = STRICT

    action: SessionAction
    session: Count = 0
    after_s: Seconds | None = None
    stage: str = ""
    step: Count | None = None
    within_s: Seconds = 0.0
    seconds: Seconds = 0.0
    """Duration of a stale status or a held slot, in seconds."""

    def __post_init__(self) -> None:
        given = (self.after_s is not None) + (self.step is not None)
        if given != (self.action in TRIGGERED):
            raise ValueError(
                f"{self.action} needs either after_s or step to know when to strike"
                if self.action in TRIGGERED
                else f"{self.action} takes neither after_s nor step"
            )
        if self.seconds and self.action not in LASTING:
            raise ValueError(f"{self.action} takes no seconds")
        if self.session == 0 and self.step is None:
            raise ValueError(
                "session: give its number, counted from 1; 0 (the first session to reach the step) needs a step"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetFault:
    """Fault of the `version`-th dataset version that is created, of any dataset (1 is the first)."""

    __pydantic_config__ = STRICT

    version: Count
    action: DatasetAction
    seconds: Seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelFault:
    """Fault of the `version`-th version of a model that is created, of any model (1 is the first)."""

    __pydantic_config__ = STRICT

    version: Count
    action: ModelAction
    seconds: Seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class PushFault:
    """Fault of the `push`-th push that arrives (1 is the first), whether it is then accepted or declined."""

    __pydantic_config__ = STRICT

    push: Count
    action: PushAction
    seconds: Seconds = 0.0
    """Delay of a late or lagging push, in seconds."""


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """Fault of the calls whose name matches the pattern `call`.

    Names are those of the RPCs (`SaveKernel`, `Get*`), `OutputFile`, `DatasetFile`, `BlobUpload` and `LogStream`. Of
    the matching calls, the `nth` (1 is the first) and the `times - 1` after it are hit. With `probability`, each
    matching call is hit with that probability, at most `times` times. `times` 0 means without limit.
    """

    __pydantic_config__ = STRICT

    call: str
    action: CallAction
    nth: Count = 1
    times: Count = 1
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    status: Count = 0
    retry_after_s: Seconds | None = None
    after_bytes: Count = 0
    seconds: Seconds = 0.0

    @property
    def status_code(self) -> int:
        """HTTP status of the faulty response; 503 by default."""
        return self.status or 503


@dataclass(frozen=True, kw_only=True)
class ImageChange:
    """New image of all sessions from the `session`-th that starts on (1 is the first).

    It differs in environment variables: `XLA_FLAGS` and `NPROC` make JAX compute other bits on this machine, and
    `RELAY_STAND_IN_LIBTPU` is the version of libtpu that a session reports where this machine stands in for a TPU. An
    empty value removes a variable.
    """

    __pydantic_config__ = STRICT

    session: Annotated[int, Field(ge=1)]
    environment: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """All faults of one rehearsal. The same plan gives the same faults again."""

    __pydantic_config__ = STRICT

    seed: int = 0
    sessions: tuple[SessionFault, ...] = ()
    calls: tuple[CallFault, ...] = ()
    datasets: tuple[DatasetFault, ...] = ()
    pushes: tuple[PushFault, ...] = ()
    models: tuple[ModelFault, ...] = ()
    differs: tuple[str, ...] = ()
    """Keys of the assumptions from which the local Kaggle differs throughout; see `differences`."""
    images: tuple[ImageChange, ...] = ()

    def image(self, session: int) -> dict[str, str]:
        """Return the environment variables of the image in which the `session`-th started session runs."""
        found: dict[str, str] = {}
        for change in self.images:
            found |= change.environment if change.session <= session else {}
        return {name: value for name, value in found.items() if value}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan from a YAML or JSON file. Raises BadInput with a one-sentence message."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot read the fault plan: {error}") from error
        return cls.from_yaml(text, str(path))

    @classmethod
    def from_yaml(cls, text: str, where: str = "the fault plan") -> Self:
        """Parse a plan from YAML or JSON text. Raises BadInput naming the offending key."""
        try:
            value = read_yaml(text)
        except OddYaml as error:
            raise BadInput(f"{where}: not YAML that relay takes{error.place}: {error}") from error
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if item is not None}  # a list without entries is empty
        try:
            return validated(cls, {} if value is None else value)
        except Mistakes as error:
            raise BadInput(f"{where}: {error}") from error


NO_FAULTS = FaultPlan()
