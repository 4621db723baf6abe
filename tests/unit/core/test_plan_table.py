"""The plan of a session: what is known · the plan, the order and the quota that follow from it · why."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core import plan
from orchestrator.pipeline.model import Inputs, SessionLimits, Stage
from stages.contract import Accelerator, Cursor, Parent, StageSpec
from state.facts.session import SessionPlanned, SessionResized
from state.model.run_state import RunState, Session
from state.model.snapshot import MachineTime, QuotaRow
from state.model.statuses import CheckpointStatus, Outcome, Phase
from tests.unit.core.situations import (
    DAY,
    END,
    HOUR,
    NOW,
    PIPELINE,
    RUN,
    WEEK,
    YEAR,
    at,
    checkpoint,
    failed,
    gained,
    pipeline,
    quota,
    reached,
    row,
    run,
    session,
    state,
    step,
)

TIMED_OUT = Outcome.TIMED_OUT
TWO = (checkpoint(1, step(50)), checkpoint(2, step(90)))

# --- which session is next -------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "key"),
    [
        row("the first", state(), (1, 1)),
        row("the next after one that left a checkpoint", state(gained(1)), (2, 1)),
        row("the next number begins with the first attempt", state(gained(3, attempt=4)), (4, 1)),
        row("one that left nothing is tried again", state(failed(1)), (1, 2)),
        row("a second time", state(failed(1), failed(1, 2)), (1, 3)),
        row("a lost one is tried again", state(gained(1), session(Phase.LOST, 2)), (2, 2)),
    ],
)
def test_the_next_session_has_the_next_name(known: RunState, key: tuple[int, int]) -> None:
    assert plan.next_key(known) == key


@pytest.mark.parametrize(
    ("known", "place", "done"),
    [
        row("nothing yet", state(), step(0), False),
        row("the newest checkpoint", state(checkpoints=TWO), step(90), False),
        row(
            "the user chose an older one",
            state(checkpoints=(TWO[0], replace(TWO[1], status=CheckpointStatus.ABANDONED))),
            step(50),
            False,
        ),
        row(
            "the newest is damaged",
            state(checkpoints=(TWO[0], replace(TWO[1], status=CheckpointStatus.DAMAGED))),
            step(50),
            False,
        ),
        row("the end of a stage", reached(step(100)), step(100), False),
        row("one step before the end", reached(step(119, "b")), step(119, "b"), False),
        row("the end", reached(END), END, True),
    ],
)
def test_the_run_is_where_its_newest_usable_checkpoint_is(known: RunState, place: Cursor, done: bool) -> None:
    assert plan.run_cursor(known, PIPELINE) == place
    assert plan.finished(known, PIPELINE) is done


FIRST = SessionPlanned(
    number=1,
    attempt=1,
    slug="r-0001-s0001",
    token="a1a654d6d384aa10ffa2699d",
    start=step(0),
    parent=None,
    budget_s=900.0,
    limit_s=1000.0,
)
SECOND = replace(
    FIRST, number=2, slug="r-0001-s0002", token="6728aea876fdeeef09e9995f", start=step(50), parent="r-0001-c0001"
)


@pytest.mark.parametrize(
    ("known", "left", "planned"),
    [
        row("the first", state(), None, FIRST),
        row("an unknown quota cuts nothing", state(), quota(total_s=None), FIRST),
        row("plenty of quota cuts nothing", state(), quota(1001.0), FIRST),
        row("little quota cuts", state(), quota(600.0), replace(FIRST, budget_s=500.0, limit_s=600.0)),
        row("the second goes on", reached(step(50)), None, SECOND),
        row(
            "a second attempt has another name and token",
            state(failed(1)),
            None,
            replace(FIRST, attempt=2, slug="r-0001-s0001-b", token="99c0a69007fee38c3d1b980a"),
        ),
        row(
            "a session that Kaggle stopped widens the margin",
            state(gained(1, outcome=TIMED_OUT), checkpoints=(checkpoint(1, step(50)),)),
            None,
            replace(SECOND, budget_s=890.0),
        ),
    ],
)
def test_a_session_is_planned(known: RunState, left: QuotaRow | None, planned: SessionPlanned) -> None:
    assert plan.plan_session(known, PIPELINE, left) == planned


@pytest.mark.parametrize(
    ("limit_s", "left", "resized_to"),
    [
        row("nothing changed", 1000.0, quota(), None),
        row("a minute less is no matter", 1000.0, quota(940.0), None),
        row("more than a minute less", 1000.0, quota(939.0), (839.0, 939.0)),
        row("more than a minute more", 900.0, quota(961.0), (861.0, 961.0)),
        row("the whole limit again", 900.0, None, (900.0, 1000.0)),
    ],
)
def test_a_plan_is_resized_to_the_quota_left(
    limit_s: float, left: QuotaRow | None, resized_to: tuple[float, float] | None
) -> None:
    of = session(Phase.PLANNED, 2, 3, limit_s=limit_s)
    found = plan.resize(state(of), of, PIPELINE, left)
    expected = None
    if resized_to is not None:
        expected = SessionResized(number=2, attempt=3, budget_s=resized_to[0], limit_s=resized_to[1])
    assert found == expected


def test_a_resized_plan_keeps_the_wider_margin() -> None:
    of = session(Phase.PLANNED, 2)
    found = plan.resize(state(failed(1, outcome=TIMED_OUT), of), of, PIPELINE, quota(500.0))
    assert found is not None and found.budget_s == 395.0


# --- names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "slug", "name"),
    [
        row("the first attempt", (7, 1), "r-0001-s0007", "r-0001-c0007"),
        row("the second has a letter", (7, 2), "r-0001-s0007-b", "r-0001-c0007-b"),
        row("the last letter", (7, 26), "r-0001-s0007-z", "r-0001-c0007-z"),
        row("then numbers", (7, 27), "r-0001-s0007-27", "r-0001-c0007-27"),
        row("many sessions", (12345, 1), "r-0001-s12345", "r-0001-c12345"),
    ],
)
def test_a_name_tells_its_session(key: tuple[int, int], slug: str, name: str) -> None:
    assert plan.slug_of(RUN, *key) == slug
    assert plan.checkpoint_of(RUN, *key) == name
    assert plan.parse_key(RUN, "s", slug) == key
    assert plan.parse_key(RUN, "c", name) == key
    assert plan.parse_run(slug) == RUN


@pytest.mark.parametrize(
    "slug",
    [
        row("another run's", "q-0001-s0001"),
        row("a checkpoint's", "r-0001-c0001"),
        row("too few digits", "r-0001-s001"),
        row("too many digits", "r-0001-s1234567890"),
        row("the first attempt bears no letter", "r-0001-s0001-a"),
        row("nor a number", "r-0001-s0001-1"),
        row("a small number instead of its letter", "r-0001-s0001-2"),
        row("more behind it", "r-0001-s0001-b-c"),
        row("more zeros than needed", "r-0001-s00001"),
    ],
)
def test_another_name_tells_none(slug: str) -> None:
    assert plan.parse_key(RUN, "s", slug) is None
    assert plan.parse_run(slug) in (None, "q-0001")


@pytest.mark.parametrize(("slug", "found"), [("-s0001", None), ("s0001", None), ("a-s-s0001", "a-s"), ("x", None)])
def test_a_run_is_what_comes_before_its_session(slug: str, found: str | None) -> None:
    assert plan.parse_run(slug) == found


def test_the_files_have_a_name_of_their_own_until_another_is_chosen() -> None:
    assert plan.inputs_place(run()) == "r-0001-inputs"
    assert plan.inputs_place(run(inputs_dataset="r-0001-inputs-n2")) == "r-0001-inputs-n2"


# --- the quota -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refreshes_s", "begin_s", "end_s"),
    [
        row("known, to come", DAY, DAY - WEEK, DAY),
        row("known, long past", DAY - 5 * WEEK, DAY - WEEK, DAY),
        row("known, far ahead", DAY + 5 * WEEK, DAY - WEEK, DAY),
        row("just renewed", 0, 0, WEEK),
        row("unknown: since Saturday's midnight", None, -4.5 * DAY, 2.5 * DAY),
    ],
)
def test_a_week_of_quota_is_counted_from_any_renewal(refreshes_s: float | None, begin_s: float, end_s: float) -> None:
    known = None if refreshes_s is None else at(refreshes_s)
    assert plan.week_of(known, NOW) == (at(begin_s), at(end_s))


def took(began_s: float, ended_s: float | None, limit_s: float = 10 * HOUR) -> MachineTime:
    return MachineTime(began_at=at(began_s), ended_at=None if ended_s is None else at(ended_s), limit_s=limit_s)


@pytest.mark.parametrize(
    ("stretches", "used_h", "reserved_h"),
    [
        row("none", (), 0, 0),
        row("an ended session counts what it took", (took(-3 * HOUR, -HOUR),), 2, 0),
        row("a live one also reserves its rest", (took(-3 * HOUR, None),), 3, 7),
        row("sessions add up", (took(-3 * HOUR, -HOUR), took(-HOUR, None), took(-HOUR, None)), 4, 18),
        row("only this week counts", (took(-WEEK, -6 * DAY + HOUR, 200 * HOUR),), 1, 0),
        row("another week's does not", (took(-2 * WEEK, -2 * WEEK + HOUR),), 0, 0),
        row("at most its limit", (took(-DAY, -HOUR),), 10, 0),
        row("a clock that was ahead", (took(HOUR, 2 * HOUR),), 0, 0),
        row("a live one that began ahead", (took(HOUR, None),), 0, 10),
    ],
)
def test_a_quota_that_kaggle_does_not_tell_is_counted(
    stretches: tuple[MachineTime, ...], used_h: float, reserved_h: float
) -> None:
    read = quota(total_s=None, refreshes_at=at(DAY - 3 * WEEK))
    assert plan.assumed_quota(read, 20.0, stretches, NOW) == replace(
        read,
        used_s=used_h * HOUR,
        reserved_s=reserved_h * HOUR,
        total_s=72_000.0,
        refreshes_at=at(DAY),
        assumed=True,
    )


@pytest.mark.parametrize(
    ("refreshes_s", "renewed_s", "again_s"),
    [
        row("tomorrow", DAY, DAY, DAY),
        row("in a week", WEEK, WEEK, WEEK),
        row("in more than a week: this clock is behind", WEEK + 1, None, 900),
        row("now", 0, None, 900),
        row("past: this clock is ahead, or Kaggle is late", -1, None, 900),
        row("unknown", None, None, 900),
    ],
)
def test_a_time_of_renewal_is_believed_within_a_week(
    refreshes_s: float | None, renewed_s: float | None, again_s: float
) -> None:
    known = quota(refreshes_at=None if refreshes_s is None else at(refreshes_s))
    assert plan.renewed_at(known, NOW) == (None if renewed_s is None else at(renewed_s))
    assert plan.refresh_time(known, NOW) == at(again_s)


# --- the order -------------------------------------------------------------------

FIRST_TIMES = {"save_s": 9.0, "a.step_s": 2.0, "a.first_step_s": 70.0, "restore_s": 5.0}
SECOND_TIMES = {"save_s": 4.0, "a.step_s": 3.0, "a.step_high_s": 4.0, "a.first_step_s": 60.0, "session_s": 1.0}


def measured(*timings: dict[str, float]) -> tuple[Session, ...]:
    return tuple(gained(number, timings=found) for number, found in enumerate(timings, start=1))


@pytest.mark.parametrize(
    ("earlier", "times"),
    [
        row("nothing was measured", measured({}), {}),
        row(
            "the newest steps and the longest of all else",
            measured(FIRST_TIMES, SECOND_TIMES),
            {"save_s": 9.0, "a.step_s": 3.0, "a.step_high_s": 4.0, "a.first_step_s": 70.0},
        ),
        row(
            "three that measured count",
            measured({"save_s": 9.0}, {"save_s": 1.0}, {}, {"save_s": 2.0}, {"save_s": 3.0}),
            {"save_s": 3.0},
        ),
        row("nothing below zero or beyond the limit", measured({"a.step_s": -1.0, "x_s": 1000.5}), {}),
        row("zero and the limit itself", measured({"x_s": 0.0, "y_s": 1000.0}), {"x_s": 0.0, "y_s": 1000.0}),
        row("not what no budget needs", measured({"session_s": 1.0, "restore_s": 1.0, "hold_s": 1.0}), {}),
    ],
)
def test_a_session_is_told_what_earlier_ones_measured(earlier: tuple[Session, ...], times: dict[str, float]) -> None:
    next_ = session(Phase.PLANNED, 9)
    later = gained(10, timings={"save_s": 500.0})
    assert plan.known_timings(state(*earlier, next_, later), next_) == times


def test_an_order_holds_what_a_session_needs() -> None:
    of = pipeline(
        seed=5,
        stages=(Stage(name="a", kind="counting", steps=100, options={"x": 1}),),
        session=SessionLimits(limit_s=1000.0, save_interval_s=77.0),
        inputs=Inputs(datasets=("me/d",), sha256={"f": "1"}, wheels="me/w"),
        environment=("jax==1",),
        sources={"mine.py": "pass"},
    )
    next_ = session(Phase.PLANNED, 2, parent=f"{RUN}-c0001", start=step(50))
    first = gained(1, timings={"save_s": 4.0})
    known = state(first, next_, checkpoints=(checkpoint(1, step(50)),), of=run(generation=3))
    order = plan.order_for(known, next_, of, "home")
    expected: dict[str, Any] = {
        "run": RUN,
        "session": 2,
        "attempt": 1,
        "token": "t2.1",
        "slug": f"{RUN}-s0002",
        "pipeline_digest": "d",
        "seed": 5,
        "model": {},
        "stages": (StageSpec(name="a", kind="counting", steps=100, options={"x": 1}),),
        "start": step(50),
        "parent": Parent(name=f"{RUN}-c0001", digest="digest 1"),
        "budget_s": 900.0,
        "limit_s": 1000.0,
        "save_interval_s": 77.0,
        "accelerator": Accelerator(machine_shape="TpuV5E8", platform="tpu", devices=8),
        "pins": ("jax==1",),
        "files": {"f": "1"},
        "datasets": ("me/d",),
        "wheels": "me/w",
        "sources": {"mine.py": "pass"},
        "times": {"save_s": 4.0},
        "created_at": "2030-01-09T10:00:00+00:00",
        "pipeline_rest": of.rest,
        "home": "home",
        "generation": 3,
    }
    assert {name: getattr(order, name) for name in expected} == expected
    nobody = plan.order_for(known, replace(next_, parent=None), of)
    assert (nobody.parent, nobody.home, nobody.generation) == (None, "", 0)


# --- the limits ------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "seconds"), [(1, 60.0), (2, 120.0), (5, 960.0), (6, 1800.0), (10**9, 1800.0)])
def test_each_failure_doubles_the_pause_up_to_half_an_hour(failures: int, seconds: float) -> None:
    assert plan.Limits().backoff_s(failures) == seconds


NINE_HOURS = {
    "poll_s": 30.0, "calm": 9.0, "retry_s": 60.0, "retry_s_max": 1800.0, "quota_fresh_s": 600.0, "slot_s": 300.0,
    "claim_s": 900.0, "queue_s": 6 * HOUR, "overdue_s": HOUR, "slot_wait_s": 13 * HOUR, "renewal_s": 6 * HOUR,
    "unclear_s": 600.0, "visible_s": 1800.0, "processing_s": 6 * HOUR, "give_up_s": 6 * HOUR, "give_up_failures": 20,
}  # fmt: skip
ONE_MINUTE = {
    "poll_s": 0.5, "calm": 1.0, "retry_s": 1.0, "retry_s_max": 30.0, "quota_fresh_s": 10.0, "slot_s": 5.0,
    "claim_s": 15.0, "queue_s": 360.0, "overdue_s": 60.0, "slot_wait_s": 780.0, "renewal_s": 360.0,
    "unclear_s": 60.0, "visible_s": 180.0, "processing_s": 2160.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("limit_s", "limits"),
    [
        row("a session of nine hours", 9 * HOUR, NINE_HOURS),
        row("a rehearsal's of a minute", 60.0, ONE_MINUTE),
        row("a session of twelve hours is as calm as one of ten", 12 * HOUR, {"poll_s": 30.0, "calm": 10.0}),
        row("one of two hours", 2 * HOUR, {"poll_s": 7.2, "calm": 2.0}),
        row("an unbounded one", YEAR, NINE_HOURS | {"calm": 10.0}),
    ],
)
def test_limits_follow_the_sessions_length(limit_s: float, limits: dict[str, float]) -> None:
    found = plan.limits_for(pipeline(session=SessionLimits(limit_s=limit_s)))
    assert {name: getattr(found, name) for name in limits} == limits
