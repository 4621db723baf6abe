"""Measure `relay status`, once and with `--watch`, in a home folder with many runs, some of them live.

    python -m benchmarks.status
    python -m benchmarks.status --runs 100 --live 10 --sessions 100 --watch-s 60

Forecasts are kept as the daemon keeps them, and measured without them too. Printed are the processor and wall time of whole
processes, medians of five, also as a multiple of `relay --version` in the same turn, since both cost more on a busy machine; then
what a forecast costs the daemon, and the share of a core that `relay status --watch` takes in a terminal of 100 × 40 characters of
its own while nothing changes.
"""

import argparse
import os
import pty
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import finished_run, live_run
from benchmarks.watching import processor_s
from orchestrator.app.app import App
from orchestrator.app.forecast_keeper import ForecastKeeper
from orchestrator.app.settings import Settings
from orchestrator.base.clock import monotonic_s
from state.store import Store

STARTS = 5
SETTLED_S = 5.0
"""Seconds after which a watch has read and drawn everything once."""
WINDOW = {"COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}


def fill(home: Path, runs: int, live: int, sessions: int) -> None:
    """Write `live` live runs and others that are over, each of `sessions` sessions."""
    store, now = Store.at(home), datetime.now(UTC).replace(microsecond=0)
    for number in range(runs - live):
        finished_run(store, f"over-{number:04x}", sessions, now - timedelta(days=90), 10)
    for number in range(live):
        live_run(store, f"live-{number:04x}", sessions, now - timedelta(hours=4), 10, live)


def command(home: Path, *arguments: str) -> list[str]:
    """Return a relay command on a home folder."""
    return [sys.executable, "-m", "orchestrator", "--home", str(home), *arguments]


@dataclass(frozen=True)
class Started:
    """One process from its start to its end."""

    used_s: float
    """Processor time."""
    wall_s: float


def started(home: Path, *arguments: str) -> Started:
    """Start a command and wait for its end."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command(home, *arguments), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Started(used_s, time.perf_counter() - begin)


def compared(home: Path, *arguments: str) -> str:
    """Return a command's median times, and its multiple of `relay --version`; the first start is left out."""
    turns = [(started(home, "--version"), started(home, *arguments)) for _ in range(STARTS + 1)][1:]
    used_s, wall_s = (statistics.median(getattr(one, name) for _, one in turns) for name in ("used_s", "wall_s"))
    ratio = statistics.median(one.used_s / base.used_s for base, one in turns)
    return f"{used_s:.2f} s of processor time ({ratio:.1f} × relay --version), {wall_s:.2f} s"


def keep_forecasts(home: Path) -> float:
    """Keep the forecasts of all runs that go on, as the daemon does; return the processor seconds of one in its process."""
    app = App(Settings(home, {}))
    ForecastKeeper(app, print, monotonic_s).renew()  # imports what it needs
    with closing(sqlite3.connect(app.home.database)) as database, database:
        kept = database.execute("DELETE FROM forecast").rowcount
    begin = time.process_time()
    ForecastKeeper(app, print, monotonic_s).renew()
    return (time.process_time() - begin) / kept


def watch_share(home: Path, seconds: float) -> float:
    """Return the share of a core that a watch takes on a terminal while nothing changes."""
    ours, theirs = pty.openpty()
    threading.Thread(target=_drain, args=(ours,), daemon=True).start()
    environ = {**os.environ, **WINDOW}
    with subprocess.Popen(command(home, "status", "--watch"), env=environ, stdin=theirs, stdout=theirs) as watch:
        time.sleep(SETTLED_S)
        before, begin = processor_s(watch.pid), time.perf_counter()
        time.sleep(seconds)
        share = (processor_s(watch.pid) - before) / (time.perf_counter() - begin)
        watch.terminate()
    return share


def _drain(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="number of runs")
    parser.add_argument("--live", type=int, default=10, help="number of live runs among them")
    parser.add_argument("--sessions", type=int, default=100, help="number of sessions of each run")
    parser.add_argument("--watch-s", type=float, default=60.0, help="seconds for which a watch is measured; 0: skip")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-status-") as folder:
        home = Path(folder) / "home"
        fill(home, asked.runs, asked.live, asked.sessions)
        print(f"relay status, no forecast kept  {compared(home, 'status')}")
        one_s = keep_forecasts(home)
        print(f"relay status                    {compared(home, 'status')}")
        print(f"relay status --all              {compared(home, 'status', '--all')}")
        print(f"relay status RUN                {compared(home, 'status', 'live-0000')}")
        print(f"one forecast in the daemon      {one_s:.3f} s of processor time")
        if asked.watch_s:
            print(f"relay status --watch: {100 * watch_share(home, asked.watch_s):.2f} % of a core")


if __name__ == "__main__":
    main()
