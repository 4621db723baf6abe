"""Measure the dashboard's list of runs: time and size of the page and of its updates, with forecasts absent and present.

    python -m benchmarks.dashboard
    python -m benchmarks.dashboard --runs 100 --live 10 --sessions 100

The exit status is 1 if the page takes longer than a second or has more than a megabyte. The first request also imports what
the page needs; it is measured apart.
"""

import argparse
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import finished_run, live_run
from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from state.store import Store

PAGE_S_MAX = 1.0
PAGE_BYTES_MAX = 10**6
TURNS = 5
METRICS = 10
FORECASTS_WITHIN_S = 120.0


def fill(home: Path, runs: int, live: int, sessions: int) -> None:
    """Write `live` live runs and `runs - live` finished ones, of `sessions` sessions each."""
    store, now = Store.at(home), datetime.now(UTC).replace(microsecond=0)
    for number in range(runs - live):
        finished_run(store, f"over-{number:04x}", sessions, now - timedelta(days=60), METRICS)
    for number in range(live):
        live_run(store, f"live-{number:04x}", sessions - 1, now - timedelta(hours=4), METRICS, live)
    store.close()


def fetched(url: str) -> tuple[float, bytes]:
    """Return the seconds that an answer took, and the answer."""
    begin = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        text: bytes = answer.read()
    return time.perf_counter() - begin, text


def main() -> int:
    """Run the benchmark. Return exit status 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="number of runs")
    parser.add_argument("--live", type=int, default=10, help="number of them that are live")
    parser.add_argument("--sessions", type=int, default=100, help="number of sessions of each run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-dashboard-") as folder:
        home = Path(folder) / "home"
        fill(home, asked.runs, asked.live, asked.sessions)
        with Served(Dashboard(App(Settings(home, {}))), listening(0)) as served:
            first_s, first = fetched(served.url)
            begin = time.perf_counter()
            while fetched(served.url)[1].count(b"about <time") < asked.live:
                if time.perf_counter() - begin > FORECASTS_WITHIN_S:
                    break
                time.sleep(1.0)
            forecasts_s = time.perf_counter() - begin
            turns = [fetched(served.url) for _ in range(TURNS)]
    page_s, size = statistics.median(taken for taken, _ in turns), len(turns[-1][1])
    print(f"{asked.runs} runs, {asked.live} live, {asked.runs * asked.sessions:,} sessions")
    print(f"first page        {first_s:6.2f} s  {len(first):,} bytes")
    print(f"all forecasts in  {forecasts_s:6.2f} s")
    print(f"a page then       {page_s:6.2f} s  {size:,} bytes")
    return 0 if page_s <= PAGE_S_MAX and size <= PAGE_BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
