"""1,000 single bits turned over anywhere in a checkpoint on its way: 1,000 found, none ever adopted."""

import hashlib
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.base.errors import Corrupt
from orchestrator.core.plan import Limits
from orchestrator.engine import effects
from orchestrator.engine.checkpoint_checks import damage_here
from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.collecting.collect import collect_output
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.platforms.port import FileWanted
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.simulation.chain import fast_folder
from stages.contract import MANIFEST_NAME, SEAL_NAME, Cursor, Manifest, Order, Parent, checkpoint_folder
from stages.session import parent_checkpoint
from stages.session.session_output import Output
from stages.stage import StageFailed
from state import machine
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished, CheckpointWithdrawn, PublishIntended
from state.facts.run import RunStarted
from state.facts.session import OutputCollected, PushConfirmed, PushIntended, SeenEnded, SessionPlanned
from state.model.run_state import RunState, Session
from state.model.snapshot import Snapshot
from tests.contract.worlds import QUICK, kernel, key_of
from tests.simulation.pipelines import pipeline
from tests.simulation.verifying import flipped
from tests.unit.counting_runs import counting
from tests.unit.counting_runs import order as usual
from tests.unit.worlds import OWNER, SmallWorld

SEED = 20261124
FLIPS = {"output": 300, "on the way": 60, "disk": 240, "dataset": 200, "mount": 200}
PIPELINE = pipeline()
ORDER: Order = usual(
    run="sim-0001",
    slug="sim-0001-s0001",
    token="0123456789abcdef01234567",
    stages=(counting("one", 100), counting("two", 120)),
    start=Cursor(stage="one", step=0),
)
KEY = {"number": 1, "attempt": 1}
NEWER, OLDER = Cursor(stage="one", step=48), Cursor(stage="one", step=40)


