"""Simulated chains on a played Slurm cluster: the platform's own code, and every invariant of the other chains."""

import random
from collections import Counter
from pathlib import Path
from typing import cast

from orchestrator.base.errors import BadInput
from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.simulation.chain import TICKS_MAX, Chain, Endless, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.cluster_faults import ClusterFaults, random_faults
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.rehearsal.simulation.invariants import InvariantBroken, Watched
from orchestrator.rehearsal.simulation.played_cluster import PlayedCluster
from orchestrator.rehearsal.simulation.runner import ASKED_MAX, DEFECTS, Ended, PrintLine
from orchestrator.rehearsal.simulation.sessions import CountingSessions
from orchestrator.slurm.options import ClusterOptions
from orchestrator.slurm.platform import SlurmPlatform
from orchestrator.views.fact_text import describe_tick
from state.model.statuses import RunStatus


def one(seed: int, pipeline: Pipeline, tell: PrintLine | None = None) -> Ended:
    """Run the chain of one seed; `tell` receives one line per event. Raises BadInput if no step fits into a session."""
    with fast_folder() as folder:
        simulation = ClusterSimulation(seed, pipeline, folder, tell)
        try:
            simulation.run()
            broken = ""
        except DEFECTS as error:
            broken = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return simulation.ended(broken)


class ClusterSimulation:
    """Chain on a cluster of its own, with the faults of a seed, or with those given."""

    def __init__(
        self,
        seed: int,
        pipeline: Pipeline,
        folder: Path,
        tell: PrintLine | None = None,
        faults: ClusterFaults | None = None,
    ) -> None:
        rng, limit_s = random.Random(f"relay simulates {seed}: on a cluster"), pipeline.limit_s
        usable_s = CountingSessions(pipeline).usable_s
        if usable_s <= 0:
            raise BadInput(f"{pipeline.name}: session.margin_s leaves no time for a step: lower it")
        step_s = min(usable_s * rng.uniform(1.5, 5.0) / pipeline.total_steps, usable_s / 3)
        self.seed, self._tell = seed, tell
        self.crash_points = [rng.choice((rng.randint(0, 9), rng.randint(0, 120))) for _ in range(rng.choice((0, 1, 3)))]
        self.answers_after_s = rng.uniform(60.0, 20_000.0)
        self.kaggle = SimulatedKaggle(pipeline, step_s=step_s, secret="")
        self.cluster = PlayedCluster(
            self.kaggle.clock,
            self.kaggle.behave,
            limit_s * rng.choice((0.0, 0.06, 0.9)),
            faults or random_faults(seed, self.kaggle.clock.now(), limit_s),
        )
        options = ClusterOptions(shared=str(folder / "shared"))
        platform = SlurmPlatform(options, sleep=self.kaggle.clock.sleep, host=self.cluster)
        (folder / "home").mkdir()
        self.chain = Chain(self.kaggle, folder / "home")
        self.chain.gateway = cast("Gateway", platform)
        self.watched = Watched(self.chain)
        self.ticks = self.crashes = self.asked = self._told = 0

    def run(self) -> None:
        """Run the chain to its end, through crashes and with the help of a simulated user. Raises InvariantBroken."""
        while self.ticks < TICKS_MAX:
            try:
                self._run_daemon(CrashPoint(self.crash_points.pop(0)) if self.crash_points else None)
            except Crash:
                self.crashes += 1
                self.watched.after(None)
                self._report("the daemon died")
            match self.chain.state.run.status:
                case RunStatus.FINISHED:
                    self.watched.at_the_end()
                    return
                case RunStatus.PARKED:
                    self._type_remedy()
        raise Endless(f"the chain does not end: {self.chain.state.run.status} {self.chain.state.run.reason}")

    def _run_daemon(self, crash_point: CrashPoint | None) -> None:
        for tick in self.chain.ticks(crash_point, TICKS_MAX - self.ticks):
            self.ticks += 1
            self.watched.after(tick)
            if len(running := self.cluster.running) > 1:
                raise InvariantBroken(f"at most one live session: {' and '.join(running)} are alive together")
            for what in self.cluster.struck[self._told :]:
                self._report(f"the cluster misbehaves: {what}")
            self._told = len(self.cluster.struck)
            for line in describe_tick(tick):
                self._report(line)

    def _type_remedy(self) -> None:
        self.asked += 1
        if self.asked > ASKED_MAX:
            raise Endless(f"a person typed {ASKED_MAX} remedies: {self.chain.state.run.reason}")
        self.kaggle.clock.sleep(self.answers_after_s)
        self.watched.paused()
        self._report(f"a person types {self.chain.state.run.remedy}")
        self.chain.ask_remedy()

    def ended(self, broken: str) -> Ended:
        """Return the outcome of the chain."""
        state = self.chain.state
        return Ended(
            seed=self.seed,
            status=state.run.status.value,
            sessions=len(state.sessions),
            ticks=self.ticks,
            crashes=self.crashes,
            checks=self.watched.checks,
            asked=self.asked,
            struck=Counter(self.cluster.struck),
            broken=broken,
        )

    def _report(self, text: str) -> None:
        if self._tell is not None:
            here = text.replace(str(self.chain.home.path.parent), "FOLDER")
            self._tell(f"{self.kaggle.clock.now():%Y-%m-%d %H:%M:%S}  {here}")
