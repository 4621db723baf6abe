"""Simulated chain: a Kaggle that outlives the daemon, and a run whose daemon may be replaced at any time."""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_kernels import build
from orchestrator.base.clock import Clock, VirtualClock
from orchestrator.base.errors import BadInput
from orchestrator.core.commands import Wait
from orchestrator.core.plan import Limits, search_limits
from orchestrator.core.selectors import checkpoint_at
from orchestrator.engine.daemon import IDLE_S
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import TickResult, tick
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.kaggle.gateway import Gateway
from orchestrator.pipeline.model import Pipeline, canonical_in
from orchestrator.pipeline.sections import OriginOptions
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World
from orchestrator.rehearsal.simulation.crash_injection import (
    GATEWAY_CALLS,
    STORE_CALLS,
    CrashingProxy,
    CrashPoint,
)
from orchestrator.rehearsal.simulation.hash_chain import digest_of, uncut
from orchestrator.rehearsal.simulation.sessions import CountingSessions, TrainedOn
from orchestrator.rehearsal.simulation.timing_variation import TimingVariation
from stages.contract import Manifest, Order
from stages.session.numerics_record import STAND_IN_LIBTPU
from state.facts.run import RunStarted
from state.failures import StoreUnavailable
from state.memory_store import MemoryStore
from state.model.run_origin import RunOrigin
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.store import Store

if TYPE_CHECKING:
    from orchestrator.rehearsal.simulation.clock_steps import ClockSteps
    from orchestrator.rehearsal.simulation.disk_faults import FaultyDisk

RUN = "sim-0001"
IDENTITY = "home-one@simulated"
TICKS_MAX = 2000
LEASE_S = 3600.0


class Endless(AssertionError):
    """Raised when a chain does not end within `TICKS_MAX` ticks."""


@dataclass
class SimulatedKaggle:
    """A local Kaggle that outlives the daemon, with a record of what its sessions did."""

    pipeline: Pipeline
    faults: FaultPlan = NO_FAULTS
    rules: Rules = field(default_factory=lambda: Rules(queue_s=PerKind.all(60.0)))
    play: Callable[[Order, Played, int], Played] = lambda order, played, index: played
    """Callback that alters the index-th session (counted from 1)."""
    step_s: float = 10.0
    variation: TimingVariation | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a step by stage, where they are not `step_s`."""
    secret: str = "KGAT_" + "5ec0" * 8
    """API token of the account. Each session writes it into its log, and it must not leak any further."""

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.started: Counter[str] = Counter()
        self.mounted: list[set[str]] = []
        self.trained: list[TrainedOn] = []
        self.uncut, self._digest = uncut(self.pipeline), self.pipeline.digest
        self.world = World(self.clock, ScriptedSandbox(self.behave), self.rules, self.faults, owner="me")
        self._counting = CountingSessions(self.pipeline, self.step_s, self.variation, self.stage_s)
        self._offer_inputs()

    def behave(self, source: str, mounts: Mapping[str, Mapping[str, bytes]], limit_s: float) -> Played:
        """Play the session of a script that finds these files mounted, by mount and name."""
        self.mounted.append(set(mounts))
        order = build.order_in(source)
        assert order is not None, "a kernel that no order was baked into"
        self.started[order.slug] += 1
        libtpu = self.faults.image(sum(self.started.values())).get(STAND_IN_LIBTPU, "")
        played, trained = self._sessions_of(order).play(order, mounts, libtpu)
        if trained is not None:
            self.trained.append(trained)
        careless = [(0.0, f"the environment is KAGGLE_API_TOKEN={self.secret}"), *played.lines]
        return self.play(order, replace(played, lines=careless), sum(self.started.values()))

    def _sessions_of(self, order: Order) -> CountingSessions:
        """Return what plays an order, which may be of a pipeline that was changed since the run began."""
        if order.pipeline_digest == self._digest:
            return self._counting
        text = canonical_in(order)
        assert text is not None, "an order without its pipeline"
        return replace(self._counting, pipeline=Pipeline.from_canonical(text))

    def gateway(self) -> DirectGateway:
        """Return the account's gateway, as a new daemon would open it."""
        token = Credentials(method=Method.TOKEN, source="the simulation", username="me", secret=self.secret)
        return DirectGateway(self.world, functools.cache(token.redact))

    def _offer_inputs(self) -> None:
        """Create what the pipeline mounts besides checkpoints: empty models and small datasets."""
        for model in self.pipeline.model_sources:
            self.world.offer_model(model, {})
        with self.world.at_now() as now:
            for ref in self.pipeline.dataset_sources:
                owner, slug, *_ = ref.split("/")
                if not self.world.datasets.exists(owner, slug):
                    files = {"data.txt": Content.of_bytes(b"data", now)}
                    self.world.datasets.create(owner, slug, Describe(title=slug), files, now)


