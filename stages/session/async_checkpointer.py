"""Makes checkpoints beside the training, one at a time; what goes wrong with one is raised where the training next asks."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from stages.contract import Manifest


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that is on disk, and when it was begun and done on the session's clock."""

    manifest: Manifest
    began_s: float
    ended_s: float


THREAD = "save"
"""What goes on in a thread whose name begins so goes on beside the session, and takes none of its seconds."""


class Saver:
    """One thread, and at most one checkpoint under way. All methods are for the thread that runs the session."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD)
        self._under_way: Future[SavedCheckpoint] | None = None

    def begin(self, make: Callable[[], SavedCheckpoint]) -> None:
        """Have a checkpoint made; the one before must have been taken with `done` or `wait`."""
        assert self._under_way is None, "one at a time"
        self._under_way = self._pool.submit(make)

    def done(self) -> SavedCheckpoint | None:
        """The checkpoint that was under way, once, if it is on disk by now; raises what went wrong with it."""
        return self.wait() if self._under_way is not None and self._under_way.done() else None

    def wait(self) -> SavedCheckpoint | None:
        """The checkpoint that is under way, once it is on disk, or None if there is none; raises what went wrong with it."""
        if self._under_way is None:
            return None
        under_way, self._under_way = self._under_way, None
        return under_way.result()

    def close(self) -> None:
        """Wait for what is under way, however it ends; nothing can be begun afterwards."""
        self._pool.shutdown(wait=True)
