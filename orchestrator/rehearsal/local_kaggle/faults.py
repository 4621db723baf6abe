"""Seeded misbehaviour of the local Kaggle: which session stalls or dies, and which call is answered with nonsense."""

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
    """What befalls a session. The first four strike while it runs, the others at its start or its end."""

    SLOW = "slow"
    """It works at a tenth of its pace from then on, as on an overloaded machine."""
    STALL = "stall"
    """It hangs until the session limit kills it."""
    KILL = "kill"
    """It dies without notice, in the middle of whatever it was doing."""
    CANCEL = "cancel"
    """It is CANCEL_ACKNOWLEDGED before its limit, without a reason."""
    UNMOUNT = "unmount"
    """It starts without any of its inputs."""
    MOUNT_PREVIOUS = "mount_previous"
    """In the place of each of its inputs lies what came before: the older version, or else the older dataset or output."""
    STALE_STATUS = "stale_status"
    """Every other look at its status is answered as things were `seconds` before."""
    HOLD_SLOT = "hold_slot"
    """Its slot is free only `seconds` after its end."""
    SPOIL_OUTPUT = "spoil_output"
    """The largest file that it leaves lacks its last byte."""
    FLIP_OUTPUT = "flip_output"
    """One bit of the largest file that it leaves is changed."""
    SWAP_OUTPUT = "swap_output"
    """The two largest files that it leaves have each other's names."""
    DROP_OUTPUT = "drop_output"
    """The largest file that it leaves is missing."""
    LOSE_OUTPUT = "lose_output"
    """It leaves neither files nor a log."""
    LOSE_LOG = "lose_log"
    """It leaves files and no log."""
    LOSE_REPORT = "lose_report"
    """It leaves no report."""
    FOREIGN_REPORT = "foreign_report"
    """The report that it leaves is another run's."""


TRIGGERED = (SessionAction.SLOW, SessionAction.STALL, SessionAction.KILL, SessionAction.CANCEL)
LASTING = (SessionAction.STALE_STATUS, SessionAction.HOLD_SLOT)


class PushAction(StrEnum):
    """What befalls a push; its session runs all the same, now or later."""

    NO_VERSION = "no_version"
    """The answer does not say which version runs."""
    PHANTOM = "phantom"
    """The answer names a newer version than the one that runs: one that is there and never ran."""
    REFUSE_INPUTS = "refuse_inputs"
    """The answer calls all of its inputs invalid, and it runs without them."""
    LATE = "late"
    """The answer is a 504, and the push is carried out `seconds` later."""
    LAG = "lag"
    """For `seconds` the new version is neither shown (GetKernel) nor listed (ListKernels); its session runs."""


class DatasetAction(StrEnum):
    """What befalls a new version of a dataset."""

    FAIL = "fail"
    """It is never ready: its status is FAILED."""
    SLOW = "slow"
    """It is ready only `seconds` later than others would be."""
    READY_EARLY = "ready_early"
    """Its status is READY at once, while its files are not to be seen yet."""
    SPOIL = "spoil"
    """One byte of its largest file is changed."""
    LAG = "lag"
    """For `seconds` nothing shows or lists the dataset, though its name is taken."""
    VANISH = "vanish"
    """It is accepted and never shown or listed, and its name stays taken."""
    NO_ROOM = "no_room"
    """It is declined, after its files were sent, because the account has no room for them."""


class CallAction(StrEnum):
    """What befalls a call."""

    STATUS = "status"
    """An error status with Kaggle's nested body; no effect."""
    EMPTY = "empty"
    """`{}` with status 200; no effect."""
    HTML = "html"
    """A page of HTML with status 200; no effect."""
    CUT = "cut"
    """Only `after_bytes` of the file arrive, then the connection ends (an upload is answered `status` where that is set)."""
    LOST = "lost"
    """The effect happens and the connection ends without an answer."""
    FLIP = "flip"
    """One bit of a file's byte number `after_bytes` is turned over on its way."""
    HANG = "hang"
    """The answer comes `seconds` late."""


