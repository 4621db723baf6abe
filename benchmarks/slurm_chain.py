"""Plays a chain of sessions on a real Slurm on this machine, and the same chain on the local Kaggle.

    python -m benchmarks.slurm_chain [--training | --hosts N]

The sessions count; with `--training` they train a tiny Gemma 2 (SFT) with JAX. Session 1 is cancelled with
scancel. While session 2 runs, the daemon is killed, and then the session's program. Session 3 is frozen until Slurm ends
it at its time limit, and the daemon is killed again meanwhile. Session 4 finishes. Then the digests are compared, and the
jobs counted by Slurm's own record. Takes about three minutes; with `--training` ten on two busy cores. Needs Slurm, and
says what to install.

With `--hosts N` each session is N processes, started by srun, that train the model together. The cluster is this machine, so
they are N tasks on one node. In session 2 the last of them is killed, in session 3 the first one frozen, and the digests are
those of the same pipeline, on the same cluster, uncut.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.slurm_cluster import ended_jobs, missing, slurm_cluster

ROOT = Path(__file__).parents[1]
COUNTING = """
name: count
accelerator: cpu
stages:
  - {name: one, kind: counting, steps: 60, options: {step_s: 0.2}}
  - {name: two, kind: counting, steps: 140, options: {step_s: 0.2}}
"""
TRAINING = """
name: small
seed: 3
accelerator: cpu
model: {kind: gemma2, source: MODEL, system: ""}
environment: []  # this Python has the packages
inputs: {files: [gsm8k_train.jsonl, gsm8k_test.jsonl]}
stages:
  - {name: sft, kind: sft, steps: 40, options: {data: [gsm8k], max_seq_length: 64, batch: 4}}
"""
ON_SLURM = """
platform: slurm
slurm: {shared: SHARED, python: PYTHON, signal_s: 0, setup: ["export QUICK JAX_COMPILATION_CACHE_DIR=COMPILED"]}
"""
SEVERAL = "slurm: {tasks_per_node: %d, shared"
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
"""Variables of both platforms' sessions that halve the time in which XLA compiles."""
SESSIONS = "session: {limit_s: %d, margin_s: %d, save_interval_s: 1}"
PATIENCE_S = 1800.0
ENDS = {"CANCELLED", "FAILED", "TIMEOUT", "COMPLETED"}
"""States of jobs that Slurm records. Of several processes the others may end the session before its time limit, once the
frozen one has not answered for a while."""
ROWS = range(90), range(90, 98)
"""Problems to train on, and those held out."""


def written(folder: Path, *, training: bool) -> str:
    """Write what the pipeline needs beside it, and return its text without what depends on the platform."""
    if not training:
        return COUNTING + SESSIONS % (60, 5)
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model  # imports JAX
    from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import vocabulary_size, write_tokenizer_of

    model = folder / "model"
    write_model(model, "gemma2", "flax", vocabulary=vocabulary_size("gemma2"))
    write_tokenizer_of("gemma2", model)
    for name, numbers in zip(("gsm8k_train.jsonl", "gsm8k_test.jsonl"), ROWS, strict=True):
        rows = ({"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1}"} for n in numbers)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TRAINING.replace("MODEL", str(model)) + SESSIONS % (120, 15)


class Chain:
    """A home folder, the daemon on it, and the shared folder of the cluster."""

    def __init__(self, folder: Path, environment: dict[str, str], text: str, on_slurm: str = ON_SLURM) -> None:
        self.home, self.shared, self.log = folder / "home", folder / "shared", folder / "daemon.log"
        self._environment = {**environment, "HOME": str(folder)}
        self._pipeline = folder / "slurm.yaml"
        places = {"SHARED": str(self.shared), "PYTHON": sys.executable, "COMPILED": str(folder / "compiled")}
        places["QUICK"] = " ".join(f"{name}={value}" for name, value in QUICK.items())
        on_slurm = re.sub("|".join(places), lambda found: places[found[0]], on_slurm)
        self._pipeline.write_text(text + on_slurm)

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
        folders = sorted((self.shared / "sessions").glob("*-s0*"), key=lambda path: path.stat().st_mtime)
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


