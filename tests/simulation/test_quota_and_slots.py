"""The week's hours and the account's slots: nothing is started that cannot be paid for, and every run gets its turn."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.core.commands import Wait
from orchestrator.engine.tick import tick
from orchestrator.platforms.port import Quota
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from state.memory_store import MemoryStore
from state.model.statuses import RunStatus
from tests.simulation.pipelines import expected_digest, pipeline

HOURLY = "session: {limit_s: 1000, margin_s: 100, save_interval_s: 200, min_session_s: 300}"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def chains(kaggle: SimulatedKaggle, folder: Path) -> list[Chain]:
    """Three runs of one account in one database."""
    store = MemoryStore()
    return [Chain(kaggle, folder, run=f"sim-000{n}", store=store) for n in (1, 2, 3)]


class Silent(DirectGateway):
    """A Kaggle that never says how many hours are left."""

    def quota(self, accelerator: str) -> Quota | None:
        return None


def drive_together(*runs: Chain, ticks_max: int = 4000) -> list[str]:
    """Tick several runs of one database in turn, as the daemon does, until all rest for good; the kernels in order of their pushes."""
    kaggle = runs[0].kaggle
    for _ in range(ticks_max):
        wake = []
        for chain in runs:
            while not isinstance(
                (result := tick(chain.store, chain.run, chain.shell(DirectGateway(kaggle.world)))).command, Wait
            ):
                pass
            wake.append(result.command.until)
        if not any(wake):
            return list(kaggle.started)
        kaggle.clock.sleep((min(until for until in wake if until) - kaggle.clock.now()).total_seconds())
    raise AssertionError("the runs do not end")


def take_by_hand(kaggle: SimulatedKaggle, timeout_s: int | None = None) -> None:
    """A session that somebody starts in the browser, and that waits for a machine as long as it is not deleted."""
    save = Save(slug="me/by-hand", text="# mine", title="by-hand", machine_shape="TpuV5E8", timeout_s=timeout_s)
    with kaggle.world.at_now() as now:
        kaggle.world.kernels.save(save, now, {})
        session = kaggle.world.kernels.session("me", "by-hand")
    assert session is not None
    session.starts_at += timedelta(days=30)


@pytest.mark.slow
def test_runs_of_one_account_take_turns_at_its_slot(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    runs = chains(kaggle, folder)
    started = drive_together(*runs)
    assert [slug[:8] for slug in started] == ["sim-0001", "sim-0002", "sim-0003"] * 3
    for run in runs:
        assert final_digest(run.state) == expected_digest(kaggle.pipeline)
        assert not any(fact.name == "push_refused" for _, fact in run.store.facts(run.run))


def test_a_gpu_account_has_two_slots_unless_the_pipeline_says_one(folder: Path) -> None:
    def live_at_once(text: str, home: str) -> int:
        kaggle = SimulatedKaggle(pipeline(accelerator="accelerator: NvidiaTeslaT4", account=text))
        runs = chains(kaggle, folder / home)
        most = 0

        def count() -> int:
            return sum(1 for run in runs if (last := run.state.last) is not None and last.phase.on_kaggle)

        for run in runs:
            result = tick(run.store, run.run, run.shell(DirectGateway(kaggle.world)))
            while not isinstance(result.command, Wait):
                result = tick(run.store, run.run, run.shell(DirectGateway(kaggle.world)))
                most = max(most, count())
        return most

    assert live_at_once("account: {}", "two") == 2
    assert live_at_once("account: {slots: 1}", "one") == 1


@pytest.mark.slow
def test_a_run_that_nobody_carries_on_does_not_hold_up_the_line(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    first, gone, third = chains(kaggle, folder)
    for chain in (first, gone, third):
        while not isinstance(tick(chain.store, chain.run, chain.shell(DirectGateway(kaggle.world))).command, Wait):
            pass
    assert gone.store.snapshot(third.run).waiting[0].run == gone.run
    drive_together(first, third)
    assert {first.state.run.status, third.state.run.status} == {RunStatus.FINISHED}


@pytest.mark.slow
def test_a_cancelled_run_gives_its_slot_back_when_its_session_ends(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    first, second, _ = chains(kaggle, folder)
    for _ in first.ticks():
        if first.state.last and first.state.last.phase == "running":
            break
    first.store.request(first.run, "cancel", {}, kaggle.clock.now())
    first.store.request(first.run, "cancel", {}, kaggle.clock.now())
    drive_together(first, second)
    assert first.state.run.status is RunStatus.CANCELLED
    assert first.run not in first.store.open_runs()
    assert final_digest(second.state) == expected_digest(kaggle.pipeline)
    assert kaggle.started["sim-0001-s0001"] == 1 and len([s for s in kaggle.started if s.startswith("sim-0001")]) == 1


@pytest.mark.slow
def test_a_run_that_is_taken_back_waits_for_its_slot_like_any_other(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    first, second, _ = chains(kaggle, folder)
    for _ in first.ticks():
        if first.state.last and first.state.last.phase == "running":
            break
    first.store.request(first.run, "cancel", {}, kaggle.clock.now())
    first.drive()
    for _ in second.ticks():
        if second.state.last and second.state.last.phase == "running":
            break
    first.store.request(first.run, "resume", {}, kaggle.clock.now())
    started = drive_together(first, second)
    assert [slug[:8] for slug in started] == ["sim-0001", "sim-0002"] * 3
    assert set(kaggle.started.values()) == {1}
    for chain in (first, second):
        assert final_digest(chain.state) == expected_digest(kaggle.pipeline)


@pytest.mark.slow
def test_a_session_started_by_hand_is_waited_for_and_not_pushed_against_all_the_time(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    taken_at = kaggle.clock.now()
    take_by_hand(kaggle)
    chain = Chain(kaggle, folder)
    refusals = 0
    for result in chain.ticks():
        refusals += sum(fact.name == "push_refused" for fact in result.facts)
        if kaggle.clock.now() > taken_at + timedelta(hours=2):
            break
    kaggle.world.delete_kernel("me", "by-hand")
    assert 0 < refusals <= 2 * 12 + 2
    assert final_digest(chain.drive()) == expected_digest(kaggle.pipeline)


def test_without_kaggles_answer_the_pipelines_own_hours_are_kept_to(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline(session=HOURLY, account="account: {hours_per_week: 0.5}"))
    chain = Chain(kaggle, folder)
    chain.gateway = Silent(kaggle.world)
    state = chain.drive()
    assert final_digest(state) == expected_digest(kaggle.pipeline)
    waits = [fact for _, fact in chain.store.facts(chain.run) if fact.name == "run_waiting"]
    assert len(waits) == 1
    assert "by relay's own count, since Kaggle does not say" in waits[0].reason
    assert state.sessions[1].limit_s < 1000, "the week's last session is cut to fit"
    assert kaggle.clock.now() - state.run.created_at > timedelta(days=1)
    quota = chain.store.quotas()[0]
    assert quota.assumed
    assert quota.total_s == 1800


def test_a_quota_that_cannot_be_read_holds_nothing_up(folder: Path) -> None:
    faults = FaultPlan(
        calls=(CallFault(call="GetAcceleratorQuotaStatistics", action=CallAction.STATUS, status=503, times=0),)
    )
    chain = Chain(SimulatedKaggle(pipeline(), faults=faults), folder)
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)


@pytest.mark.slow
def test_a_session_that_had_to_wait_for_hours_gets_those_that_there_are_then(folder: Path) -> None:
    rules = Rules(queue_s=PerKind.all(60.0), quota_s=PerKind(1500.0, 0.0, 0.0))
    kaggle = SimulatedKaggle(pipeline(session=HOURLY), rules=rules)
    chain = Chain(kaggle, folder)
    for result in chain.ticks():
        if any(fact.name == "session_planned" and fact.number == 2 for fact in result.facts):
            break
    assert chain.state.sessions[1].limit_s < 700
    take_by_hand(kaggle, timeout_s=600)
    for result in chain.ticks():
        if any(fact.name == "run_waiting" for fact in result.facts):
            break
    kaggle.world.delete_kernel("me", "by-hand")
    state = chain.drive()
    assert final_digest(state) == expected_digest(kaggle.pipeline)
    names = [fact.name for _, fact in chain.store.facts(chain.run)]
    assert "session_resized" in names
    assert state.sessions[1].limit_s == 1000
    assert set(kaggle.started.values()) == {1}
