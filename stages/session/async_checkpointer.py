"""Saves checkpoints in the background, one at a time; an error is raised when the session
thread next collects the result."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from stages.contract import Manifest


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint on disk, with the times at which saving began and ended on the session's clock."""

    manifest: Manifest
    began_s: float
    ended_s: float


THREAD = "save"
"""Name prefix of background threads, whose seconds are not booked to the session."""


class Saver:
    """A single worker thread with at most one checkpoint in progress. Call all methods from the session's thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
        self._under_way: Future[SavedCheckpoint] | None = None

    def begin(self, make: Callable[[], SavedCheckpoint]) -> None:
        """Start saving a checkpoint; the previous one must have been collected with `done` or `wait`."""
        assert self._under_way is None, "one at a time"
        self._under_way = self._pool.submit(make)

    def done(self) -> SavedCheckpoint | None:
        """Return the finished checkpoint, once; None while it is in progress or if there is none. Raises
        the error of a failed save."""
        return self.wait() if self._under_way is not None and self._under_way.done() else None

    def wait(self) -> SavedCheckpoint | None:
        """Wait for the checkpoint in progress and return it; None if there is none. Raises
        the error of a failed save."""
        if self._under_way is None:
            return None
        under_way, self._under_way = self._under_way, None
        return under_way.result()

    def close(self) -> None:
        """Wait until the save in progress ends, ignoring errors; `begin` must not be called afterwards."""
        self._pool.shutdown(wait=True)
