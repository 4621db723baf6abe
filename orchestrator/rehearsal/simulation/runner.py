"""Runs simulated chains: one by its seed, reported tick by tick, or thousands on all cores, summed up."""

import functools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import RelayError
from orchestrator.engine.tick import TickResult
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.simulation import cancels, edits
from orchestrator.rehearsal.simulation.chain import TICKS_MAX, Chain, Endless, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.clock_steps import ClockSteps, OwnClock
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.rehearsal.simulation.disk_faults import BackupsGone, FaultyDisk
from orchestrator.rehearsal.simulation.invariants import Watched
from orchestrator.rehearsal.simulation.odd_text import OddlyWorded
from orchestrator.rehearsal.simulation.plans import ChainPlan, random_plan
from orchestrator.rehearsal.simulation.second_home import CopyIdentity, Interrupted, SecondHome
from orchestrator.rehearsal.simulation.stuck_answers import StuckGateway
from orchestrator.views import fact_text
from state.failures import IllegalTransition, StoreCorrupt
from state.leases import LeaseLost
from state.memory_store import MemoryStore
from state.model.statuses import RunStatus
from state.store import Store

ASKED_MAX = 40
"""Number of remedies that the simulated user types before the chain counts as endless."""
CHUNK = 25
DEFECTS = (
    AssertionError, AttributeError, IllegalTransition, LeaseLost, LookupError, OSError, RelayError, StoreCorrupt,
    TypeError, ValueError,
)  # fmt: skip
"""Exceptions that are defects. The seed is reported as broken, and the other chains continue."""

PrintLine = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """Outcome of one chain."""

    seed: int
    status: str
    sessions: int
    ticks: int
    crashes: int
    checks: int
    asked: int
    struck: Counter[str]
    broken: str = ""
    """Name of the broken invariant with its details; empty if all held."""


@dataclass
class Summary:
    """Totals over many chains."""

    chains: int = 0
    sessions: int = 0
    ticks: int = 0
    crashes: int = 0
    checks: int = 0
    asked: int = 0
    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    failed: list[Ended] = field(default_factory=list)

    def add(self, chain: Ended) -> None:
        """Add one chain to the totals."""
        self.chains += 1
        for name in ("sessions", "ticks", "crashes", "checks", "asked"):
            setattr(self, name, getattr(self, name) + getattr(chain, name))
        self.ended[chain.status] += 1
        self.struck += chain.struck
        if chain.broken:
            self.failed.append(chain)


def simulate(seeds: Iterable[int], pipeline: Pipeline | None = None) -> Summary:
    """Run the chain of every seed, one after the other in this process."""
    began_s, summary = monotonic_s(), Summary()
    for seed in seeds:
        summary.add(one(seed, pipeline))
    summary.seconds = monotonic_s() - began_s
    return summary


def simulate_on_all_cores(seeds: Sequence[int], pipeline: Pipeline | None = None) -> Summary:
    """Run the chain of every seed, distributed over one process per core."""
    began_s, summary = monotonic_s(), Summary()
    shares = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    workers = min(os.cpu_count() or 1, len(shares))
    if workers <= 1:
        return simulate(seeds, pipeline)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawned) as pool:
        for chains in pool.map(functools.partial(_share, pipeline), shares):
            for chain in chains:
                summary.add(chain)
    summary.seconds = monotonic_s() - began_s
    return summary


def _share(pipeline: Pipeline | None, seeds: Sequence[int]) -> list[Ended]:
    return [one(seed, pipeline) for seed in seeds]


def one(seed: int, pipeline: Pipeline | None = None, tell: PrintLine | None = None) -> Ended:
    """Run the chain of one seed; `tell` receives one line per event. That of a pipeline for a cluster runs on one."""
    if pipeline is not None and pipeline.platform == "slurm":
        from orchestrator.rehearsal.simulation import cluster_chain  # it imports this module

        return cluster_chain.one(seed, pipeline, tell)
    plan = random_plan(seed, pipeline)
    with fast_folder() as folder:
        simulation = Simulation(plan, folder, tell)
        try:
            simulation.run()
            broken = ""
        except BackupsGone:
            return simulation.ended("")
        except DEFECTS as error:
            broken = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return simulation.ended(broken)


