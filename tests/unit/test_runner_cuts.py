"""A session that is told where to end ends there, saves where it is told to, and writes down what it computed if asked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import Cursor, Order
from stages.session import accelerator, tracing
from stages.stage import Context, Next
from tests.unit.counting_runs import Kaggle, counting, kaggle, next_order, order, own

TWO = order(stages=(counting("first", 6), counting("second", 4)))
CALLS: list[str] = []


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(accelerator.STAND_IN, "1")


def at(stage: str, step: int) -> Cursor:
    return Cursor(stage=stage, step=step)


def names(world: Kaggle) -> list[str]:
    return [folder.name for folder in world.folders()]


def test_a_session_saves_and_yields_where_the_order_ends(world: Kaggle) -> None:
    status, report = world.run(replace(TWO, stop_at=at("first", 4)))
    assert (status, report.outcome, report.reached) == (0, "yielded", at("first", 4))
    assert report.checkpoint is not None and report.checkpoint.cursor == at("first", 4)


def test_an_order_that_ends_with_a_stage_does_not_begin_the_next(world: Kaggle) -> None:
    _, report = world.run(replace(TWO, stop_at=at("first", 6)))
    assert (report.outcome, report.reached) == ("yielded", at("first", 6))
    assert names(world) == ["first-00000006"]


def test_an_order_may_end_in_a_later_stage(world: Kaggle) -> None:
    _, report = world.run(replace(TWO, stop_at=at("second", 1)))
    assert (report.outcome, report.reached) == ("yielded", at("second", 1))


def test_an_order_that_ends_where_the_pipeline_does_finishes_it(world: Kaggle) -> None:
    _, report = world.run(replace(TWO, stop_at=at("second", 4)))
    assert report.outcome == "finished"


def test_an_order_that_ends_where_it_starts_does_nothing(world: Kaggle, tmp_path: Path) -> None:
    _, report = world.run(replace(TWO, stop_at=at("first", 4)))
    following = kaggle(tmp_path / "following")
    following.publish(world.folders()[-1], "parent")
    _, report = following.run(next_order(replace(TWO, stop_at=at("first", 4)), report))
    assert (report.outcome, report.checkpoint) == ("yielded", None)


def test_a_session_saves_where_it_is_told_to(world: Kaggle) -> None:
    world.run(replace(TWO, save_at=(at("first", 2), at("second", 3)), keep_checkpoints=9))
    assert names(world) == ["first-00000002", "first-00000006", "second-00000003", "second-00000004"]


@pytest.mark.parametrize("changes", [{"stop_at": at("third", 1)}, {"save_at": (at("third", 1),)}])
def test_an_order_that_ends_or_saves_in_no_stage_is_refused(changes: dict[str, object], world: Kaggle) -> None:
    _, report = world.run(order(**changes))
    assert (report.outcome, report.cause) == ("failed", "order-inconsistent")
    assert "'third'" in report.reason


def test_such_an_order_survives_its_journey() -> None:
    asked = replace(TWO, stop_at=at("first", 4), save_at=(at("first", 2),), trace=True)
    assert Order.from_json(asked.to_json()) == asked


# --- the trace ---


def watches(context: Context) -> None:
    """Tells what its steps are made of."""
    for step in range(context.start_step + 1, context.spec.steps + 1):
        context.saw(step, "batch", [f"{context.seed} {step}", b"raw"])
        context.saw(step, "rollouts", lambda: CALLS.append("called") or "answer")
        context.saw(step, "rollouts", "another")
        answer = context.step_done(step, {"loss": 0.1 * step, "odd": float("inf")})
        if answer is not Next.GO_ON:
            context.save(step, lambda directory: {})
        if answer is Next.STOP:
            return


def test_a_trace_holds_each_step_bit_for_bit(world: Kaggle) -> None:
    world.run(order(stages=(own("first", 3, watches),), trace=True))
    steps = tracing.read(tracing.path_of(world.working))
    assert list(steps) == [("first", 1), ("first", 2), ("first", 3)]
    assert steps["first", 3].metrics == {"loss": (0.1 * 3).hex(), "odd": "inf"}
    assert steps["first", 3].saw["batch"] == tracing.digest_of(["7 3", b"raw"])
    assert steps["first", 3].saw["rollouts"] == tracing.digest_of(
        [tracing.digest_of("answer"), tracing.digest_of("another")]
    )


def test_without_a_trace_nothing_is_computed_for_one(world: Kaggle) -> None:
    CALLS.clear()
    world.run(order(stages=(own("first", 3, watches),)))
    assert CALLS == []
    assert not tracing.path_of(world.working).exists()


def test_a_session_in_the_place_of_another_begins_its_trace_anew(world: Kaggle) -> None:
    world.run(order(trace=True))
    world.run(order(trace=True, stages=(counting("first", 2),)))
    assert len(tracing.read(tracing.path_of(world.working))) == 2


def test_a_line_that_a_kill_cut_off_is_no_step(tmp_path: Path) -> None:
    trace = tracing.Trace(tmp_path)
    trace.step_done("first", 1, {"loss": 1.0})
    path = tracing.path_of(tmp_path)
    path.write_text(path.read_text() + json.dumps({"stage": "first", "step": 2})[:-4])
    assert list(tracing.read(path)) == [("first", 1)]


def test_no_trace_has_no_steps(tmp_path: Path) -> None:
    assert tracing.read(tracing.path_of(tmp_path)) == {}
