"""Chains on a played Slurm cluster, whose faults are Slurm's, end as the uncut run does; the platform's own code runs."""

import shutil
from datetime import UTC, datetime

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.core.decide_request import ABANDONED
from orchestrator.engine.adopt.command import Adoption
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.simulation import runner
from orchestrator.rehearsal.simulation.chain import fast_folder
from orchestrator.rehearsal.simulation.cluster_chain import ClusterSimulation
from orchestrator.rehearsal.simulation.cluster_faults import JOB_FAULTS, ClusterFaults, SubmitFault, random_faults
from orchestrator.rehearsal.simulation.invariants import InvariantBroken
from orchestrator.slurm import jobs
from state.model.statuses import Phase, RunStatus
from state.store import Store

pytestmark = pytest.mark.slow

FILE = """
name: sim
accelerator: cpu
platform: slurm
slurm: {shared: /scratch/relay}
session: {limit_s: 1200, margin_s: 120, save_interval_s: 200, min_session_s: 0}
stages:
  - {name: one, kind: counting, steps: 9}
  - {name: two, kind: counting, steps: 7}
"""
BEGAN = datetime(2030, 1, 7, tzinfo=UTC)
FOUND = (6,)
"""Seeds that showed a fault of relay's own, which was mended then."""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return loader.parse(FILE, "sim.yaml")


def test_chains_with_the_faults_of_a_cluster_end_as_the_uncut_run_does(pipeline: Pipeline) -> None:
    summary = runner.simulate([*FOUND, *range(10, 20)], pipeline)
    told = [f"seed {chain.seed}: {chain.broken}" for chain in summary.failed]
    assert not told, "\n".join(told)
    assert set(summary.ended) == {"finished"}
    assert sum(summary.struck.values()) > 20


def test_every_kind_of_fault_is_drawn(pipeline: Pipeline) -> None:
    plans = [random_faults(seed, BEGAN, pipeline.limit_s) for seed in range(1, 200)]
    assert {fault for plan in plans for fault in plan.submits.values()} == set(SubmitFault)
    assert {fault.state for plan in plans for fault in plan.jobs.values()} == set(JOB_FAULTS)
    assert any(plan.controller_away for plan in plans)
    assert any(plan.login_away for plan in plans)
    assert any(plan.lag_s for plan in plans)


@pytest.mark.parametrize("fault", list(SubmitFault))
def test_whatever_becomes_of_an_answer_of_sbatch_one_job_runs_the_session(
    pipeline: Pipeline, fault: SubmitFault
) -> None:
    faults = ClusterFaults(submits={1: fault}, late_s=2 * pipeline.limit_s)
    with fast_folder() as folder:
        simulation = ClusterSimulation(1, pipeline, folder, faults=faults)
        simulation.crash_points = []
        simulation.run()
        assert set(simulation.kaggle.started.values()) == {1}
        assert simulation.cluster.struck == [f"sbatch: {fault}"]


def test_a_session_that_the_user_abandons_is_stopped_before_the_next_one_begins(pipeline: Pipeline) -> None:
    with fast_folder() as folder:
        simulation = ClusterSimulation(1, pipeline, folder, faults=ClusterFaults())
        chain = simulation.chain
        for _ in chain.ticks():
            last = chain.state.last
            if last is not None and last.phase is Phase.RUNNING:
                break
        assert last is not None
        chain.store.request(chain.run, "resume", {"abandon_session": last.slug}, chain.clock.now())
        simulation.crash_points = []
        simulation.run()  # which checks at each tick that at most one session runs
        abandoned = chain.state.session(*last.key)
        assert (abandoned.phase, abandoned.reason) == (Phase.LOST, ABANDONED)
        assert chain.state.run.status is RunStatus.FINISHED


def test_a_run_that_came_from_another_platform_is_not_adopted_in_part(pipeline: Pipeline) -> None:
    with fast_folder() as folder:
        simulation = ClusterSimulation(1, pipeline, folder, faults=ClusterFaults())
        simulation.crash_points = []
        simulation.run()
        chain, home = simulation.chain, HomeLayout(folder / "new")
        (sessions,) = (folder / "shared").rglob("sessions")
        shutil.rmtree(sessions / chain.state.sessions[0].slug)  # as where the first session ran on Kaggle
        adoption = Adoption(chain.gateway, home, chain.clock, (), lambda: Store.at(home.path))
        newest = chain.state.head
        assert newest is not None
        with pytest.raises(BadInput) as refused:
            adoption.adopt(chain.run, None, lambda _line: None)
        assert str(refused.value).startswith(f"Slurm lacks session 1 of {chain.run}, as of a run that moved")
        assert f"/{newest.place} begins another run" in str(refused.value)
        assert not home.path.exists()


def test_a_cluster_that_ran_a_session_twice_would_be_noticed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform without its patience for a list that lags gives a session up that runs."""
    monkeypatch.setattr(jobs, "LISTED_S", 0.0)
    with fast_folder() as folder:
        simulation = ClusterSimulation(FOUND[0], pipeline, folder)
        with pytest.raises(InvariantBroken, match="at most one live session"):
            simulation.run()
