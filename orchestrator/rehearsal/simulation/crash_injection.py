"""Daemon crashes between any two steps: proxies count the boundaries around calls, and a crash point strikes at one."""

from collections.abc import Iterable
from typing import Any

GATEWAY_CALLS = (
    "quota", "find_kernel", "recent_kernels", "push", "session", "log", "output", "download", "find_dataset", "send_ahead",
    "create_dataset", "delete_dataset",
)  # fmt: skip
STORE_CALLS = ("append", "write_quota")


class Crash(BaseException):
    """Raised to simulate the death of the daemon's process at this instruction."""


class CrashPoint:
    """Raises Crash once, at the n-th boundary, and counts the boundaries it passes."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def boundary(self) -> None:
        """Count one boundary. Raises Crash if it is the chosen one."""
        here, self.passed = self.passed, self.passed + 1
        if here == self.at:
            raise Crash


class CrashingProxy:
    """Proxy of an object, with a boundary before and after each of the named calls."""

    def __init__(self, inner: Any, crash_point: CrashPoint, calls: Iterable[str]) -> None:
        self._inner, self._crash_point, self._calls = inner, crash_point, frozenset(calls)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._calls:
            return found

        def guarded(*args: Any, **options: Any) -> Any:
            self._crash_point.boundary()
            answer = found(*args, **options)
            self._crash_point.boundary()
            return answer

        return guarded
