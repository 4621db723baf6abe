"""Log of what was done on the dashboard: one line for each action, on its terminal and in `logs/dashboard.log`."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.views.daemon_log import DaemonLog
from orchestrator.views.news_filter import Narration


class AuditLog:
    """Log whose file is made when it is first needed, since a dashboard that only shows writes nothing. Thread-safe."""

    def __init__(self, file: Path, now: Callable[[], datetime]) -> None:
        self._file, self._now = file, now
        self._log: DaemonLog | None = None
        self._lock = threading.Lock()

    def ready(self) -> DaemonLog:
        """Open the log. Raises BadInput if its file cannot be written; the action must not be done then."""
        with self._lock:
            if self._log is None:
                self._log = DaemonLog(self._now, file=self._file)
            return self._log

    def action(self, run: str, sentence: str, verb: str, request: int) -> None:
        """Write the line of an action."""
        data = {"verb": verb, "request": request, "by": "dashboard"}
        self.ready().say(Narration(event="request_made", message=sentence, run=run, data=data))

    def refused_token(self) -> None:
        """Write that a wrong token was given."""
        message = "a wrong token was given on the dashboard, and refused"
        self.ready().say(Narration(event="token_refused", message=message, level="warning"))

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
            self._log = None
