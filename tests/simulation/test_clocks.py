"""A clock that is set forward or back, and answers that never change: chains end all the same, and somebody is told in time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core import decide_start
from orchestrator.core.plan import Limits
from orchestrator.engine.tick import TickResult
from orchestrator.platforms.port import Quota
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation import plans
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.clock_steps import STEPS, YEAR, ClockStep, OwnClock
from orchestrator.rehearsal.simulation.runner import Simulation, one, simulate
from orchestrator.rehearsal.simulation.stuck_answers import HOURS, QUEUED, RUNNING, SLOT, StuckAnswer, StuckGateway
from state import machine
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from state.model.statuses import RunStatus
from tests.simulation.pipelines import expected_digest, pipeline
from tests.simulation.test_quota_and_slots import take_by_hand


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


class Asked(DirectGateway):
    """Counts how often the hours are asked for."""

    times = 0

    def quota(self, accelerator: str) -> Quota | None:
        self.times += 1
        return super().quota(accelerator)


def ended_ahead(folder: Path, ahead: timedelta) -> tuple[Chain, OwnClock]:
    """A chain whose first session ended while the clock was ahead, and whose clock was put right by the next daemon."""
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    chain.clock = clock = OwnClock(chain.kaggle.clock)
    for tick in chain.ticks():
        if any(fact.name == "seen_running" for fact in tick.facts):
            clock.off = ahead
        if any(fact.name == "seen_ended" for fact in tick.facts):
            break
    clock.off = timedelta(0)
    return chain, clock


@pytest.mark.parametrize("ahead", [YEAR, timedelta(hours=5), timedelta(minutes=10), -YEAR])
def test_a_session_that_ended_in_the_future_holds_up_nothing_and_the_hours_are_not_asked_for_again_and_again(
    folder: Path, ahead: timedelta
) -> None:
    chain, _ = ended_ahead(folder, ahead)
    chain.gateway = gateway = Asked(chain.kaggle.world)
    begun_at = chain.kaggle.clock.now()
    for count, tick in enumerate(chain.ticks()):
        assert count < 300, tick
    assert final_digest(chain.state) == expected_digest(chain.kaggle.pipeline)
    assert chain.kaggle.clock.now() - begun_at < timedelta(hours=3)
    assert gateway.times < 12


@pytest.mark.slow
@pytest.mark.parametrize("by", STEPS)
@pytest.mark.parametrize("tick", [6, 24])
def test_wherever_the_clock_is_set_no_fact_of_a_run_lies_after_the_newest_one(by: timedelta, tick: int) -> None:
    plan = replace(plans.plan_without_faults(5), settings=(ClockStep(tick, by, between=False, noticed=False),))
    with fast_folder() as folder:
        simulation = Simulation(plan, folder)
        simulation.run()
        state = simulation.chain.state
    assert state.run.status is RunStatus.FINISHED
    for session in state.sessions:
        times = [session.planned_at, session.pushed_at, session.running_at, session.ended_at]
        told = [time for time in times if time is not None]
        assert told == sorted(told)
        assert max(told) <= state.run.updated_at


# --- what never changes ----------------------------------------------------------


def stuck_chain(folder: Path, stuck: StuckAnswer, **limits: float) -> tuple[Chain, StuckGateway]:
    rules = Rules(queue_s=PerKind.all(60.0), quota_s=PerKind.all(1500.0))
    chain = Chain(
        SimulatedKaggle(pipeline(), rules=rules if stuck.answer == HOURS else Rules(queue_s=PerKind.all(60.0))), folder
    )
    chain.gateway = gateway = StuckGateway(chain.kaggle.world, stuck, str, chain.kaggle.pipeline.min_session_s)
    chain.limits = replace(chain.limits, **limits)
    return chain, gateway


@pytest.mark.slow
def test_a_session_that_kaggle_calls_running_for_ever_is_collected_an_hour_after_its_limit(folder: Path) -> None:
    chain, _ = stuck_chain(folder, StuckAnswer(RUNNING, 1))
    state = chain.drive()
    first = state.sessions[0]
    assert first.running_at is not None and first.ended_at is not None
    lasted = first.ended_at - first.running_at
    assert timedelta(seconds=1000 + 3600) <= lasted <= timedelta(seconds=1000 + 3600 + 600)
    assert "Kaggle has said running for" in first.worker_message
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)


@pytest.mark.slow
def test_a_session_that_kaggle_calls_queued_for_ever_is_collected_once_its_files_are_there(folder: Path) -> None:
    chain, _ = stuck_chain(folder, StuckAnswer(QUEUED, 1))
    state = chain.drive()
    assert state.sessions[0].ended_at is not None
    assert state.sessions[0].ended_at - state.run.created_at < timedelta(hours=6, minutes=30)
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)


def turns_until(chain: Chain, name: str) -> TickResult:
    for tick in chain.ticks():
        if any(fact.name == name for fact in tick.facts):
            return tick
    raise AssertionError(f"{name} never happened")


@pytest.mark.slow
def test_a_person_is_told_of_a_session_without_a_machine_and_it_goes_on_by_itself_once_it_has_one(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline(), rules=Rules(queue_s=PerKind.all(9 * 3600.0)))
    chain = Chain(kaggle, folder)
    turns_until(chain, "run_parked")
    run = chain.state.run
    assert kaggle.clock.now() - run.created_at < timedelta(hours=6, minutes=30)
    assert "session 1 has waited 6 h" in run.reason and "https://www.kaggle.com/code/me/sim-0001-s0001" in run.reason
    assert run.remedy == "relay resume sim-0001"
    turns_until(chain, "seen_running")
    turns_until(chain, "run_woken")
    assert chain.state.run.status is RunStatus.ACTIVE


def test_a_cancelled_run_whose_session_never_gets_a_machine_holds_up_no_other_run(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline(), rules=Rules(queue_s=PerKind.all(30 * 3600.0)))
    chain = Chain(kaggle, folder)
    turns_until(chain, "seen_queued")
    chain.store.request(chain.run, "cancel", {}, kaggle.clock.now())
    turns_until(chain, "session_lost")
    assert kaggle.clock.now() - chain.state.run.created_at < timedelta(hours=6, minutes=30)
    assert chain.run not in chain.store.open_runs()


@pytest.mark.slow
def test_a_person_is_told_of_a_slot_that_never_frees_and_the_run_goes_on_by_itself_once_it_does(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    take_by_hand(kaggle)
    chain = Chain(kaggle, folder)
    turns_until(chain, "run_parked")
    run = chain.state.run
    assert timedelta(hours=13) <= kaggle.clock.now() - run.created_at < timedelta(hours=14)
    assert "session 1 has waited 13 h for a slot" in run.reason
    kaggle.world.delete_kernel("me", "by-hand")
    assert final_digest(chain.drive()) == expected_digest(kaggle.pipeline)


@pytest.mark.slow
def test_a_person_is_told_of_hours_that_are_never_renewed(folder: Path) -> None:
    chain, gateway = stuck_chain(folder, StuckAnswer(HOURS))
    turns_until(chain, "run_waiting")
    renewed_at = chain.state.run.waiting_until
    assert renewed_at is not None
    turns_until(chain, "run_parked")
    assert timedelta(hours=6) <= chain.kaggle.clock.now() - renewed_at < timedelta(hours=7)
    assert "Kaggle has named no time of renewal that is still to come for 6 h" in chain.state.run.reason
    gateway.mended()
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)


@pytest.mark.slow
def test_hours_whose_renewal_the_wrong_clock_hid_are_waited_for_as_usual_once_it_is_put_right(folder: Path) -> None:
    rules = Rules(queue_s=PerKind.all(60.0), quota_s=PerKind.all(1500.0))
    chain = Chain(SimulatedKaggle(pipeline(), rules=rules), folder)
    chain.clock = clock = OwnClock(chain.kaggle.clock)
    turns_until(chain, "session_planned")
    clock.off = -YEAR  # Kaggle's renewal is more than a week ahead by this clock
    turns_until(chain, "run_parked")
    assert chain.state.run.awaits == "hours"
    clock.off = timedelta(0)
    turns_until(chain, "run_woken")
    turns_until(chain, "run_waiting")
    run, kaggle = chain.state.run, chain.kaggle
    assert run.waiting_until is not None
    assert kaggle.clock.now() < run.waiting_until <= kaggle.clock.now() + timedelta(days=7)
    assert final_digest(chain.drive()) == expected_digest(kaggle.pipeline)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "about"),
    [
        (120012, "a run that waits for the week's hours is not kept from a slot meanwhile"),
        (120182, "a run that was told of hours without a renewal, and then waits for one that Kaggle names after all"),
        (4558, "a disk that is full in the middle of a push lets the search for it begin again at once"),
        (4786, "a clock that is behind Kaggle's waits longer for a renewal that Kaggle named"),
        (5077, "whatever is read twice with the same other bytes is damaged, as far as relay can know"),
        (
            5949,
            "hours that stay reserved for a session that never shows hold a push up no longer than that session could last",
        ),
        (21582, "a declined push whose kernel is said to be queued, again and again, is believed to be queued"),
        (21846, "a look at a dataset forgets nothing of the session that runs meanwhile"),
        (5380, "a session that could be started in between was not held up by hours"),
    ],
)
def test_chains_that_once_broke_a_promise_keep_it(seed: int, about: str) -> None:
    assert one(seed).broken == "", about


# --- what the simulator catches ----------------------------------------------------


def by_the_clock(snapshot: Snapshot, limits: Limits, now: datetime) -> bool:
    """Whether the hours are fresh, as it was once decided: by comparing clock times."""
    quota, last = snapshot.quota, snapshot.state.last
    assert quota is not None
    if last is not None and last.ended_at is not None and quota.read_at < last.ended_at:
        return False
    return timedelta(0) <= now - quota.read_at < timedelta(seconds=limits.quota_fresh_s)


def as_it_was(state: RunState, at: datetime) -> RunState:
    return state


@pytest.mark.slow
def test_every_kind_of_setting_and_of_stuck_answer_is_drawn() -> None:
    seeds = range(1, 400)
    assert {setting.by for seed in seeds for setting in plans.random_plan(seed).settings} == {
        *STEPS,
        *(-by for by in STEPS),
    }
    stuck = [plans.random_plan(seed).stuck for seed in seeds]
    assert {found.answer for found in stuck if found is not None} == {QUEUED, RUNNING, SLOT, HOURS}
    assert {found.session for found in stuck if found is not None} == {1, 2, 3, 4}


@pytest.mark.slow
def test_a_reading_that_is_judged_by_the_clock_is_caught_by_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_start, "is_quota_fresh", by_the_clock)
    monkeypatch.setattr(machine, "correct_times", as_it_was)
    broken = {chain.broken.split(":")[0] for chain in simulate((5, 21, 27)).failed}
    assert broken == {"no command is repeated without a rest"}


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "what"), [(QUEUED, "sim-0001-s0001"), (RUNNING, "sim-0001-s0001"), (SLOT, "slot")])
def test_a_wait_without_a_bound_is_caught_by_the_simulator(answer: str, what: str) -> None:
    plan = replace(plans.random_plan(6), stuck=StuckAnswer(answer, 1), crashes=(), settings=())
    with fast_folder() as folder:
        simulation = Simulation(plan, folder)
        simulation.chain.limits = replace(simulation.chain.limits, queue_s=1e9, overdue_s=1e9, slot_wait_s=1e9)
        with pytest.raises(AssertionError, match=f"a person is told in time: {what} has been stuck for"):
            simulation.run()
