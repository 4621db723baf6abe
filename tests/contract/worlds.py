"""Worlds for the contract tests: a local Kaggle over real HTTP with scripted sessions, and a clock that tests move."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.base.clock import VirtualClock
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.kaggle.gateway import Gateway
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.platforms.port import KernelPush
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.world import World

OWNER = "alice"
START = datetime(2030, 1, 7, tzinfo=UTC)

QUICK = TransportLimits(connect_s=2.0, read_s=5.0, call_s=10.0, quiet_s=0.2, live_s=2.0, follow_s=5.0)

RULES = Rules(queue_s=PerKind.all(10.0), dataset_processing_s=60.0, log_wait_s=0.0)

STATE = bytes(range(256)) * 1024
"""What a session leaves as its checkpoint."""

PLAYED = Played(  # what every session does unless a test says otherwise
    ends_after_s=100.0,
    lines=tuple((float(second), f"line {second}") for second in range(0, 100, 10)),
    files=((50.0, "relay/report.json", b'{"half": true}'), (90.0, "relay/state.bin", STATE)),
)


@dataclass
class Place:
    """A gateway and the world behind it."""

    gateway: Gateway
    world: World
    clock: VirtualClock

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.sleep(seconds)
        self.world.advance()


def key_of(kaggle: LocalKaggle) -> Credentials:
    """The account's user name and key."""
    return Credentials(method=Method.KEY, source="the test", username=kaggle.owner, secret=kaggle.key)


@contextmanager
def over_http(
    root: Path,
    *,
    rules: Rules = RULES,
    faults: FaultPlan = NO_FAULTS,
    played: Played = PLAYED,
    limits: TransportLimits = QUICK,
) -> Iterator[Place]:
    """The real client talking to the local Kaggle."""
    clock = VirtualClock(START)
    sandbox = ScriptedSandbox(lambda *_: played)
    with LocalKaggle(root, clock, rules, faults, sandbox, owner=OWNER) as kaggle:
        uploads = root.with_name(f"{root.name}-uploads")
        gateway = KaggleGateway([key_of(kaggle)], kaggle.url, sleep=clock.sleep, limits=limits, uploads=uploads)
        yield Place(gateway, kaggle.world, clock)


@contextmanager
def directly(
    root: Path, *, rules: Rules = RULES, faults: FaultPlan = NO_FAULTS, played: Played = PLAYED
) -> Iterator[Place]:
    """The gateway of simulations, which asks the world without HTTP."""
    clock = VirtualClock(START)
    world = World(clock, ScriptedSandbox(lambda *_: played), rules, faults, owner=OWNER, directory=root)
    yield Place(DirectGateway(world), world, clock)


def kernel(slug: str = "gsm-3f9a-s0001", **fields: object) -> KernelPush:
    """A kernel that does nothing in particular."""
    return KernelPush(**{"slug": slug, "source": "# token 81c0\nprint('hello')\n", **fields})  # type: ignore[arg-type]
