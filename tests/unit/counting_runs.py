"""Sessions of a run that only counts, in a folder shaped like `/kaggle`: what the tests of the runner stand on."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.contract import Cursor, FileEntry, Manifest, Order, Parent, Report, StageSpec
from stages.session import packing, runner

ROOT = Path(__file__).parents[2]


def order(**changes: Any) -> Order:
    """One stage of six steps that take no time, with more budget than it needs."""
    usual: dict[str, Any] = {
        "run": "count-1a2b",
        "session": 1,
        "attempt": 1,
        "token": "0123abcd",
        "slug": "count-1a2b-s0001",
        "pipeline_digest": "f" * 64,
        "seed": 7,
        "model": {},
        "stages": (counting("first", 6),),
        "start": Cursor(stage="first", step=0),
        "parent": None,
        "budget_s": 600.0,
        "limit_s": 700.0,
        "save_interval_s": 300.0,
    }
    return Order(**{**usual, **changes})


def counting(name: str, steps: int, **options: Any) -> StageSpec:
    """A stage that counts."""
    return StageSpec(name=name, kind="counting", steps=steps, options=options)


def own(name: str, steps: int, train: Any) -> StageSpec:
    """A stage of the user's own: a function of the module that a test is in."""
    return StageSpec(name=name, kind=f"{train.__module__}:{train.__name__}", steps=steps)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds


@dataclass(frozen=True)
class Kaggle:
    """A folder shaped like `/kaggle`."""

    root: Path

    @property
    def working(self) -> Path:
        """Where a session writes."""
        return self.root / "working"

    @property
    def inputs(self) -> Path:
        """Where data sources are mounted."""
        return self.root / "input"

    def run(self, order: Order, clock: Clock | None = None) -> tuple[int, Report]:
        """One session in this process."""
        given = {"clock": clock} if clock else {}
        started_s = clock.now_s if clock else time.monotonic()
        status = runner.main(order, working=self.working, inputs=self.inputs, started_s=started_s, **given)
        return status, self.report()

    def report(self) -> Report:
        """What the last session left."""
        return Report.from_json((self.working / "relay" / "report.json").read_text())

    def folders(self) -> list[Path]:
        """The checkpoints that a reader would find in the output."""
        return sorted((self.working / "relay" / "checkpoints").glob("*"))

    def publish(self, folder: Path, place: str) -> Path:
        """Mount a checkpoint at a place below `/kaggle/input`."""
        target = self.inputs / place
        shutil.copytree(folder, target)
        return target


def kaggle(root: Path) -> Kaggle:
    """An empty one. Its `tmp` takes what a killed session cannot clear away."""
    made = Kaggle(root)
    for folder in (made.working, made.inputs, root / "tmp"):
        folder.mkdir(parents=True)
    return made


def next_order(order: Order, report: Report, **changes: Any) -> Order:
    """The order of the session that follows a report with a checkpoint."""
    assert report.checkpoint is not None
    return replace(
        order,
        session=order.session + 1,
        start=report.checkpoint.cursor,
        parent=Parent(name=f"c{order.session:04d}", digest=report.checkpoint.digest),
        **changes,
    )


def forged(directory: Path, manifest: Manifest) -> Manifest:
    """A checkpoint folder with a blob of its own that the returned manifest describes truly."""
    content = directory.parent / f"{directory.name}-content"
    content.mkdir(parents=True)
    (content / "count.txt").write_text("not the state")
    directory.mkdir(parents=True)
    blob = packing.pack(content, directory / "state.bin")
    made = replace(manifest, files=(FileEntry(path="state.bin", size_bytes=blob.size_bytes, sha256=blob.sha256),))
    (directory / "manifest.json").write_text(made.to_json())
    return made


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from stages.session import runner
from stages.contract import Order
order = Order.from_json(sys.argv[2])
sys.exit(runner.main(order, working=Path(sys.argv[3]), inputs=Path(sys.argv[4]), started_s=time.monotonic()))
"""


def start_process(order: Order, world: Kaggle, log: Path | None) -> subprocess.Popen[bytes]:
    """The same session as a process of its own, which a test can kill; its log goes to a file, or else to a pipe."""
    arguments = [str(ROOT), order.to_json(), str(world.working), str(world.inputs)]
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments]
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE)
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)


def events(text: str) -> list[dict[str, Any]]:
    """The progress events of a log."""
    return [json.loads(line.removeprefix("@relay ")) for line in text.splitlines() if line.startswith("@relay ")]
