"""Computes SHA-256 in a thread of its own, so that a transfer does not wait for hashing."""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

QUEUED_BLOCKS_MAX = 8
"""Maximum number of blocks waiting to be hashed; bounds the memory."""


class BackgroundHasher:
    """Hashes blocks in order.

    For use by one thread; the hashing thread starts with the first block and stops with `with`.
    """

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
        """Add a block, which must not change afterwards."""
        if len(self._waiting) >= QUEUED_BLOCKS_MAX:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._sha256.update, block))

    def restart(self) -> None:
        """Discard all blocks and start a new hash."""
        self.hexdigest()
        self._sha256 = hashlib.sha256()

    def hexdigest(self) -> str:
        """Return the hash of all blocks, in hex."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._sha256.hexdigest()
