"""What Kaggle may have and does not show is looked for as long as it was said, however the clock is set and however long anybody slept."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator.engine.effects.context import EffectContext
from orchestrator.engine.tick import TickResult
from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault, FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.clock_steps import YEAR, ClockStep, ClockSteps, OwnClock
from orchestrator.rehearsal.simulation.invariants import InvariantBroken, Watched
from state.model.snapshot import Snapshot
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
SLEPT = 8 * HOUR
GPU = pipeline(accelerator="accelerator: NvidiaTeslaT4")
"""Two slots: a second session of the same kernel is not declined."""

Happens = Callable[[Chain, OwnClock], None]


def set_by(by: timedelta, *, noticed: bool = False) -> Happens:
    def happen(chain: Chain, clock: OwnClock) -> None:
        clock.off += by
        lease = chain.store.lease()
        if noticed and lease is not None:
            chain.store.clear_poll_times(lease.fence)

    return happen


def asleep(chain: Chain, clock: OwnClock) -> None:
    chain.kaggle.clock.sleep(SLEPT.total_seconds())


BEFALL = {
    "nothing": set_by(timedelta(0)),
    "an hour forward": set_by(HOUR),
    "a day forward": set_by(DAY),
    "a year forward": set_by(YEAR),
    "a year forward, noticed": set_by(YEAR, noticed=True),
    "an hour back": set_by(-HOUR),
    "a day back": set_by(-DAY),
    "a year back": set_by(-YEAR),
    "a year back, noticed": set_by(-YEAR, noticed=True),
    "asleep for 8 h": asleep,
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def chain_of(folder: Path, faults: FaultPlan, *, own_files: bool = False) -> tuple[Chain, OwnClock]:
    """A run that is looked after as one of nine hours is: a dataset every half minute."""
    own = GPU
    if own_files:
        (folder / "data.jsonl").write_text("{}", encoding="utf-8")
        own = parse(f"{PIPELINE}inputs: {{files: [data.jsonl]}}", "sim.yaml", folder)
    chain = Chain(SimulatedKaggle(own, faults), folder / "home")
    chain.clock = clock = OwnClock(chain.kaggle.clock)
    chain.limits = replace(chain.limits, poll_s=30.0, processing_s=3600.0)
    return chain, clock


def turn_until(chain: Chain, holds: Callable[[TickResult], bool]) -> None:
    for tick in chain.ticks():
        if holds(tick):
            return
    raise AssertionError(f"it never came: {chain.state.run.status} {chain.state.run.reason}")


def happened(name: str) -> Callable[[TickResult], bool]:
    return lambda tick: any(fact.name == name for fact in tick.facts)


def sought_for(
    chain: Chain, clock: OwnClock, begin: str, end: str, befalls: str, after: timedelta
) -> tuple[timedelta, timedelta]:
    """How long it was looked for on the world's clock, less any sleep: until what befalls the machine, and until the end."""
    turn_until(chain, happened(begin))
    world = chain.kaggle.clock
    begun_at = world.now()
    turn_until(chain, lambda _: world.now() - begun_at >= after)
    before, woken_at = world.now() - begun_at, world.now()
    BEFALL[befalls](chain, clock)
    slept = world.now() - woken_at
    turn_until(chain, happened(end))
    return before, world.now() - begun_at - slept


def datasets(action: DatasetAction, seconds: float = 0.0) -> FaultPlan:
    return FaultPlan(datasets=(DatasetFault(version=1, action=action, seconds=seconds),))


@pytest.mark.slow
@pytest.mark.parametrize("befalls", BEFALL)
@pytest.mark.parametrize(
    ("faults", "most", "own_files"),
    [
        (datasets(DatasetAction.VANISH), 30 * MINUTE, False),
        (datasets(DatasetAction.VANISH), 30 * MINUTE, True),
        (datasets(DatasetAction.SLOW, 1e6), HOUR, False),
    ],
    ids=["never shown", "own files never shown", "processed for ever"],
)
def test_a_dataset_is_looked_for_as_long_whatever_befalls_the_clock(
    folder: Path, faults: FaultPlan, most: timedelta, own_files: bool, befalls: str
) -> None:
    """Nothing but the looks of a daemon that is there count, and what comes between two of them counts for little."""
    chain, clock = chain_of(folder, faults, own_files=own_files)
    names = ("inputs_offered", "inputs_dropped") if own_files else ("dataset_offered", "dataset_dropped")
    _, lasted = sought_for(chain, clock, *names, befalls, after=most * 2 / 3)
    assert most - 2 * MINUTE <= lasted <= most + 3 * MINUTE
    offered = [fact.name for _, fact in chain.store.facts(chain.run)].count(names[0])
    assert offered == 1


