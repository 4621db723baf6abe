"""A push without a clear answer is not made again before it was looked for; a second session that starts all the same is told."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.core.commands import Wait
from orchestrator.engine.effects import find_push
from orchestrator.engine.ownership import go_on_here
from orchestrator.platforms.port import KernelFound, KernelsPage
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.rehearsal.simulation.plans import random_plan
from orchestrator.rehearsal.simulation.runner import Simulation
from orchestrator.views.fact_text import describe_fact
from state.facts.session import TwinSeen
from state.memory_store import MemoryStore
from state.model.statuses import RunStatus
from tests.simulation.pipelines import expected_digest, pipeline

if TYPE_CHECKING:
    from state.store import Store

GPU = pipeline(accelerator="accelerator: NvidiaTeslaT4")
"""Two slots: a second session of the same kernel is not declined."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def befallen(folder: Path, *faults: PushFault, **more: Any) -> Chain:
    return Chain(SimulatedKaggle(GPU, faults=FaultPlan(pushes=faults), **more), folder)


def late(seconds: float) -> PushFault:
    return PushFault(push=1, action=PushAction.LATE, seconds=seconds)


def names(chain: Chain) -> list[str]:
    return [fact.name for _, fact in chain.store.facts(chain.run)]


def sessions_on_kaggle(chain: Chain) -> int:
    versions = [v for kernel in chain.kaggle.world.kernels.all() for v in kernel.versions]
    return sum(version.session is not None for version in versions)


def assert_undisturbed(chain: Chain) -> None:
    assert final_digest(chain.state) == expected_digest(GPU)
    assert sessions_on_kaggle(chain) == len(chain.state.sessions)


@pytest.mark.parametrize("seconds", [1.0, 75.0, 500.0])
def test_a_push_that_is_carried_out_after_its_504_runs_once(folder: Path, seconds: float) -> None:
    chain = befallen(folder, late(seconds))
    chain.drive()
    assert_undisturbed(chain)
    assert names(chain).count("push_unclear") == 1
    assert "push_unfound" not in names(chain)


def test_a_kernel_that_is_shown_only_minutes_after_a_lost_answer_runs_once(folder: Path) -> None:
    lost = CallFault(call="SaveKernel", action=CallAction.LOST)
    faults = FaultPlan(calls=(lost,), pushes=(PushFault(push=1, action=PushAction.LAG, seconds=400.0),))
    chain = Chain(SimulatedKaggle(GPU, faults=faults), folder)
    chain.drive()
    assert_undisturbed(chain)


@pytest.mark.slow
def test_a_push_whose_answer_nobody_was_there_to_hear_is_looked_for_too(folder: Path) -> None:
    """The daemon dies with the answer on its way, and Kaggle does not show the kernel yet."""
    for at in range(40):
        chain = befallen(folder / str(at), PushFault(push=1, action=PushAction.LAG, seconds=300.0))
        try:
            chain.drive(CrashPoint(at))
        except Crash:
            chain.drive()
        assert_undisturbed(chain)


def test_daemons_that_die_while_it_is_looked_for_do_not_make_the_time_shorter_or_begin_it_anew(folder: Path) -> None:
    chain = befallen(folder, late(3600.0))
    unclear_at = None
    for _ in range(50):
        for tick in chain.ticks():
            found = [fact.name for fact in tick.facts]
            if "push_unclear" in found:
                unclear_at = chain.kaggle.clock.now()
            if "push_unfound" in found or (unclear_at and isinstance(tick.command, Wait)):
                break
        if "push_unfound" in names(chain):
            break
        chain.kaggle.clock.sleep(70.0)  # the next daemon begins
    assert unclear_at is not None
    assert timedelta(minutes=10) <= chain.kaggle.clock.now() - unclear_at < timedelta(minutes=20)
    assert names(chain).count("push_unclear") == 1


