"""How long things take: measured before expected, expected before assumed, and never made up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.durations import (
    HANDOVER_S,
    INSTALL_S,
    QUEUE_S,
    estimate_durations,
    reported_in,
)
from orchestrator.core.estimates import Estimate, TimeSource, best, step_duration
from orchestrator.core.run_history import RunHistory
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from stages.contract import Cursor
from state.facts.run import RunWoken
from state.facts.session import Judgement, NothingCollected
from state.model.metrics import StepSeen
from state.model.run_state import Checkpoint, Session
from state.model.statuses import CheckpointStatus, Phase

AT = datetime(2030, 1, 7, tzinfo=UTC)
TEXT = """
name: learns
accelerator: TpuV5E8
model: {kind: gemma2-2b, source: google/gemma-2/flax/gemma2-2b-it/1}
expect: {step_s: {sft: 4, evaluate: 20}, startup_s: 100}
stages:
  - {name: base, kind: evaluate, steps: 10}
  - {name: sft, kind: sft, steps: 100, options: {batch: 8, learning_rate: 0.1}}
  - {name: again, kind: evaluate, steps: 10}
  - {name: more, kind: sft, steps: 50, options: {batch: 16}}
"""


def pipeline(*changes: tuple[str, str]) -> Pipeline:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, "learns.yaml")


def steps(stage: str, count: int, step_s: float, *, session: int = 1, begin_s: float = 300.0) -> list[StepSeen]:
    return [
        StepSeen(session=session, attempt=1, stage=stage, step=step, at_s=begin_s + step_s * step)
        for step in range(1, count + 1)
    ]


def observed(found: Pipeline, seen: list[StepSeen], run: str = "learns-0001", **more: Any) -> RunHistory:
    usual: dict[str, Any] = {"sessions": (), "checkpoints": (), "reported": {}}
    return RunHistory(run=run, pipeline=found, steps=seen, **{**usual, **more})


# --- a stage's step ------------------------------------------------------------


def test_a_pace_is_what_steps_take_without_the_saves_between_them() -> None:
    even = steps("sft", 40, 10.0)
    saved = [
        StepSeen(session=1, attempt=1, stage="sft", step=s.step, at_s=s.at_s + 25.0 * (s.step // 10)) for s in even
    ]
    found = step_duration(saved, "sft")
    assert found is not None
    assert found.usual_s == pytest.approx(10.0)
    assert found.low_s < 10.0 < found.high_s
    assert found.basis == "measured"


def test_of_a_log_that_tells_of_few_steps_the_pace_is_known_as_well() -> None:
    found = step_duration(steps("sft", 1000, 0.5)[::50], "sft")
    assert found is not None and found.usual_s == pytest.approx(0.5)


def test_each_session_counts_alike_however_long_it_had_its_machine() -> None:
    found = step_duration(steps("sft", 300, 10.0) + steps("sft", 40, 12.0, session=2), "sft")
    assert found is not None
    assert found.usual_s == pytest.approx(11.0)
    assert (found.low_s, found.high_s) == pytest.approx((10.0, 12.0))


def test_two_steps_say_nothing_of_a_pace() -> None:
    assert step_duration(steps("sft", 3, 10.0), "sft") is None
    assert step_duration(steps("sft", 2, 10.0) + steps("sft", 2, 10.0, session=2), "sft") is None
    assert step_duration([], "sft") is None


def test_steps_told_at_one_moment_or_backwards_are_no_error() -> None:
    assert step_duration(steps("sft", 10, 0.0), "sft") is not None
    assert step_duration(list(reversed(steps("sft", 10, 5.0))), "sft") is None


# --- where a time is from ------------------------------------------------------

THIS, OTHER, PROBE, SCALED, TOLD, SIMILAR, WORK, GUESS = TimeSource


@pytest.mark.parametrize(
    ("sources", "chosen"),
    [
        ((), None),
        ((GUESS,), 0),
        ((GUESS, WORK), 1),
        ((GUESS, WORK, SIMILAR), 2),
        ((GUESS, SIMILAR), 1),
        ((TOLD, SCALED, WORK), 1),
        ((SCALED, PROBE), 1),
        ((GUESS, SIMILAR, TOLD), 2),
        ((GUESS, SIMILAR, TOLD, PROBE), 3),
        ((GUESS, SIMILAR, TOLD, PROBE, OTHER), 4),
        ((GUESS, SIMILAR, TOLD, PROBE, OTHER, THIS), 5),
        ((TOLD, THIS, GUESS), 1),
        ((None, TOLD, None), 1),
        ((OTHER, OTHER), 0),
        ((GUESS, PROBE, PROBE, GUESS), 1),
    ],
)
def test_of_several_figures_the_one_of_the_best_source_is_taken_and_of_equals_the_first(
    sources: tuple[TimeSource | None, ...], chosen: int | None
) -> None:
    found = [source and Estimate(float(at), 0, 9, source) for at, source in enumerate(sources)]
    taken = best(found)
    assert (taken and taken.usual_s) == chosen
    assert taken == (None if chosen is None else found[chosen])


@pytest.mark.parametrize(
    ("source", "detail", "words", "basis"),
    [
        (THIS, "", "measured in this run", "measured"),
        (THIS, "base", "measured for base", "measured"),
        (OTHER, "gsm-0001", "measured in gsm-0001", "measured"),
        (PROBE, "", "measured on this account", "measured"),
        (TOLD, "", "expected by the pipeline", "expected"),
        (TOLD, "a paper", "expected by the pipeline: a paper", "expected"),
        (SIMILAR, "gsm-0001", "measured in gsm-0001, with other options", "measured"),
        (SCALED, "sft", "measured for sft, scaled to the work of these steps", "computed"),
        (WORK, "", "computed by relay's model of the work", "computed"),
        (WORK, "a source", "computed by relay's model of the work (a source)", "computed"),
        (GUESS, "", "assumed", "assumed"),
    ],
)
def test_every_figure_names_its_source(source: TimeSource, detail: str, words: str, basis: str) -> None:
    found = Estimate(1, 1, 1, source, detail)
    assert (found.words, found.basis) == (words, basis)


@pytest.mark.parametrize(
    ("written", "usual", "low", "high", "detail"),
    [
        ("4", 4, 3, 5, ""),
        ("{low: 2, high: 8}", 4, 2, 8, ""),
        ("{low: 2, high: 8, likely: 7}", 7, 2, 8, ""),
        ("{low: 3, high: 3, source: a paper}", 3, 3, 3, "a paper"),
    ],
)
def test_a_figure_of_the_pipeline_is_a_number_or_a_range_with_its_source(
    written: str, usual: float, low: float, high: float, detail: str
) -> None:
    found = estimate_durations(pipeline(("sft: 4", f"sft: {written}"), ("startup_s: 100", f"startup_s: {written}")))
    expected = Estimate(usual, low, high, TimeSource.PIPELINE, detail)
    assert found.step_s["sft"] == found.startup_s == expected


def test_nothing_stated_for_another_accelerator_is_used() -> None:
    other = estimate_durations(pipeline(("startup_s: 100", "startup_s: 100, accelerator: NvidiaTeslaT4")))
    assert {span.source for span in other.step_s.values()} == {TimeSource.WORK_MODEL}
    assert other.startup_s == INSTALL_S
    same = estimate_durations(pipeline(("startup_s: 100", "startup_s: 100, accelerator: TpuV5E8")))
    assert same == estimate_durations(pipeline())


def test_measured_in_this_run_comes_before_expected() -> None:
    found = estimate_durations(pipeline(), observed(pipeline(), steps("sft", 20, 6.0)))
    assert found.step_s["sft"].usual_s == pytest.approx(6.0)
    assert found.step_s["sft"].words == "measured in this run"
    assert (found.step_s["base"].usual_s, found.step_s["base"].words) == (20.0, "expected by the pipeline")


def test_a_stage_that_does_the_same_work_as_another_takes_as_long() -> None:
    found = estimate_durations(pipeline(), observed(pipeline(), steps("base", 10, 7.0)))
    assert (found.step_s["again"].usual_s, found.step_s["again"].words) == (pytest.approx(7.0), "measured for base")


def test_an_earlier_run_that_did_the_same_work_is_used_and_named() -> None:
    other = pipeline(
        ("name: learns", "name: other"), ("learning_rate: 0.1", "learning_rate: 0.3"), ("steps: 100", "steps: 900")
    )
    found = estimate_durations(pipeline(), earlier=[observed(other, steps("sft", 20, 6.0), run="other-0001")])
    assert (found.step_s["sft"].usual_s, found.step_s["sft"].words) == (pytest.approx(6.0), "measured in other-0001")


@pytest.mark.parametrize(
    "change",
    [
        ("accelerator: TpuV5E8", "accelerator: NvidiaTeslaT4"),
        ("2b-it/1}", "2b-it/1, dtype: bfloat16}"),
    ],
    ids=lambda change: change[1],
)
def test_other_work_says_nothing_of_a_stage_that_the_pipeline_has_a_time_for(change: tuple[str, str]) -> None:
    other = pipeline(change)
    found = estimate_durations(pipeline(), earlier=[observed(other, steps("sft", 20, 6.0))])
    assert found.step_s["sft"].words == "expected by the pipeline"


ADAPTER = (
    ("{batch: 8", "{mode: lora, data: [magpie], batch: 8"),
    ("{batch: 16", "{mode: lora, data: [magpie], batch: 16"),
)
"""Training whose time is in proportion to its rows: an adapter, of data that fill the length."""


@pytest.mark.parametrize("change", [("batch: 8", "batch: 16"), ("batch: 8", "max_seq_length: 2048, batch: 8")])
def test_a_measurement_of_other_options_is_scaled_by_the_work_of_both(change: tuple[str, str]) -> None:
    """Twice the rows or twice their length: about twice the time, with a quarter more error, and named."""
    mine, other = pipeline(*ADAPTER), pipeline(*ADAPTER, change)
    found = estimate_durations(mine, earlier=[observed(other, steps("sft", 20, 6.0))]).step_s["sft"]
    assert (found.source, found.detail) == (TimeSource.SCALED, "sft of learns-0001")
    assert 2.2 < found.usual_s < 3.3
    assert found.low_s < 0.75 * found.usual_s < 1.25 * found.usual_s < found.high_s
    back = estimate_durations(other, earlier=[observed(mine, steps("sft", 20, found.usual_s))]).step_s["sft"]
    assert back.usual_s == pytest.approx(6.0)


def test_a_stage_of_this_run_with_other_options_is_scaled_from_the_one_that_was_measured() -> None:
    mine = pipeline(*ADAPTER)
    found = estimate_durations(mine, observed(mine, steps("sft", 20, 6.0))).step_s["more"]
    assert (found.source, found.detail) == (TimeSource.SCALED, "sft")
    assert 10 < found.usual_s < 13, "twice the batch"


def test_another_kind_of_stage_or_another_model_calibrates_what_is_computed() -> None:
    bare = pipeline(("{sft: 4, evaluate: 20}", "{more: 1}"))
    free = estimate_durations(bare).step_s["sft"]
    assert (free.source, free.detail) == (
        TimeSource.WORK_MODEL,
        "1.1 to 70 % of the peak of a TPU v5e, where nothing was measured",
    )
    smaller = pipeline(
        (
            "gemma2-2b, source: google/gemma-2/flax/gemma2-2b-it/1",
            "gemma3-1b, source: google/gemma-3/flax/gemma3-1b-it/1",
        )
    )
    found = estimate_durations(bare, earlier=[observed(smaller, steps("sft", 20, 6.0))]).step_s["sft"]
    assert (found.source, found.detail) == (TimeSource.WORK_MODEL, "calibrated by sft of learns-0001")
    assert found.high_s / found.low_s < 6 < free.high_s / free.low_s
    assert found.usual_s > 6.0, "a larger model"
    elsewhere = pipeline(("accelerator: TpuV5E8", "accelerator: NvidiaTeslaT4"))
    assert estimate_durations(bare, earlier=[observed(elsewhere, steps("sft", 20, 6.0))]).step_s["sft"] == free


SIZELESS = ("kind: gemma2-2b", "kind: gemma2")


def test_of_a_model_without_a_known_size_the_same_stage_with_other_options_is_better_than_nothing_and_says_so() -> None:
    bare = pipeline(("sft: 4, ", ""), SIZELESS)
    other = pipeline(("batch: 8", "batch: 4"), SIZELESS)
    found = estimate_durations(bare, earlier=[observed(other, steps("sft", 20, 6.0))])
    assert found.step_s["sft"].words == "measured in learns-0001, with other options"
    assert found.step_s["sft"].high_s - found.step_s["sft"].usual_s == pytest.approx(1.5)


def test_a_stage_without_any_time_is_unknown() -> None:
    assert estimate_durations(pipeline(("sft: 4, ", ""), SIZELESS)).unknown == ("sft", "more")


def test_a_kinds_time_holds_for_its_stages_and_a_names_comes_first() -> None:
    found = estimate_durations(pipeline(("sft: 4", "sft: 4, more: 9")))
    assert {name: span.usual_s for name, span in found.step_s.items()} == {"base": 20, "sft": 4, "again": 20, "more": 9}


# --- sessions and what lies between them ---------------------------------------


def session(number: int, begin: datetime, **more: Any) -> Session:
    usual: dict[str, Any] = {
        "run": "learns-0001", "number": number, "attempt": 1, "slug": f"s{number}", "token": "t", "phase": Phase.PUBLISHED,
        "start": Cursor(stage="base", step=0), "parent": None, "budget_s": 900.0, "limit_s": 1000.0, "planned_at": begin,
        "pushed_at": begin, "running_at": begin + timedelta(seconds=600), "ended_at": begin + timedelta(seconds=5000),
    }  # fmt: skip
    return Session(**{**usual, **more})


def checkpoint(number: int, published_at: datetime) -> Checkpoint:
    return Checkpoint(
        run="learns-0001", name=f"c{number}", session=number, attempt=1, digest="d", parent=None,
        cursor=Cursor(stage="base", step=1), size_bytes=1, manifest="{}", status=CheckpointStatus.PUBLISHED,
        verified_at=published_at, published_at=published_at,
    )  # fmt: skip


def test_what_lies_between_sessions_is_measured_without_the_days_that_quota_was_waited_for() -> None:
    first = session(1, AT, checkpoint="c1")
    second = session(2, AT + timedelta(days=4))
    published = checkpoint(1, AT + timedelta(seconds=5240))
    found = estimate_durations(pipeline(), observed(pipeline(), [], sessions=(first, second), checkpoints=(published,)))
    assert found.queue_s.usual_s == 600
    assert found.handover_s.usual_s == 240
    assert {found.queue_s.basis, found.handover_s.basis} == {"measured"}


def test_a_session_that_was_planned_without_waiting_for_the_dataset_ends_the_hand_over() -> None:
    first = session(1, AT, checkpoint="c1")
    second = session(2, AT + timedelta(seconds=5030))
    published = checkpoint(1, AT + timedelta(seconds=7000))
    found = estimate_durations(pipeline(), observed(pipeline(), [], sessions=(first, second), checkpoints=(published,)))
    assert found.handover_s.usual_s == 30


def test_reports_tell_how_a_session_starts_and_saves() -> None:
    reported = {(1, 1): {"sft.first_step_s": 250.0, "sft.step_s": 10.0, "save_s": 33.0}}
    seen = [StepSeen(session=1, attempt=1, stage="sft", step=1, at_s=400.0)]
    found = estimate_durations(pipeline(), observed(pipeline(), seen, reported=reported))
    assert (found.startup_s.usual_s, found.save_s.usual_s) == (150.0, 33.0)
    assert (found.first_s["sft"].usual_s, found.first_s["sft"].basis) == (240.0, "measured")
    assert found.first_s["more"].basis == "assumed"


def test_what_nobody_measured_or_expects_is_what_is_known_of_kaggle() -> None:
    found = estimate_durations(pipeline(("startup_s: 100", "save_s: 5")))
    assert (found.queue_s, found.handover_s, found.startup_s) == (QUEUE_S["tpu"], HANDOVER_S, INSTALL_S)
    assert (found.save_s.usual_s, found.save_s.basis) == (5.0, "expected")


def test_a_report_that_makes_no_sense_says_nothing() -> None:
    odd = {"save_s": -4.0, "sft.step_s": 1e300, "session_s": 10.0}
    facts = [NothingCollected(number=1, attempt=2, judgement=Judgement(outcome="failed", timings=odd)), RunWoken()]
    assert reported_in(facts) == {(1, 2): {"session_s": 10.0}}
