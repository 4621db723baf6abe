"""What is on record of a run, put to the forecast: in every phase of a session, and whatever was read of the quota."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.durations import estimate_durations
from orchestrator.core.forecast_inputs import assumptions, hours_left, position_of
from orchestrator.core.run_history import RunHistory
from orchestrator.pipeline.loader import parse
from state import machine
from state.facts.run import RunStarted, RunWaiting
from state.model.metrics import StepSeen
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.snapshot import QuotaRow
from state.model.statuses import Phase
from tests.unit.test_machine import AT, path_to

PIPELINE = parse(
    "{name: r, accelerator: TpuV5E8, session: {limit_s: 3600}, expect: {step_s: {counting: 30}}, stages: ["
    "{name: count, kind: counting, steps: 80}, {name: more, kind: counting, steps: 20}]}",
    "r.yaml",
)
STARTED = RunStarted(
    run="r-0001",
    pipeline_name="r",
    owner="me",
    accelerator="tpu",
    pipeline=PIPELINE.canonical(),
    pipeline_path="r.yaml",
    pipeline_digest=PIPELINE.digest,
)
NOW = AT + timedelta(hours=1)
SATURDAY = datetime(2030, 1, 12, tzinfo=UTC)


def state(phase: Phase | None) -> RunState:
    return machine.fold([(AT, fact) for fact in [STARTED, *(path_to(phase) if phase else ())]])


def seen(found: RunState, *steps: tuple[str, int, float]) -> RunHistory:
    told = [StepSeen(session=1, attempt=1, stage=stage, step=step, at_s=at_s) for stage, step, at_s in steps]
    return RunHistory(
        run="r-0001", pipeline=PIPELINE, sessions=found.sessions, checkpoints=found.checkpoints, steps=told, reported={}
    )


def test_before_its_first_session_a_run_stands_at_the_beginning() -> None:
    found = position_of(state(None), seen(state(None)), NOW, PollState())
    assert (found.position, found.live, found.ended_at, found.until) == (0, None, None, None)


@pytest.mark.parametrize("phase", [Phase.PUSHED, Phase.QUEUED])
def test_a_session_that_was_pushed_is_live_and_waits(phase: Phase) -> None:
    found = position_of(state(phase), seen(state(phase)), NOW, PollState())
    assert found.live is not None and found.live.running_at is None


def test_a_running_session_stands_where_its_last_step_was() -> None:
    running = state(Phase.RUNNING)
    found = position_of(running, seen(running, ("count", 1, 50.0), ("count", 2, 80.0)), NOW, PollState())
    assert found.position == 2
    assert found.live is not None
    assert (found.live.clock_s, found.live.first_step_s, found.live.stage_began_s) == (80.0, 50.0, 50.0)


def test_after_a_stages_last_step_the_next_ones_first_is_still_to_come() -> None:
    running = state(Phase.RUNNING)
    found = position_of(running, seen(running, ("count", 79, 50.0), ("count", 80, 80.0)), NOW, PollState())
    assert found.position == 80
    assert found.live is not None and found.live.first_step_s is None


def test_what_a_log_says_of_stages_that_there_are_not_is_passed_over() -> None:
    running = state(Phase.RUNNING)
    found = position_of(running, seen(running, ("count", 3, 50.0), ("odd", 900, 80.0)), NOW, PollState())
    assert found.position == 3


def test_a_session_that_ended_hands_over_from_where_its_log_stopped() -> None:
    ended = state(Phase.ENDED)
    found = position_of(ended, seen(ended, ("count", 30, 50.0)), NOW, PollState())
    assert (found.position, found.ended_at, found.live) == (30, AT, None)


def test_a_checkpoint_that_came_home_is_where_the_next_session_begins() -> None:
    for phase in (Phase.COLLECTED, Phase.PUBLISHING, Phase.PUBLISHED):
        found = position_of(state(phase), seen(state(phase), ("count", 60, 50.0)), NOW, PollState())
        assert found.position == 40
        assert (found.ended_at is None) == (phase is Phase.PUBLISHED)


def test_a_run_that_waits_begins_when_it_stops_waiting() -> None:
    waiting = machine.apply(state(None), RunWaiting(until=SATURDAY.isoformat(), reason="quota"), AT)
    assert position_of(waiting, seen(waiting), NOW, PollState()).until == SATURDAY
    again = NOW + timedelta(minutes=5)
    assert position_of(state(None), seen(state(None)), NOW, PollState(not_before=again)).until == again


# --- the hours -----------------------------------------------------------------


def quota(left_s: float, read_at: datetime, reserved_s: float = 0.0) -> QuotaRow:
    return QuotaRow(
        owner="me", accelerator="tpu", used_s=72_000 - left_s - reserved_s, reserved_s=reserved_s, total_s=72_000,
        refreshes_at=SATURDAY, read_at=read_at,
    )  # fmt: skip


def ran(hours: float, phase: Phase) -> RunState:
    """A session that ran, or runs, from `AT` on."""
    found = state(phase)
    ended_at = None if phase is Phase.RUNNING else AT + timedelta(hours=hours)
    return found.with_session(replace(found.sessions[0], running_at=AT, ended_at=ended_at, limit_s=32_400))


def test_what_sessions_took_since_the_reading_is_no_longer_left() -> None:
    found = hours_left(ran(0.5, Phase.PUBLISHED), PIPELINE, quota(10_000, AT - timedelta(minutes=1)), NOW)
    assert found is not None and found.left_s == 10_000 - 1800
    fresh = hours_left(ran(0.5, Phase.PUBLISHED), PIPELINE, quota(10_000, AT + timedelta(hours=0.75)), NOW)
    assert fresh is not None and fresh.left_s == 10_000


def test_the_live_session_is_counted_once_whenever_the_quota_was_read() -> None:
    before = hours_left(ran(0, Phase.RUNNING), PIPELINE, quota(50_000, AT - timedelta(minutes=1)), NOW)
    during = hours_left(ran(0, Phase.RUNNING), PIPELINE, quota(50_000 - 32_400, AT + timedelta(minutes=1), 31_800), NOW)
    assert before is not None and during is not None
    assert before.left_s == during.left_s == 50_000


def test_a_quota_that_nobody_knows_is_the_pipelines_own_less_what_this_run_took_this_week() -> None:
    found = hours_left(ran(0.5, Phase.PUBLISHED), PIPELINE, None, NOW)
    assert found is not None and found.left_s == 72_000 - 1800
    unsaid = replace(quota(0, AT - timedelta(minutes=1)), total_s=None)
    told = hours_left(ran(0.5, Phase.PUBLISHED), PIPELINE, unsaid, NOW)
    assert told is not None and told.left_s == 72_000 - 1800


# --- in words ------------------------------------------------------------------


def test_every_assumption_is_a_sentence_and_says_how_it_is_known() -> None:
    hours = hours_left(state(None), PIPELINE, quota(36_000, AT), NOW)
    said = assumptions(PIPELINE, estimate_durations(PIPELINE), 0, hours, quota(36_000, AT))
    assert said[0] == "Steps take as long as the pipeline expects."
    assert "15 min in Kaggle's queue (assumed)" in said[2]
    assert said[3] == "10 h of 20 h of TPU are left, as read 2030-01-07 00:00 UTC; renewed 2030-01-12 00:00 UTC."
    assert said[4].startswith("Nothing fails")
    assert all(sentence.endswith(".") for sentence in said)
