"""Seeded misbehaviour of the local Kaggle: which session stalls or dies, and which call is answered with nonsense."""

import random
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from orchestrator.errors import BadInput
from orchestrator.rehearsal.sandbox import Line
from stages.contract import Progress


class SessionAction(StrEnum):
    """What befalls a session."""

    STALL = "stall"
    """It hangs until the session limit kills it."""
    KILL = "kill"
    """It dies without notice, in the middle of whatever it was doing."""


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
    HANG = "hang"
    """The answer comes `seconds` late."""


@dataclass(frozen=True, kw_only=True)
class SessionFault:
    """Befalls the `session`-th started session of this world (1 is the first).

    It strikes at `after_s` of the session's clock, or when a progress event shows stage `stage` (any where empty) at step
    `step` or later; then up to `within_s` seconds later, so that it falls somewhere inside the next step.
    """

    session: int
    action: SessionAction
    after_s: float | None = None
    stage: str = ""
    step: int | None = None
    within_s: float = 0.0

    def __post_init__(self) -> None:
        if (self.after_s is None) == (self.step is None):
            raise ValueError("needs either after_s or step to know when to strike")


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
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadInput(f"{where}: not YAML: {' '.join(str(error).split())}") from error
        plan = _known(cls, value if value is not None else {}, where)
        return cls(
            seed=_number(plan.get("seed", 0), f"{where}: seed"),
            sessions=tuple(
                _entry(SessionFault, item, SessionAction, f"{where}: sessions[{i}]")
                for i, item in enumerate(_items(plan.get("sessions"), f"{where}: sessions"))
            ),
            calls=tuple(
                _entry(CallFault, item, CallAction, f"{where}: calls[{i}]")
                for i, item in enumerate(_items(plan.get("calls"), f"{where}: calls"))
            ),
        )

    def to_yaml(self) -> str:
        """The plan as YAML that `from_yaml` reads back."""
        plain = {
            "seed": self.seed,
            "sessions": [_plain(fault) for fault in self.sessions],
            "calls": [_plain(fault) for fault in self.calls],
        }
        return yaml.safe_dump(plain, sort_keys=False)


class Watch:
    """Waits for the moment at which one fault strikes one session."""

    def __init__(self, fault: SessionFault, delay_s: float) -> None:
        self.fault = fault
        self._delay_s = delay_s
        self._strikes_at_s = None if fault.after_s is None else fault.after_s + delay_s

    def strikes_at_s(self, news: Sequence[Line]) -> float | None:
        """Session time of the strike, given the lines that are new since the last call; None while unknown."""
        if self._strikes_at_s is None:
            self._strikes_at_s = next((line.at_s + self._delay_s for line in news if self._is_trigger(line)), None)
        return self._strikes_at_s

    def _is_trigger(self, line: Line) -> bool:
        event = Progress.from_line(line.text)
        if event is None or self.fault.step is None or event.event != "step":
            return False
        return event.step >= self.fault.step and self.fault.stage in ("", event.stage)


class Misfortune:
    """A fault plan being carried out: counts calls and sessions and says which of them are hit."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._matched = [0] * len(plan.calls)
        self._hit = [0] * len(plan.calls)

    def call(self, name: str) -> CallFault | None:
        """The fault that befalls this call. Every call is counted for every fault, hit or not."""
        hits = [fault for index, fault in enumerate(self._plan.calls) if self._strikes(index, fault, name)]
        return hits[0] if hits else None

    def watches(self, session: int) -> tuple[Watch, ...]:
        """What may befall the `session`-th started session."""
        return tuple(
            Watch(fault, random.Random(f"{self._plan.seed}:{session}:{index}").uniform(0.0, fault.within_s))
            for index, fault in enumerate(self._plan.sessions)
            if fault.session == session
        )

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

F = TypeVar("F", SessionFault, CallFault)


def _plain(fault: SessionFault | CallFault) -> dict[str, Any]:
    value = asdict(fault)
    defaults = {f.name: f.default for f in fields(fault) if f.default is not MISSING}
    value["action"] = fault.action.value
    return {key: item for key, item in value.items() if key not in defaults or item != defaults[key]}


def _known(cls: type[Any], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{where}: should be a mapping, found {value!r}")
    names = [f.name for f in fields(cls)]
    for key in value:
        if key not in names:
            raise BadInput(f"{where}: unknown key {key!r}; use one of: {', '.join(names)}")
    return value


def _items(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput(f"{where}: should be a list, found {value!r}")
    return value


def _number(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{where}: should be a whole number, found {value!r}")
    return value


def _entry(cls: type[F], value: Any, actions: type[StrEnum], where: str) -> F:
    given = _known(cls, value, where)
    for f in fields(cls):
        if f.default is MISSING and f.name not in given:
            raise BadInput(f"{where}: lacks {f.name}")
    allowed = [action.value for action in actions]
    if given["action"] not in allowed:
        raise BadInput(f"{where}.action: {given['action']!r} is not one of: {', '.join(allowed)}")
    for f in fields(cls):
        if f.name in given and f.name != "action":
            _check(f.type, given[f.name], f"{where}.{f.name}")
    try:
        return cls(**{**given, "action": actions(given["action"])})
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from error


def _check(kind: Any, value: Any, where: str) -> None:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = numeric and isinstance(value, int)
    fits = {
        str: isinstance(value, str),
        int: whole and value >= 0,
        float: numeric and value >= 0,
        int | None: value is None or (whole and value >= 0),
        float | None: value is None or (numeric and value >= 0),
    }[kind]
    if not fits:
        raise BadInput(f"{where}: {value!r} does not fit")
