"""Measure memory and processor time of a real daemon that polls ten healthy sessions."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import live_run
from orchestrator.base.clock import SystemClock
from orchestrator.platforms.port import KernelPush
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from stages.contract import Progress
from state.store import Store

RUNS = 10
SESSIONS = 10
LINES = 2000
"""Number of lines in each session's log: four hours with a step every seven seconds."""
INTO = timedelta(hours=4)
SETTLED_S = 5.0
"""Seconds to wait after the first poll of the last session, which reads its whole log."""


@dataclass(frozen=True)
class Watched:
    """Measurements of a daemon after its start-up phase."""

    seconds: float
    cpu_s: float
    resident_mb: float
    peak_mb: float
    looks: int
    calls: int
    """Number of calls to Kaggle."""

    @property
    def calls_an_hour(self) -> float:
        """Calls to Kaggle per hour and session."""
        return 3600 * self.calls / self.seconds / RUNS

    @property
    def cpu_share(self) -> float:
        """Processor time as a share of one core."""
        return self.cpu_s / self.seconds

    def __str__(self) -> str:
        hour = f"{3600 * self.cpu_share:.1f} s of processor time an hour ({100 * self.cpu_share:.2f} % of a core)"
        looks = f"{self.looks} polls and {self.calls} calls in {self.seconds:.0f} s ({self.calls_an_hour:.0f} calls an hour and session)"
        return (
            f"a daemon that polls {RUNS} sessions with {LINES:,} lines of log each: {hour}, "
            f"{self.resident_mb:.0f} MB resident (at most {self.peak_mb:.0f}), {looks}"
        )


def watch(seconds: float) -> Watched:
    """Run a daemon on ten live runs and measure it for `seconds` seconds."""
    lines = [
        Progress(number=n, event="step", at_s=7.0 * n, stage="count", step=n, metrics={"loss": 1.0, "reward": 0.5})
        for n in range(1, LINES + 1)
    ]
    played = Played(ends_after_s=1e9, lines=[(0.0, progress.line()) for progress in lines])
    rules = Rules(slots=PerKind.all(RUNS), queue_s=PerKind.all(0.0), quota_s=PerKind.all(1e9))
    with tempfile.TemporaryDirectory(prefix="relay-watch-") as folder:
        root = Path(folder)
        sandbox = ScriptedSandbox(lambda *_: played)
        with LocalKaggle(root / "kaggle", SystemClock(), rules, NO_FAULTS, sandbox, owner="me") as kaggle:
            store = Store.at(root / "home")
            for number in range(RUNS):
                slug = live_run(store, f"live-{number:04x}", SESSIONS, datetime.now(UTC) - INTO, slots=RUNS)
                push = KernelPush(slug=slug, source="pass", machine_shape="TpuV5E8")
                DirectGateway(kaggle.world).push(push)
            return _measured(root / "home", kaggle, store, seconds)


def _measured(home: Path, kaggle: LocalKaggle, store: Store, seconds: float) -> Watched:
    command = [sys.executable, "-m", "orchestrator", "--home", str(home), "daemon"]
    environ = {**os.environ, **kaggle.environment()}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as daemon:
        while None in _poll_times(store):
            time.sleep(0.5)
        time.sleep(SETTLED_S)
        before, begin, looked = processor_s(daemon.pid), time.perf_counter(), _poll_times(store)
        looks, calls = 0, kaggle.world.fault_injector.calls_made
        while time.perf_counter() - begin < seconds:
            time.sleep(1.0)
            now = _poll_times(store)
            looks += sum(one != other for one, other in zip(looked, now, strict=True))
            looked = now
        passed_s, cpu_s = time.perf_counter() - begin, processor_s(daemon.pid) - before
        calls = kaggle.world.fault_injector.calls_made - calls
        resident_mb, peak_mb = _memory_mb(daemon.pid, "VmRSS"), _memory_mb(daemon.pid, "VmHWM")
        daemon.terminate()
    return Watched(passed_s, cpu_s, resident_mb, peak_mb, looks, calls)


def _poll_times(store: Store) -> list[datetime | None]:
    return [store.watch(f"live-{number:04x}").polled_at for number in range(RUNS)]


def processor_s(pid: int) -> float:
    """Return the user and system time of a process and its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(what)
