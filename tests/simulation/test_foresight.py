"""What is said of a chain's end comes true: within a tenth, for nine chains of ten on which nothing goes wrong."""

import pytest

from orchestrator.rehearsal.simulation.forecast_accuracy import ForecastedChain, one
from orchestrator.rehearsal.simulation.plans import plan_without_faults
from orchestrator.rehearsal.simulation.sessions import CountingSessions
from orchestrator.rehearsal.simulation.timing_variation import TimingVariation
from tests.simulation.pipelines import pipeline


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 4])
def test_the_end_is_foretold_at_the_start_and_midway(seed: int) -> None:
    found = one(seed)
    assert found.start.close, found
    assert found.midway.close, found


@pytest.mark.slow
def test_of_ten_calm_chains_nine_end_when_they_were_said_to() -> None:
    chains = [one(seed) for seed in range(40)]
    assert share(chains, "start", "close") >= 0.9
    assert share(chains, "midway", "close") >= 0.9
    assert share(chains, "start", "bounded") >= 0.9
    assert share(chains, "midway", "bounded") >= 0.8
    assert sum(chain.days > 7 for chain in chains) > 10, "many of them wait for another week's hours"


def share(chains: list[ForecastedChain], when: str, what: str) -> float:
    return sum(getattr(getattr(chain, when), what) for chain in chains) / len(chains)


def test_uneven_steps_take_the_usual_time_on_the_average_and_the_same_for_the_same_seed() -> None:
    variation = TimingVariation(7, uneven=0.3)
    drawn = [variation.step("sim-s0001", position, 10.0) for position in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(10.0, rel=0.02)
    assert max(drawn) > 15.0 and min(drawn) < 6.0
    assert drawn[:20] == [TimingVariation(7, uneven=0.3).step("sim-s0001", position, 10.0) for position in range(20)]
    assert drawn[:20] != [TimingVariation(8, uneven=0.3).step("sim-s0001", position, 10.0) for position in range(20)]


def test_a_slow_machine_is_slow_in_all_that_its_session_does() -> None:
    variation = TimingVariation(7, machine=0.2)
    slow = {slug: variation.slow(slug) for slug in ("sim-s0001", "sim-s0002", "sim-s0003")}
    assert len(set(slow.values())) == 3
    assert all(variation.step(slug, 5, 10.0) == pytest.approx(10.0 * factor) for slug, factor in slow.items())


@pytest.mark.slow
def test_calm_chains_have_all_kinds_of_accelerators_and_of_stages() -> None:
    plans = [plan_without_faults(seed) for seed in range(40)]
    assert {plan.pipeline.slot for plan in plans} == {"tpu", "gpu", "cpu"}
    assert {len(plan.pipeline.stages) for plan in plans} == {1, 2, 3}
    assert not any(plan.faults.sessions or plan.faults.calls or plan.bugs for plan in plans)
    assert CountingSessions(pipeline()).variation is None
