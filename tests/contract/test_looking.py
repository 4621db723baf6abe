"""A look at a session is two calls to Kaggle, over real HTTP: its status, and its log while it runs."""

from pathlib import Path

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.core.plan import Limits
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.effects.poll import poll
from orchestrator.engine.home import HomeLayout
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, CallFault
from orchestrator.rehearsal.local_kaggle.sandbox import ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from state import machine
from state.facts.session import SeenRunning
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from state.model.statuses import Phase
from tests.contract.worlds import OWNER, PLAYED, QUICK, RULES, START, Place, kernel, key_of
from tests.simulation.pipelines import pipeline
from tests.unit.test_machine import SAMPLES, STARTED, path_to


class Counted(FaultInjector):
    """Remembers what was asked."""

    def __init__(self) -> None:
        super().__init__(NO_FAULTS)
        self.names: list[str] = []

    def call(self, name: str) -> CallFault | None:
        self.names.append(name)
        return super().call(name)


def looked(place: Place, home: Path, state: RunState) -> None:
    shell = EffectContext(place.gateway, HomeLayout(home), place.clock, Limits())
    poll(Snapshot(state=state), state.sessions[0], pipeline(), shell)


@pytest.mark.slow
def test_a_look_is_one_call_while_the_session_is_queued_and_two_while_it_runs(tmp_path: Path) -> None:
    counted, clock = Counted(), VirtualClock(START)
    kaggle = LocalKaggle(tmp_path / "kaggle", clock, RULES, NO_FAULTS, ScriptedSandbox(lambda *_: PLAYED), owner=OWNER)
    kaggle.world.fault_injector = counted  # before its server is up
    with kaggle:
        gateway = KaggleGateway([key_of(kaggle)], kaggle.url, sleep=clock.sleep, limits=QUICK)
        place, state = Place(gateway, kaggle.world, clock), machine.begin(STARTED, START)
        for fact in path_to(Phase.PUSHED):
            state = machine.apply(state, fact, START)
        gateway.push(kernel(state.sessions[0].slug))
        counted.names.clear()
        looked(place, tmp_path, state)
        assert counted.names == ["GetKernelSessionStatus"]
        place.wait(30)
        counted.names.clear()
        looked(place, tmp_path, machine.apply(state, SAMPLES[SeenRunning], clock.now()))
        assert counted.names == ["GetKernelSessionStatus", "LogStream"]
    assert HomeLayout(tmp_path).log(state.sessions[0]).read_text(encoding="utf-8").splitlines()[0] == "line 0"
