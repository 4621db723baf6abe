"""Guards end a session when training goes wrong for good, and leave it alone otherwise."""

import random

import pytest

from stages.options import Grpo, Sft
from stages.stage import StageFailed
from stages.training.guards import LASTING_STEPS, TrainingGuard, spike_limit


def falling(steps: int, noise: float = 0.05) -> list[float]:
    draws = random.Random(7)
    return [2.0 * 0.99**step + 0.5 + draws.gauss(0, noise) for step in range(steps)]


def watch_losses(losses: list[float], **options: float) -> None:
    guard = TrainingGuard(Sft(**options), "sft")  # type: ignore[arg-type]
    for step, loss in enumerate(losses, 1):
        guard.watch(step, {"loss": loss})


def judged(accuracy: float, form: float = 1.0, idle: float = 0.0) -> dict[str, float]:
    return {"loss": 0.0, "accuracy": accuracy, "format": form, "idle_groups": idle}


def watch_judged(steps: list[dict[str, float]], **options: float) -> None:
    guard = TrainingGuard(Grpo(guard_steps=20, **options), "grpo")  # type: ignore[arg-type]
    for step, metrics in enumerate(steps, 1):
        guard.watch(step, metrics)


def watch_lost(shares: list[float], **options: float) -> None:
    guard = TrainingGuard(Sft(**options), "sft")  # type: ignore[arg-type]
    for step, share in enumerate(shares, 1):
        guard.watch(step, {"loss": 1.0, "update_lost": share})


def test_updates_of_which_rounding_takes_half_for_five_steps_end_the_session() -> None:
    with pytest.raises(StageFailed) as failed:
        watch_lost([0.0, *[0.7] * LASTING_STEPS], learning_rate=1e-12)
    assert failed.value.cause == "updates-vanish"
    assert f"until {LASTING_STEPS + 1}" in failed.value.reason
    assert "raise learning_rate (it is 1e-12" in failed.value.reason


@pytest.mark.parametrize(
    ("shares", "options"),
    [
        ([0.01] * 50, {}),
        ([*[0.7] * (LASTING_STEPS - 1), 0.1] * 5, {}),
        ([0.7] * 50, {"guard_vanish": 0}),
        ([0.7] * 50, {"guard_vanish": 0.8}),
    ],
)
def test_updates_that_arrive_or_are_not_watched_go_on(shares: list[float], options: dict[str, float]) -> None:
    watch_lost(shares, **options)


def test_a_loss_that_jumps_and_stays_up_ends_the_session_with_the_step_and_what_to_do() -> None:
    with pytest.raises(StageFailed) as failed:
        watch_losses([*falling(200), *[9.0] * LASTING_STEPS])
    assert failed.value.cause == "loss-spike"
    assert f"step {200 + LASTING_STEPS}" in failed.value.reason
    assert "lower learning_rate" in failed.value.reason


def test_a_spike_that_passes_is_forgiven_and_not_learnt_from() -> None:
    losses = falling(200)
    for start in range(60, 200, 20):
        losses[start : start + LASTING_STEPS - 1] = [9.0] * (LASTING_STEPS - 1)
    watch_losses(losses)


def test_a_loss_that_falls_with_noise_is_no_spike() -> None:
    for noise in (0.0, 0.01, 0.1, 0.3):
        watch_losses(falling(1000, noise))


def test_a_guard_that_is_turned_off_says_nothing() -> None:
    watch_losses([*falling(200), *[9.0] * 50], guard_spike=0)
    watch_judged([judged(0.8)] * 30 + [judged(0.0)] * 60, guard_collapse=0)
    watch_judged([judged(0.0, idle=1.0)] * 60, guard_idle=0)


def test_nothing_seen_is_no_limit() -> None:
    assert spike_limit([], 5.0) == float("inf")


def test_accuracy_that_falls_while_the_format_holds_is_a_collapse() -> None:
    with pytest.raises(StageFailed) as failed:
        watch_judged([judged(0.6, 0.95)] * 30 + [judged(0.05, 1.0)] * 40)
    assert failed.value.cause == "reward-collapse"
    assert "0.60" in failed.value.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(judged(0.6, 0.95), judged(0.05, 0.94), id="the format held within two hundredths"),
        pytest.param(judged(0.1), judged(0.0), id="just enough accuracy to lose"),
    ],
)
def test_a_collapse_is_one_at_the_very_thresholds(before: dict[str, float], after: dict[str, float]) -> None:
    with pytest.raises(StageFailed) as failed:
        watch_judged([before] * 30 + [after] * 40)
    assert failed.value.cause == "reward-collapse"


def test_a_format_that_falls_by_more_than_that_is_no_collapse_of_the_reward() -> None:
    watch_judged([judged(0.6, 0.95)] * 30 + [judged(0.05, 0.90)] * 40)


def test_a_run_that_gets_worse_at_everything_is_not_called_a_collapse_of_the_reward() -> None:
    watch_judged([judged(0.6, 0.95)] * 30 + [judged(0.05, 0.3)] * 40)


def test_accuracy_that_was_never_there_cannot_collapse() -> None:
    watch_judged([judged(0.05)] * 30 + [judged(0.0)] * 40)


def test_accuracy_that_swings_from_batch_to_batch_is_no_collapse() -> None:
    draws = random.Random(3)
    watch_judged([judged(min(1.0, max(0.0, draws.gauss(0.5, 0.25)))) for _ in range(500)])


@pytest.mark.parametrize(("accuracy", "remedy"), [(0.0, "too hard"), (1.0, "too easy")])
def test_answers_that_are_all_worth_the_same_for_long_end_the_session(accuracy: float, remedy: str) -> None:
    with pytest.raises(StageFailed) as failed:
        watch_judged([judged(accuracy, idle=1.0)] * 20)
    assert failed.value.cause == "no-progress"
    assert remedy in failed.value.reason


def test_one_group_that_differs_now_and_then_is_progress() -> None:
    watch_judged([judged(0.9, idle=0.875 if step % 19 == 0 else 1.0) for step in range(100)])
