"""Killed at any moment, a session leaves whole checkpoints or none, and the run goes on from them as if nothing had been."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.contract import Cursor, Manifest, Order, Parent, Report
from stages.session import packing, parent_checkpoint
from tests.unit.counting_runs import Kaggle, counting, events, kaggle, order, start_process

PATIENCE_S = 60.0
"""Only a machine that is stuck is waited for so long."""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that a test started; none outlives it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Return as soon as a condition holds."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, "the session ended by itself"
        assert time.monotonic() < give_up_s, "the session is stuck"
        time.sleep(0.001)


def unfinished(world: Kaggle) -> list[Path]:
    return list((world.working / "relay" / ".unfinished").glob("*/state.bin"))


def saved_once(world: Kaggle) -> bool:
    return bool(world.folders())


def saved_once_and_saving_again(world: Kaggle) -> bool:
    return saved_once(world) and saving(world)


def saving(world: Kaggle) -> bool:
    return bool(unfinished(world))


MANY = order(stages=(counting("first", 4_000, step_s=0.001, payload_bytes=6_000_000),), save_interval_s=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [saved_once, saving, saved_once_and_saving_again])
def test_what_a_killed_session_leaves_is_whole_and_the_run_goes_on_from_it(
    moment: Callable[[Kaggle], bool], tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    world = kaggle(tmp_path / "kaggle")
    process = start_process(MANY, world, tmp_path / "log")
    processes.append(process)
    wait_until(lambda: moment(world), process)
    process.kill()
    process.wait()
    assert not (world.working / "relay" / "report.json").exists()
    found = [(checkpoint.folder, checkpoint.manifest) for checkpoint in parent_checkpoint.find(world.working)]
    assert sorted(folder for folder, _ in found) == world.folders()
    for folder, manifest in found:
        packing.verify(folder, manifest)
    assert len(found) <= MANY.keep_checkpoints + 1
    if found:
        assert_goes_on(max(found, key=lambda pair: pair[1].cursor.step), tmp_path)


def assert_goes_on(newest: tuple[Path, Manifest], tmp_path: Path) -> None:
    """Three more steps from the checkpoint are the three that a session that was never killed does."""
    folder, manifest = newest
    steps = manifest.cursor.step + 3
    short = order(stages=(counting("first", steps, payload_bytes=6_000_000),))
    whole, following = kaggle(tmp_path / "whole"), kaggle(tmp_path / "following")
    following.publish(folder, "parent")
    _, expected = whole.run(short)
    asked = order(
        stages=short.stages, session=2, start=manifest.cursor, parent=Parent(name="c0001", digest=manifest.digest)
    )
    _, report = following.run(asked)
    assert report.checkpoint is not None and expected.checkpoint is not None
    assert report.checkpoint.files == expected.checkpoint.files


@pytest.mark.slow
def test_sigterm_from_outside_ends_a_session_in_good_order(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    world, log = kaggle(tmp_path / "kaggle"), tmp_path / "log"
    process = start_process(order(stages=(counting("first", 100_000, step_s=0.001),)), world, log)
    processes.append(process)
    wait_until(lambda: any(event["event"] == "step" for event in events(log.read_text())), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    report = world.report()
    assert report.outcome == "yielded"
    assert report.checkpoint is not None and report.checkpoint.cursor == report.reached
    packing.verify(world.folders()[-1], report.checkpoint)


@pytest.mark.slow
def test_events_are_out_before_the_process_is_gone(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """What a session saved is in its log even if the kill comes right after."""
    world, log = kaggle(tmp_path / "kaggle"), tmp_path / "log"
    asked: Order = order(stages=(counting("first", 100_000, step_s=0.001),), save_interval_s=0.02)
    process = start_process(asked, world, log)
    processes.append(process)
    wait_until(lambda: len(world.folders()) >= 2, process)
    process.kill()
    process.wait()
    told = {event["step"] for event in events(log.read_text()) if event["event"] == "saved"}
    names = [folder.name for folder in world.folders()]
    assert told >= {int(name.removeprefix("first-")) for name in names[:-1]}


@pytest.mark.slow
def test_a_log_that_nobody_reads_any_more_does_not_end_the_training(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    world = kaggle(tmp_path / "kaggle")
    process = start_process(order(stages=(counting("first", 60, step_s=0.005),)), world, None)
    processes.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    report: Report = world.report()
    assert (report.outcome, report.reached) == ("finished", Cursor(stage="first", step=60))
