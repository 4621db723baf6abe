"""A laptop for tests: a home folder, the real daemon process on it, and what can befall both."""

import functools
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
"""Far more than anything here takes; only a daemon that has stopped working waits so long."""

SMALL = """
name: count
accelerator: TpuV5E8
session: {limit_s: 4, margin_s: 1, save_interval_s: 0.5}
stages:
  - {name: one, kind: counting, steps: 20, options: {step_s: 0.05, payload_bytes: 200000}}
  - {name: two, kind: counting, steps: 50, options: {step_s: 0.05, payload_bytes: 200000}}
"""

IDLE_START_S = 0.4
"""Seconds that a session of counting stages needs to start on two idle cores."""


@functools.cache
def slowness() -> float:
    """How many times longer than on two idle cores a session needs to start now: 1 to 10."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import stages.counting, urllib.request"], cwd=ROOT, check=True)
    return min(10.0, max(1.0, (time.monotonic() - began) / IDLE_START_S))


def stretched(pipeline: str) -> str:
    """The pipeline with longer sessions and steps on a busy machine, so that as many steps fit into a session."""
    times = r"\b((?:limit|margin|save_interval|step)_s: )([0-9.]+)"
    return re.sub(times, lambda found: f"{found[1]}{float(found[2]) * slowness():.4g}", pipeline)


class Laptop:
    """A home folder and the daemon on it, which can be killed and started again."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], pipeline: str = SMALL, home: Path | None = None
    ) -> None:
        self.home, self.log = home or folder / "home", folder / "daemon.log"
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.pipeline = folder / "count.yaml"
        self.pipeline.write_text(stretched(pipeline), encoding="utf-8")
        self._daemons: list[subprocess.Popen[bytes]] = []

    def relay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator", "--home", str(self.home), *arguments]
        return subprocess.run(
            command, env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )

    def start(self) -> None:
        """Create the run; a Kaggle that misbehaves is asked until it answers."""
        for _ in range(20):
            told = self.relay("start", str(self.pipeline))
            if told.returncode == 0:
                return
        raise AssertionError(told.stderr)

    def daemon(self, report: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start one, which prints to `report`, else to `log`."""
        command = [sys.executable, "-m", "orchestrator", "--home", str(self.home), "daemon"]
        with self.log.open("ab") as log:
            into = report or log
            started = subprocess.Popen(command, env=self.environ, cwd=ROOT, stdout=into, stderr=into)
        self._daemons.append(started)
        return started

    def off(self) -> None:
        """End every daemon that still runs."""
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()

    @property
    def run(self) -> dict[str, Any]:
        """The run as `relay status` tells it."""
        told = self.relay("status", "--json")
        assert told.returncode == 0, told.stderr
        found: dict[str, Any] = json.loads(told.stdout)["runs"][0]
        return found

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers to a reader."""
        connection = sqlite3.connect(f"file:{self.home / 'relay.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    @property
    def status(self) -> str:
        """The run's status."""
        return str(self.ask("SELECT status FROM run")[0][0])

    def runs_a_session(self) -> bool:
        """Whether a session is seen to run."""
        return bool(self.ask("SELECT 1 FROM session WHERE phase = 'running'"))

    def is_over(self) -> bool:
        """Whether the run needs nobody, or somebody."""
        return self.status in ("finished", "parked")

    def until(
        self, true: Callable[[], object], daemon: subprocess.Popen[bytes] | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait until something holds, while the daemon lives."""
        deadline = time.monotonic() + patience_s
        while not true():
            assert daemon is None or daemon.poll() is None, f"the daemon ended\n{self.told}"
            assert time.monotonic() < deadline, f"waited in vain\n{self.told}"
            time.sleep(0.05)

    @property
    def told(self) -> str:
        """All that the daemons printed."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def assert_finished(self, kaggle: LocalKaggle, note: str = "") -> None:
        """The run is finished, and every session was started once."""
        run, started = self.run, pushes(kaggle)
        assert run["state"] == "finished", f"{note} {run}\n{self.told}"
        assert set(started.values()) == {1}, f"{note} {started}"
        assert len(started) == len(run["sessions"]), note
        assert "Traceback" not in self.told, f"{note}\n{self.told}"


def pushes(kaggle: LocalKaggle) -> dict[str, int]:
    """How often each kernel was started on Kaggle's side."""
    with kaggle.world.at_now():
        return {kernel.slug: len(kernel.versions) for kernel in kaggle.world.kernels.all()}


@contextmanager
def local_kaggle(root: Path, faults: FaultPlan = NO_FAULTS) -> Iterator[LocalKaggle]:
    """A Kaggle on this machine that runs what is pushed."""
    clock = SystemClock()
    with LocalKaggle(root, clock, Rules.brisk(30.0), faults, ProcessSandbox(root, clock)) as kaggle:
        yield kaggle


@contextmanager
def laptop(
    folder: Path, pipeline: str = SMALL, faults: FaultPlan = NO_FAULTS, home: Path | None = None
) -> Iterator[tuple[Laptop, LocalKaggle]]:
    """A laptop with a run that has just been started, and its Kaggle; nothing of it outlives the block."""
    with local_kaggle(folder / "kaggle", faults) as kaggle:
        found = Laptop(folder, kaggle.environment(), pipeline, home)
        try:
            found.start()
            yield found, kaggle
        finally:
            found.off()