@dataclass
class Way:
    """A checkpoint's whole way: a session that left two real ones, a home folder, a dataset, a mount."""

    root: Path
    files: dict[str, bytes] = field(default_factory=dict)
    """What the session left, by its path below `/kaggle/working`."""

    def __post_init__(self) -> None:
        output = Output(self.root / "working", ORDER)
        for cursor in (OLDER, NEWER):
            state = self.root / f"state-{cursor.step}"
            (state / "deep").mkdir(parents=True)
            (state / "deep" / "weights.bin").write_bytes(random.Random(cursor.step).randbytes(3_000))
            self.newest = output.checkpoint(cursor, state, {"weights": "a" * 64})
        for path in (self.root / "working").rglob("*"):
            if path.is_file():
                self.files[path.relative_to(self.root / "working").as_posix()] = path.read_bytes()
        played = Played(ends_after_s=50.0, files=[(40.0, name, data) for name, data in self.files.items()])
        self.small = SmallWorld(played)
        self.gateway = DirectGateway(self.small.world)
        self.gateway.push(kernel(ORDER.slug))
        self.small.after(10_000)
        self.home = HomeLayout(self.root / "home")
        self.home.path.mkdir()

    @property
    def name(self) -> str:
        return "sim-0001-c0001"

    @property
    def folder(self) -> Path:
        """The checkpoint on this disk."""
        return self.home.checkpoint("sim-0001", self.name)

    def state(self, *more: Fact) -> RunState:
        """The run once the session has ended, and what followed."""
        started = RunStarted(
            run="sim-0001",
            pipeline_name="sim",
            owner=OWNER,
            accelerator="tpu",
            pipeline=PIPELINE.canonical(),
            pipeline_path="sim.yaml",
            pipeline_digest=PIPELINE.digest,
        )
        planned = SessionPlanned(
            **KEY, slug=ORDER.slug, token=ORDER.token, start=ORDER.start, parent=None, budget_s=9.0, limit_s=10.0
        )
        ended = SeenEnded(**KEY, worker="complete", message="")
        facts = (started, planned, PushIntended(**KEY), PushConfirmed(**KEY, kernel_version=1), ended, *more)
        return machine.fold([(self.small.clock.now(), fact) for fact in facts])

    def quarantine(self) -> Quarantine:
        return Quarantine(self.home, "sim-0001", self.small.clock.now())

    def collect(self, quarantine: Quarantine) -> OutputCollected:
        state = self.state()
        fact = collect_output(state, state.session(1, 1), PIPELINE, self.gateway, quarantine)
        assert isinstance(fact, OutputCollected)
        return fact

    def is_whole(self, manifest: Manifest, files: dict[str, bytes]) -> bool:
        """Whether these are the very bytes that the session wrote of that checkpoint."""
        below = checkpoint_folder(manifest.cursor) + "/"
        truth = {name.removeprefix(below): data for name, data in self.files.items() if name.startswith(below)}
        return files == {name: data for name, data in truth.items() if name != SEAL_NAME}

    def here(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def newest_files(self, *names: str) -> dict[str, bytes]:
        """The newest checkpoint's files of these names, by path."""
        below = checkpoint_folder(NEWER)
        return {f"{below}/{name}": self.files[f"{below}/{name}"] for name in names}


@pytest.fixture
def way() -> Iterator[Way]:
    with fast_folder() as folder:
        yield Way(folder)


def bits(files: dict[str, bytes], count: int, hop: str) -> Iterator[tuple[str, int]]:
    """So many bits, the same number in each file, one at a random place of each of as many equal stretches of it."""
    rng = random.Random(f"{SEED}/{hop}")
    for index, (name, data) in enumerate(sorted(files.items())):
        share = count * (index + 1) // len(files) - count * index // len(files)
        for stretch in range(share):
            first, last = 8 * len(data) * stretch // share, 8 * len(data) * (stretch + 1) // share
            yield name, rng.randrange(first, max(last, first + 1))


def found_in_output(way: Way) -> int:
    """The session's output holds another bit: the older checkpoint is taken, and it is whole."""
    found = 0
    with way.small.world.at_now() as now:
        kept = way.small.session(ORDER.slug).files
    for name, bit in bits(way.newest_files("state.bin", MANIFEST_NAME, SEAL_NAME), FLIPS["output"], "output"):
        kept[name] = Content.of_bytes(flipped(way.files[name], bit), now)
        quarantine = way.quarantine()
        fact = way.collect(quarantine)
        assert fact.manifest.cursor == OLDER, f"bit {bit} of {name} was adopted"
        assert way.is_whole(fact.manifest, way.here())
        found += bool(quarantine.found)
        kept[name] = Content.of_bytes(way.files[name], now)
        shutil.rmtree(way.folder)
    return found


def found_on_the_way(way: Way) -> int:
    """Another bit arrives over HTTP: the bytes are refused, kept aside, and come whole the next time."""
    files = way.newest_files("state.bin", MANIFEST_NAME)
    chosen = list(bits(files, FLIPS["on the way"], "on the way"))
    calls = tuple(
        CallFault(call="OutputFile", action=CallAction.FLIP, nth=2 * n + 1, after_bytes=bit // 8)
        for n, (_, bit) in enumerate(chosen)
    )
    played = Played(ends_after_s=5.0, files=[(1.0, name, data) for name, data in files.items()])
    sandbox = ScriptedSandbox(lambda *_: played)
    clock, found = way.small.clock, 0
    with LocalKaggle(way.root / "http", clock, Rules(), FaultPlan(calls=calls), sandbox, owner=OWNER) as kaggle:
        gateway = KaggleGateway([key_of(kaggle)], kaggle.url, sleep=clock.sleep, limits=QUICK)
        gateway.push(kernel(ORDER.slug))
        clock.sleep(3600)
        listed = {file.name: file for file in gateway.output(ORDER.slug, 1)}
        for name, _ in chosen:
            quarantine, into = way.quarantine(), way.root / "arrived"
            entry = _wanted(way, name)
            with pytest.raises(Corrupt), quarantine.watching("c", name.rpartition("/")[2], "output") as damaged:
                gateway.download(listed[name], into, replace(entry, damaged=damaged))
            found += bool(quarantine.found[0].kept) and not into.exists()
            gateway.download(listed[name], into, entry)
            assert into.read_bytes() == files[name]
            into.unlink()
    return found


def _wanted(way: Way, name: str) -> FileWanted:
    data = way.files[name]
    return FileWanted(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def found_on_disk(way: Way) -> int:
    """The copy here holds another bit: what is uploaded is what the session left."""
    found, fact = 0, way.collect(way.quarantine())
    state = way.state(fact, PublishIntended(**KEY))
    shell = EffectContext(way.gateway, way.home, way.small.clock, Limits())
    whole = way.here()
    for name, bit in bits(whole, FLIPS["disk"], "disk"):
        (way.folder / name).write_bytes(flipped(whole[name], bit))
        result = effects.publish(Snapshot(state=state), state.session(1, 1), PIPELINE, shell)
        with way.small.world.at_now():
            version = way.small.world.datasets.find(OWNER, way.name).versions[0]
            assert {path: content.read() for path, content in version.files.items()} == whole, f"bit {bit} of {name}"
        assert way.here() == whole
        found += [fact.name for fact in result.facts] == ["damage_found", "dataset_offered"]
        way.gateway.delete_dataset(way.name)
    return found


def found_in_dataset(way: Way) -> int:
    """The dataset holds another bit: it is gone after a look, and the copy here is whole."""
    found, fact = 0, way.collect(way.quarantine())
    state = way.state(fact, PublishIntended(**KEY), CheckpointPublished(**KEY))
    whole = way.here()
    for name, bit in bits(whole, FLIPS["dataset"], "dataset"):
        way.gateway.create_dataset(way.name, [way.folder / file for file in whole])
        way.small.after(1_000)
        with way.small.world.at_now() as now:
            kept = way.small.world.datasets.find(OWNER, way.name).versions[0].files
            kept[name] = Content.of_bytes(flipped(whole[name], bit), now)
        custody = CheckpointCopies(
            state.checkpoints[0], _session(state), way.gateway, way.home, way.quarantine(), state.run
        )
        answer = custody.verify_dataset(PIPELINE)
        found += isinstance(answer, CheckpointWithdrawn) and bool(custody.quarantine.found)
        assert way.gateway.find_dataset(way.name) is None
        assert damage_here(state.checkpoints[0], way.home) == {}
    return found


def _session(state: RunState) -> Session:
    return state.session(1, 1)


def found_at_the_mount(way: Way) -> int:
    """The next session's mount holds another bit: it does not train."""
    found, mount = 0, way.root / "input" / way.name
    mount.mkdir(parents=True)
    whole = {path.rpartition("/")[2]: data for path, data in way.newest_files("state.bin", MANIFEST_NAME).items()}
    for name, data in whole.items():
        (mount / name).write_bytes(data)
    order = replace(ORDER, session=2, start=NEWER, parent=Parent(name=way.name, digest=way.newest.digest))
    assert parent_checkpoint.open_parent(order, way.root / "input", way.root / "opened") is not None
    for name, bit in bits(whole, FLIPS["mount"], "mount"):
        (mount / name).write_bytes(flipped(whole[name], bit))
        with pytest.raises(StageFailed, match=r"damaged|not among the inputs"):
            parent_checkpoint.open_parent(order, way.root / "input", way.root / "unopened")
        found += not (way.root / "unopened").exists()
        (mount / name).write_bytes(whole[name])
    return found


HOPS = {
    "output": found_in_output,
    "on the way": found_on_the_way,
    "disk": found_on_disk,
    "dataset": found_in_dataset,
    "mount": found_at_the_mount,
}


@pytest.mark.slow
@pytest.mark.parametrize("hop", HOPS)
def test_every_bit_that_turned_over_on_a_checkpoints_way_is_found(way: Way, hop: str) -> None:
    """None cannot matter: a manifest is read in its own bytes, and its SHA-256 is elsewhere at every hop."""
    found = HOPS[hop](way)
    print(f"seed {SEED}, {hop}: {found} of {FLIPS[hop]} flipped bits found")
    assert found == FLIPS[hop]


def test_there_are_a_thousand_of_them() -> None:
    assert sum(FLIPS.values()) == 1_000
    assert FLIPS.keys() == HOPS.keys()
