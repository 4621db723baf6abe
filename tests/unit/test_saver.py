"""A checkpoint is made beside the steps that follow it, and everything that a session promises of one still holds."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stages.contract import Cursor
from stages.session import accelerator
from stages.stage import Context, Next
from tests.unit.counting_runs import Clock, Kaggle, events, kaggle, order, own

PATIENCE_S = 60.0
"""Only a machine that is stuck is waited for so long."""


@dataclass
class Scene:
    """What the stages below tell each other's threads."""

    clock: Clock = field(default_factory=Clock)
    may_end: threading.Event = field(default_factory=threading.Event)
    done_when_written: list[int] = field(default_factory=list)
    done: int = 0
    under_way: int = 0
    most_under_way: int = 0


SCENE = Scene()


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


@pytest.fixture(autouse=True)
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A new one for each test; a user's own stage is taken to need an accelerator, and these do not."""
    global SCENE
    monkeypatch.setenv(accelerator.STAND_IN, "1")
    SCENE = Scene()
    yield SCENE
    SCENE.may_end.set()


def stepping(context: Context, write: Callable[[int], Any]) -> None:
    """Steps of a second each; `write` makes what `save` is given from the number of the step."""
    for step in range(context.start_step + 1, context.spec.steps + 1):
        SCENE.clock.pass_s(1.0)
        SCENE.done = step
        answer = context.step_done(step, {"loss": 1.0})
        if answer is not Next.GO_ON:
            context.save(step, write(step))
        if answer is Next.STOP:
            return


def written(directory: Path, step: int) -> dict[str, str]:
    (directory / "state").write_text(str(step))
    return {"state": f"{step:064}"}


def saves_beside(context: Context) -> None:
    """A save ends only once three more steps are done."""

    def write(step: int) -> Any:
        def rest(directory: Path) -> dict[str, str]:
            if step < context.spec.steps:
                assert SCENE.may_end.wait(PATIENCE_S)
            SCENE.done_when_written.append(SCENE.done)
            return written(directory, step)

        return lambda directory: lambda: rest(directory)

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(context, name)

        def step_done(self, step: int, metrics: Any) -> Next:
            if step == 5:
                SCENE.may_end.set()
            return context.step_done(step, metrics)

    stepping(Watched(), write)  # type: ignore[arg-type]


def test_steps_go_on_while_a_checkpoint_is_written(world: Kaggle, scene: Scene) -> None:
    asked = order(stages=(own("first", 8, saves_beside),), save_at=(Cursor(stage="first", step=2),))
    _, report = world.run(asked, scene.clock)
    assert report.outcome == "finished"
    assert scene.done_when_written[0] >= 5
    assert [folder.name for folder in world.folders()] == ["first-00000002", "first-00000008"]
    assert report.timings["hold_s"] == 0.0
    assert report.timings["save_s"] >= 3.0


