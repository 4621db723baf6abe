"""Measure the transfer speed of relay's client and the cost of an interruption, compared with curl on loopback.

    python -m benchmarks.transfer
    python -m benchmarks.transfer --gib 2 --rounds 9 --tls --plot transfer.png
    python -m benchmarks.transfer --big                # 5 GiB down and up, to measure memory

curl only moves bytes. relay also verifies their hash against the manifest, writes through `.part`, syncs to disk and
can resume after any interruption. `curl, hashed` adds only the hash: `curl | tee FILE | openssl dgst`. Every round
measures all of them once, in random order, so that temporary load on the machine affects all. Printed are medians, and
the median over the rounds of curl's time divided by the other's in the same round. Files are kept in memory (/dev/shm)
if available, so that no disk is measured.

Two bandwidths are measured. One gigabit is more than nearly any home connection has; there relay is compared with plain
curl. Unlimited bandwidth measures the processors, which server, client and hash share, so there downloads are compared
with curl plus hash (SHA-256 alone takes a core longer than everything that curl does). The cost of an interruption is
counted in bytes at the server.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.storage import TOKEN, Remote, serving

SPEED_MIN = 0.9
"""Minimum speed as a share of curl's."""
CUT_COST_MAX = 1.02
"""Maximum transferred bytes, as a share of the file, with an interruption at CUT_AT."""
CUT_AT = 0.99
MEMORY_BYTES_MAX = 150_000_000
BIG_GIB = 5.0
WIRE_MBIT = 1000.0
WIRE_GIB_MAX = 0.25
"""Maximum file size in GiB at limited bandwidth, where a larger file only takes longer."""
CURL, HASHED, RELAY = "curl", "curl, hashed", "relay"
WAYS = ("down", "up")


@dataclass(frozen=True)
class File:
    """The file to transfer."""

    folder: Path
    size_bytes: int
    sha256: str

    @property
    def served(self) -> Path:
        """Path of the server's copy."""
        return self.folder / "served" / "state.bin"

    @property
    def here(self) -> Path:
        """Path of the client's copy."""
        return self.folder / "here" / "state.bin"


@dataclass
class Timed:
    """Measurements of all rounds with one server: seconds by (direction, client)."""

    wire: str
    size_bytes: int
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    compared_s: list[float] = field(default_factory=list)
    busy_s: dict[str, list[float]] = field(default_factory=dict)
    """Processor time of relay's client in seconds, by direction."""
    memory: int = 0

    def note(self, way: str, who: str, seconds: float) -> None:
        self.seconds.setdefault((way, who), []).append(seconds)

    def ratios(self, way: str, who: str, of: str = CURL) -> list[float]:
        """Return the speed as a share of another client's, per round."""
        pairs = zip(self.seconds[way, of], self.seconds[way, who], strict=True)
        return [theirs / own for theirs, own in pairs]

    def ratio(self, way: str, who: str, of: str = CURL) -> float:
        """Return the median over the rounds of the speed as a share of another client's."""
        return statistics.median(self.ratios(way, who, of))


@contextmanager
def made(where: Path | None, gib: float) -> Iterator[File]:
    """Create a temporary folder with a file of `gib` GiB, which does not repeat within a block."""
    with tempfile.TemporaryDirectory(prefix="relay-transfer-", dir=where) as folder:
        blocks = [random.Random(number).randbytes(2**20 + number) for number in range(8)]
        digest, size, number = hashlib.sha256(), 0, 0
        (Path(folder) / "served").mkdir()
        (Path(folder) / "here").mkdir()
        with (Path(folder) / "served" / "state.bin").open("wb") as file:
            while size < gib * 2**30:
                block = blocks[number % len(blocks)]
                file.write(block)
                digest.update(block)
                size, number = size + len(block), number + 1
        yield File(Path(folder), size, digest.hexdigest())


# --- clients -------------------------------------------------------------------


