"""Plays a chain of counting sessions on a real Slurm on this machine, and the same chain on the local Kaggle.

    python -m benchmarks.slurm_chain

Session 1 is cancelled with scancel, the program of session 2 is killed, session 3 is frozen until Slurm ends it at its
time limit of a minute, and the daemon is killed meanwhile; session 4 finishes. Then the digests are compared, and the
jobs counted by Slurm's own record. Takes about three minutes. Needs Slurm, and says what to install.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.slurm_cluster import ended_jobs, missing, slurm_cluster

ROOT = Path(__file__).parents[1]
STAGES = """
stages:
  - {name: one, kind: counting, steps: 60, options: {step_s: 0.2}}
  - {name: two, kind: counting, steps: 140, options: {step_s: 0.2}}
"""
ON_SLURM = """
name: count
accelerator: cpu
platform: slurm
slurm: {{shared: {shared}, python: {python}, signal_s: 0}}
session: {{limit_s: 60, margin_s: 5, save_interval_s: 1}}
"""
ON_KAGGLE = """
name: count
accelerator: cpu
session: {limit_s: 60, margin_s: 5, save_interval_s: 1}
"""
PATIENCE_S = 240.0


class Chain:
    """A home folder, the daemon on it, and the shared folder of the cluster."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.home, self.shared, self.log = folder / "home", folder / "shared", folder / "daemon.log"
        self._environment = {**environment, "HOME": str(folder)}
        self._pipeline = folder / "count.yaml"
        self._pipeline.write_text(ON_SLURM.format(shared=self.shared, python=sys.executable) + STAGES)

    def relay(self, *arguments: str) -> str:
        """Run a command; exits if it fails."""
        done = subprocess.run(
            self._command(*arguments), env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"relay {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Create the run."""
        print(self.relay("start", str(self._pipeline)).strip(), flush=True)

    def daemon(self) -> "subprocess.Popen[bytes]":
        """Start a daemon."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command("daemon"), env=self._environment, cwd=ROOT, stdout=log, stderr=log)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return what the run's database answers."""
        connection = sqlite3.connect(f"file:{self.home / 'relay.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def running(self, count: int) -> Path | None:
        """Return the folder of the session that was started as number `count`, once it has saved a checkpoint."""
        folders = sorted((self.shared / "sessions").glob("count-*"), key=lambda path: path.stat().st_mtime)
        if len(folders) < count:
            return None
        return folders[count - 1] if list(folders[count - 1].glob("working/relay/**/manifest.json")) else None

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", "--home", str(self.home), *arguments]


def until(what: str, true: Callable[[], Any]) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := true()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.2)
    print(what, flush=True)
    return found


def program_in(folder: Path) -> int:
    """Return the process that runs a session in this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == (folder / "working").resolve() and b"python" in (
                process / "cmdline"
            ).read_bytes():
                return int(process.name)
        except OSError:
            continue
    raise SystemExit(f"no program runs in {folder}")


def final_state(folder: Path) -> dict[str, str]:
    """Return the digests of the last checkpoint in a home folder."""
    connection = sqlite3.connect(f"file:{folder / 'relay.db'}?mode=ro", uri=True)
    try:
        manifests = [
            json.loads(text) for (text,) in connection.execute("SELECT manifest FROM checkpoint ORDER BY session")
        ]
    finally:
        connection.close()
    found: dict[str, str] = manifests[-1]["digests"]
    return found


def play(folder: Path, environment: dict[str, str]) -> Chain:
    """Play the chain with its four ends of sessions."""
    chain = Chain(folder, environment)
    chain.start()
    daemon = chain.daemon()
    first = until("session 1 has a checkpoint: scancel", lambda: chain.running(1))
    subprocess.run(["scancel", (first / "claim").read_text().strip()], env=environment, check=True)
    second = until("session 2 has a checkpoint: its program is killed", lambda: chain.running(2))
    os.kill(program_in(second), signal.SIGKILL)
    third = until(
        "session 3 has a checkpoint: frozen until its time limit, and the daemon is killed", lambda: chain.running(3)
    )
    os.kill(program_in(third), signal.SIGSTOP)
    daemon.kill()
    daemon.wait()
    daemon = chain.daemon()
    until("the run is over", lambda: chain.ask("SELECT status FROM run")[0][0] in ("finished", "parked"))
    daemon.terminate()
    daemon.wait()
    return chain


def main() -> int:
    """Play the chain and compare it; returns 0 if everything is as promised."""
    if why := missing():
        print(why)
        return 2
    with tempfile.TemporaryDirectory(prefix="relay-slurm-chain-") as name:
        folder = Path(name)
        with slurm_cluster(folder / "slurm") as environment:
            chain = play(folder, environment)
            told = [
                {key: job.get(key, "") for key in ("JobId", "Name", "JobState")} for job in ended_jobs(folder / "slurm")
            ]
        for job in told:
            print(job)
        ends = chain.ask("SELECT number, attempt, outcome, cause FROM session ORDER BY number, attempt")
        print(*ends, sep="\n")
        kaggle = folder / "kaggle.yaml"
        kaggle.write_text(ON_KAGGLE + STAGES)
        rehearsed = [sys.executable, "-m", "orchestrator", "--home", str(folder / "rehearsal"), "rehearse", str(kaggle)]
        subprocess.run(rehearsed, cwd=ROOT, check=True, capture_output=True)
        started = Counter(job["Name"] for job in told)
        promises = {
            "the run finished": chain.ask("SELECT status FROM run") == [("finished",)],
            "at least four jobs": len(told) >= 4,
            "each session is one job, by Slurm's own records": set(started.values()) == {1}
            and len(started) == len(ends),
            "Slurm saw each end": {"CANCELLED", "FAILED", "TIMEOUT", "COMPLETED"} <= {job["JobState"] for job in told},
            "the digests of the local Kaggle": final_state(chain.home) == final_state(folder / "rehearsal"),
            "no error in the daemon's log": not re.search("Traceback", chain.log.read_text()),
        }
        for promise, kept in promises.items():
            print(f"{'kept  ' if kept else 'BROKEN'} {promise}")
        if not all(promises.values()):
            print(chain.log.read_text())
        return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