@dataclass(frozen=True, kw_only=True)
class SessionFault:
    """Befalls the `session`-th started session of this world (1 is the first; 0 is whichever comes to `step` first).

    A stall, a kill or a cancellation strikes at `after_s` of the session's clock, or when a progress event shows stage `stage` (any where empty) at step
    `step` or later; then up to `within_s` seconds later, so that it falls somewhere inside the next step. It strikes once.
    """

    action: SessionAction
    session: int = 0
    after_s: float | None = None
    stage: str = ""
    step: int | None = None
    within_s: float = 0.0
    seconds: float = 0.0
    """Of a stale status or a held slot."""

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
                "session: say which one, counted from 1; only a fault with a step can befall whichever comes first"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetFault:
    """Befalls the `version`-th version that is made in this world, of whatever dataset (1 is the first)."""

    version: int
    action: DatasetAction
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PushFault:
    """Befalls the `push`-th push that reaches this world (1 is the first), whether it is then taken or declined."""

    push: int
    action: PushAction
    seconds: float = 0.0
    """Of a late or a lagging push."""


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """Befalls calls whose name matches the pattern `call` (`SaveKernel`, `Get*`, `OutputFile`, `BlobUpload`, `LogStream`).

    Of the matching calls the `nth` (1 is the first) and the `times - 1` after it are hit; where `probability` is given,
    each matching call is hit with it, at most `times` times in all. `times` 0 means without end.
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
        """The status to answer with."""
        return self.status or 503


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """Everything that goes wrong in one rehearsal; the same plan goes wrong in the same way again."""

    seed: int = 0
    sessions: tuple[SessionFault, ...] = ()
    calls: tuple[CallFault, ...] = ()
    datasets: tuple[DatasetFault, ...] = ()
    pushes: tuple[PushFault, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """A plan from a YAML or JSON file; raises BadInput with one sentence."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot read the fault plan: {error}") from error
        return cls.from_yaml(text, str(path))

    @classmethod
    def from_yaml(cls, text: str, where: str = "the fault plan") -> Self:
        """A plan from YAML or JSON text; raises BadInput naming the key that does not fit."""
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
        """The plan as YAML that `from_yaml` reads back."""
        lists = {
            "sessions": self.sessions,
            "calls": self.calls,
            "datasets": self.datasets,
            "pushes": self.pushes,
        }
        value = {"seed": self.seed, **{name: [plain(fault) for fault in faults] for name, faults in lists.items()}}
        return yaml.safe_dump(value, sort_keys=False)


class FaultTrigger:
    """Waits for the moment at which one fault strikes one session."""

    def __init__(self, fault: SessionFault, delay_s: float, strike: Callable[[], None]) -> None:
        self.fault = fault
        self.strike = strike
        """Tells the plan that this fault has happened."""
        self._delay_s = delay_s
        self._strikes_at_s = None if fault.after_s is None else fault.after_s + delay_s

    def strikes_at_s(self, news: Sequence[SessionLine]) -> float | None:
        """Session time of the strike, given the lines that are new since the last call; None while unknown."""
        if self._strikes_at_s is None:
            self._strikes_at_s = next((line.at_s + self._delay_s for line in news if self._is_trigger(line)), None)
        return self._strikes_at_s

    def _is_trigger(self, line: SessionLine) -> bool:
        event = Progress.from_line(line.text)
        if event is None or self.fault.step is None or event.event != "step":
            return False
        return event.step >= self.fault.step and self.fault.stage in ("", event.stage)


class FaultInjector:
    """A fault plan being carried out: counts calls and sessions and says which of them are hit."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._matched = [0] * len(plan.calls)
        self._hit = [0] * len(plan.calls)
        self._versions = 0
        self._pushes = 0
        self._done: set[int] = set()
        self.struck: list[str] = []
        """What has really happened so far, oldest first: `session kill`, `SaveKernel lost`, …"""
        self.calls_made = 0
        """How many were made, hit or not."""

    def call(self, name: str) -> CallFault | None:
        """The fault that befalls this call. Every call is counted for every fault, hit or not."""
        self.calls_made += 1
        hits = [fault for index, fault in enumerate(self._plan.calls) if self._strikes(index, fault, name)]
        if hits:
            self.struck.append(f"{name} {hits[0].action}")
        return hits[0] if hits else None

    def push(self) -> PushFault | None:
        """What befalls the push that is made now. Each call counts one more push."""
        self._pushes += 1
        for fault in self._plan.pushes:
            if fault.push == self._pushes:
                self.struck.append(f"push {fault.action}")
                return fault
        return None

    def watches(self, session: int) -> tuple[FaultTrigger, ...]:
        """What may befall the `session`-th started session."""
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
        """The fault of this kind that happens to the `session`-th started session, at its start or its end, if any."""
        for index, fault in enumerate(self._plan.sessions):
            if fault.session == session and fault.action is action:
                self._strike(index)
                return fault
        return None

    def dataset(self) -> tuple[DatasetFault, ...]:
        """What befalls the version that is being made now. Each call counts one more version."""
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