def test_a_machine_that_slept_through_the_time_looks_several_times_before_it_pushes_again(folder: Path) -> None:
    chain = befallen(folder, late(9 * 3600.0))
    for tick in chain.ticks():
        if any(fact.name == "push_unclear" for fact in tick.facts):
            break
    chain.kaggle.clock.sleep(8 * 3600.0)
    woke_at, before = chain.kaggle.clock.now(), chain.kaggle.world.fault_injector.calls_made
    for tick in chain.ticks():
        if any(fact.name == "push_unfound" for fact in tick.facts):
            break
    assert chain.kaggle.clock.now() - woke_at >= timedelta(seconds=60 * (find_push.LOOKS_MIN - 2))
    assert chain.kaggle.world.fault_injector.calls_made - before >= 2 * (find_push.LOOKS_MIN - 1)


def test_a_kernel_that_kaggle_lists_and_does_not_show_is_not_pushed_again(folder: Path) -> None:
    class Hiding(DirectGateway):
        hides = True

        def find_kernel(self, slug: str) -> KernelFound | None:
            return None if self.hides else super().find_kernel(slug)

    chain = Chain(
        SimulatedKaggle(GPU, faults=FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.LOST),))), folder
    )
    gateway = Hiding(chain.kaggle.world)
    chain.gateway = gateway
    begun_at = chain.kaggle.clock.now()
    for _ in chain.ticks():
        if chain.kaggle.clock.now() - begun_at > timedelta(hours=2):
            break
    assert "push_unfound" not in names(chain)
    assert "lists the kernel sim-0001-s0001 and does not show it yet" in chain.store.snapshot(chain.run).watch.failure
    gateway.hides = False
    chain.drive()
    assert_undisturbed(chain)


def test_hours_that_kaggle_reserves_for_a_session_that_it_does_not_show_hold_the_next_push_up(folder: Path) -> None:
    class Hiding(DirectGateway):
        hides = True

        def find_kernel(self, slug: str) -> KernelFound | None:
            return None if self.hides else super().find_kernel(slug)

        def recent_kernels(self, page: str | None = None) -> KernelsPage:
            return KernelsPage() if self.hides else super().recent_kernels(page)

    lost = FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.LOST),))
    chain = Chain(
        SimulatedKaggle(GPU, faults=lost, play=lambda order, played, index: replace(played, ends_after_s=5e3)), folder
    )
    gateway = Hiding(chain.kaggle.world)
    chain.gateway = gateway
    begun_at = chain.kaggle.clock.now()
    for tick in chain.ticks():
        assert not any(fact.name == "push_unfound" for fact in tick.facts)
        if "reserves" in tick.failure:
            break
        assert chain.kaggle.clock.now() - begun_at < timedelta(hours=1)
    gateway.hides = False
    for _ in chain.ticks():
        if "push_confirmed" in names(chain):
            break
    assert sessions_on_kaggle(chain) == 1


@pytest.mark.slow
def test_a_push_that_never_happened_is_made_again_after_ten_minutes(folder: Path) -> None:
    chain = Chain(
        SimulatedKaggle(GPU, faults=FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.CUT),))), folder
    )
    for tick in chain.ticks():
        if any(fact.name == "push_confirmed" for fact in tick.facts):
            break
    first = chain.store.facts(chain.run)
    at = {fact.name: when for when, fact in first}
    assert timedelta(minutes=10) <= at["push_confirmed"] - at["push_unclear"] < timedelta(minutes=12)
    chain.drive()
    assert_undisturbed(chain)


@pytest.mark.parametrize("action", [CallAction.STATUS, CallAction.HANG])
def test_a_push_that_is_known_not_to_have_arrived_is_made_again_at_once(folder: Path, action: CallAction) -> None:
    fault = CallFault(call="SaveKernel", action=action, status=429, seconds=5.0)
    chain = Chain(SimulatedKaggle(GPU, faults=FaultPlan(calls=(fault,))), folder)
    chain.drive()
    assert "push_unclear" not in names(chain)
    assert_undisturbed(chain)


