"""Runs that are parked for each reason of docs/parked.md, and what a user does about each besides typing the command."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.base.errors import Transient
from orchestrator.engine import failsafe
from orchestrator.engine.home_identity import identity_of
from orchestrator.pipeline.loader import parse
from orchestrator.platforms.port import DatasetSeen, SessionSeen
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction, DatasetFault, FaultPlan, ImageChange
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.simulation.chain import LEASE_S, RUN, Chain, SimulatedKaggle
from orchestrator.rehearsal.simulation.sessions import died, failing, hung
from orchestrator.rehearsal.simulation.stuck_answers import HOURS, SLOT, StuckAnswer, StuckGateway
from stages.contract import Order
from stages.session.numerics_record import STAND_IN_LIBTPU
from state.facts.run import RunParked
from state.model.statuses import RunStatus
from state.store import Store
from tests.simulation.pipelines import PIPELINE
from tests.simulation.typed import told

TRAINING = PIPELINE.replace(
    "name: one, kind: counting, steps: 100", "name: one, kind: sft, steps: 100, options: {learning_rate: 0.003}"
)
PINS = "environment: [jax==0.10.2]\n"
UNPINNED = TRAINING + PINS
"""Trains with the compiler that the image has: its pins name none."""
OWN = PIPELINE.replace("name: one, kind: counting", "name: one, kind: 'own:train'")
MOUNTING = f"{PIPELINE}inputs: {{datasets: [me/my-set]}}\n"
BROKEN, MENDED = "def train(context):\n    broken\n", "def train(context):\n    mended()\n"


@dataclass
class Trouble:
    """What goes wrong until the user mends it: the `first`-th session that starts, and those after it."""

    change: Callable[[Order, Played], Played]
    first: int = 2
    mended: bool = False

    def play(self, order: Order, played: Played, index: int) -> Played:
        """Alter a session."""
        return played if self.mended or index < self.first else self.change(order, played)


@dataclass(frozen=True)
class ParkedRun:
    """A parked run. `mend` is what the user does before typing the command on the screen."""

    chain: Chain
    mend: Callable[[], None] = lambda: None
    more: tuple[str, ...] = ()
    """Words that the page or the reason tells to add to the command."""


@dataclass
class Bench:
    """A home folder on which a run is made, driven until it is parked, and mended."""

    folder: Path
    text: str = PIPELINE
    more: dict[str, Any] = field(default_factory=dict)

    def chain(self, *, owned_by: str = "") -> Chain:
        """Begin the run, whose pipeline file lies in the folder."""
        self.write(self.text)
        kaggle = SimulatedKaggle(parse(self.text, "sim.yaml", self.folder), **self.more)
        identity = identity_of(self.folder)
        chain = Chain(
            kaggle,
            self.folder,
            store=Store.at(self.folder),
            identity=owned_by or identity,
            owned=bool(owned_by),
        )
        chain.identity = identity
        return chain

    def write(self, text: str) -> None:
        """Write the pipeline file."""
        (self.folder / "sim.yaml").write_text(text, encoding="utf-8")

    def change(self, old: str, new: str) -> None:
        """Change the pipeline file."""
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.write(self.text)


def parked(chain: Chain) -> Chain:
    """Drive the run until it is parked."""
    for tick in chain.ticks():
        if any(isinstance(fact, RunParked) for fact in tick.facts):
            return chain
    raise AssertionError(f"it was not parked: {chain.state.run.status}")


def troubled(
    folder: Path, trouble: Trouble, mend: Callable[[Bench], None] = lambda bench: None, text: str = PIPELINE
) -> ParkedRun:
    """A run that is parked over its sessions; `mend` is what the user changes, after which they go well."""
    bench = Bench(folder, text, {"play": trouble.play})

    def mended() -> None:
        mend(bench)
        trouble.mended = True

    return ParkedRun(parked(bench.chain()), mended)


def failing_for(cause: str, reason: str, *, transient: bool = False, after_s: float = 105) -> Trouble:
    """Sessions that fail with a cause; the first one goes well."""
    return Trouble(lambda order, played: failing(order, played, after_s, cause, transient=transient, reason=reason))


# --- sessions ---------------------------------------------------------------------


def paused(folder: Path) -> ParkedRun:
    chain = Bench(folder).chain()
    for tick in chain.ticks():
        if any(fact.name == "seen_running" for fact in tick.facts):
            break
    told(chain, "pause", RUN)
    chain.drive()
    return ParkedRun(chain)


def stopped_at_the_limit(folder: Path) -> ParkedRun:
    return troubled(folder, Trouble(lambda order, played: hung(played, 500)), text=f"{PIPELINE}on_timeout: park\n")


def own_stage_broken(folder: Path) -> ParkedRun:
    (folder / "own.py").write_text(BROKEN, encoding="utf-8")

    def mend(bench: Bench) -> None:
        (folder / "own.py").write_text(MENDED, encoding="utf-8")

    return troubled(folder, failing_for("NameError@one", "NameError: broken"), mend, OWN)


def failed_for_another_cause(folder: Path) -> ParkedRun:
    return troubled(folder, failing_for("no-egress", "the hub cannot be reached"))


def diverged(folder: Path) -> ParkedRun:
    reason = "the loss of one is nan at step 91: lower learning_rate or clip_norm"
    return troubled(folder, failing_for("not-a-number", reason), _lower_rate, TRAINING)


def update_not_finite(folder: Path) -> ParkedRun:
    reason = (
        "weights w is not finite after one step 7, so no checkpoint is made of it: lower learning_rate or clip_norm"
    )
    return troubled(folder, failing_for("not-a-number", reason), _lower_rate, TRAINING)


def _lower_rate(bench: Bench) -> None:
    bench.change("0.003", "0.001")


def checkpoint_not_finite(folder: Path) -> ParkedRun:
    reason = "weights w of the checkpoint one step 40 is not finite"
    trouble = Trouble(lambda order, played: failing(order, played, 1, "checkpoint-not-finite", reason=reason), first=3)
    return troubled(folder, trouble)


def model_not_finite(folder: Path) -> ParkedRun:
    trouble = failing_for("model-not-finite", "embedder/w in the model's files is not finite", after_s=1)
    trouble.first = 1
    bench = Bench(folder, TRAINING, {"play": trouble.play})
    chain = parked(bench.chain())

    def mend() -> None:
        other = "google/gemma-2/flax/gemma2-2b-it/2"
        bench.change("stages:", f"model: {{source: {other}}}\nstages:")
        chain.kaggle.world.offer_model(other, {})
        trouble.mended = True

    return ParkedRun(chain, mend)


def guarded(folder: Path) -> ParkedRun:
    reason = "the loss of one is 9 at step 91 and has been above 3 for 5 steps: lower learning_rate or clip_norm"
    return troubled(folder, failing_for("loss-spike", reason), _lower_rate, TRAINING)


def image_rebuilt(folder: Path) -> tuple[Bench, Chain]:
    images = tuple(
        ImageChange(session=session, environment={STAND_IN_LIBTPU: version})
        for session, version in ((1, "0.0.17"), (2, "0.0.42.1"))
    )
    bench = Bench(folder, f"{UNPINNED}exactness: strict\n", {"faults": FaultPlan(images=images)})
    return bench, parked(bench.chain())


def compiler_changed(folder: Path) -> ParkedRun:
    bench, chain = image_rebuilt(folder)
    return ParkedRun(chain, lambda: bench.change("exactness: strict", "exactness: warn"))


def compiler_pinned(folder: Path) -> ParkedRun:
    bench, chain = image_rebuilt(folder)
    return ParkedRun(chain, lambda: bench.change(PINS, "environment: [jax==0.10.2, libtpu==0.0.17]\n"))


def out_of_memory(folder: Path) -> ParkedRun:
    reason = "one ran out of memory: RESOURCE_EXHAUSTED; at most 15.7 of a device's 16.0 GiB were in use"
    return troubled(folder, failing_for("out-of-memory", reason), _lower_rate, TRAINING)


def rows_changed(folder: Path) -> ParkedRun:
    return troubled(folder, failing_for("data-changed", "data: gsm8k is no longer what this run began with"))


def rows_missing(folder: Path) -> ParkedRun:
    reason = "data: gsm8k of the pipeline's inputs me/my-set is not mounted"
    return troubled(folder, failing_for("data-missing", reason, transient=True))


def step_too_large(folder: Path) -> ParkedRun:
    trouble = Trouble(lambda order, played: hung(played, 10) if order.limit_s < 2000 else played)
    return troubled(folder, trouble, lambda bench: bench.change("limit_s: 1000", "limit_s: 2000"))


def nothing_gained(folder: Path) -> ParkedRun:
    return troubled(folder, Trouble(lambda order, played: died(played, 20)))


def arrived_damaged(folder: Path) -> ParkedRun:
    return troubled(folder, failing_for("parent-corrupt", f"the checkpoint {RUN}-c0001 arrived damaged", after_s=5))


# --- Kaggle -----------------------------------------------------------------------


class Down(DirectGateway):
    """A Kaggle that says nothing of its sessions while `down`."""

    down = True

    def session(self, slug: str, version: int | None) -> SessionSeen:
        if self.down:
            raise Transient("the control plane is down")
        return super().session(slug, version)


def unanswered(folder: Path) -> ParkedRun:
    chain = Bench(folder).chain()
    gateway = Down(chain.kaggle.world)
    chain.gateway = gateway
    parked(chain)

    def mend() -> None:
        gateway.down = False

    return ParkedRun(chain, mend)


def unanswered_and_abandoned(folder: Path) -> ParkedRun:
    found = unanswered(folder)

    def mend() -> None:
        found.mend()
        found.chain.kaggle.world.delete_kernel("me", f"{RUN}-s0001")

    return ParkedRun(found.chain, mend, ("--abandon-session",))


def no_machine(folder: Path) -> ParkedRun:
    queue = Rules(queue_s=PerKind(7 * 3600.0, 0.0, 0.0))
    return ParkedRun(parked(Bench(folder, more={"rules": queue}).chain()))


def no_machine_and_deleted(folder: Path) -> ParkedRun:
    chain = no_machine(folder).chain
    return ParkedRun(chain, lambda: chain.kaggle.world.delete_kernel("me", f"{RUN}-s0001"), ("--abandon-session",))


def stuck(folder: Path, answer: str, rules: Rules) -> ParkedRun:
    chain = Bench(folder, more={"rules": rules}).chain()
    gateway = StuckGateway(chain.kaggle.world, StuckAnswer(answer, 2), str, chain.kaggle.pipeline.min_session_s)
    chain.gateway = gateway
    chain.limits = replace(chain.limits, slot_wait_s=3600.0, renewal_s=3600.0)
    return ParkedRun(parked(chain), gateway.mended)


def no_slot(folder: Path) -> ParkedRun:
    return stuck(folder, SLOT, Rules(queue_s=PerKind.all(60.0)))


def no_hours(folder: Path) -> ParkedRun:
    return stuck(folder, HOURS, Rules(queue_s=PerKind.all(60.0), quota_s=PerKind.all(1500.0)))


def name_taken(folder: Path) -> ParkedRun:
    chain = Bench(folder).chain()
    save = Save(slug=f"me/{RUN}-s0001", text="# mine", title=f"{RUN}-s0001", machine_shape="NvidiaTeslaT4")
    with chain.kaggle.world.at_now() as now:
        chain.kaggle.world.kernels.save(save, now, {})
        by_hand = chain.kaggle.world.kernels.session("me", f"{RUN}-s0001")
    assert by_hand is not None
    by_hand.starts_at += timedelta(days=30)  # it takes no slot of a TPU, and is never played
    return ParkedRun(parked(chain))


# --- home folders -------------------------------------------------------------------


def copied_home(folder: Path) -> ParkedRun:
    return ParkedRun(parked(Bench(folder).chain(owned_by="abc@elsewhere")))


def beside_another(folder: Path, *, same: bool) -> ParkedRun:
    """A run that another database has begun to work on: one of another home folder, or an older state of this one."""
    chain = Bench(folder).chain()
    other = Chain(chain.kaggle, folder / "other", identity=chain.identity if same else "abc@elsewhere")
    for tick in other.ticks():
        if any(fact.name == "push_confirmed" for fact in tick.facts):
            break
    return ParkedRun(parked(chain))


# --- datasets -----------------------------------------------------------------------


def with_datasets(folder: Path, action: DatasetAction, times: int) -> ParkedRun:
    faults = FaultPlan(datasets=tuple(DatasetFault(version=number, action=action) for number in range(1, times + 1)))
    return ParkedRun(parked(Bench(folder, more={"faults": faults}).chain()))


def _without(chain: Chain, slug: str) -> None:
    chain.kaggle.gateway().delete_dataset(slug)


def _offer(chain: Chain, slug: str) -> None:
    with chain.kaggle.world.at_now() as now:
        files = {"data.txt": Content.of_bytes(b"data", now)}
        chain.kaggle.world.datasets.create("me", slug, Describe(title=slug), files, now)


def source_misspelt(folder: Path) -> ParkedRun:
    bench = Bench(folder, MOUNTING)
    chain = bench.chain()
    _without(chain, "my-set")
    parked(chain)

    def mend() -> None:
        _offer(chain, "our-set")
        bench.change("me/my-set", "me/our-set")

    return ParkedRun(chain, mend, ("--pipeline", "sim.yaml"))


def source_missing(folder: Path) -> ParkedRun:
    bench = Bench(folder, MOUNTING)
    chain = bench.chain()
    _without(chain, "my-set")
    parked(chain)
    return ParkedRun(chain, lambda: _offer(chain, "my-set"))


def checkpoint_deleted(folder: Path) -> ParkedRun:
    chain = Bench(folder).chain()
    for tick in chain.ticks():
        if any(fact.name == "checkpoint_published" for fact in tick.facts):
            break
    _without(chain, chain.state.checkpoints[0].place)
    return ParkedRun(parked(chain))


class Bug(DirectGateway):
    """A gateway over which relay itself fails."""

    fixed = False

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        if not self.fixed:
            raise ZeroDivisionError("division by zero")
        return super().find_dataset(slug)


def relay_failed(folder: Path) -> ParkedRun:
    chain = Bench(folder).chain()
    gateway = Bug(chain.kaggle.world)
    chain.gateway = gateway
    try:
        chain.drive()
    except ZeroDivisionError as error:  # as the daemon does
        fence = chain.store.take_lease("daemon", chain.clock.now(), LEASE_S, lambda _: False).fence
        failsafe.parked(chain.store, RUN, error, chain.clock.now(), fence)  # type: ignore[arg-type]
    assert chain.state.run.status is RunStatus.PARKED

    def mend() -> None:
        gateway.fixed = True

    return ParkedRun(chain, mend)


SOON = timedelta(minutes=5)
"""Time that the user takes."""
