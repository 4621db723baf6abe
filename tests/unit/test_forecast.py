"""When a run will be done: what a person computes by hand, session by session, and what the forecast says."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core.durations import estimate_durations
from orchestrator.core.forecast import Forecast, Unforeseeable, forecast
from orchestrator.core.forecast_session import LiveSession, RunPosition
from orchestrator.core.weekly_quota import Hours, hours_of
from orchestrator.pipeline import loader
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Expect
from state.model.snapshot import QuotaRow

ROOT = Path(__file__).parents[2]
TUESDAY = datetime(2026, 12, 1, tzinfo=UTC)
SATURDAY = datetime(2026, 12, 5, tzinfo=UTC)
HOUR_S = 3600.0
SAVE_S = 30.0

PLAIN = """
name: plain
accelerator: TpuV5E8
session: {limit_s: 1000, margin_s: 100, save_interval_s: 10000, min_session_s: 200}
account: {hours_per_week: 1}
expect: {step_s: {counting: 10}, startup_s: 50, first_s: 30, save_s: 20, queue_s: 100, handover_s: 200}
stages:
  - {name: one, kind: counting, steps: STEPS}
"""


def plain(steps: int, *changes: tuple[str, str]) -> Pipeline:
    text = PLAIN.replace("STEPS", str(steps))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, "plain.yaml")


def said(pipeline: Pipeline, standing: RunPosition | None = None, hours: Hours | None = None) -> Forecast:
    now = RunPosition(now=TUESDAY) if standing is None else standing
    return forecast(pipeline, estimate_durations(pipeline), now, hours or hours_of(pipeline, None, now.now))


def after(seconds: float) -> datetime:
    return TUESDAY + timedelta(seconds=seconds)


def first_session(recipe: str) -> Pipeline:
    whole = loader.load(ROOT / f"examples/{recipe}.yaml")
    until = [stage.name for stage in whole.stages].index("after-grpo") + 1
    return whole.model_copy(update={"stages": whole.stages[:until]})


@pytest.mark.parametrize("recipe", ["gemma2_2b", "gemma3_1b"])
def test_the_published_single_session_fits_into_nine_hours_even_by_the_slowest_times(recipe: str) -> None:
    first = first_session(recipe)
    assert [stage.kind for stage in first.stages] == ["evaluate", "sft", "evaluate", "grpo", "evaluate"]
    found, times = said(first), estimate_durations(first).step_s
    steps_s = sum(stage.steps * times[stage.name].high_s for stage in first.stages)
    overhead_s = 600 + 5 * 600 + 5 * 60  # start, each stage's first step, each stage's save, as slow as any reported
    assert found.quota_high_s == pytest.approx(steps_s + overhead_s)
    assert found.quota_high_s < 9 * HOUR_S - 35
    assert (found.sessions, found.sessions_most, found.weeks_most) == (1, 1, 0)
    assert found.basis == "assumed"


def test_the_slowest_times_of_the_recipe_are_the_published_hours() -> None:
    """1.5 hours of SFT for 6,000 examples, and GRPO at 150 prompts an hour with as few in a step as were published."""
    first = first_session("gemma2_2b")
    few = {"batch": 4, "gradient_accumulation_steps": 2}
    stages = [s.model_copy(update={"options": s.options | few}) if s.kind == "grpo" else s for s in first.stages]
    grpo_steps = next(stage.steps for stage in first.stages if stage.name == "grpo")
    assert grpo_steps * 16 / 150 < 5.2, "the recipe's hours hold for that rate too"
    first = first.model_copy(update={"stages": tuple(stages)})
    times = estimate_durations(first).step_s
    (sft,) = [stage for stage in first.stages if stage.name == "sft"]
    (grpo,) = [stage for stage in first.stages if stage.name == "grpo"]
    examples, prompts = sft.steps * sft.options["batch"], grpo.steps * grpo.options["batch"]
    assert sft.steps * times["sft"].high_s == pytest.approx(1.5 * HOUR_S * examples / 6000, rel=0.05)
    assert grpo.steps * times["grpo"].high_s == pytest.approx(prompts / 150 * HOUR_S, rel=0.05)


@pytest.mark.parametrize("recipe", ["gemma2_2b", "gemma3_1b"])
def test_the_hours_beside_a_recipes_steps_are_those_of_the_slowest_times(recipe: str) -> None:
    path = ROOT / f"examples/{recipe}.yaml"
    whole = loader.load(path)
    times, lines = estimate_durations(whole).step_s, path.read_text("utf-8").split("  - name: ")
    told = {}
    for block in lines[1:]:
        if (found := re.search(r"steps: .*?# .*?(an|[\d.]+) hours? at the slowest", block)) is not None:
            told[block.split()[0]] = 1.0 if found[1] == "an" else float(found[1])
    assert {"sft", "grpo"} <= set(told)
    for stage in whole.stages:
        if stage.name in told:
            assert stage.steps * times[stage.name].high_s / HOUR_S == pytest.approx(told[stage.name], rel=0.05)


@pytest.mark.slow
def test_all_rounds_of_a_recipe_take_the_sessions_and_hours_that_a_person_computes() -> None:
    recipe = loader.load(ROOT / "examples/gemma2_2b.yaml")
    steps_s = {"sft": 4.0, "evaluate": 250.0, "grpo": 136.0, "curate": 250.0, "continued": 136.0}
    expecting = recipe.model_copy(update={"expect": Expect(step_s=steps_s)})
    found = said(expecting)
    whole_s = sum(stage.steps * steps_s[stage.kind] for stage in recipe.stages)
    sessions, stages = 2, len(recipe.stages)  # of 32,365 s each, everything saved: one would not hold the steps
    assert 32_365 < whole_s + 12 * 330 + 2 * 240 < 2 * 32_365
    firsts_s = (stages + sessions - 1) * 300  # of every stage, and of the one in which the second session begins
    saves_s = (stages + sessions - 1) * SAVE_S  # at the end of each stage and of each session
    quota_s = whole_s + sessions * 240 + firsts_s + saves_s
    assert (found.sessions, found.weeks) == (sessions, 0)
    assert found.quota_s == pytest.approx(quota_s, rel=0.005)
    ends_at = after(sessions * 900 + quota_s + sessions * 600)
    assert abs((found.finish_at - ends_at).total_seconds()) < 0.005 * quota_s


@pytest.mark.slow
def test_with_few_hours_left_the_rest_waits_for_saturday() -> None:
    """4 hours are left on Tuesday: a session of 4 hours, less its margin, then another from the refresh on."""
    steps_s = {"sft": 4.0, "evaluate": 160.0, "grpo": 100.0, "curate": 160.0, "continued": 100.0}
    pipeline = loader.load(ROOT / "examples/gemma2_2b.yaml").model_copy(update={"expect": Expect(step_s=steps_s)})
    quota = quota_row(left_s=4 * HOUR_S)
    found = said(pipeline, hours=hours_of(pipeline, quota, TUESDAY))
    first_s = 4 * HOUR_S - 35
    rest_s = found.quota_s - first_s
    assert 20_000 < rest_s < 32_365
    assert (found.sessions, found.weeks) == (2, 1)
    ends_at = SATURDAY + timedelta(seconds=900 + rest_s + 600)
    assert abs((found.finish_at - ends_at).total_seconds()) < 200


ELSEWHERE = ("queue_s: 100,", "queue_s: 100, accelerator: TpuV6E8,")


def test_times_stated_for_another_accelerator_are_no_forecast() -> None:
    for accelerator in ("TpuV5E8", "NvidiaTeslaT4"):
        other = plain(10, ELSEWHERE, ("accelerator: TpuV5E8", f"accelerator: {accelerator}"))
        with pytest.raises(
            Unforeseeable,
            match=f"of one: the pipeline expects those of TpuV6E8, and there is no figure for {accelerator}",
        ):
            said(other)
    assert said(plain(10, ELSEWHERE, ("accelerator: TpuV5E8", "accelerator: TpuV6E8"))) == said(plain(10))


def test_a_range_gives_the_earliest_and_the_latest_end() -> None:
    """10 steps of 5 to 20 s, usually 10: with 50 s to start, 30 s more for the first step and 20 s to save."""
    numbers = ("counting: 10", "counting: {low: 5, high: 20}")
    alone = [("first_s: 30", "first_s: {low: 30, high: 30}"), ("save_s: 20", "save_s: {low: 20, high: 20}")]
    found = said(plain(10, numbers, ("startup_s: 50", "startup_s: {low: 50, high: 50}"), *alone))
    assert (found.quota_low_s, found.quota_s, found.quota_high_s) == pytest.approx((150, 200, 300))
    assert found.finish_earliest_at < found.finish_at < found.finish_latest_at


def test_a_session_ends_where_its_budget_ends_it() -> None:
    """Of 900 s a first step takes 50 + 40. The last one is done when less than 1.07 × 10 + 45 for a save + 15 kept free are left.

    So the first session has 1 + 74 steps and lasts 90 + 740 + 20 s, and the second has the other 25: 90 + 240 + 20 s.
    """
    found = said(plain(100))
    assert found.sessions == 2
    assert found.quota_s == 850 + 350
    assert found.finish_at == after(100 + 850 + 200 + 100 + 350 + 200)


def test_an_hour_a_week_stretches_over_weeks() -> None:
    """600 steps. A whole session: a first step until 90 s, then steps until 829.3 s are over, 75 in all, and a save: 850 s.

    Four of them leave 200 s of the hour, worth a session of 100 s that does its first step: 90 s and a save, 110 s.
    So the first week has 4 × 75 + 1 = 301 steps, and the second the other 299: 3 × 75 and 74.
    """
    found = said(plain(600))
    assert (found.sessions, found.weeks) == (5 + 4, 1)
    assert found.quota_s == 4 * 850 + 110 + 3 * 850 + 840
    assert found.finish_at == SATURDAY + timedelta(seconds=4 * (100 + 200) + 3 * 850 + 840)


def test_a_session_over_the_refresh_spends_of_the_new_week_what_lies_in_it() -> None:
    hours = Hours(left_s=10_000, total_s=20_000, refreshes_at=SATURDAY)
    later = hours.spent(SATURDAY - timedelta(seconds=5_000), SATURDAY + timedelta(seconds=3_000))
    assert later.left_s == 17_000
    assert later.refreshes_at == SATURDAY + timedelta(days=7)
    assert hours.spent(SATURDAY - timedelta(seconds=5_000), SATURDAY - timedelta(seconds=1)).left_s == 5_001
    assert hours.at(SATURDAY + timedelta(days=30)).left_s == 20_000


def test_hours_that_were_read_before_the_refresh_are_whole_again() -> None:
    quota = quota_row(left_s=100)
    assert hours_of(plain(1), quota, TUESDAY) == Hours(left_s=100, total_s=72_000, refreshes_at=SATURDAY)
    later = hours_of(plain(1), quota, SATURDAY + timedelta(hours=1))
    assert later == Hours(left_s=72_000, total_s=72_000, refreshes_at=SATURDAY + timedelta(days=7))


def test_without_a_quota_nothing_is_waited_for_and_nothing_spent() -> None:
    found = said(plain(600, ("TpuV5E8", "cpu")))
    assert (found.weeks, found.quota_s) == (0, 0.0)
    assert found.finish_at < TUESDAY + timedelta(hours=4)


def test_a_session_under_way_is_forecast_from_its_last_step() -> None:
    pipeline = plain(60)
    live = LiveSession(
        budget_s=900, limit_s=1000, pushed_at=after(-400), running_at=after(-300), clock_s=290, first_step_s=40,
        stage_began_s=90,
    )  # fmt: skip
    found = said(pipeline, RunPosition(now=TUESDAY, position=21, live=live))
    ends_s = -300 + 290 + (60 - 21) * 10 + 20
    assert found.session_ends_at == after(ends_s)
    assert found.finish_at == after(ends_s + 200)
    assert found.planned == ((TUESDAY, after(ends_s)),)
    assert (found.sessions, found.training_s, found.quota_s) == (0, 390, ends_s)


def test_a_session_that_waits_for_a_machine_begins_after_the_usual_time_and_never_in_the_past() -> None:
    pipeline = plain(10)
    live = LiveSession(budget_s=900, limit_s=1000, pushed_at=after(-40))
    alone_s = 50 + 40 + 90 + 20
    assert said(pipeline, RunPosition(now=TUESDAY, live=live)).session_ends_at == after(60 + alone_s)
    late = replace(live, pushed_at=after(-4000))
    assert said(pipeline, RunPosition(now=TUESDAY, live=late)).session_ends_at == after(alone_s)


def test_a_checkpoint_on_its_way_is_waited_for() -> None:
    pipeline = plain(10)
    done = said(pipeline, RunPosition(now=TUESDAY, position=10, ended_at=after(-50)))
    assert done.finish_at == after(150)
    assert (done.sessions, done.training_s, done.quota_s) == (0, 0.0, 0.0)


def test_the_bounds_lie_around_the_forecast() -> None:
    found = said(plain(100))
    assert found.finish_earliest_at < found.finish_at < found.finish_latest_at
    assert found.quota_low_s < found.quota_s < found.quota_high_s


def test_a_stage_whose_time_nobody_knows_is_named_and_nothing_made_up() -> None:
    unknown = plain(
        10,
        ("step_s: {counting: 10}", "step_s: {one: 10}"),
        ("steps: 10}", "steps: 10}\n  - {name: two, kind: counting, steps: 5}"),
    )
    with pytest.raises(Unforeseeable, match="no time is known of a step of two"):
        said(unknown)


def test_a_step_that_fits_no_session_is_said_and_not_forecast_for_ever() -> None:
    with pytest.raises(Unforeseeable, match="a step and a save do not fit into a session"):
        said(plain(10, ("counting: 10", "counting: 2000")))
    with pytest.raises(Unforeseeable, match=r"a whole week has 3 min of quota, too little to start a session"):
        said(plain(10, ("hours_per_week: 1", "hours_per_week: 0.05"), ("min_session_s: 200", "min_session_s: 300")))


@pytest.mark.parametrize("key", ["queue_s", "handover_s", "startup_s", "save_s", "first_s"])
@pytest.mark.parametrize("seconds", [1.0e15, 1.0e300])
def test_durations_of_an_old_run_that_no_calendar_holds_are_no_forecast(key: str, seconds: float) -> None:
    pipeline = plain(10)
    old = Pipeline.from_canonical(
        pipeline.model_copy(update={"expect": pipeline.expect.model_copy(update={key: seconds})}).canonical()
    )
    live = LiveSession(budget_s=900, limit_s=1000, pushed_at=after(-40))
    for standing in (RunPosition(now=TUESDAY), RunPosition(now=TUESDAY, live=live)):
        try:
            assert said(old, standing).finish_at > TUESDAY
        except Unforeseeable as error:
            assert "\n" not in str(error)


def test_a_million_steps_are_forecast_without_walking_each() -> None:
    found = said(plain(1_000_000, ("counting: 10", "counting: 0.001")))
    assert found.training_s == pytest.approx(1000 + 30 * found.sessions, rel=0.01)


def quota_row(left_s: float) -> QuotaRow:
    return QuotaRow(
        owner="me", accelerator="tpu", used_s=72_000 - left_s, reserved_s=0.0, total_s=72_000, refreshes_at=SATURDAY,
        read_at=TUESDAY - timedelta(hours=1),
    )  # fmt: skip
