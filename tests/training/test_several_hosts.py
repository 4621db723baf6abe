"""Two processes that train one model together: cut and resumed they compute what they compute uncut, and one writes for both."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import Accelerator, Cursor, Manifest, Order, Parent, Report, StageSpec
from tests.training.models import devices, quick_compile, written
from tests.unit.counting_runs import ROOT, events, order

pytestmark = pytest.mark.slow

SESSION = """
import os, sys, time
from pathlib import Path
from stages.contract import Order
from stages.session import runner

order, place = Order.from_json(sys.argv[1]), Path(sys.argv[2])
places = {"working": place / "working", "inputs": place / "input"}
sys.exit(runner.main(order, **places, started_s=time.monotonic(), leave=os._exit))
"""
PATIENCE_S = 500.0
ROWS = 24
OPTIONS = {"data": ["gsm8k"], "max_seq_length": 48, "batch": 4}
SFT = StageSpec(name="sft", kind="sft", steps=3, options=OPTIONS)


class TwoProcesses:
    """A folder that both processes see, with what their session reads and writes."""

    def __init__(self, place: Path, asked: Order, rows: Path) -> None:
        self.place, self.asked = place, asked
        for name in ("working", "input", "tmp"):
            (place / name).mkdir(parents=True)
        for file in rows.iterdir():
            os.link(file, place / "input" / file.name)

    def run(self) -> tuple[list[int], list[str]]:
        """Run the session; returns exit status and output of each process."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **quick_compile(), **devices(1)}
        running = [
            subprocess.Popen(
                [sys.executable, "-c", SESSION, self.asked.to_json(), str(self.place)],
                env={**usual, "RELAY_PROCESS": str(index), "RELAY_COORDINATOR": f"127.0.0.1:{port}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for index in range(2)
        ]
        told = [process.communicate(timeout=PATIENCE_S)[0] for process in running]
        return [process.returncode for process in running], told

    def report(self) -> Report:
        return Report.from_json((self.place / "working" / "relay" / "report.json").read_text())

    def checkpoint(self, step: int) -> Path:
        return self.place / "working" / "relay" / "checkpoints" / f"sft-{step:08}"


def rows_in(folder: Path) -> dict[str, str]:
    """Write problems to learn from; returns the digests of their files."""
    folder.mkdir()
    for name, numbers in (("gsm8k_train.jsonl", range(ROWS)), ("gsm8k_test.jsonl", range(90, 94))):
        rows = ({"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1}"} for n in numbers)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_processes_cut_and_resumed_compute_what_they_compute_uncut_and_the_first_writes_for_both(
    tmp_path: Path,
) -> None:
    files, model = rows_in(tmp_path / "rows"), written(tmp_path / "model")
    asked = order(
        stages=(SFT,),
        start=Cursor(stage="sft", step=0),
        save_at=(Cursor(stage="sft", step=1),),
        model={**model, "system": "", "mesh_fsdp": 2},
        files=files,
        accelerator=Accelerator(platform="cpu", devices=2, processes=2),
    )
    uncut = TwoProcesses(tmp_path / "uncut", asked, tmp_path / "rows")
    statuses, told = uncut.run()
    assert statuses == [0, 0], told
    assert uncut.report().outcome == "finished"
    assert [event["event"] for event in events(told[0])][-1] == "finished"
    assert events(told[1]) == [], "the second process leaves the log to the first"
    begun = Manifest.from_json((uncut.checkpoint(1) / "manifest.json").read_bytes())

    parent = Parent(name="first", digest=begun.digest)
    resumed = replace(asked, session=2, start=begun.cursor, parent=parent, save_at=())
    cut = TwoProcesses(tmp_path / "cut", resumed, tmp_path / "rows")
    uncut.checkpoint(1).rename(cut.place / "input" / "parent")
    statuses, told = cut.run()
    assert statuses == [0, 0], told
    ends = [Manifest.from_json((each.checkpoint(3) / "manifest.json").read_bytes()) for each in (uncut, cut)]
    assert ends[0].digests == ends[1].digests
    assert ends[0].digests["weights"] != begun.digests["weights"]
    assert cut.report().numerics is not None and cut.report().numerics.machine["processes"] == "2"  # type: ignore[union-attr]
