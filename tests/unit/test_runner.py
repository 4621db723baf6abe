"""A session, from its order to its report: when it stops, what it leaves, and that cutting a run changes nothing."""

import functools
import json
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import counting as counting_stage
from stages.contract import Cursor, Order, Report, StageSpec
from stages.session import accelerator
from stages.session.tracing import path_of, read
from stages.stage import Context, Next
from tests.unit.counting_runs import Clock, Kaggle, counting, events, kaggle, next_order, order, own

CLOCK = Clock()
"""The clock of sessions whose stages say how long they take."""
STEPS_UNTIL_SIGTERM = [0]
"""How many more steps a stage `interrupted` does before the signal comes; 0 for never."""


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own stage is taken to need an accelerator; these do not."""
    monkeypatch.setenv(accelerator.STAND_IN, "1")


def names(world: Kaggle) -> list[str]:
    return [folder.name for folder in world.folders()]


# --- what a session leaves ---


def test_a_session_with_time_enough_finishes_the_pipeline(world: Kaggle) -> None:
    status, report = world.run(order(stages=(counting("first", 6), counting("second", 4))))
    assert (status, report.outcome) == (0, "finished")
    assert report.reached == Cursor(stage="second", step=4)
    assert {name: (stage.done, stage.target) for name, stage in report.stages.items()} == {
        "first": (6, 6),
        "second": (4, 4),
    }
    assert names(world) == ["first-00000006", "second-00000004"]


def test_the_report_is_of_this_session_and_tells_its_newest_checkpoint(world: Kaggle) -> None:
    asked = order(session=3, attempt=2, token="beef")
    _, report = world.run(asked)
    assert (report.run, report.session, report.attempt, report.token) == (asked.run, 3, 2, "beef")
    assert report.started == asked.start
    assert report.checkpoint is not None
    assert report.checkpoint.to_json() == (world.folders()[-1] / "manifest.json").read_text()


def test_the_report_tells_what_planning_the_next_session_needs(world: Kaggle, tmp_path: Path) -> None:
    asked = resumed(world, tmp_path / "before", order())
    _, report = world.run(asked)
    assert set(report.timings) == {
        "session_s",
        "restore_s",
        "save_s",
        "hold_s",
        "first.first_step_s",
        "first.step_s",
        "first.step_high_s",
    }
    assert set(report.versions) >= {"python"}
    assert set(report.stages["first"].metrics) == {"loss", "count"}


def test_only_as_many_checkpoints_are_kept_as_were_asked_for(world: Kaggle) -> None:
    world.run(order(stages=(counting("first", 9),), save_interval_s=0.0, keep_checkpoints=3))
    assert names(world) == ["first-00000007", "first-00000008", "first-00000009"]


def test_one_checkpoint_is_kept_even_if_none_was_asked_for(world: Kaggle) -> None:
    world.run(order(keep_checkpoints=0))
    assert names(world) == ["first-00000006"]


def test_nothing_else_lies_in_the_output(world: Kaggle) -> None:
    world.run(order(save_interval_s=0.0, keep_checkpoints=1))
    found = {path.relative_to(world.working).as_posix() for path in world.working.rglob("*")}
    found = {path for path in found if not path.startswith("tensorboard")}  # where this Python has tensorboardX
    folder = "relay/checkpoints/first-00000006"
    folders = {"relay", "relay/checkpoints", folder}
    documents = {f"relay/report.{end}" for end in ("json", "sha256")} | {
        f"{folder}/manifest.{end}" for end in ("json", "sha256")
    }
    assert found == folders | documents | {f"{folder}/state.bin"}


def test_scratch_is_gone_when_the_session_is(world: Kaggle) -> None:
    world.run(order())
    assert list((world.root / "tmp").iterdir()) == []


def test_a_session_that_is_run_again_in_the_same_place_replaces_what_it_left(world: Kaggle) -> None:
    _, before = world.run(order())
    _, after = world.run(order())
    assert after.checkpoint == before.checkpoint
    assert names(world) == ["first-00000006"]


@pytest.mark.parametrize("stages", [(counting("first", 0),), (counting("first", 0), counting("second", 0))])
def test_a_pipeline_that_is_done_already_finishes_without_a_step(stages: tuple[Any, ...], world: Kaggle) -> None:
    status, report = world.run(order(stages=stages))
    assert (status, report.outcome, report.checkpoint) == (0, "finished", None)


# --- cut anywhere ---


class Interrupted:
    """A stage's context in a world where SIGTERM arrives while a step is being computed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        STEPS_UNTIL_SIGTERM[0] -= 1
        if STEPS_UNTIL_SIGTERM[0] == 0:
            signal.raise_signal(signal.SIGTERM)
        return self._context.step_done(step, metrics)


