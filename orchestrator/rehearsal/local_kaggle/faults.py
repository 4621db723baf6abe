"""Seeded faults of the local Kaggle: which sessions stall or die, and which calls fail or return nonsense."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Self

import yaml

from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, read_yaml
from orchestrator.rehearsal.local_kaggle.sandbox import SessionLine
from orchestrator.rehearsal.local_kaggle.yaml_dataclasses import entries, known, plain, whole
from stages.contract import Progress


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
    """One bit of the largest output file is flipped."""
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
    """One byte of the largest file is changed."""
    LAG = "lag"
    """The dataset is neither shown nor listed for `seconds`, although its name is taken."""
    VANISH = "vanish"
    """The dataset is accepted but never shown or listed, and its name stays taken."""
    NO_ROOM = "no_room"
    """The dataset is declined after its files were uploaded, because the account's storage is full."""


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
    """One bit of byte number `after_bytes` of a file is flipped in transit."""
    HANG = "hang"
    """The response comes `seconds` late."""


@dataclass(frozen=True, kw_only=True)
class SessionFault:
    """Fault of the `session`-th session that starts (1 is the first; 0 is the first to reach `step`).

    A triggered fault strikes once: `after_s` seconds into the session, or when a progress event shows stage `stage`
    (empty for any) at step `step` or later. It is then delayed by up to `within_s` seconds, so that it strikes
    somewhere inside the next step.
    """

    action: SessionAction
    session: int = 0
    after_s: float | None = None
    stage: str = ""
    step: int | None = None
    within_s: float = 0.0
    seconds: float = 0.0
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

    version: int
    action: DatasetAction
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PushFault:
    """Fault of the `push`-th push that arrives (1 is the first), whether it is then accepted or declined."""

    push: int
    action: PushAction
    seconds: float = 0.0
    """Delay of a late or lagging push, in seconds."""


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """Fault of the calls whose name matches the pattern `call`.

    Names are those of the RPCs (`SaveKernel`, `Get*`), `OutputFile`, `DatasetFile`, `BlobUpload` and `LogStream`. Of
    the matching calls, the `nth` (1 is the first) and the `times - 1` after it are hit. With `probability`, each
    matching call is hit with that probability, at most `times` times. `times` 0 means without limit.
    """

    call: str
    action: CallAction
    nth: int = 1
    times: int = 1
    probability: float | None = None
    status: int = 0
    retry_after_s: float | None = None
    after_bytes: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError("probability lies between 0 and 1")

    @property
    def status_code(self) -> int:
        """HTTP status of the faulty response; 503 by default."""
        return self.status or 503


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """All faults of one rehearsal. The same plan gives the same faults again."""

    seed: int = 0
    sessions: tuple[SessionFault, ...] = ()
    calls: tuple[CallFault, ...] = ()
    datasets: tuple[DatasetFault, ...] = ()
    pushes: tuple[PushFault, ...] = ()

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
        plan = known(cls, value if value is not None else {}, where)
        return cls(
            seed=whole(plan.get("seed", 0), f"{where}: seed"),
            sessions=entries(SessionFault, plan.get("sessions"), f"{where}: sessions"),
            calls=entries(CallFault, plan.get("calls"), f"{where}: calls"),
            datasets=entries(DatasetFault, plan.get("datasets"), f"{where}: datasets"),
            pushes=entries(PushFault, plan.get("pushes"), f"{where}: pushes"),
        )

    def to_yaml(self) -> str:
        """Return the plan as YAML that `from_yaml` reads back."""
        lists = {
            "sessions": self.sessions,
            "calls": self.calls,
            "datasets": self.datasets,
            "pushes": self.pushes,
        }
        value = {"seed": self.seed, **{name: [plain(fault) for fault in faults] for name, faults in lists.items()}}
        return yaml.safe_dump(value, sort_keys=False)


class FaultTrigger:
    """Determines when one fault strikes one session."""

    def __init__(self, fault: SessionFault, delay_s: float, strike: Callable[[], None]) -> None:
        self.fault = fault
        self.strike = strike
        """Function that records the fault as struck."""
        self._delay_s = delay_s
        self._strikes_at_s = None if fault.after_s is None else fault.after_s + delay_s

    def strikes_at_s(self, news: Sequence[SessionLine]) -> float | None:
        """Return the session time of the strike in seconds, given the new log lines; None while it is unknown."""
        if self._strikes_at_s is None:
            self._strikes_at_s = next((line.at_s + self._delay_s for line in news if self._is_trigger(line)), None)
        return self._strikes_at_s

    def _is_trigger(self, line: SessionLine) -> bool:
        event = Progress.from_line(line.text)
        if event is None or self.fault.step is None or event.event != "step":
            return False
        return event.step >= self.fault.step and self.fault.stage in ("", event.stage)


class FaultInjector:
    """Executes a fault plan: counts calls, pushes and sessions, and determines which of them are hit."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._matched = [0] * len(plan.calls)
        self._hit = [0] * len(plan.calls)
        self._versions = 0
        self._pushes = 0
        self._done: set[int] = set()
        self.struck: list[str] = []
        """Faults that have struck so far, oldest first: `session kill`, `SaveKernel lost`, …"""
        self.calls_made = 0
        """Number of calls so far, hit or not."""

    def call(self, name: str) -> CallFault | None:
        """Return the fault that hits this call, or None. Every call counts for every fault, hit or not."""
        self.calls_made += 1
        hits = [fault for index, fault in enumerate(self._plan.calls) if self._strikes(index, fault, name)]
        if hits:
            self.struck.append(f"{name} {hits[0].action}")
        return hits[0] if hits else None

    def push(self) -> PushFault | None:
        """Count a push, and return the fault that hits it, or None."""
        self._pushes += 1
        for fault in self._plan.pushes:
            if fault.push == self._pushes:
                self.struck.append(f"push {fault.action}")
                return fault
        return None

    def watches(self, session: int) -> tuple[FaultTrigger, ...]:
        """Return the triggers that may strike the `session`-th started session."""
        return tuple(
            FaultTrigger(
                fault,
                random.Random(f"{self._plan.seed}:{session}:{index}").uniform(0.0, fault.within_s),
                partial(self._strike, index),
            )
            for index, fault in enumerate(self._plan.sessions)
            if fault.session in (0, session) and fault.action in TRIGGERED and index not in self._done
        )

    def befalls(self, session: int, action: SessionAction) -> SessionFault | None:
        """Record and return this kind of fault of the `session`-th started session; None if there is none."""
        for index, fault in enumerate(self._plan.sessions):
            if fault.session == session and fault.action is action:
                self._strike(index)
                return fault
        return None

    def dataset(self) -> tuple[DatasetFault, ...]:
        """Count a new dataset version, and return the faults that hit it."""
        self._versions += 1
        hits = tuple(fault for fault in self._plan.datasets if fault.version == self._versions)
        self.struck.extend(f"dataset {fault.action}" for fault in hits)
        return hits

    def _strike(self, index: int) -> None:
        if index not in self._done:
            self._done.add(index)
            self.struck.append(f"session {self._plan.sessions[index].action}")

    def _strikes(self, index: int, fault: CallFault, name: str) -> bool:
        if not fnmatchcase(name, fault.call):
            return False
        self._matched[index] += 1
        if fault.times and self._hit[index] >= fault.times:
            return False
        if fault.probability is None:
            struck = self._matched[index] >= fault.nth
        else:
            struck = self._random.random() < fault.probability
        self._hit[index] += struck
        return struck


NO_FAULTS = FaultPlan()