def by_curl(way: str, file: File, remote: Remote, *, go_on_at: int | None = None, may_fail: bool = False) -> float:
    """Transfer by curl, resuming at byte `go_on_at` if given. Return the seconds that curl reports."""
    trusted = ["--cacert", str(remote.certificate)] if remote.certificate else []
    begun = [] if go_on_at is None else ["-C", str(go_on_at)]
    if way == "down":
        what = [*begun, "-o", str(file.here), f"{remote.url}/files/state.bin"]
    else:
        what = [*begun, "-T", str(file.here), "-o", os.devnull, f"{remote.url}/uploads/curl-{_uploads(remote)}"]
    command = ["curl", "--silent", *trusted, "--write-out", "%{stderr}%{time_total}", *what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not may_fail:
        raise SystemExit(f"curl failed with status {done.returncode}")
    return float(done.stderr)


def _uploads(remote: Remote) -> int:
    remote.uploads += 1
    return remote.uploads


def by_curl_hashed(file: File, remote: Remote) -> float:
    """Download and hash by `curl | tee | openssl`. Return the seconds."""
    trusted = f"--cacert {remote.certificate} " if remote.certificate else ""
    digest = "openssl dgst -sha256 -r" if shutil.which("openssl") else "sha256sum"
    begin = time.perf_counter()
    command = f"curl --silent --fail {trusted}{remote.url}/files/state.bin | tee {file.here} | {digest}"
    said = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    assert said.split()[0] == file.sha256, "other bytes arrived"
    return time.perf_counter() - begin


def relay_process(way: str, file: File, remote: Remote) -> subprocess.Popen[str]:
    """Start a transfer by relay's client in a process of its own."""
    environ = {**os.environ, "RELAY_KAGGLE_URL": remote.url, "KAGGLE_API_TOKEN": TOKEN}
    if remote.certificate:
        environ["REQUESTS_CA_BUNDLE"] = str(remote.certificate)
    command = [sys.executable, "-m", "benchmarks.one_transfer", way, str(file.here), str(file.size_bytes), file.sha256]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def by_relay(way: str, file: File, remote: Remote) -> dict[str, float]:
    """Transfer by relay's client and return its measurements. Exits if it fails."""
    process = relay_process(way, file, remote)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"relay's client failed on the way {way}")
    found: dict[str, float] = json.loads(said)
    return found


# --- speed ---------------------------------------------------------------------


def timed(file: File, wire: str, rounds: int, *, wire_mbit: float, tls: bool) -> Timed:
    """Measure both directions by all clients in random order, after one warm-up round."""
    found, draw = Timed(wire, file.size_bytes), random.Random(0)
    with serving(file.served.parent, wire_mbit=wire_mbit, tls=tls) as remote:
        for number in range(rounds + 1):
            into = found if number else Timed(wire, file.size_bytes)
            for way in WAYS:
                everybody = [CURL, HASHED, RELAY] if way == "down" else [CURL, RELAY]
                for who in draw.sample(everybody, len(everybody)):
                    if way == "down":
                        file.here.unlink(missing_ok=True)
                    _measure_once(way, who, file, remote, into)
    return found


def _measure_once(way: str, who: str, file: File, remote: Remote, into: Timed) -> None:
    if who == HASHED:
        into.note(way, who, by_curl_hashed(file, remote))
    elif who == CURL:
        into.note(way, who, by_curl(way, file, remote))
    else:
        said = by_relay(way, file, remote)
        into.note(way, who, said["seconds"])
        into.busy_s.setdefault(way, []).append(said["busy_s"])
        into.memory = max(into.memory, int(said["memory"]))
        if way == "up":
            into.compared_s.append(said["compared_s"])


# --- interruptions ---------------------------------------------------------------


def cut_cost(way: str, how: str, file: File) -> float:
    """Return the transferred bytes as a share of the file, with the connection cut or the process killed at 99 %."""
    at = int(CUT_AT * file.size_bytes)
    kept = file.served.parent / "up-0-state.bin"
    if way == "down":
        file.here.unlink(missing_ok=True)
    with serving(file.served.parent, keep=True) as remote:
        remote.plan(**{way: [(at, "cut" if how == "cut" else "stall")]})
        if how == "killed":
            _kill_at_stall(way, file, remote)
        by_relay(way, file, remote)
        counts = remote.counts()
    if way == "up":
        with kept.open("rb") as sent:
            assert hashlib.file_digest(sent, "sha256").hexdigest() == file.sha256, "other bytes arrived"
        kept.unlink()
    return int(counts["sent_bytes" if way == "down" else "received_bytes"]) / file.size_bytes


def _kill_at_stall(way: str, file: File, remote: Remote) -> None:
    process = relay_process(way, file, remote)
    while not remote.counts()["stalls"]:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    time.sleep(0.5)  # until the client has written the received bytes
    process.send_signal(signal.SIGKILL)
    process.wait()


def cut_seconds(way: str, file: File, rounds: int) -> float:
    """Return relay's median speed as a share of curl's, if both are cut at 99 % and resume."""
    at, ratios = int(CUT_AT * file.size_bytes), []
    with serving(file.served.parent) as remote:
        for _ in range(rounds):
            if way == "down":
                file.here.unlink(missing_ok=True)
            remote.plan(**{way: [(at, "cut")]})
            curl_s = by_curl(way, file, remote, may_fail=True)
            remote.uploads -= 1
            curl_s += by_curl(way, file, remote, go_on_at=at)
            if way == "down":
                file.here.unlink()
            remote.plan(**{way: [(at, "cut")]})
            ratios.append(curl_s / by_relay(way, file, remote)["seconds"])
    return statistics.median(ratios)


# --- output ------------------------------------------------------------------------