def test_what_the_training_waits_for_is_all_that_a_save_takes_of_its_seconds(
    world: Kaggle, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = order(stages=(own("first", 8, saves_beside),), save_at=(Cursor(stage="first", step=2),))
    _, report = world.run(asked, scene.clock)
    assert report.seconds["training_step"] == 8.0
    assert "checkpoint_save" not in report.seconds
    saved = [event for event in events(capsys.readouterr().out) if event["event"] == "saved"]
    assert [(event["step"], event["seconds"]["training_step"]) for event in saved] == [(2, 2.0), (8, 8.0)]


def saves_slowly(context: Context) -> None:
    """Asked to save at each step."""

    def write(step: int) -> Any:
        def rest(directory: Path) -> dict[str, str]:
            SCENE.under_way += 1
            SCENE.most_under_way = max(SCENE.most_under_way, SCENE.under_way)
            threading.Event().wait(0.02)
            SCENE.under_way -= 1
            return written(directory, step)

        return lambda directory: lambda: rest(directory)

    stepping(context, write)


@pytest.mark.slow
def test_one_checkpoint_is_made_at_a_time_and_each_in_its_order(
    world: Kaggle, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = order(stages=(own("first", 6, saves_slowly),), save_interval_s=0.0, keep_checkpoints=9)
    _, report = world.run(asked, scene.clock)
    assert scene.most_under_way == 1
    saved = [event["step"] for event in events(capsys.readouterr().out) if event["event"] == "saved"]
    assert saved == [1, 2, 3, 4, 5, 6]
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 6


def fails_beside(context: Context) -> None:
    """The save of step 2 goes wrong once the stage has gone on."""

    def write(step: int) -> Any:
        def rest(directory: Path) -> dict[str, str]:
            if step == 2:
                raise OSError(28, "No space left on device")
            return written(directory, step)

        return lambda directory: lambda: rest(directory)

    stepping(context, write)


def test_a_save_that_goes_wrong_beside_the_training_ends_the_session_with_its_reason(
    world: Kaggle, scene: Scene
) -> None:
    saved = tuple(Cursor(stage="first", step=step) for step in (1, 2, 4))
    status, report = world.run(order(stages=(own("first", 500, fails_beside),), save_at=saved), scene.clock)
    assert (status, report.outcome) == (1, "failed")
    assert "No space left on device" in report.reason
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 1
    assert [folder.name for folder in world.folders()] == ["first-00000001"]


def dies_while_saving(context: Context) -> None:
    """Step 3 raises while the checkpoint of step 2 is being written."""

    def write(step: int) -> Any:
        def rest(directory: Path) -> dict[str, str]:
            assert SCENE.may_end.wait(PATIENCE_S)
            return written(directory, step)

        return lambda directory: lambda: rest(directory)

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(context, name)

        def step_done(self, step: int, metrics: Any) -> Next:
            if step == 3:
                threading.Timer(0.05, SCENE.may_end.set).start()
                raise RuntimeError("the device is gone")
            return context.step_done(step, metrics)

    stepping(Dying(), write)  # type: ignore[arg-type]


def test_a_stage_that_dies_beside_a_save_leaves_that_checkpoint(world: Kaggle, scene: Scene) -> None:
    asked = order(stages=(own("first", 9, dies_while_saving),), save_at=(Cursor(stage="first", step=2),))
    status, report = world.run(asked, scene.clock)
    assert (status, report.outcome) == (1, "failed")
    assert "the device is gone" in report.reason
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 2


# --- what the seconds went to ---


def waits_for_data(context: Context) -> None:
    """A second of each step's two is the data's."""
    from stages.session.time_accounting import TimeClass

    for step in range(context.start_step + 1, context.spec.steps + 1):
        with context.doing(TimeClass.DATA):
            SCENE.clock.pass_s(1.0)
        SCENE.clock.pass_s(1.0)
        answer = context.step_done(step, {"loss": 1.0})
        if answer is not Next.GO_ON:
            context.save(step, lambda directory: written(directory, 0))
        if answer is Next.STOP:
            return


def test_a_session_says_what_each_of_its_seconds_went_to(world: Kaggle, scene: Scene) -> None:
    _, report = world.run(order(stages=(own("first", 6, waits_for_data),)), scene.clock)
    assert report.seconds == {"data_wait": 6.0, "training_step": 6.0}
    assert sum(report.seconds.values()) == report.timings["session_s"]


def test_a_session_tells_about_once_a_minute_what_its_seconds_went_to(
    world: Kaggle, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = order(stages=(own("first", 100, waits_for_data),), budget_s=10_000.0, limit_s=11_000.0)
    world.run(asked, scene.clock)
    told = [event for event in events(capsys.readouterr().out) if event["event"] == "account"]
    assert [event["at_s"] for event in told] == [60.0, 120.0, 180.0]
    assert [sum(event["seconds"].values()) for event in told] == [60.0, 120.0, 180.0]


def test_seconds_before_the_first_line_of_python_are_not_forgotten(world: Kaggle, scene: Scene) -> None:
    from stages.session import runner

    began_s = scene.clock.now_s
    scene.clock.pass_s(50.0)
    runner.main(
        order(stages=(own("first", 3, waits_for_data),)),
        working=world.working,
        inputs=world.inputs,
        started_s=began_s,
        clock=scene.clock,
        ready=runner.Ready(took_s=40.0),
    )
    assert world.report().seconds == {
        "data_wait": 3.0,
        "environment_install": 40.0,
        "other": 10.0,
        "training_step": 3.0,
    }
