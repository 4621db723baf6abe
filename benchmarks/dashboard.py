"""Measure the dashboard's list of runs: time and size of the page, with forecasts absent, computed and kept by a daemon.

    python -m benchmarks.dashboard
    python -m benchmarks.dashboard --runs 100 --live 10 --sessions 100

The exit status is 1 if the page takes longer than a second or has more than a megabyte. The first request also imports what
the page needs; it is measured apart. The first paint is Chromium's own measure, where one is installed.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import finished_run, live_run
from benchmarks.status import keep_forecasts
from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard, Served, listening
from orchestrator.app.settings import Settings
from state.store import Store

PAGE_S_MAX = 1.0
PAGE_BYTES_MAX = 10**6
TURNS = 5
METRICS = 10
FORECASTS_WITHIN_S = 120.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAINTED = """
() => new Promise(done => new PerformanceObserver(list => {
    for (const paint of list.getEntriesByName("first-contentful-paint")) done(paint.startTime)
}).observe({type: "paint", buffered: true}))
"""
"""Script that waits for the first contentful paint and returns its time in milliseconds since the page was asked for."""


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


def first_paint_s(url: str) -> float | None:
    """Return the seconds from the request for a page to its first contentful paint; None without Chromium."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=program, args=arguments)
        page = browser.new_page()
        page.goto(url)
        painted_ms: float = page.evaluate(PAINTED)
        browser.close()
    return painted_ms / 1000


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
        keep_forecasts(home)
        with Served(Dashboard(App(Settings(home, {}))), listening(0)) as served:
            kept_s, kept = fetched(served.url)
            paint_s = first_paint_s(served.url)
            monitor_s, monitor = fetched(f"{served.url}metrics")
    page_s, size = statistics.median(taken for taken, _ in turns), len(turns[-1][1])
    print(f"{asked.runs} runs, {asked.live} live, {asked.runs * asked.sessions:,} sessions")
    print(f"first page        {first_s:6.2f} s  {len(first):,} bytes")
    print(f"all forecasts in  {forecasts_s:6.2f} s")
    print(f"a page then       {page_s:6.2f} s  {size:,} bytes")
    ends = kept.count(b"about <time")
    print(f"first page, kept  {kept_s:6.2f} s  {len(kept):,} bytes, {ends} forecasts")
    print(f"first paint       {f'{paint_s:6.2f} s' if paint_s is not None else 'not measured: no Chromium here'}")
    print(f"/metrics          {monitor_s:6.2f} s  {len(monitor):,} bytes")
    return 0 if page_s <= PAGE_S_MAX and size <= PAGE_BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
