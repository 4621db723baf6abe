"""A session that hangs in its last step leaves by itself before the limit, with the newest whole checkpoint and a report."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import Report, StageReport, StageSpec
from stages.session import packing, runner
from stages.session.last_exit import exit_at_s, last_exit, leaving_in_time
from tests.unit.counting_runs import ROOT, Kaggle, counting, kaggle, order

PATIENCE_S = 60.0
HANGS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from stages import counting
from stages.session import runner
from stages.contract import Order

class Hanging:
    def __init__(self, context):
        self._context = context
    def __getattr__(self, name):
        return getattr(self._context, name)
    def step_done(self, step, metrics):
        answer = self._context.step_done(step, metrics)
        if step == 5:
            time.sleep(600)
        return answer

stage = counting.train
counting.train = lambda context: stage(Hanging(context))
order = Order.from_json(sys.argv[2])
places = {"working": Path(sys.argv[3]), "inputs": Path(sys.argv[4])}
sys.exit(runner.main(order, **places, started_s=time.monotonic(), leave=os._exit))
"""


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


@pytest.mark.slow
def test_a_session_that_hangs_leaves_before_its_limit_with_what_it_has(world: Kaggle) -> None:
    asked = order(stages=(counting("first", 9),), save_interval_s=0.0, keep_checkpoints=2, budget_s=1.5, limit_s=2.0)
    arguments = [str(ROOT), asked.to_json(), str(world.working), str(world.inputs)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", HANGS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    report: Report = world.report()
    assert report.outcome == "yielded"
    assert report.reason == "the session leaves before its limit of 2 s: its last step or save did not end in time"
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 4
    packing.verify(world.folders()[-1], report.checkpoint)
    assert '"event":"stopping"' in done.stdout


def test_the_last_exit_reports_the_memory_seen_before_and_asks_no_device(
    world: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_of: list[str] = []

    def local_devices() -> list[Any]:
        asked_of.append(threading.current_thread().name)
        return []

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=local_devices))
    stage = StageSpec(name="first", kind="grpo", steps=9)
    session = runner._begin(order(stages=(stage,)), world.working, world.inputs, lambda: 700.0)
    seen = {"device_bytes": 7, "host_bytes": 5}
    session.stages["first"] = StageReport(done=1, target=9, memory=seen)
    left = threading.Event()
    try:
        with leaving_in_time(session, lambda status: left.set()):
            assert left.wait(PATIENCE_S)
    finally:
        runner._end(session)
    assert asked_of == []
    assert (world.report().outcome, dict(world.report().stages["first"].memory)) == ("yielded", seen)


def test_the_exit_lies_between_budget_and_limit() -> None:
    assert exit_at_s(budget_s=32_355.0, limit_s=32_400.0) == 32_385.0
    assert exit_at_s(budget_s=90.0, limit_s=100.0) == 95.0
    assert exit_at_s(budget_s=100.0, limit_s=100.0) == 100.0


@pytest.mark.slow
def test_who_has_ended_in_time_is_not_made_to_leave() -> None:
    left = threading.Event()
    began_s = time.monotonic()
    with last_exit(0.2, lambda: time.monotonic() - began_s, left.set):
        pass
    assert not left.wait(0.3)


@pytest.mark.slow
def test_the_exit_is_taken_once_the_clock_says_so() -> None:
    left, now_s = threading.Event(), [0.0]
    with last_exit(5.0, lambda: now_s[0], left.set):
        assert not left.wait(0.05)
        now_s[0] = 5.0
        assert left.wait(PATIENCE_S)
