"""Outages that brought other orchestrators to start a second job, lose a finished one or give up too early."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import Transient
from orchestrator.platforms.port import KernelFound, KernelPush, KernelPushed, SessionSeen, Worker
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.clock_steps import OwnClock
from state.model.statuses import Outcome, Phase, RunStatus
from tests.simulation.pipelines import expected_digest, pipeline

STATUS = "GetKernelSessionStatus"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def chain_with(folder: Path, *faults: CallFault) -> Chain:
    return Chain(SimulatedKaggle(pipeline(), faults=FaultPlan(calls=faults)), folder)


def until(chain: Chain, name: str) -> Any:
    """Tick until a fact of this name is recorded."""
    for tick in chain.ticks():
        for fact in tick.facts:
            if fact.name == name:
                return fact
    raise AssertionError(f"{name} never happened")


def assert_undisturbed(chain: Chain) -> None:
    assert final_digest(chain.state) == expected_digest(chain.kaggle.pipeline)
    assert set(chain.kaggle.started.values()) == {1}, chain.kaggle.started
    assert [s.attempt for s in chain.state.sessions] == [1] * len(chain.state.sessions)


class Down(DirectGateway):
    """A Kaggle that answers nothing while `down`, whatever its sessions do meanwhile."""

    down = False

    def session(self, slug: str, version: int | None) -> SessionSeen:
        if self.down:
            raise Transient("the control plane is down")
        return super().session(slug, version)


def test_25_status_time_outs_in_a_row_with_a_healthy_session_launch_no_second_one(folder: Path) -> None:
    chain = chain_with(folder, CallFault(call=STATUS, action=CallAction.STATUS, status=504, nth=3, times=25))
    chain.limits = replace(chain.limits, retry_s_max=600)
    state = chain.drive()
    assert state.run.status is RunStatus.FINISHED, "25 failures are enough, but six hours had not passed"
    assert_undisturbed(chain)


def test_a_session_that_succeeded_during_an_outage_is_collected_and_not_started_again(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    gateway = Down(chain.kaggle.world)
    chain.gateway = gateway
    until(chain, "seen_running")
    gateway.down = True
    ends_at = chain.kaggle.clock.now() + timedelta(hours=3)
    for _ in chain.ticks():
        if chain.kaggle.clock.now() > ends_at:
            break
    assert chain.state.sessions[0].phase is Phase.RUNNING
    gateway.down = False
    chain.drive()
    assert_undisturbed(chain)


@pytest.mark.slow
def test_a_declined_push_that_saved_its_source_is_not_mistaken_for_the_live_session(folder: Path) -> None:
    """Kaggle keeps the source of a push that it declines, and its answer may be lost besides."""
    chain = chain_with(folder, CallFault(call="SaveKernel", action=CallAction.LOST))
    with chain.kaggle.world.at_now() as now:
        save = Save(slug="me/by-hand", text="# mine", title="by-hand", machine_shape="TpuV5E8")
        chain.kaggle.world.kernels.save(save, now, {})
        by_hand = chain.kaggle.world.kernels.session("me", "by-hand")
    assert by_hand is not None
    by_hand.starts_at += timedelta(days=1)
    for tick in chain.ticks():
        assert not any(fact.name == "push_confirmed" for fact in tick.facts), "nothing of ours runs"
        if chain.kaggle.clock.now() > by_hand.starts_at - timedelta(hours=22):
            break
    assert chain.kaggle.world.kernels.exists("me", f"{chain.run}-s0001"), "the source is there"
    chain.kaggle.world.delete_kernel("me", "by-hand")
    chain.drive()
    assert_undisturbed(chain)


def test_an_outage_of_a_day_asks_a_person_and_the_session_is_still_not_replaced(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    gateway = Down(chain.kaggle.world)
    chain.gateway = gateway
    until(chain, "seen_running")
    gateway.down = True
    parked = until(chain, "run_parked")
    assert parked.reason.startswith("Kaggle has not answered for long: the control plane is down")
    assert f"relay resume {chain.run} --abandon-session" in parked.reason
    pushed_at = chain.state.sessions[0].pushed_at
    assert pushed_at is not None
    assert chain.kaggle.clock.now() - pushed_at > timedelta(hours=6)
    gateway.down = False
    chain.store.request(chain.run, "resume", {}, chain.kaggle.clock.now())
    chain.drive()
    assert_undisturbed(chain)


def test_a_weekend_asleep_in_the_middle_of_an_outage_is_no_reason_to_give_up(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    gateway = Down(chain.kaggle.world)
    chain.gateway = gateway
    until(chain, "seen_running")
    gateway.down = True
    for _ in chain.ticks():
        if chain.store.snapshot(chain.run).watch.failures >= 8:
            break
    chain.kaggle.clock.sleep(60 * 3600)
    for _ in chain.ticks():
        if chain.store.snapshot(chain.run).watch.failures >= 10:
            break
    assert chain.state.run.status is RunStatus.ACTIVE
    gateway.down = False
    chain.drive()
    assert_undisturbed(chain)


@pytest.mark.slow
def test_an_unknown_status_is_never_an_end(folder: Path) -> None:
    chain = chain_with(folder, CallFault(call=STATUS, action=CallAction.HTML, nth=2, times=12))
    chain.drive()
    assert_undisturbed(chain)


def test_an_empty_answer_does_not_take_a_running_session_back_to_the_queue(folder: Path) -> None:
    chain = chain_with(folder, CallFault(call=STATUS, action=CallAction.EMPTY, nth=4, times=6))
    chain.drive()
    assert_undisturbed(chain)
    names = [fact.name for _, fact in chain.store.facts(chain.run)]
    assert names.count("seen_running") == len(chain.state.sessions)


class Forgetful(DirectGateway):
    """A Kaggle that says for a while that it has no such kernel."""

    denies = False

    def session(self, slug: str, version: int | None) -> SessionSeen:
        return SessionSeen(worker=Worker.UNKNOWN, message="HTTP 403") if self.denies else super().session(slug, version)

    def find_kernel(self, slug: str) -> KernelFound | None:
        return None if self.denies else super().find_kernel(slug)

    def push(self, kernel: KernelPush) -> KernelPushed:
        assert not self.denies, "pushed while Kaggle only seemed to have nothing"
        return super().push(kernel)


def test_a_kernel_that_kaggle_denies_for_an_hour_is_still_ours(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    gateway = Forgetful(chain.kaggle.world)
    chain.gateway = gateway
    until(chain, "seen_running")
    gateway.denies = True
    ends_at = chain.kaggle.clock.now() + timedelta(hours=1)
    for _ in chain.ticks():
        if chain.kaggle.clock.now() > ends_at:
            break
    gateway.denies = False
    chain.drive()
    assert_undisturbed(chain)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["seen_running", "seen_ended"])
def test_a_session_whose_kernel_was_deleted_is_lost_after_hours_and_another_attempt_follows(
    folder: Path, when: str
) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    until(chain, when)
    deleted_at = chain.kaggle.clock.now()
    chain.kaggle.world.delete_kernel("me", f"{chain.run}-s0001")
    lost = until(chain, "session_lost")
    assert lost.reason == "Kaggle has no kernel sim-0001-s0001 any more, and has said so for hours"
    assert chain.kaggle.clock.now() - deleted_at > timedelta(hours=6)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert [(s.number, s.attempt, s.outcome) for s in state.sessions[:2]] == [
        (1, 1, Outcome.LOST),
        (1, 2, Outcome.YIELDED),
    ]


@pytest.mark.slow
def test_a_person_may_write_a_session_off(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    gateway = Down(chain.kaggle.world)
    chain.gateway = gateway
    until(chain, "seen_running")
    chain.store.request(chain.run, "pause", {}, chain.kaggle.clock.now())
    until(chain, "run_parked")
    chain.store.request(chain.run, "resume", {"abandon_session": "sim-0001-s0001"}, chain.kaggle.clock.now())
    state = chain.drive()
    assert state.sessions[0].outcome is Outcome.LOST
    assert state.sessions[1].key == (1, 2)
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)


def test_an_older_checkpoint_is_not_gone_on_from_while_a_newer_one_may_still_come(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    until(chain, "checkpoint_published")
    until(chain, "seen_running")
    chain.store.request(chain.run, "pause", {}, chain.kaggle.clock.now())
    until(chain, "run_parked")
    older = chain.state.checkpoints[0].name
    chain.store.request(chain.run, "resume", {"checkpoint": older}, chain.kaggle.clock.now())
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED, "it was not fulfilled"
    assert [c.usable for c in state.checkpoints] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("back", [timedelta(hours=2), timedelta(days=4000)])
def test_a_clock_that_was_wrong_and_is_set_back_holds_nothing_up(folder: Path, back: timedelta) -> None:
    """Times of the future, which such a clock has left behind, are not waited for."""
    chain = chain_with(folder, CallFault(call=STATUS, action=CallAction.STATUS, status=503, nth=6, times=3))
    until(chain, "seen_running")
    for tick in chain.ticks():
        if tick.failure:
            break
    real = chain.kaggle.clock
    begun_at = real.now()
    chain.clock = OwnClock(real, -back)
    chain.drive()
    assert_undisturbed(chain)
    assert real.now() - begun_at < timedelta(hours=3)


class Idle(DirectGateway):
    """A Kaggle that took the source of the first session and never runs it, whatever it answered to the push."""

    def session(self, slug: str, version: int | None) -> SessionSeen:
        return SessionSeen(worker=Worker.NEW_SCRIPT) if slug.endswith("-s0001") else super().session(slug, version)


@pytest.mark.slow
def test_a_session_that_never_runs_although_its_push_was_accepted_is_lost_after_hours(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    chain.gateway = Idle(chain.kaggle.world)
    begun_at = chain.kaggle.clock.now()
    lost = until(chain, "session_lost")
    assert "says that it never ran" in lost.reason
    assert chain.kaggle.clock.now() - begun_at > timedelta(hours=6)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
