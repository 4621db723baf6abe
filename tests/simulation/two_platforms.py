"""A simulated run with two platforms: a Kaggle, and a world that stands for a Slurm cluster with folders of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.app.app import App
from orchestrator.app.platforms import Platforms
from orchestrator.app.settings import Settings
from orchestrator.core.commands import Wait
from orchestrator.engine.tick import TickResult, tick
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Platform
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.sandbox import ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.world import World
from orchestrator.rehearsal.simulation.chain import LEASE_S, Chain, SimulatedKaggle
from orchestrator.rehearsal.simulation.crash_injection import (
    GATEWAY_CALLS,
    STORE_CALLS,
    Crash,
    CrashingProxy,
    CrashPoint,
)
from tests.simulation.pipelines import PIPELINE

SLURM = "platform: slurm\nslurm: {shared: /scratch/relay}"
ON_SLURM = PIPELINE.replace("TpuV5E8", f"cpu\n{SLURM}")
MEMBER = "me@cluster"
TICKS_MAX = 3000


class TwoWorlds(Platforms):
    """The platforms of the runs: a Kaggle's gateway, or that of the world which stands for the cluster."""

    def __init__(self, kaggle: Callable[[], Platform], cluster: Callable[[], Platform], chain: Chain) -> None:
        super().__init__(kaggle, chain.clock)
        self._cluster = cluster

    def of(self, pipeline: Pipeline) -> Platform:
        """Return the world that the pipeline names."""
        return self._kaggle() if pipeline.platform == "kaggle" else self._cluster()


def image_with(libtpu: str) -> FaultPlan:
    """Return a plan in which every session has this version of libtpu; one without faults if it is empty."""
    text = f"images: [{{session: 1, environment: {{RELAY_STAND_IN_LIBTPU: {libtpu}}}}}]"
    return FaultPlan.from_yaml(text) if libtpu else NO_FAULTS


class TwoPlatforms:
    """A chain that begins on Kaggle, and the application whose daemon carries it on wherever it goes."""

    def __init__(
        self,
        folder: Path,
        text: str = PIPELINE,
        *,
        beside: Path = Path(),
        images: tuple[str, str] = ("", ""),
        **more: Any,
    ) -> None:
        """Begin the run. Files that the pipeline names are in `beside`; `images` are the versions of libtpu here and there."""
        self._beside = beside
        self.kaggle = SimulatedKaggle(parse(text, "sim.yaml", beside))
        self.cluster = SimulatedKaggle(parse(ON_SLURM, "sim.yaml"))
        self.kaggle.faults, self.cluster.faults = map(image_with, images)
        self.cluster.clock = self.kaggle.clock
        sandbox = ScriptedSandbox(self.cluster.behave)
        self.cluster.world = World(self.kaggle.clock, sandbox, self.cluster.rules, self.cluster.faults, owner=MEMBER)
        self.chain = Chain(self.kaggle, folder, **more)
        self.app = App(Settings(folder, {}))
        self.app.clock = self.kaggle.clock  # type: ignore[assignment]
        self.app.store = self.chain.store  # type: ignore[assignment]
        self.app.platforms = TwoWorlds(self.kaggle.gateway, self.cluster.gateway, self.chain)

    def ask(self, text: str, owner: str) -> None:
        """Ask for a changed pipeline, as `relay edit` does."""
        run = self.chain.state.run
        arguments = {"pipeline": parse(text, "sim.yaml", self._beside).canonical(), "path": "sim.yaml", "owner": owner}
        self.chain.store.request(run.id, "edit", arguments, self.chain.clock.now())

    def drive(
        self,
        until: Callable[[TickResult], bool] = lambda result: False,
        crash_point: CrashPoint | None = None,
        run: str = "",
    ) -> None:
        """Be one daemon until a tick is the wanted one, or until the run rests for good."""
        name, chain = run or self.chain.run, self.chain
        store: Any = chain.store
        chain.daemons += 1
        fence = store.take_lease(f"daemon-{chain.daemons}", chain.clock.now(), LEASE_S, lambda _: False).fence
        if crash_point is not None:
            store = CrashingProxy(store, crash_point, STORE_CALLS)
        for _ in range(TICKS_MAX):
            shell = replace(self.app.shell_for(chain.store.load(name)), limits=chain.limits)
            if crash_point is not None:
                gateway: Any = CrashingProxy(shell.gateway, crash_point, GATEWAY_CALLS)
                shell = replace(shell, gateway=gateway)
            result = tick(store, name, shell, fence)
            if until(result):
                return
            if isinstance(result.command, Wait):
                if result.command.until is None:
                    return
                chain.clock.sleep((result.command.until - chain.clock.now()).total_seconds())
        raise AssertionError(f"the run does not rest: {chain.state.run.status} {chain.state.run.reason}")

    def survive(self, at: int, run: str = "") -> bool:
        """Be a daemon that dies at the `at`-th boundary, and then another one; return False if there is no such boundary."""
        try:
            self.drive(crash_point=CrashPoint(at), run=run)
        except Crash:
            self.drive(run=run)
            return True
        return False


def happened(*names: str) -> Callable[[TickResult], bool]:
    """Return whether a tick has a fact of one of these names."""
    return lambda result: any(fact.name in names for fact in result.facts)
