"""Uploads a checkpoint's files to its dataset while other files are still being downloaded."""

import contextlib
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.base.errors import RelayError
from orchestrator.platforms.port import Platform


class EagerUpload:
    """Uploads each file as soon as it is verified, on the thread that fetched it.

    This only saves time: a file that fails here is uploaded when the dataset is created, which verifies every byte and
    reports errors.
    """

    def __init__(self, dataset: str, gateway: Platform, clock: Clock) -> None:
        self._dataset, self._gateway, self._clock = dataset, gateway, clock
        self._last_here_s: float | None = None
        self._last_sent_s: float | None = None

    def send(self, path: Path, sha256: str) -> None:
        """Upload a file that has been fetched and verified."""
        self._last_here_s = self._clock.monotonic()
        with contextlib.suppress(RelayError):
            self._gateway.send_ahead(self._dataset, path, sha256)
        self._last_sent_s = self._clock.monotonic()

    @property
    def sent_s(self) -> float:
        """Seconds during which files were only uploaded, after the last download ended."""
        if self._last_here_s is None or self._last_sent_s is None:
            return 0.0
        return max(0.0, self._last_sent_s - self._last_here_s)
