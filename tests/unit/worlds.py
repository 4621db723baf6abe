"""Small worlds for tests: a virtual clock, a scripted sandbox, and short ways to push and to look."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.base.clock import VirtualClock
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.kernel_records import KernelSession, Save, SaveAnswer
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World

OWNER = "alice"
HOUR = 3600.0

IDLES = Played(ends_after_s=100.0)

Mounts = Mapping[str, Mapping[str, bytes]]


class SmallWorld:
    """A world whose sessions do what `play` says; remembers every launch."""

    def __init__(
        self,
        play: Callable[[str, Mounts, float], Played] | Played = IDLES,
        rules: Rules | None = None,
        faults: FaultPlan = NO_FAULTS,
    ) -> None:
        self.clock = VirtualClock()
        self.launched: list[tuple[str, Mounts, float]] = []

        def behave(source: str, mounts: Mounts, limit_s: float) -> Played:
            self.launched.append((source, mounts, limit_s))
            return play if isinstance(play, Played) else play(source, mounts, limit_s)

        self.world = World(self.clock, ScriptedSandbox(behave), rules or Rules(), faults, owner=OWNER)

    def push(self, slug: str = "first-kernel", text: str = "print()", **more: Any) -> SaveAnswer:
        """Save and run a TPU kernel whose title is its slug."""
        given = {"title": slug, "machine_shape": "TpuV5E8", **more}
        return self.world.save_kernel(Save(slug=f"{OWNER}/{slug}", text=text, **given))

    def session(self, slug: str = "first-kernel", label: str = "") -> KernelSession:
        """The session as it is now."""
        with self.world.at_now():
            session = self.world.kernels.session(OWNER, slug, label)
        assert session is not None
        return session

    def create(self, slug: str, **files: bytes) -> None:
        """A dataset of small files."""
        with self.world.at_now() as now:
            kept = {name: Content.of_bytes(data, now) for name, data in files.items()}
            self.world.datasets.create(OWNER, slug, Describe(title=slug), kept, now)

    def add_version(self, slug: str, delete_old: bool = False, **files: bytes) -> None:
        """One more version of it."""
        with self.world.at_now() as now:
            kept = {name: Content.of_bytes(data, now) for name, data in files.items()}
            dataset = self.world.datasets.find(OWNER, slug)
            self.world.datasets.add_version(dataset, kept, "more", now, delete_old=delete_old)

    def after(self, seconds: float) -> "SmallWorld":
        """The same world, later."""
        self.clock.sleep(seconds)
        self.world.advance()
        return self
