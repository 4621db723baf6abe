"""Call faults for a gateway without HTTP: delays, errors and lost answers on the world's clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from orchestrator.base.errors import Ambiguous, RateLimited, Refused, RelayError, Transient
from orchestrator.base.humanize import duration
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal
from orchestrator.rehearsal.local_kaggle.world import World

CALL_S = TransportLimits().call_s
"""Timeout of a call in seconds, as in the HTTP client."""


class DirectCalls:
    """Makes calls on a `World` fail as its fault plan says, with the errors that the HTTP client would raise."""

    def __init__(self, world: World) -> None:
        self._world = world

    def fault(self, name: str) -> CallFault | None:
        """Count a call, and return the fault that hits it, or None."""
        return self._world.fault_injector.call(name)

    @contextmanager
    def reading(self, name: str) -> Iterator[datetime]:
        """Yield the world's current time for a call that changes nothing."""
        with self.read(self.fault(name)) as now:
            yield now

    @contextmanager
    def read(self, fault: CallFault | None) -> Iterator[datetime]:
        """Yield the world's current time for a call that changes nothing and that this fault hits."""
        self.fail(fault, Transient)
        with self._world.at_now() as now:
            try:
                yield now
            except KaggleRefusal as error:
                raise Refused(error.message) from error

    @contextmanager
    def changing(self, name: str, unclear: type[RelayError] = Ambiguous) -> Iterator[datetime]:
        """Yield the world's current time for a call whose response may be lost after it took effect."""
        fault = self.fault(name)
        lost = fault is not None and (fault.action is CallAction.LOST or _too_late(fault))
        if not lost:
            self.fail(fault, unclear)
        with self._world.at_now() as now:
            try:
                yield now
            except KaggleRefusal as error:
                raise (unclear if error.code >= 500 else Refused)(error.message) from error
        if lost:
            self._world.clock.sleep(CALL_S if fault is not None and _too_late(fault) else 0.0)
            raise unclear(f"{name}: the connection ended without an answer")

    def fail(self, fault: CallFault | None, unclear: type[RelayError]) -> None:
        """Raise the error by which the client would report this fault. A mere delay sleeps on the world's clock."""
        if fault is None:
            return
        match fault.action:
            case CallAction.FLIP:
                return
            case CallAction.HANG:
                self._world.clock.sleep(min(fault.seconds, CALL_S))
                if _too_late(fault):
                    raise unclear(f"{fault.call}: no answer within {duration(CALL_S)}")
            case CallAction.STATUS if fault.status_code == 429:
                raise RateLimited(f"{fault.call}: HTTP 429", fault.retry_after_s)
            case CallAction.STATUS if fault.status_code < 500:
                raise Refused(f"{fault.call}: HTTP {fault.status_code}")
            case _:
                raise unclear(f"{fault.call}: {fault.action}")


def _too_late(fault: CallFault) -> bool:
    """Return True if the client times out before the response comes."""
    return fault.action is CallAction.HANG and fault.seconds > CALL_S