class Chain:
    """Run in one home folder. Its `store` outlives the daemon."""

    def __init__(
        self,
        kaggle: SimulatedKaggle,
        home: Path,
        *,
        run: str = RUN,
        store: Store | MemoryStore | None = None,
        identity: str = IDENTITY,
        owned: bool = False,
        origin: RunOrigin | None = None,
    ) -> None:
        """Begin the run, from another run's checkpoint if `origin` is given.

        `owned`: the database records that it belongs to the home folder with that identity.
        """
        self.kaggle, self.home, self.run = kaggle, HomeLayout(home), run
        self.store = MemoryStore() if store is None else store
        self.gateway: Gateway | None = None
        """Gateway to use instead of `kaggle.gateway()`, to inject unusual answers."""
        self.clock: Clock = kaggle.clock
        """Clock of this machine, which may differ from Kaggle's."""
        self.settings: ClockSteps | None = None
        """Steps that adjust this machine's clock between ticks; None for none."""
        self.identity = identity
        self.disk: FaultyDisk | None = None
        """Faulty disk below the database; None for a sound one."""
        self.daemons = 0
        unclear_s, visible_s, processing_s = search_limits(kaggle.pipeline.limit_s)
        self.limits = Limits(
            poll_s=kaggle.pipeline.limit_s / 8, unclear_s=unclear_s, visible_s=visible_s, processing_s=processing_s
        )
        pipeline = kaggle.pipeline
        if origin is not None:
            section = OriginOptions(run=origin.run, at=origin.place)
            pipeline = pipeline.model_copy(update={"origin": section})
        for name in pipeline.inputs.files:
            path = self.home.inputs(run) / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}", encoding="utf-8")
        self.store.begin_run(
            RunStarted(
                run=run,
                pipeline_name=pipeline.name,
                owner="me",
                accelerator=pipeline.slot,
                pipeline=pipeline.canonical(),
                pipeline_path="sim.yaml",
                pipeline_digest=pipeline.digest,
                home=identity if owned else "",
                origin=origin,
            ),
            kaggle.clock.now(),
        )

    @property
    def state(self) -> RunState:
        """State of the run in the store."""
        return self.store.load(self.run)

    def ticks(self, crash_point: CrashPoint | None = None, ticks_max: int = TICKS_MAX) -> Iterator[TickResult]:
        """Run one daemon: tick until the run ends or is parked, sleeping on the simulated clock at each wait."""
        gateway: Any = self.gateway or self.kaggle.gateway()
        store: Any = self.store
        self.daemons += 1
        if self.settings is not None:
            self.settings.begun()
        fence = store.take_lease(f"daemon-{self.daemons}", self.clock.now(), LEASE_S, lambda _: False).fence
        if self.disk is not None:
            store = self.disk.around(store)
        if crash_point is not None:
            gateway, store = (
                CrashingProxy(gateway, crash_point, GATEWAY_CALLS),
                CrashingProxy(store, crash_point, STORE_CALLS),
            )
        shell = self.shell(gateway)
        for _ in range(ticks_max):
            try:
                if self.settings is not None and self.settings.turned():
                    store.clear_poll_times(fence)
                with self.disk.under() if self.disk is not None else nullcontext():
                    result = tick(store, self.run, shell, fence)
            except StoreUnavailable:  # like the daemon: nothing was changed, so retry
                self.clock.sleep(IDLE_S)
                continue
            yield result
            if isinstance(result.command, Wait):
                if result.command.until is None:
                    return
                self.clock.sleep((result.command.until - self.clock.now()).total_seconds())
        raise Endless(f"the chain does not end: {self.state.run.status} {self.state.run.reason}")

    def drive(self, crash_point: CrashPoint | None = None) -> RunState:
        """Run all ticks."""
        for _ in self.ticks(crash_point):
            pass
        return self.state

    def ask_remedy(self) -> None:
        """Act as the user who types the command that a parked run names."""
        state = self.state
        match state.run.remedy.split():
            case ["relay", ("resume" | "retry") as verb, run] if run == self.run:
                self.store.request(run, verb, {}, self.clock.now())
            case ["relay", "retry", run, "--pipeline", _, *rest] if run == self.run:
                self._retry_with_another_pipeline(state, rest)
            case ["relay", "resume", run, "--take-over"] if run == self.run:
                self.store.request(run, "resume", {"take_over": self.identity}, self.clock.now())
            case ["relay", "resume", run, "--from-step", wanted] if run == self.run:
                chosen = checkpoint_at(state, wanted).name
                self.store.request(run, "resume", {"checkpoint": chosen}, self.clock.now())
            case _:
                raise BadInput(f"{self.run} is parked without a command to type: {state.run.remedy!r}")

    def _retry_with_another_pipeline(self, state: RunState, rest: list[str]) -> None:
        """Act as the user who changes the pipeline, here by one more attempt, and goes on from a checkpoint, if named."""
        known = Pipeline.from_canonical(state.run.pipeline)
        session = known.session.model_copy(update={"attempts": known.session.attempts + 1})
        changed = known.model_copy(update={"session": session}).canonical()
        arguments = {"pipeline": changed, "path": state.run.pipeline_path}
        if rest:
            arguments["checkpoint"] = checkpoint_at(state, rest[-1]).name
        self.store.request(self.run, "retry", arguments, self.clock.now())

    def shell(self, gateway: Gateway) -> EffectContext:
        """Return the context of this run's effects."""
        return EffectContext(gateway, self.home, self.clock, self.limits, self.identity)


def final_digest(state: RunState) -> str:
    """Return the digest of the finished run's last checkpoint."""
    assert state.run.status is RunStatus.FINISHED, state.run
    assert state.head is not None
    return digest_of(Manifest.from_json(state.head.manifest))


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Create a temporary folder, in memory if possible: SQLite's synchronous writes would dominate a simulation."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="relay-sim-", dir=memory if memory.is_dir() else None) as found:
        yield Path(found)
