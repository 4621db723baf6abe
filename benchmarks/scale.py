"""Measure how relay scales from one run to a thousand: ticks, rounds, `relay status`, curves, and a daemon's cost.

    python -m benchmarks.scale
    python -m benchmarks.scale --runs 1,100 --sessions 10 --points 100000 --watch-s 60 --plot scale.png

Each home folder holds a number of runs (`--runs`) of `--sessions` sessions each; one of them has a live session, the
others are over. Measured are a tick of the live run, idle or polling a Kaggle that answers at once; a round of a daemon
in which every run is idle; and `relay status` (with its peak memory) and `relay report` of the live run as whole
processes. Then the same with more live runs in the largest home, then one run with `--points` metric values. Finally a
real daemon polls ten sessions of a local Kaggle for `--watch-s` seconds, each four hours old: its memory and processor
time are read from the operating system. The exit status is 1 if a bound is missed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import finished_run, live_run
from benchmarks.watching import Watched, watch
from orchestrator.base.clock import VirtualClock, monotonic_s
from orchestrator.core.plan import limits_for
from orchestrator.engine.daemon import Daemon, LeaseKeeper
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import tick
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import KernelPush
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.world import World
from stages.contract import Progress
from state.model.run_state import RunState
from state.store import Store

LIVE = "live-0000"
"""Id of the live run that is measured."""
INTO = timedelta(hours=4)
"""Age of live sessions."""
LONG = 40
"""Number of sessions of the run with many metric values."""
SLOTS = 1000
LINES = 400
"""Number of lines in the log of a live session."""
TURNS = 100
STARTS = 5
PEAK = """
from orchestrator.cli import main
main(standalone_mode=False)
about = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(about["VmHWM"].split()[0], file=sys.stderr)
"""
"""Program that runs the command in `sys.argv` and prints its peak memory in KiB, from /proc."""

TICK_MS_MAX = 20.0
STATUS_S_MAX = 0.5
RESIDENT_MB_MAX = 120.0
CPU_SHARE_MAX = 0.005
CALLS_AN_HOUR_MAX = 30.0
LAST_MS_MAX = 50.0


@dataclass
class Shelf:
    """A home folder with runs, and the local Kaggle that simulates the live sessions."""

    home: Path
    store: Store
    clock: VirtualClock
    gateway: DirectGateway
    sessions: int
    """Number of ended sessions of each run."""
    values: int
    """Number of values of each metric in each session."""
    live: int = 0

    def finish(self, runs: int) -> None:
        """Add `runs` finished runs."""
        for number in range(runs):
            begin = self.clock.now() - timedelta(days=30)
            finished_run(self.store, f"over-{number:04x}", self.sessions, begin, self.values)

    def begin(self, runs: int) -> None:
        """Add live runs until there are `runs` of them."""
        for number in range(self.live, runs):
            since = self.clock.now() - INTO
            slug = live_run(self.store, f"live-{number:04x}", self.sessions, since, self.values, SLOTS)
            self.gateway.push(KernelPush(slug=slug, source="pass", machine_shape="TpuV5E8"))
        self.live = runs

    def shell(self, state: RunState) -> EffectContext:
        """Return the context for the effects of a run."""
        limits = limits_for(Pipeline.from_canonical(state.run.pipeline))
        return EffectContext(self.gateway, HomeLayout(self.home), self.clock, limits)

    def daemon(self, keeper: LeaseKeeper) -> Daemon:
        """Return a daemon without log and notifications."""
        return Daemon(self.store, self.shell, self.clock, keeper, lambda *_: None, lambda _: None, monotonic_s)


def session_of(lines: int, lasts_s: float) -> Played:
    """Return a session that logs `lines` steps at once and keeps running."""
    steps = [
        Progress(number=n, event="step", at_s=float(n), stage="count", step=n + 1, metrics={"loss": 1.0, "reward": 0.5})
        for n in range(lines)
    ]
    return Played(ends_after_s=lasts_s, lines=[(0.0, progress.line()) for progress in steps])


@contextmanager
def shelf(sessions: int, values: int = 10) -> Iterator[Shelf]:
    """Yield an empty shelf for runs of `sessions` sessions with `values` values of each metric."""
    clock = VirtualClock(datetime.now(UTC).replace(microsecond=0))
    sandbox = ScriptedSandbox(lambda *_: session_of(LINES, 1e9))
    endless, plenty = PerKind.all(1e9), PerKind.all(1e12)
    rules = Rules(slots=PerKind.all(SLOTS), queue_s=PerKind.all(0.0), quota_s=plenty, session_limit_s=endless)
    with tempfile.TemporaryDirectory(prefix="relay-scale-") as folder:
        home = Path(folder) / "home"
        store = Store.at(home)
        yield Shelf(home, store, clock, DirectGateway(World(clock, sandbox, rules, owner="me")), sessions, values)
        store.close()


# --- measurements ------------------------------------------------------------


def turns_ms(kept: Shelf) -> list[float]:
    """Return the milliseconds of each tick of the live run. Every other tick polls; the others are too early to."""
    run, found = LIVE, []
    shell = kept.shell(kept.store.load(run))
    tick(kept.store, run, shell)
    for number in range(TURNS):
        kept.clock.sleep(300.0 if number % 2 else 0.0)
        begin = time.perf_counter()
        tick(kept.store, run, shell)
        found.append(1000 * (time.perf_counter() - begin))
    return found


def rounds_ms(kept: Shelf) -> list[float]:
    """Return the milliseconds of each round of a daemon whose runs are all idle."""
    found = []
    with LeaseKeeper(kept.store, kept.clock) as keeper:
        daemon = kept.daemon(keeper)
        for _ in range(3):
            daemon.round()
        for _ in range(TURNS // 4):
            kept.clock.sleep(0.1)
            begin = time.perf_counter()
            daemon.round()
            found.append(1000 * (time.perf_counter() - begin))
    return found


def command_s(kept: Shelf, *arguments: str) -> float:
    """Return the median seconds of a relay command as a whole process, without the first start."""
    command = [sys.executable, "-m", "orchestrator", "--home", str(kept.home), *arguments]
    found = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - begin)
    return statistics.median(found[1:])


def status_s(kept: Shelf) -> float:
    """Return the seconds of `relay status`."""
    return command_s(kept, "status")


def report_s(kept: Shelf) -> float:
    """Return the seconds of `relay report` of the live run."""
    return command_s(kept, "report", LIVE, "--output", str(kept.home.with_name("report.html")))


def status_mb(kept: Shelf) -> float:
    """Return the peak memory of `relay status`, in megabytes."""
    argv = ["relay", "--home", str(kept.home), "status"]
    command = [sys.executable, "-c", f"import sys; sys.argv = {argv!r}\n{PEAK}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1]) * 1024 / 1e6


def took_ms(call: Callable[[], object]) -> float:
    """Return the milliseconds of a call, median of three."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - begin))
    return statistics.median(found)


