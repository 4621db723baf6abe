"""SHA-256 by a thread of its own, so that a transfer waits for the wire and not for its hash."""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

BEHIND_BLOCKS_MAX = 8
"""So many blocks may wait to be hashed: what bounds the memory."""


class BackgroundHasher:
    """Takes blocks in their order. For one thread's use; the hashing thread begins with the first block, and ends with `with`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._waiting: deque[Future[None]] = deque()
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def update(self, block: bytes) -> None:
        """Take one more block, which must not change any more."""
        if len(self._waiting) >= BEHIND_BLOCKS_MAX:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._sha256.update, block))

    def restart(self) -> None:
        """Forget what was taken."""
        self.hexdigest()
        self._sha256 = hashlib.sha256()

    def hexdigest(self) -> str:
        """Of everything that was taken."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._sha256.hexdigest()