# --- a home folder that knows less than it did -------------------------------------


def restored_after(folder: Path, *names_: str, seconds: float) -> Chain:
    """A run whose backup is of before the push that Kaggle shows so many seconds late; it is put back right after the last of these facts."""
    chain = befallen(folder, PushFault(push=1, action=PushAction.LAG, seconds=seconds))
    assert isinstance(chain.store, MemoryStore)
    backup = chain.store.copy()
    for tick in chain.ticks():
        if any(fact.name in names_ for fact in tick.facts):
            break
    chain.store = backup
    go_on_here(cast("Store", backup), chain.identity, chain.kaggle.clock.now())
    return chain


@pytest.mark.parametrize("seconds", [60.0, 300.0, 500.0])
def test_a_restored_home_looks_for_a_push_that_kaggle_shows_late_before_it_pushes(folder: Path, seconds: float) -> None:
    chain = restored_after(folder, "push_confirmed", seconds=seconds)
    chain.drive()
    assert_undisturbed(chain)


def test_a_cancelled_run_that_is_taken_back_after_a_backup_was_restored_finds_what_it_had_pushed(folder: Path) -> None:
    chain = befallen(folder)
    assert isinstance(chain.store, MemoryStore)
    chain.store.request(chain.run, "cancel", {}, chain.clock.now())
    chain.drive()
    backup = chain.store.copy()
    chain.store.request(chain.run, "resume", {}, chain.clock.now())
    for tick in chain.ticks():
        if any(fact.name == "push_confirmed" for fact in tick.facts):
            break
    chain.store = backup
    go_on_here(cast("Store", backup), chain.identity, chain.clock.now())
    chain.store.request(chain.run, "resume", {}, chain.clock.now())
    chain.drive()
    assert_undisturbed(chain)


def test_a_restored_home_pushes_after_the_span_of_an_unclear_push_and_waits_once(folder: Path) -> None:
    chain = restored_after(folder, "session_planned", seconds=0.0)
    chain.drive()
    at = [when for when, fact in chain.store.facts(chain.run) if fact.name in ("push_unclear", "push_unfound")]
    assert len(at) == 2
    assert timedelta(minutes=10) <= at[1] - at[0] < timedelta(minutes=12)
    assert_undisturbed(chain)


def test_whoever_takes_a_run_over_looks_for_what_was_pushed_just_before(folder: Path) -> None:
    """Another home folder, whose push Kaggle does not show yet."""
    chain = befallen(folder, PushFault(push=1, action=PushAction.LAG, seconds=400.0))
    assert isinstance(chain.store, MemoryStore)
    other = copy.copy(chain)
    other.store, other.identity = chain.store.copy(), "home-two@simulated"
    for tick in chain.ticks():
        if any(fact.name == "push_confirmed" for fact in tick.facts):
            break
    other.store.request(other.run, "resume", {"take_over": other.identity}, other.clock.now())
    other.drive()
    assert_undisturbed(other)


# --- a second session of the same kernel ------------------------------------------


def twin(folder: Path) -> Chain:
    """A push that Kaggle carries out after an hour, when the one that was made again runs already."""
    return befallen(folder, late(800.0))


def test_a_second_session_is_told_counted_and_waited_for(folder: Path) -> None:
    chain = twin(folder)
    for tick in chain.ticks():
        if any(isinstance(fact, TwinSeen) for fact in tick.facts):
            break
    (session,) = chain.state.sessions
    assert (session.twin, session.twin_lives) == (2, True)
    assert "runs twice" in describe_fact(next(f for _, f in chain.store.facts(chain.run) if isinstance(f, TwinSeen)))
    since = chain.kaggle.clock.now() - timedelta(days=1)
    assert len(chain.store.machine_times("me", "gpu", since)) == 2, "its hours count"
    for tick in chain.ticks():
        live = len(chain.kaggle.world.kernels.live())
        assert live <= 2, "and no third session is started beside it"
        if any(fact.name == "session_planned" for fact in tick.facts):
            break
    assert not chain.state.sessions[0].twin_lives
    chain.drive()
    assert final_digest(chain.state) == expected_digest(GPU)


