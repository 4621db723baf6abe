"""Measure the run time of read-only commands as whole processes, compared with an empty Python program.

    python -m benchmarks.startup
    python -m benchmarks.startup --rounds 30 --sessions 500 --plot startup.png

Every round starts each command once, in random order, so that temporary load on the machine affects all of them.
Printed are the fastest, the median and the slowest start, the median ratio to the bare interpreter in the same round,
and the number of modules that each command imports. The home folder holds one finished run of `--sessions` sessions.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.homes import finished_run
from state.store import Store

BARE = "python -c pass"
COMMANDS = {
    BARE: ["-c", "pass"],
    "import orchestrator": ["-c", "import orchestrator"],
    "relay --help": ["-m", "orchestrator", "--help"],
    "relay status": ["-m", "orchestrator", "status"],
    "relay status --json": ["-m", "orchestrator", "status", "--json"],
    "relay status, no run yet": ["-m", "orchestrator", "--home", "nowhere", "status"],
}
LIMIT_S = 0.4
"""Maximum median in seconds of `relay --help` and `relay status`: about what users perceive as immediate."""
HELD = ("relay --help", "relay status")
COUNT = "import runpy, sys; sys.argv = {argv!r}\ntry: {call}\nexcept SystemExit: pass\nprint(len(sys.modules), file=sys.stderr)"


def started(arguments: list[str], home: Path) -> float:
    """Return the seconds that one process takes from start to end."""
    environment = {**os.environ, "RELAY_HOME": str(home)}
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def modules(arguments: list[str], home: Path) -> int:
    """Return the number of modules that the command has imported when it ends."""
    if arguments[0] == "-c":
        argv, call = ["-c"], f"exec({arguments[1]!r})"
    else:
        argv, call = arguments[1:], f"runpy.run_module({arguments[1]!r}, run_name='__main__')"
    program = COUNT.format(argv=argv, call=call)
    environment = {**os.environ, "RELAY_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def measured(home: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of all starts by command, after one round that only warms the disk cache."""
    draw = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name in draw.sample(list(COMMANDS), len(COMMANDS)):
            seconds = started(COMMANDS[name], home)
            if number:
                found[name].append(seconds)
    return found


def table(found: dict[str, list[float]], counts: dict[str, int]) -> str:
    """Format a row for each command."""
    lines = [f"{'':26}{'fastest':>9}{'median':>9}{'slowest':>9}{'× bare':>8}{'modules':>9}"]
    for name, seconds in found.items():
        ratio = statistics.median(one / bare for one, bare in zip(seconds, found[BARE], strict=True))
        numbers = f"{min(seconds):8.3f}s{statistics.median(seconds):8.3f}s{max(seconds):8.3f}s"
        lines.append(f"{name:26}{numbers}{ratio:8.1f}{counts[name]:9}")
    return "\n".join(lines)


def plot(found: dict[str, list[float]], path: Path) -> None:
    """Plot the starts as boxes, and the bound."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(list(found.values())[::-1], orientation="horizontal", tick_labels=list(found)[::-1], whis=(0, 100))
    axes.axvline(LIMIT_S, linestyle="--", color="tab:red", label=f"{LIMIT_S} s")
    axes.set_xlabel("seconds from the start of the process to its end")
    axes.set_xlim(left=0)
    axes.legend()
    figure.savefig(path)


def main() -> int:
    """Run the benchmark. Return exit status 1 if the median of a command in HELD exceeds LIMIT_S."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="number of starts of each command")
    parser.add_argument("--sessions", type=int, default=20, help="number of sessions of the run in the home folder")
    parser.add_argument("--plot", type=Path, help="also write a plot to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-startup-") as folder:
        home = Path(folder) / "home"
        begin = datetime.now(UTC) - timedelta(days=30)
        finished_run(Store.at(home), "bench-0001", asked.sessions, begin)
        found = measured(home, asked.rounds)
        counts = {name: modules(arguments, home) for name, arguments in COMMANDS.items()}
    print(table(found, counts))
    late = [name for name in HELD if statistics.median(found[name]) > LIMIT_S]
    print(
        f"{' and '.join(HELD)}: " + (f"{', '.join(late)} not" if late else "both") + f" under {LIMIT_S} s in the median"
    )
    if asked.plot:
        plot(found, asked.plot)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
