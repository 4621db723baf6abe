"""Carries out a fault plan: counts calls, pushes and sessions, and decides which of them are hit."""

import random
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial

from orchestrator.rehearsal.local_kaggle.faults import (
    TRIGGERED,
    CallFault,
    DatasetFault,
    FaultPlan,
    ModelFault,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.local_kaggle.sandbox import SessionLine
from stages.contract import Progress


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
        self._model_versions = 0
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

    def triggers(self, session: int) -> tuple[FaultTrigger, ...]:
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

    def session_fault(self, session: int, action: SessionAction) -> SessionFault | None:
        """Record and return this kind of fault of the `session`-th started session; None if there is none."""
        for index, fault in enumerate(self._plan.sessions):
            if fault.session == session and fault.action is action:
                self._strike(index)
                return fault
        return None

    def image(self, session: int) -> dict[str, str]:
        """Record a change of the image at the `session`-th started session; return the image's environment variables."""
        if any(change.session == session for change in self._plan.images):
            self.struck.append("image change")
        return self._plan.image(session)

    def dataset(self) -> tuple[DatasetFault, ...]:
        """Count a new dataset version, and return the faults that hit it."""
        self._versions += 1
        hits = tuple(fault for fault in self._plan.datasets if fault.version == self._versions)
        self.struck.extend(f"dataset {fault.action}" for fault in hits)
        return hits

    def model(self) -> ModelFault | None:
        """Count a new version of a model, and return the fault that hits it, or None."""
        self._model_versions += 1
        for fault in self._plan.models:
            if fault.version == self._model_versions:
                self.struck.append(f"model {fault.action}")
                return fault
        return None

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