class Simulation:
    """Chain being simulated."""

    def __init__(
        self, plan: ChainPlan, folder: Path, tell: PrintLine | None = None, store: Store | MemoryStore | None = None
    ) -> None:
        self.plan = plan
        self.kaggle = SimulatedKaggle(
            plan.pipeline, plan.faults, plan.rules, plan.play, plan.step_s, plan.variation, plan.stage_s
        )
        home = folder / "home"
        home.mkdir()
        if store is None:
            store = Store.at(home) if plan.on_disk else MemoryStore()
        known = plan.copied is not None and plan.copied.identity is CopyIdentity.KNOWN
        self.chain = Chain(self.kaggle, home, store=store, owned=known)
        self.own = OwnClock(self.kaggle.clock)
        self.chain.clock, self.chain.settings = self.own, ClockSteps(self.own, plan.settings)
        self.stuck = self._stuck(plan)
        odd = OddlyWorded(self.kaggle.gateway(), plan.oddities) if plan.oddities.all else None
        self.chain.gateway = self.stuck or odd
        # One home folder cannot know what another is about to do, so only this case tests both pushing at once.
        if known:
            gateway = self.chain.gateway or self.kaggle.gateway()
            self.chain.gateway = cast("Gateway", Interrupted(gateway, self._second_goes_on))
        self.disk = self.chain.disk = FaultyDisk(plan.disk, self.chain.home, real=not isinstance(store, MemoryStore))
        self.disk.identity = self.chain.identity
        self.watched = Watched(self.chain, self.kaggle.secret)
        self.second: SecondHome | None = None
        self.cancels = cancels.Cancels(self.chain, plan.cancels)
        self.edits = edits.Edits(self.chain, plan.edits)
        self.ticks = self.crashes = self.asked = 0
        self._tell = tell
        self._faults_reported = 0

    def _stuck(self, plan: ChainPlan) -> StuckGateway | None:
        """Return the gateway with the stuck answer of the plan; None if there is none."""
        if plan.stuck is None:
            return None
        redact = Credentials(
            method=Method.TOKEN, source="the simulation", username="me", secret=self.kaggle.secret
        ).redact
        return StuckGateway(self.kaggle.world, plan.stuck, functools.cache(redact), plan.pipeline.min_session_s)

    def run(self) -> None:
        """Run the chain to its end, through crashes and with the help of a simulated user. Raises Broken."""
        crash_points = list(self.plan.crashes)
        while self.ticks < TICKS_MAX:
            try:
                self._run_daemon(CrashPoint(crash_points.pop(0)) if crash_points else None)
            except StoreCorrupt as error:
                if not self.plan.disk.flips:
                    raise
                self._continue_with(self.disk.restored(str(error), self.kaggle.clock.now))
            match self.chain.state.run.status:
                case RunStatus.FINISHED:
                    self.watched.at_the_end()
                    return
                case RunStatus.CANCELLED:
                    self._report_typed(self.cancels.after_rest())
                    self.watched.paused()
                case RunStatus.PARKED:
                    self._type_remedy()
        raise Endless(f"the chain does not end: {self.chain.state.run.status} {self.chain.state.run.reason}")

    def ended(self, broken: str) -> Ended:
        """Return the outcome of the chain."""
        state = self.watched.state
        return Ended(
            seed=self.plan.seed,
            status="damaged" if self.disk.lost else state.run.status.value if state else "not begun",
            sessions=len(state.sessions) if state else 0,
            ticks=self.ticks,
            crashes=self.crashes,
            checks=self.watched.checks,
            asked=self.asked,
            struck=Counter(self.kaggle.world.fault_injector.struck)
            + self.disk.struck
            + Counter({cancels.STRUCK: self.cancels.taken_back, edits.STRUCK: self.edits.taken_over}),
            broken=broken,
        )

    def _run_daemon(self, crash_point: CrashPoint | None) -> None:
        """Run one daemon until it dies or has nothing left to do."""
        try:
            self.disk.begins(self.kaggle.clock.now)
            for tick in self._ticks(crash_point):
                self.ticks += 1
                self.watched.after(tick)
                self.disk.kept(tick, self.chain.state)
                self.disk.after(tick, self.kaggle.clock.now)
                self._report_tick(tick)
                if self.watched.state is not None and self.watched.state.run.awaits:
                    self._fix_cause()
                self._run_second_home()
                self._report_typed(self.cancels.after(self.ticks))
                self._report_typed(self.edits.after(self.ticks, tick.facts))
        except Crash:
            self.crashes += 1
            self.watched.after(None)
            self._report("the daemon died")
            if self.disk.flips_after(self.crashes):
                self._report("a bit of the database flipped")
                self._continue_with(self.disk.opened(self.chain.run, self.kaggle.clock.now))

    def _continue_with(self, store: Store) -> None:
        """Give the next daemon this database, which may be older than the last daemon's."""
        self.chain.store = store
        self.watched.goes_back()

    def _run_second_home(self) -> None:
        """Copy the home folder when the plan says so, and run the ticks of the copy's daemon."""
        copied = self.plan.copied
        if self.second is None and copied is not None and self.ticks > copied.after_ticks:
            self.second = SecondHome(self.chain, self.chain.home.path.with_name("copy"), copied)
            self.watched.join(self.second.chain)
            self._report("the home folder is copied, and another daemon works on the copy")
        if copied is not None and copied.identity is not CopyIdentity.KNOWN:
            self._second_goes_on()

    def _second_goes_on(self) -> None:
        if self.second is not None:
            self.second.go_on(self._check_second_tick)

    def _check_second_tick(self, tick: TickResult) -> None:
        assert self.second is not None
        self.watched.after_other(self.second.chain, tick)
        for line in fact_text.describe_tick(tick):
            self._report(f"the copy: {line}")

    def _ticks(self, crash_point: CrashPoint | None) -> Iterator[TickResult]:
        return self.chain.ticks(crash_point, TICKS_MAX - self.ticks)

    def _fix_cause(self) -> None:
        """Act as the user who fixes what relay waits for, on Kaggle or this machine; relay then continues by itself."""
        if self.stuck is not None and not self.stuck.is_mended:
            self.stuck.mended()
            self._report("a person fixes what is stuck on Kaggle")
        if self.own.off:
            self.own.off = timedelta(0)
            self._report("a person puts the clock right")

    def _type_remedy(self) -> None:
        self.asked += 1
        if self.asked > ASKED_MAX:
            raise Endless(f"a person typed {ASKED_MAX} remedies: {self.chain.state.run.reason}")
        self.kaggle.clock.sleep(self.plan.answers_after_s)
        self.watched.paused()
        self._report(f"a person types {self.chain.state.run.remedy}")
        self.chain.ask_remedy()

    def _report_typed(self, verb: str) -> None:
        if verb:
            self._report(f"a person types relay {verb} {self.chain.run}")

    def _report_tick(self, tick: TickResult) -> None:
        if self._tell is None:
            return
        struck = self.kaggle.world.fault_injector.struck
        for name in struck[self._faults_reported :]:
            self._report(f"Kaggle misbehaves: {name}")
        self._faults_reported = len(struck)
        for line in fact_text.describe_tick(tick):
            self._report(line)

    def _report(self, text: str) -> None:
        if self._tell is not None:
            # the folder differs from run to run, the output must not
            here = text.replace(str(self.chain.home.path), "HOME")
            self._tell(f"{self.kaggle.clock.now():%Y-%m-%d %H:%M:%S}  {here}")