def table(found: Timed) -> str:
    """Format a row for each direction and client."""
    lines = [f"{found.wire}, {found.size_bytes / 2**30:.2f} GiB", f"  {'':28}{'median':>9}{'MB/s':>8}{'× curl':>9}"]
    for (way, who), seconds in sorted(found.seconds.items()):
        middle = statistics.median(seconds)
        speed = found.size_bytes / middle / 1e6
        lines.append(f"  {way + ', ' + who:28}{middle:8.2f}s{speed:8.0f}{found.ratio(way, who):9.2f}")
    compared_s = statistics.median(found.compared_s)
    lines.append(f"  verification of every byte before the upload: {compared_s:.2f} s, not included above")
    busy = [f"{statistics.median(found.busy_s[way]) * 2**30 / found.size_bytes:.2f} s {way}" for way in WAYS]
    lines.append(f"  relay's processor time per GiB: {', '.join(busy)}")
    return "\n".join(lines)


class Bounds:
    """Prints the result of each bound and counts the missed ones."""

    def __init__(self) -> None:
        self.missed = 0

    def hold(self, what: str, held: bool) -> None:
        self.missed += not held
        print(f"  {'pass' if held else 'MISS'}  {what}")


def plot(all_found: list[Timed], path: Path) -> None:
    """Plot each round's speed as a share of curl's as boxes, and the bound."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    rows = {
        f"{way}, {found.wire}, of {of}": found.ratios(way, RELAY, of)
        for found in all_found
        for way in WAYS
        for of in (CURL, HASHED)
        if (way, of) in found.seconds
    }
    axes.boxplot(list(rows.values())[::-1], orientation="horizontal", tick_labels=list(rows)[::-1], whis=(0, 100))
    axes.axvline(SPEED_MIN, linestyle="--", color="tab:red", label=f"{SPEED_MIN}")
    axes.set_xlabel("relay's speed, including hashing, as a share of the other client's")
    axes.set_xlim(left=0)
    axes.legend()
    figure.savefig(path)


def speeds(asked: argparse.Namespace, bounds: Bounds) -> list[Timed]:
    """Measure speeds at both bandwidths."""
    found = []
    for wire, wire_mbit, gib in (
        ("as fast as this machine", 0.0, asked.gib),
        (f"a wire of {WIRE_MBIT:g} Mbit/s", WIRE_MBIT, min(asked.gib, WIRE_GIB_MAX)),
    ):
        with made(asked.folder, gib) as file:
            found.append(timed(file, wire, asked.rounds, wire_mbit=wire_mbit, tls=asked.tls))
        print(table(found[-1]))
        for way in WAYS:
            of = HASHED if way == "down" and not wire_mbit else CURL
            ratio = found[-1].ratio(way, RELAY, of)
            bounds.hold(f"{way}, {wire}: {ratio:.2f} of the speed of {of}, at least {SPEED_MIN}", ratio >= SPEED_MIN)
    return found


def cuts(asked: argparse.Namespace, bounds: Bounds) -> None:
    """Measure the cost of both kinds of interruption in both directions."""
    with made(asked.folder, asked.gib) as file:
        for way in WAYS:
            if way == "up":
                file.here.unlink(missing_ok=True)
                os.link(file.served, file.here)
            for how in ("cut", "killed"):
                cost = cut_cost(way, how, file)
                what = "the connection cut" if how == "cut" else "the process killed"
                bounds.hold(f"{way}, {what} at {CUT_AT:.0%}: {cost:.4f} of the bytes", cost <= CUT_COST_MAX)
            print(
                f"        {way}, cut at {CUT_AT:.0%} and gone on: {cut_seconds(way, file, asked.rounds):.2f} of curl's speed"
            )


def big(asked: argparse.Namespace, bounds: Bounds) -> None:
    """Measure peak memory with a file larger than the allowed memory."""
    with made(asked.folder or Path(tempfile.gettempdir()), BIG_GIB) as file, serving(file.served.parent) as remote:
        for way in WAYS:
            memory = int(by_relay(way, file, remote)["memory"])
            text = (
                f"{way}, {BIG_GIB:g} GiB: {memory / 1e6:.0f} MB of memory at most, below {MEMORY_BYTES_MAX / 1e6:.0f}"
            )
            bounds.hold(text, memory < MEMORY_BYTES_MAX)


def main() -> int:
    """Run the benchmark. Return exit status 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1.0, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tls", action="store_true", help="use TLS, as Kaggle does (needs openssl)")
    parser.add_argument("--big", action="store_true", help=f"only transfer {BIG_GIB:g} GiB and measure memory")
    parser.add_argument("--folder", type=Path, help="folder for the temporary files")
    parser.add_argument("--plot", type=Path, help="also write a plot to this file")
    asked = parser.parse_args()
    bounds = Bounds()
    if asked.big:
        big(asked, bounds)
        return 1 if bounds.missed else 0
    memory = Path("/dev/shm")
    asked.folder = asked.folder or (memory if memory.is_dir() else None)
    found = speeds(asked, bounds)
    most = max(each.memory for each in found)
    bounds.hold(f"{most / 1e6:.0f} MB of memory at most, below {MEMORY_BYTES_MAX / 1e6:.0f}", most < MEMORY_BYTES_MAX)
    cuts(asked, bounds)
    if asked.plot:
        plot(found, asked.plot)
    return 1 if bounds.missed else 0


if __name__ == "__main__":
    sys.exit(main())