def interrupted(context: Context) -> None:
    """Count, as far as one is let."""
    counting_stage.train(Interrupted(context))  # type: ignore[arg-type]


PIPELINE = order(stages=(own("first", 7, interrupted), own("second", 5, interrupted)))


def run_cut(first: Order, steps: list[int], root: Path) -> tuple[list[Report], Kaggle]:
    """Run to the end in sessions that SIGTERM ends after so many steps each, the rest in one; all reports, the last world."""
    asked, reports = first, []
    world = kaggle(root / "1")
    for number, after in enumerate([*steps, 0], start=2):
        STEPS_UNTIL_SIGTERM[0] = after
        _, report = world.run(asked)
        reports.append(report)
        if report.outcome != "yielded":
            break
        folder, world = world.folders()[-1], kaggle(root / str(number))
        world.publish(folder, f"datasets/alice/c{number}")
        asked = next_order(asked, report)
    return reports, world


@functools.cache
def uncut_report() -> Report:
    """What one session that does everything reports."""
    with tempfile.TemporaryDirectory() as name:
        (whole,), _ = run_cut(PIPELINE, [], Path(name) / "whole")
    return whole


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(steps=st.lists(st.integers(1, 6), max_size=6))
def test_a_run_that_is_cut_anywhere_computes_the_same_bits_as_one_that_never_was(steps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        reports, _ = run_cut(PIPELINE, steps, Path(name) / "cut")
    whole, last = uncut_report(), reports[-1]
    assert last.outcome == whole.outcome == "finished"
    assert whole.checkpoint is not None and last.checkpoint is not None
    assert last.checkpoint.digests == whole.checkpoint.digests
    assert last.checkpoint.files == whole.checkpoint.files
    assert sum(map(steps_of, reports)) == 7 + 5


def steps_of(report: Report) -> int:
    """Steps that a session did, over the boundary of its stages."""
    before = {"first": 0, "second": 7}
    done = before[report.reached.stage] + report.reached.step
    return done - before[report.started.stage] - report.started.step


def test_a_skipped_step_would_show(tmp_path: Path) -> None:
    (whole,), _ = run_cut(PIPELINE, [], tmp_path / "whole")
    (other,), _ = run_cut(
        replace(PIPELINE, stages=(own("first", 6, interrupted), PIPELINE.stages[1])), [], tmp_path / "other"
    )
    assert whole.checkpoint is not None and other.checkpoint is not None
    assert whole.checkpoint.digests != other.checkpoint.digests


class Pretended:
    """A context that resumes at whatever step one likes, from an empty chain."""

    def __init__(self, start_step: int) -> None:
        self.spec = StageSpec(name="first", kind="counting", steps=start_step + 1)
        self.seed, self.checkpoint, self.start_step = 7, None, start_step
        self.digests: Mapping[str, str] = {}

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        return Next.STOP

    def save(self, step: int, write: Callable[[Path], Mapping[str, str]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            self.digests = write(Path(name))


def test_doing_one_step_in_the_place_of_another_would_show() -> None:
    second, third = Pretended(1), Pretended(2)
    counting_stage.train(second)  # type: ignore[arg-type]
    counting_stage.train(third)  # type: ignore[arg-type]
    assert second.digests != third.digests


def test_every_checkpoint_of_a_session_has_the_parent_that_the_session_started_from(tmp_path: Path) -> None:
    asked = replace(PIPELINE, save_interval_s=0.0, keep_checkpoints=99)
    reports, world = run_cut(asked, [3], tmp_path)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in world.folders()]
    assert reports[0].checkpoint is not None
    assert {manifest["parent"] for manifest in manifests} == {reports[0].checkpoint.digest}
    assert len(manifests) == 4 + 5


def test_a_session_that_was_told_to_stop_has_saved_its_last_step(
    world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    STEPS_UNTIL_SIGTERM[0] = 4
    status, report = world.run(PIPELINE)
    assert (status, report.outcome) == (0, "yielded")
    assert report.reached == Cursor(stage="first", step=4)
    assert report.checkpoint is not None and report.checkpoint.cursor == report.reached
    assert [event["note"] for event in events(capsys.readouterr().out) if event["event"] == "stopping"] == [
        "the session was asked to end (SIGTERM)"
    ]


def test_sigterm_on_the_last_step_of_a_stage_leaves_the_next_stage_to_the_next_session(world: Kaggle) -> None:
    STEPS_UNTIL_SIGTERM[0] = 7
    _, report = world.run(PIPELINE)
    assert report.outcome == "yielded"
    assert report.reached == Cursor(stage="first", step=7)
    assert report.stages["second"].done == 0


def test_sigterm_is_the_runners_only_while_a_session_runs(world: Kaggle) -> None:
    before = signal.getsignal(signal.SIGTERM)
    world.run(order())
    assert signal.getsignal(signal.SIGTERM) is before


def resumed(world: Kaggle, root: Path, first: Order, after: int = 2) -> Order:
    """The order of a second session, its parent mounted in `world`."""
    STEPS_UNTIL_SIGTERM[0] = after
    before = kaggle(root)
    stages = (own("first", 6, interrupted), *first.stages[1:])
    _, report = before.run(replace(first, stages=stages))
    world.publish(before.folders()[-1], "parent")
    return next_order(first, report)


# --- time ---


@pytest.fixture(autouse=True)
def reset() -> None:
    CLOCK.now_s = 1_000.0
    STEPS_UNTIL_SIGTERM[0] = 0


def takes_its_time(context: Context) -> None:
    """A first step of ten seconds of CLOCK, all others of one, and saves of two."""
    for step in range(context.start_step + 1, context.spec.steps + 1):
        CLOCK.pass_s(10.0 if step == context.start_step + 1 else 1.0)
        answer = context.step_done(step, {"loss": 1.0})
        if answer is not Next.GO_ON:
            context.save(step, write_slowly)
        if answer is Next.STOP:
            return


def write_slowly(directory: Path) -> dict[str, str]:
    CLOCK.pass_s(2.0)
    (directory / "state").write_text("state")
    return {}


def timed(budget_s: float, *steps: int, **changes: Any) -> Order:
    """An order of stages that take their time, each with so many steps."""
    stages = tuple(own(name, count, takes_its_time) for name, count in zip(("first", "second"), steps, strict=False))
    return order(stages=stages, budget_s=budget_s, **changes)


@pytest.mark.parametrize("budget_s", [40.0, 100.0, 500.0])
def test_a_session_stops_itself_with_everything_saved_before_the_budget_is_spent(
    budget_s: float, world: Kaggle
) -> None:
    status, report = world.run(timed(budget_s, 10_000), CLOCK)
    assert (status, report.outcome) == (0, "yielded")
    assert budget_s * 0.75 - 5 <= report.timings["session_s"] <= budget_s
    assert report.checkpoint is not None and report.checkpoint.cursor == report.reached


def test_a_session_carries_on_over_the_end_of_a_stage(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    _, report = world.run(timed(100.0, 20, 20), CLOCK)
    assert report.outcome == "finished"
    order_of_events = [(event["event"], event["stage"]) for event in events(capsys.readouterr().out)]
    assert order_of_events.index(("stage", "first")) < order_of_events.index(("step", "second"))
    assert order_of_events[-1] == ("finished", "")


def test_a_stage_is_not_begun_if_not_even_one_step_fits(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    """The first stage ends at 32 s; the second would compile for 10 s, save and leave no reserve."""
    _, report = world.run(timed(44.0, 21, 20), CLOCK)
    assert (report.outcome, report.reached) == ("yielded", Cursor(stage="first", step=21))
    told = events(capsys.readouterr().out)
    assert (told[-1]["event"], told[-1]["note"]) == ("stopping", "12 s are left, too little to begin")


@pytest.mark.parametrize("budget_s", [1.0, 5.0])
def test_the_first_step_is_done_however_short_the_budget(budget_s: float, world: Kaggle) -> None:
    """Nothing has been measured yet, and a session that never dares anything never gets anywhere."""
    _, report = world.run(timed(budget_s, 10_000), CLOCK)
    assert (report.outcome, report.reached.step) == ("yielded", 1)
    assert report.checkpoint is not None and report.checkpoint.cursor.step == 1


def test_a_session_that_starts_too_late_does_nothing(world: Kaggle) -> None:
    clock = Clock()
    started_s = clock.now_s
    clock.pass_s(590.0)
    from stages.session import runner

    assert runner.main(order(), working=world.working, inputs=world.inputs, started_s=started_s, clock=clock) == 0
    assert (world.report().outcome, world.report().checkpoint) == ("yielded", None)


def test_saves_come_at_the_asked_interval(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(timed(1_000.0, 100, save_interval_s=20.0), CLOCK)
    saved = [event["step"] for event in events(capsys.readouterr().out) if event["event"] == "saved"]
    assert saved == [11, 29, 47, 65, 83, 100]  # at 20 s, 40 s and so on, two seconds of which each save holds the stage


# --- the log ---


def test_events_are_numbered_from_nought_without_a_gap(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(order(stages=(counting("first", 3), counting("second", 3)), save_interval_s=0.0))
    told = events(capsys.readouterr().out)
    assert [event["number"] for event in told] == list(range(len(told)))
    assert told[0]["event"] == "started"


def hurries(context: Context) -> None:
    """A hundred steps in a second, and saves that take no time."""
    for step in range(1, context.spec.steps + 1):
        CLOCK.pass_s(0.01)
        if context.step_done(step, {"loss": 1.0, "odd": float("inf")}) is Next.STOP:
            context.save(step, lambda directory: {})


@pytest.mark.slow
def test_fast_steps_are_told_five_times_a_second_and_the_first_and_the_last_always(
    world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    world.run(order(stages=(own("first", 1_000, hurries), own("second", 3, hurries))), CLOCK)
    told = [(event["stage"], event["step"]) for event in events(capsys.readouterr().out) if event["event"] == "step"]
    first = [step for stage, step in told if stage == "first"]
    assert (first[0], first[-1]) == (1, 1_000)
    assert 45 <= len(first) <= 52
    assert told[len(first) :] == [("second", 1), ("second", 3)]


def test_a_metric_that_is_not_finite_is_told_in_words(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    _, report = world.run(order(stages=(own("first", 1, hurries),)), CLOCK)
    step = next(event for event in events(capsys.readouterr().out) if event["event"] == "step")
    assert (step["metrics"]["loss"], step["note"]) == (1.0, "odd is inf")
    assert "odd" not in step["metrics"] and "odd" not in report.stages["first"].metrics


def trains(context: Context) -> None:
    """Steps of 300 tokens in 8 examples: the first takes ten seconds, all others two."""
    for step in range(context.start_step + 1, context.spec.steps + 1):
        CLOCK.pass_s(10.0 if step == context.start_step + 1 else 2.0)
        answer = context.step_done(step, {"loss": 1 / 3, "tokens": 300.0, "examples": 8.0})
        if answer is not Next.GO_ON:
            context.save(step, write_slowly)


def test_the_session_makes_rates_of_a_steps_counts_from_its_second_step_on(
    world: Kaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = world.run(order(stages=(own("first", 3, trains),)), CLOCK)
    steps = [event["metrics"] for event in events(capsys.readouterr().out) if event["event"] == "step"]
    assert [(step.get("tokens_per_s"), step.get("examples_per_s")) for step in steps] == [
        (None, None),
        (150, 4),
        (150, 4),
    ]
    assert all(step["tokens"] == 300 for step in steps)
    assert (report.stages["first"].metrics["tokens_per_s"], report.stages["first"].metrics["loss"]) == (150, 1 / 3)


def test_the_memory_that_is_told_is_the_most_that_the_process_has_used(world: Kaggle) -> None:
    _, report = world.run(order(stages=(own("first", 1, trains),)), CLOCK)
    status = Path("/proc/self/status").read_text()
    peak_bytes = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert report.stages["first"].metrics["memory_bytes"] == pytest.approx(peak_bytes, rel=0.05)


def test_a_stage_without_jax_tells_of_no_memory(world: Kaggle) -> None:
    _, report = world.run(order())
    assert "memory_bytes" not in report.stages["first"].metrics


def test_speed_and_memory_are_in_no_trace_since_they_differ_from_run_to_run(world: Kaggle) -> None:
    world.run(order(stages=(own("first", 3, trains),), trace=True), CLOCK)
    traced = read(path_of(world.working))
    assert [set(step.metrics) for step in traced.values()] == [{"loss", "tokens", "examples"}] * 3


def test_a_steps_numbers_are_short_in_the_log(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(order(stages=(own("first", 1, trains),)), CLOCK)
    assert '"loss":0.3333333,' in capsys.readouterr().out


def chats(context: Context) -> None:
    context.say("two\nlines")
    context.say('@relay {"looks":"like an event"}')
    context.step_done(1, {})
    context.save(1, write_slowly)


def test_what_a_stage_says_is_for_people(world: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(order(stages=(own("first", 1, chats),)))
    lines = capsys.readouterr().out.splitlines()
    assert {"two", "lines", ' @relay {"looks":"like an event"}'} <= set(lines)
