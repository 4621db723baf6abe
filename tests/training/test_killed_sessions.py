"""Real sessions on the real runner, killed while they train: the run ends at the same numbers as one that was left alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.contract import Cursor, Order, Parent, Report
from stages.session import parent_checkpoint
from stages.session.parent_checkpoint import MountedCheckpoint
from tests.training.harness import ROLLOUTS, TINY, small_inputs, spec, unmeasured
from tests.unit.counting_runs import PROGRAM, ROOT, Kaggle, events, kaggle, order

pytestmark = pytest.mark.slow

OURS = ("@relay ", "accelerator: ", "base weights ", "data ", "model: ", "rows ", "step ", "  reward ")
"""How the lines of a session's log begin that training without trouble leaves."""

PATIENCE_S = 300.0
"""Only a machine that is stuck is waited for so long."""

STAGES = (
    spec("sft", "sft", 60, data=["magpie"], max_seq_length=96, batch=8),
    spec("grpo", "grpo", 25, **ROLLOUTS, rewards={"tests.training.odd_rewards:by_hash": 1.0}, show_every=10),
)
WHOLE = order(run="tiny-1a2b", model=TINY, stages=STAGES, start=Cursor(stage="sft", step=0))


class Sessions:
    """Starts sessions as processes; none outlives the test."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, order: Order, world: Kaggle) -> subprocess.Popen[bytes]:
        small_inputs(world.inputs / "stand-ins")
        arguments = [str(ROOT), order.to_json(), str(world.working), str(world.inputs)]
        with (world.root / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", PROGRAM, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ,
            )
        self.started.append(process)
        return process

    def finish(self, order: Order, world: Kaggle) -> Report:
        """Run a session to its end, which has to be a good one."""
        status = self.start(order, world).wait(PATIENCE_S)
        assert status == 0, (world.root / "log").read_text()
        return world.report()

    def kill(self, order: Order, world: Kaggle, when: Callable[[int], bool], stage: str) -> None:
        """SIGKILL a session once it has told of a step of this stage that fits, after its last save: so that step is lost."""
        process = self.start(order, world)
        give_up_s = time.monotonic() + PATIENCE_S
        while not _about_to_lose(_events(world), when, stage):
            assert process.poll() is None, (world.root / "log").read_text()
            assert time.monotonic() < give_up_s, "the session is stuck"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    made = Sessions()
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def test_a_run_that_is_killed_in_each_stage_ends_like_one_that_is_not(sessions: Sessions, tmp_path: Path) -> None:
    expected = sessions.finish(WHOLE, kaggle(tmp_path / "whole"))
    assert expected.outcome == "finished" and expected.checkpoint is not None
    assert_only_our_words((tmp_path / "whole" / "log").read_text())

    first, second, third = (kaggle(tmp_path / name) for name in ("first", "second", "third"))
    often = replace(WHOLE, save_interval_s=0.3)
    sessions.kill(often, first, lambda step: step >= 20, "sft")
    sessions.kill(_following(often, first, second), second, lambda step: step >= 8, "grpo")
    report = sessions.finish(_following(often, second, third), third)

    assert report.outcome == "finished" and report.checkpoint is not None
    assert set(expected.checkpoint.digests) == {"weights", "adapter", "optimizer", "data"}
    assert report.checkpoint.digests == expected.checkpoint.digests
    assert unmeasured(report.stages["grpo"].metrics) == unmeasured(expected.stages["grpo"].metrics)


def assert_only_our_words(log: str) -> None:
    """The libraries' chatter does not belong in a session's log."""
    others = [line for line in log.splitlines() if not line.startswith(OURS)]
    assert others == []


def _following(order: Order, killed: Kaggle, world: Kaggle) -> Order:
    """The order that goes on from the newest checkpoint of a killed session, mounted in another world."""
    checkpoints: list[MountedCheckpoint] = list(parent_checkpoint.find(killed.working))
    assert checkpoints, "the session was killed before it saved anything"
    newest = max(checkpoints, key=lambda found: _place(found.manifest.cursor))
    world.publish(newest.folder, "parent")
    parent = Parent(name=f"c{order.session:04d}", digest=newest.manifest.digest)
    return replace(order, session=order.session + 1, start=newest.manifest.cursor, parent=parent)


def _about_to_lose(told: list[dict[str, Any]], when: Callable[[int], bool], stage: str) -> bool:
    last = [event for event in told if event["event"] in ("step", "saved")]
    saved_before = any(event["event"] == "saved" for event in last)
    return saved_before and last[-1]["event"] == "step" and last[-1]["stage"] == stage and when(last[-1]["step"])


def _events(world: Kaggle) -> list[dict[str, Any]]:
    log = world.root / "log"
    text = log.read_text() if log.exists() else ""
    return events(text[: text.rfind("\n") + 1])


def _place(cursor: Cursor) -> tuple[int, int]:
    return [stage.name for stage in STAGES].index(cursor.stage), cursor.step
