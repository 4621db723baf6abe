"""Reports why another process of the session failed: the first one, which writes the report, may hang waiting for it.

A process that fails leaves its failure in a folder that all see, and waits until the report has been written. A process
that is killed leaves nothing: the launcher then ends the others, and the session has no report.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from stages.session import packing
from stages.session.context import RunningSession
from stages.session.failure_report import Failure
from stages.session.hosts import Hosts
from stages.session.session_report import report_of
from stages.stage import StageFailed

LOOK_S = 1.0
"""Interval between two looks at the folder, in seconds."""
GRACE_S = 10.0
"""Seconds that the first process has to fail by itself, as all do for a reason that they share, before the failure of
another one ends it."""
LOST = re.compile(
    r"gloo|nccl|coordination service|heartbeat|barrier|connection (reset|closed|refused)|UNAVAILABLE|DEADLINE_EXCEEDED",
    re.IGNORECASE,
)
"""Wording of JAX's errors for a process that does not answer any more."""


def judged(hosts: Hosts, failed: Failure, error: BaseException) -> Failure:
    """Return the failure of this process as `host-lost` (transient) if its error says that another one does not answer."""
    if hosts.count == 1 or isinstance(error, StageFailed) or not LOST.search(str(error)):
        return failed
    return replace(
        failed, cause="host-lost", reason=f"another process of this session was lost: {failed.reason}", transient=True
    )


def tell(hosts: Hosts, failed: Failure) -> None:
    """Leave this process's failure for the first one, which has no need of it itself."""
    if hosts.first or hosts.folder is None:
        return
    sys.stderr.write(f"process {hosts.index}: {failed.traceback}\n")
    hosts.folder.mkdir(parents=True, exist_ok=True)
    part = hosts.folder / f".failed-{hosts.index}"
    part.unlink(missing_ok=True)
    packing.write_new(part, json.dumps(asdict(failed)).encode())
    part.replace(_place(hosts.folder, hosts.index))


def found(hosts: Hosts) -> Failure | None:
    """Return the failure that another process left, if there is one."""
    if hosts.folder is None:
        return None
    for index in range(1, hosts.count):
        place = _place(hosts.folder, index)
        if place.is_file():
            values = json.loads(place.read_text(encoding="utf-8"))
            return Failure(**{**values, "reason": f"process {index} of {hosts.count}: {values['reason']}"})
    return None


@contextmanager
def heeding_others(
    session: RunningSession, leave: Callable[[int], object] | None, grace_s: float = GRACE_S
) -> Iterator[None]:
    """Within the `with` block, write the report and call `leave(1)` if another process fails and this one does not."""
    if session.hosts.count == 1 or not session.hosts.first or leave is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        seen_at_s = 0.0
        while not over.wait(LOOK_S):
            failed = found(session.hosts)
            if failed is None or session.failing:
                continue
            seen_at_s = seen_at_s or time.monotonic()
            if time.monotonic() - seen_at_s >= grace_s:
                session.log.event(
                    "failed", stage=session.reached.stage, step=session.reached.step, note=failed.headline
                )
                session.output.report(report_of(session, "failed", failed))
                leave(1)

    threading.Thread(target=watch, name="other hosts", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _place(folder: Path, index: int) -> Path:
    return folder / f"failed-{index}.json"
