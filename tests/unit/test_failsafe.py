"""The last catch: what relay itself fails at in one run parks that run, with the traceback, while the others go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import Refused
from orchestrator.core.plan import Limits
from orchestrator.engine.daemon import Daemon, LeaseKeeper
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.failsafe import EXCERPT_CHARS_MAX
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from state.failures import StoreCorrupt, StoreUnavailable
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.store import Store
from tests.simulation.pipelines import pipeline

DEFECTS: list[Exception] = [
    KeyError("an answer's key"),
    UnicodeEncodeError("utf-8", "half \ud83d", 5, 6, "surrogates not allowed"),
    OverflowError("date value out of range"),
    RecursionError("maximum recursion depth exceeded"),
    AssertionError("what cannot happen"),
    RuntimeError("x" * 100_000 + "\0\ud800"),
]


class Odd(DirectGateway):
    """Raises a defect whenever anything is asked of it."""

    def __init__(self, world: Any, defect: Exception) -> None:
        super().__init__(world)
        self.defect = defect

    def quota(self, accelerator: str) -> Any:
        raise self.defect

    find_kernel = push = session = quota  # type: ignore[assignment]


class Two:
    """Two runs on one database; what `odd` names has a gateway of its own, or none."""

    def __init__(self, folder: Path, defect: Exception, *, at_the_shell: bool = False) -> None:
        self.kaggle = SimulatedKaggle(pipeline())
        self.store = Store.at(folder)
        self.odd = Chain(self.kaggle, folder, run="sim-0001", store=self.store)
        self.well = Chain(self.kaggle, folder, run="sim-0002", store=self.store)
        self.defect, self.at_the_shell = defect, at_the_shell
        self.ticks: list[tuple[str, TickResult]] = []
        self.slept_s = 0.0

    def shell(self, state: RunState) -> EffectContext:
        world, clock = self.kaggle.world, self.kaggle.clock
        odd = state.run.id == self.odd.run
        if odd and self.at_the_shell:
            raise self.defect
        gateway = Odd(world, self.defect) if odd else DirectGateway(world)
        return EffectContext(gateway, HomeLayout(self.odd.home.path), clock, Limits(poll_s=120.0))

    def daemon(self, keeper: LeaseKeeper) -> Daemon:
        def listen(run: str, tick: TickResult) -> None:
            self.ticks.append((run, tick))

        clock = self.kaggle.clock
        return Daemon(self.store, self.shell, clock, keeper, listen, lambda _said: None, lambda: 0.0)

    def run(self, rounds: int) -> None:
        left = iter(range(rounds))
        with LeaseKeeper(self.store, self.kaggle.clock) as keeper:
            self.daemon(keeper).run(lambda: next(left, None) is None)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("at_the_shell", [False, True])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
def test_a_defect_parks_its_run_with_the_traceback_and_the_other_goes_on(
    folder: Path, defect: Exception, at_the_shell: bool
) -> None:
    two = Two(folder, defect, at_the_shell=at_the_shell)
    two.run(20)
    run = two.odd.state.run
    assert run.status is RunStatus.PARKED
    assert run.reason.startswith(f"relay itself failed at this run ({type(defect).__name__}: ")
    assert run.remedy == f"relay retry {run.id}"
    assert "test_failsafe.py" in run.excerpt
    assert type(defect).__name__ in run.excerpt.splitlines()[-1]
    assert len(run.reason) < 400
    assert len(run.excerpt) < EXCERPT_CHARS_MAX + 400
    (run.reason + run.excerpt).encode()
    assert two.well.state.sessions
    told = [fact.name for name, tick in two.ticks if name == run.id for fact in tick.facts]
    assert told.count("run_parked") == 1


def test_a_retry_after_the_cause_is_gone_carries_the_run_on(folder: Path) -> None:
    two = Two(folder, KeyError("x"))
    two.run(5)
    two.odd.ask_remedy()
    two.defect = Refused("Kaggle said no")
    two.at_the_shell = False
    two.shell = lambda _state: EffectContext(  # type: ignore[method-assign]
        DirectGateway(two.kaggle.world), HomeLayout(folder), two.kaggle.clock, Limits(poll_s=120.0)
    )
    two.run(20)
    assert two.odd.state.run.status is not RunStatus.PARKED


def test_a_run_that_cannot_even_be_parked_is_left_alone_for_a_while(folder: Path) -> None:
    two = Two(folder, KeyError("x"), at_the_shell=True)
    two.run(5)
    two.store.request(
        two.odd.run, "pause", {}, two.kaggle.clock.now()
    )  # something new, of a run that is parked already
    before = len([name for name, _ in two.ticks if name == two.odd.run])
    two.run(20)
    told = [tick for name, tick in two.ticks if name == two.odd.run][before:]
    assert 1 <= len(told) <= 3
    assert all("relay itself failed" in tick.failure for tick in told)


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), StoreCorrupt("damaged")], ids=["locked", "damaged"])
def test_what_concerns_the_database_is_not_taken_for_one_runs_defect(folder: Path, error: Exception) -> None:
    two = Two(folder, error, at_the_shell=True)
    with LeaseKeeper(two.store, two.kaggle.clock) as keeper, pytest.raises(type(error)):
        two.daemon(keeper).round()
    assert two.odd.state.run.status is RunStatus.ACTIVE
