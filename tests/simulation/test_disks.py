"""Simulated chains whose disk refuses writes, does not give back what it holds, and ticks bits over: they end as the uncut run does, or stop with a sentence."""

from dataclasses import replace
from itertools import islice

import pytest

from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.disk_faults import NO_DISK_FAULTS, DiskPlan, Flip, disk_plan
from orchestrator.rehearsal.simulation.plans import random_plan
from orchestrator.rehearsal.simulation.read_errors import BadSector, ReadPlan, unread
from orchestrator.rehearsal.simulation.runner import Simulation
from state.model.statuses import RunStatus

CRASHING = list(islice((seed for seed in range(1, 60) if len(random_plan(seed).crashes) == 2), 3))


def test_a_disks_faults_are_drawn_from_the_seed_alone_and_befall_some_chains() -> None:
    plans = [disk_plan(seed, 2, on_disk=False) for seed in range(600)]
    assert plans == [disk_plan(seed, 2, on_disk=False) for seed in range(600)]
    assert 60 < sum(bool(plan.refused) for plan in plans) < 180
    assert 50 < sum(bool(plan.reads.sectors) for plan in plans) < 140
    assert 30 < sum(bool(plan.reads.questions) for plan in plans) < 100
    assert 0 < sum(bool(plan.flips) for plan in plans) < 20
    assert all(plan.on_disk == bool(plan.flips) for plan in plans)


@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True], ids=["in memory", "SQLite on a real limit"])
def test_writes_that_find_no_room_are_tried_again_and_nothing_happens_twice(real: bool) -> None:
    disk = DiskPlan(on_disk=real, refused=frozenset([0, 3, 4, 5, 9, 14, 15]))
    plan = replace(random_plan(4), disk=disk, on_disk=real, crashes=(), copied=None)
    with fast_folder() as folder:
        simulation = Simulation(plan, folder)
        simulation.run()
        assert simulation.chain.state.run.status is RunStatus.FINISHED
        assert simulation.disk.struck["disk: a write found no room"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True], ids=["in memory", "SQLite"])
def test_files_and_answers_that_the_disk_does_not_give_back_are_waited_for_and_nothing_is_lost(real: bool) -> None:
    sectors = tuple(BadSector(first, times=4) for first in range(2, 60, 6))
    disk = DiskPlan(on_disk=real, reads=ReadPlan(sectors, frozenset([0, 3, 4, 5, 20, 21])))
    plan = replace(random_plan(4), disk=disk, on_disk=real, crashes=(), copied=None)
    with fast_folder() as folder:
        simulation = Simulation(plan, folder)
        simulation.run()  # raises where a checkpoint is given up that is still on the disk
        assert simulation.chain.state.run.status is RunStatus.FINISHED
        assert simulation.disk.struck["disk: the database could not be read"] == 6
        assert simulation.disk.struck["disk: a file could not be read"] >= 15


def test_logs_that_can_never_be_read_again_hold_nothing_up() -> None:
    kaggle = SimulatedKaggle(random_plan(4).pipeline)
    with fast_folder() as folder, unread(lambda path: path.endswith(".log")):
        chain = Chain(kaggle, folder)
        assert final_digest(chain.drive()) == kaggle.uncut[-1]
        assert chain.home.log(chain.state.sessions[0]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", CRASHING)
def test_a_bit_that_turns_over_between_two_daemons_costs_a_restore_and_no_step(seed: int) -> None:
    plan = random_plan(seed)
    flips = tuple(Flip(after_crash=crash, place=seed / 60, bit=crash) for crash in (1, 2))
    plan = replace(plan, on_disk=True, copied=None, disk=replace(NO_DISK_FAULTS, on_disk=True, flips=flips))
    with fast_folder() as folder:
        simulation = Simulation(plan, folder)
        simulation.run()  # raises where an invariant breaks
        assert simulation.chain.state.run.status is RunStatus.FINISHED
        assert simulation.disk.struck["disk: a bit turned over"] == simulation.crashes
