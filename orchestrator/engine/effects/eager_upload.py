"""Send a checkpoint's files on to its dataset while others of them are still on their way here."""

import contextlib
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.base.errors import RelayError
from orchestrator.kaggle.gateway import Gateway


class EagerUpload:
    """Sends each file as soon as it is verified; the thread that fetched it does. Only to spare time: whatever fails here is
    sent when the dataset is made, which looks at every byte again and says what is wrong.
    """

    def __init__(self, dataset: str, gateway: Gateway, clock: Clock) -> None:
        self._dataset, self._gateway, self._clock = dataset, gateway, clock
        self._last_here_s: float | None = None
        self._last_sent_s: float | None = None

    def send(self, path: Path, sha256: str) -> None:
        """Of a file that is here and whole."""
        self._last_here_s = self._clock.monotonic()
        with contextlib.suppress(RelayError):
            self._gateway.send_ahead(self._dataset, path, sha256)
        self._last_sent_s = self._clock.monotonic()

    @property
    def sent_s(self) -> float:
        """For how long files were only sent, with none on its way here any more."""
        if self._last_here_s is None or self._last_sent_s is None:
            return 0.0
        return max(0.0, self._last_sent_s - self._last_here_s)