def test_a_second_session_takes_a_slot_from_other_runs(folder: Path) -> None:
    chain = twin(folder)
    for tick in chain.ticks():
        if any(isinstance(fact, TwinSeen) for fact in tick.facts):
            break
    other = Chain(chain.kaggle, folder / "other", run="sim-0002", store=chain.store)
    own = chain.state.sessions[0].phase.on_kaggle
    assert chain.store.snapshot(other.run).others_live == own + 1


def test_a_session_whose_push_was_answered_well_costs_no_call_for_second_ones(folder: Path) -> None:
    class Counted(DirectGateway):
        finds = 0

        def find_kernel(self, slug: str) -> KernelFound | None:
            self.finds += 1
            return super().find_kernel(slug)

    chain = befallen(folder)
    gateway = Counted(chain.kaggle.world)
    chain.gateway = gateway
    state = chain.drive()
    assert gateway.finds == len(state.sessions), "one before each push"


# --- planted ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_daemon_that_pushed_again_at_once_is_caught_by_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """What relay did before: what is not to be seen right after a lost answer is pushed again."""
    monkeypatch.setattr(find_push, "LOOKS_MIN", 1)
    found = set()
    for seed in range(1, 400):
        plan = random_plan(seed)
        if not any(fault.action is PushAction.LATE for fault in plan.faults.pushes):
            continue
        with fast_folder() as folder:
            simulation = Simulation(plan, folder)
            simulation.chain.limits = replace(simulation.chain.limits, unclear_s=0.0)
            try:
                simulation.run()
            except AssertionError as error:
                found.add(str(error).partition(":")[0])
                break
    assert found <= {"at most one live session", "no order is pushed twice"}
    assert found


def test_a_cancelled_run_looks_for_its_push_before_it_lets_go(folder: Path) -> None:
    chain = befallen(folder, late(300.0))
    for tick in chain.ticks():
        if any(fact.name == "push_unclear" for fact in tick.facts):
            break
    chain.store.request(chain.run, "cancel", {}, chain.kaggle.clock.now())
    state = chain.drive()
    assert state.run.status is RunStatus.CANCELLED
    assert state.sessions[0].ended_at is not None, "it was found, and seen to its end"
    assert sessions_on_kaggle(chain) == 1


# --- names ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_after_a_kernel_of_its_name_that_is_not_its_own_the_next_attempt_has_another_name(folder: Path) -> None:
    chain = befallen(folder)
    with chain.kaggle.world.at_now() as now:
        save = Save(slug="me/sim-0001-s0001", text="# somebody's", title="sim-0001-s0001", runs=False)
        chain.kaggle.world.kernels.save(save, now, {})
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "is not this run's: the next attempt has another name" in state.run.reason
    chain.ask_remedy()
    state = chain.drive()
    assert final_digest(state) == expected_digest(GPU)
    assert [session.slug for session in state.sessions[:2]] == ["sim-0001-s0001", "sim-0001-s0001-b"]
    assert len(chain.kaggle.world.kernels.find("me", "sim-0001-s0001").versions) == 1, "the other's is as it was"


def test_after_a_name_that_was_deleted_and_is_poisoned_the_next_attempt_has_another_name(folder: Path) -> None:
    chain = befallen(folder, rules=Rules(queue_s=PerKind.all(60.0), frees_names=False))
    chain.kaggle.world.save_kernel(Save(slug="me/sim-0001-s0001", text="1", title="sim-0001-s0001", runs=False))
    chain.kaggle.world.delete_kernel("me", "sim-0001-s0001")
    state = chain.drive()
    assert final_digest(state) == expected_digest(GPU)
    assert [session.slug for session in state.sessions[:2]] == ["sim-0001-s0001", "sim-0001-s0001-b"]
    assert "Notebook not found" in state.sessions[0].reason