def size_mb(home: Path) -> float:
    """Return the size of the database, in megabytes."""
    return sum(path.stat().st_size for path in home.glob("relay.db*")) / 1e6


@dataclass(frozen=True)
class Row:
    """Measurements of one home folder."""

    name: str
    turns_ms: Sequence[float]
    rounds_ms: Sequence[float]
    status_s: float
    status_mb: float
    report_s: float
    size_mb: float

    @property
    def tick_ms(self) -> float:
        """Median milliseconds of a tick."""
        return statistics.median(self.turns_ms)

    @property
    def late_ms(self) -> float:
        """95th percentile of the milliseconds of a tick."""
        return statistics.quantiles(self.turns_ms, n=20)[-1]

    @property
    def round_ms(self) -> float:
        """Median milliseconds of a round."""
        return statistics.median(self.rounds_ms)


def row(name: str, kept: Shelf) -> Row:
    """Measure one home folder."""
    return Row(
        name, turns_ms(kept), rounds_ms(kept), status_s(kept), status_mb(kept), report_s(kept), size_mb(kept.home)
    )


def table(rows: Sequence[Row]) -> str:
    """Format a line for each home folder; `×` is the ratio to the first line."""
    head = f"{'':34}{'tick ms':>9}{'95 %':>8}{'×':>6}{'round ms':>10}{'×':>6}{'status s':>10}{'×':>6}{'its MB':>8}{'report s':>10}{'on disk MB':>12}"
    lines, first = [head], rows[0]
    for each in rows:
        result = f"{each.tick_ms:9.2f}{each.late_ms:8.2f}{each.tick_ms / first.tick_ms:6.1f}"
        rounds = f"{each.round_ms:10.2f}{each.round_ms / first.round_ms:6.1f}"
        lines.append(
            f"{each.name:34}{result}{rounds}{each.status_s:10.2f}{each.status_s / first.status_s:6.1f}"
            f"{each.status_mb:8.0f}{each.report_s:10.2f}{each.size_mb:12.1f}"
        )
    return "\n".join(lines)


# --- benchmark ---------------------------------------------------------------