@pytest.mark.slow
@pytest.mark.parametrize("befalls", BEFALL)
def test_a_dataset_that_is_shown_late_is_sent_once_whatever_befalls_the_clock(folder: Path, befalls: str) -> None:
    chain, clock = chain_of(folder, datasets(DatasetAction.LAG, 1700.0))
    sought_for(chain, clock, "dataset_offered", "checkpoint_published", befalls, after=10 * MINUTE)
    sent = chain.kaggle.world.datasets.sent
    assert {name: times for name, times in sent.items() if "c0001" in name} == {"sim-0001-c0001": 1}


def test_a_session_that_is_lost_begins_the_wait_for_a_dataset_not_anew(folder: Path) -> None:
    """With `handoff: kernel-output` a dataset is published while the next session runs."""
    faults = datasets(DatasetAction.SLOW, 1e6)
    chain = Chain(SimulatedKaggle(pipeline(handoff="handoff: kernel-output"), faults), folder)
    turn_until(chain, happened("dataset_offered"))
    turn_until(chain, happened("seen_running"))
    turn_until(chain, lambda _: chain.store.watch(chain.run).search_s["sim-0001-c0001"] > 0)
    sums = chain.store.watch(chain.run).search_s
    chain.store.request(chain.run, "resume", {"abandon_session": chain.state.sessions[-1].slug}, chain.clock.now())
    turn_until(chain, happened("session_lost"))
    assert chain.store.watch(chain.run).search_s == sums


@pytest.mark.parametrize("befalls", BEFALL)
def test_a_push_is_looked_for_as_long_whatever_befalls_the_clock(folder: Path, befalls: str) -> None:
    late = FaultPlan(pushes=(PushFault(push=1, action=PushAction.LATE, seconds=1e6),))
    chain, clock = chain_of(folder, late)
    _, lasted = sought_for(chain, clock, "push_unclear", "push_unfound", befalls, after=6 * MINUTE)
    assert 8 * MINUTE <= lasted <= 13 * MINUTE
    assert [fact.name for _, fact in chain.store.facts(chain.run)].count("push_unclear") == 1


def test_a_push_under_way_is_looked_for_from_the_beginning_after_the_run_was_taken_over(folder: Path) -> None:
    """Whoever worked on the run before may have pushed just then, and Kaggle may not show it yet."""
    late = FaultPlan(pushes=(PushFault(push=1, action=PushAction.LATE, seconds=1e6),))
    chain, _ = chain_of(folder, late)
    turn_until(chain, happened("push_unclear"))
    begun_at = chain.kaggle.clock.now()
    turn_until(chain, lambda _: chain.kaggle.clock.now() - begun_at >= 8 * MINUTE)
    chain.store.request(chain.run, "resume", {"take_over": chain.identity}, chain.clock.now())
    turn_until(chain, happened("run_taken_over"))
    taken_at = chain.kaggle.clock.now()
    turn_until(chain, happened("push_unfound"))
    assert 10 * MINUTE <= chain.kaggle.clock.now() - taken_at <= 13 * MINUTE


@pytest.mark.slow
@pytest.mark.parametrize("befalls", BEFALL)
def test_a_push_that_is_carried_out_late_runs_once_whatever_befalls_the_clock(folder: Path, befalls: str) -> None:
    late = FaultPlan(pushes=(PushFault(push=1, action=PushAction.LATE, seconds=470.0),))
    chain, clock = chain_of(folder, late)
    sought_for(chain, clock, "push_unclear", "push_confirmed", befalls, after=6 * MINUTE)
    clock.off = timedelta(0)
    assert final_digest(chain.drive()) == expected_digest(GPU)
    assert set(chain.kaggle.started.values()) == {1}


# --- planted ---------------------------------------------------------------------------


def by_the_clock(place: str, snapshot: Snapshot, shell: EffectContext) -> float:
    """For how long a dataset was looked for, as it was once counted: since Kaggle had taken it."""
    offered_at = next(c.offered_at for c in snapshot.state.checkpoints if c.place == place)
    return 0.0 if offered_at is None else (shell.clock.now() - offered_at).total_seconds()


@pytest.mark.slow
@pytest.mark.parametrize("counts", [True, False])
def test_a_wait_that_goes_by_the_clock_is_caught_by_the_simulator(
    folder: Path, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    if not counts:
        monkeypatch.setattr(import_module("orchestrator.engine.effects.publish"), "search_s", by_the_clock)
    chain, clock = chain_of(folder, datasets(DatasetAction.LAG, 1700.0))
    chain.settings = ClockSteps(clock, (ClockStep(tick=100, by=YEAR, between=False, noticed=False),))
    watched = Watched(chain)
    with (
        nullcontext()
        if counts
        else pytest.raises(InvariantBroken, match="nothing is given up before it was looked for: sim-")
    ):
        for tick in chain.ticks():
            watched.after(tick)