def programs_in(folder: Path) -> list[int]:
    """Return the processes that run a session in this folder, in their order."""
    found: dict[bytes, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() != (folder / "working").resolve():
                continue
            words, environment = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if b"python" in words[0]:
            found[next((each for each in environment if each.startswith(b"RELAY_PROCESS=")), b"")] = int(process.name)
    if not found:
        raise SystemExit(f"no program runs in {folder}")
    return [found[name] for name in sorted(found)]


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


def play(folder: Path, environment: dict[str, str], text: str, on_slurm: str = ON_SLURM) -> Chain:
    """Play the chain with its four ends of sessions."""
    chain = Chain(folder, environment, text, on_slurm)
    chain.start()
    daemon = chain.daemon()
    first = until("session 1 has a checkpoint: scancel", lambda: chain.running(1))
    subprocess.run(["scancel", (first / "claim").read_text().strip()], env=environment, check=True)
    second = until("session 2 has a checkpoint: the daemon is killed, then its program", lambda: chain.running(2))
    daemon.kill()
    daemon.wait()
    os.kill(programs_in(second)[-1], signal.SIGKILL)
    daemon = chain.daemon()
    third = until(
        "session 3 has a checkpoint: frozen until its time limit, and the daemon is killed", lambda: chain.running(3)
    )
    os.kill(programs_in(third)[0], signal.SIGSTOP)
    daemon.kill()
    daemon.wait()
    daemon = chain.daemon()
    until("the run is over", lambda: chain.ask("SELECT status FROM run")[0][0] in ("finished", "parked"))
    daemon.terminate()
    daemon.wait()
    return chain


def uncut(folder: Path, environment: dict[str, str], text: str, on_slurm: str) -> Path:
    """Run the same pipeline on the same cluster without a fault, and return its home folder."""
    (folder / "uncut").mkdir()
    for file in folder.glob("*.jsonl"):
        shutil.copy(file, folder / "uncut")
    chain = Chain(folder / "uncut", environment, text, on_slurm)
    chain.start()
    daemon = chain.daemon()
    until("the uncut run is over", lambda: chain.ask("SELECT status FROM run")[0][0] in ("finished", "parked"))
    daemon.terminate()
    daemon.wait()
    return chain.home


def rehearsed(folder: Path, text: str) -> Path:
    """Play the same pipeline on the local Kaggle, and return its home folder."""
    file, home = folder / "kaggle.yaml", folder / "rehearsal"
    file.write_text(text)
    file.with_suffix(".faults.yaml").write_text(f"images: [{{session: 1, environment: {json.dumps(QUICK)}}}]\n")
    command = [sys.executable, "-m", "orchestrator", "--home", str(home), "rehearse", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the rehearsal failed: {done.stdout}{done.stderr}")
    return home


def verdict(promises: Mapping[str, bool], log: Path) -> int:
    """Print which promises were kept, and the daemon's log if one was not. Return the exit status."""
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'} {promise}")
    if not all(promises.values()):
        print(log.read_text())
    return 0 if all(promises.values()) else 1


def main() -> int:
    """Play the chain and compare it; returns 0 if everything is as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--training", action="store_true", help="train a tiny Gemma 2 in place of counting")
    parser.add_argument("--hosts", type=int, default=1, help="processes that train a tiny Gemma 2 together")
    asked = parser.parse_args()
    hosts, training = asked.hosts, asked.training or asked.hosts > 1
    if why := missing():
        print(why)
        return 2
    with tempfile.TemporaryDirectory(prefix="relay-slurm-chain-") as name:
        folder = Path(name)
        text, on_slurm = written(folder, training=training), ON_SLURM
        if hosts > 1:
            text = text.replace("kind: gemma2", f"kind: gemma2, mesh_fsdp: {hosts}").replace(
                "limit_s: 120", "limit_s: 420"
            )
            on_slurm = on_slurm.replace("slurm: {shared", SEVERAL % hosts).replace(
                " JAX_COMPILATION_CACHE_DIR=COMPILED", ""
            )
        with slurm_cluster(folder / "slurm") as environment:
            chain = play(folder, environment, text, on_slurm)
            told = [
                {key: job.get(key, "") for key in ("JobId", "Name", "JobState")} for job in ended_jobs(folder / "slurm")
            ]
            other = uncut(folder, environment, text, on_slurm) if hosts > 1 else None
        other = other or rehearsed(folder, text)
        for job in told:
            print(job)
        ends = chain.ask("SELECT number, attempt, outcome, cause FROM session ORDER BY number, attempt")
        print(*ends, sep="\n")
        started = Counter(job["Name"] for job in told)
        promises = {
            "the run finished": chain.ask("SELECT status FROM run") == [("finished",)],
            "at least four jobs": len(told) >= 4,
            "each session is one job, by Slurm's own records": set(started.values()) == {1}
            and len(started) == len(ends),
            "Slurm saw each end": ENDS - ({"TIMEOUT"} if hosts > 1 else set()) <= {job["JobState"] for job in told},
            f"the digests of {'the uncut run' if hosts > 1 else 'the local Kaggle'}": final_state(chain.home)
            == final_state(other),
            "no error in the daemon's log": not re.search("Traceback", chain.log.read_text()),
        }
        return verdict(promises, chain.log)


if __name__ == "__main__":
    sys.exit(main())