def by_size(runs: Sequence[int], sessions: int) -> tuple[list[Row], list[Row]]:
    """Measure homes of each size with one live run, then the largest with 1, 10 and 100 live runs."""
    sizes, lives = [], []
    for count in runs:
        with shelf(sessions) as kept:
            kept.finish(count - 1)
            kept.begin(1)
            sizes.append(row(f"{count:,} runs, {count * sessions:,} sessions", kept))
            if count == runs[-1]:
                for live in (1, 10, 100):
                    kept.begin(live)
                    lives.append(row(f"{live:,} live and {count - 1:,} that are over", kept))
    return sizes, lives


def curves(points: int) -> tuple[dict[str, float], float]:
    """Return the milliseconds of queries on a run with `points` metric values, and its database's size in megabytes."""
    with shelf(LONG, points // (2 * LONG)) as kept:
        kept.begin(1)
        found = {
            "newest values": took_ms(lambda: kept.store.last_metrics(LIVE)),
            "curves of 300 points": took_ms(lambda: kept.store.series(LIVE, 300)),
            "a tick": statistics.median(turns_ms(kept)),
            "relay status": 1000 * status_s(kept),
            "relay report": 1000 * report_s(kept),
        }
        return found, size_mb(kept.home)


def verdicts(rows: Sequence[Row], newest_ms: float | None, watched: Watched | None) -> Iterator[tuple[bool, str]]:
    """Yield for each bound whether it holds, and a sentence."""
    most = max(rows, key=lambda each: each.tick_ms)
    yield most.tick_ms <= TICK_MS_MAX, f"a tick within {TICK_MS_MAX:g} ms: {most.tick_ms:.1f} ms ({most.name})"
    slow = max(rows, key=lambda each: each.status_s)
    yield slow.status_s <= STATUS_S_MAX, f"relay status within {STATUS_S_MAX} s: {slow.status_s:.2f} s ({slow.name})"
    if newest_ms is not None:
        yield newest_ms <= LAST_MS_MAX, f"newest values within {LAST_MS_MAX:g} ms: {newest_ms:.1f} ms"
    if watched is not None:
        calls = watched.calls_an_hour
        yield calls <= CALLS_AN_HOUR_MAX, f"a session within {CALLS_AN_HOUR_MAX:g} calls an hour: {calls:.0f}"
        mb, share = watched.resident_mb, watched.cpu_share
        yield mb <= RESIDENT_MB_MAX, f"a daemon within {RESIDENT_MB_MAX:g} MB: {mb:.0f} MB"
        yield share <= CPU_SHARE_MAX, f"and within {100 * CPU_SHARE_MAX} % of a core: {100 * share:.2f} %"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot ticks and `relay status` over the number of runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    counts = [int(each.name.split()[0].replace(",", "")) for each in rows]
    left, right = figure.subplots(1, 2)
    left.plot(counts, [each.tick_ms for each in rows], "o-", label="a tick")
    left.plot(counts, [each.round_ms for each in rows], "o-", label="an idle round")
    left.axhline(TICK_MS_MAX, linestyle="--", color="tab:red")
    left.set_ylabel("ms")
    right.plot(counts, [each.status_s for each in rows], "o-", label="relay status")
    right.axhline(STATUS_S_MAX, linestyle="--", color="tab:red")
    right.set_ylabel("s")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="runs")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.savefig(path)


def main() -> int:
    """Run the benchmark. Return exit status 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--runs", default="1,10,100,1000", help="numbers of runs in the home folders, separated by commas"
    )
    parser.add_argument("--sessions", type=int, default=10, help="number of sessions of each run")
    parser.add_argument("--points", type=int, default=1_000_000, help="number of metric values of one run; 0: skip")
    parser.add_argument(
        "--watch-s", type=float, default=300.0, help="seconds for which the daemon polls ten sessions; 0: skip"
    )
    parser.add_argument("--plot", type=Path, help="also write a plot to this file")
    asked = parser.parse_args()
    counts = [int(text) for text in asked.runs.split(",")]
    rows, lives = by_size(counts, asked.sessions)
    print(f"{table(rows)}\n\n{table(lives)}", flush=True)
    newest_ms = watched = None
    if asked.points:
        found, megabytes = curves(asked.points)
        newest_ms = found["newest values"]
        print(f"\none run with {asked.points:,} values, {megabytes:.0f} MB:")
        print("\n".join(f"  {name:32}{ms:9.1f} ms" for name, ms in found.items()), flush=True)
    if asked.watch_s:
        watched = watch(asked.watch_s)
        print(f"\n{watched}")
    if asked.plot:
        plot(rows, asked.plot)
    held = list(verdicts([*rows, *lives], newest_ms, watched))
    print("\n" + "\n".join(f"{'holds ' if holds else 'MISSED'}  {text}" for holds, text in held))
    return 0 if all(holds for holds, _ in held) else 1


if __name__ == "__main__":
    sys.exit(main())
