"""Disk faults of a simulated chain: failed writes, failed reads, and bits that flip between two daemons."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.base.errors import RelayError
from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.ownership import go_on_here
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.simulation.read_errors import (
    NO_READ_FAULTS,
    QUESTIONS,
    ReadPlan,
    Sectors,
    read_error,
    read_plan,
    unread,
)
from stages.contract import COMPILED_NAME, Manifest
from stages.session.packing import sha256_of
from state.facts.checkpoint import CheckpointDamaged, CheckpointPublished
from state.failures import StoreCorrupt, StoreUnavailable, translated
from state.model.run_state import RunState
from state.revisions import SchemaError
from state.store import Store

WRITES = ("append", "write_quota")
REFUSED_SHARE = 0.2
FLIPPED_EVERY = 150
"""Inverse probability that a chain uses the real database just for bit flips, besides those that use it anyway."""


class BackupsGone(RelayError):
    """Raised when the database is damaged and has no backup: relay stops with an error message, which is no defect."""


@dataclass(frozen=True)
class Flip:
    """A bit that flips after one daemon has died and before the next starts."""

    after_crash: int
    place: float
    """Position among the non-zero bytes, from 0 (inclusive) to 1 (exclusive)."""
    bit: int


@dataclass(frozen=True)
class DiskPlan:
    """All disk faults drawn for one chain."""

    on_disk: bool = False
    """True if the chain uses the real database only for these faults."""
    refused: frozenset[int] = frozenset()
    """Indices (from 0) of the chain's writes that fail for lack of space."""
    flips: tuple[Flip, ...] = ()
    reads: ReadPlan = NO_READ_FAULTS


NO_DISK_FAULTS = DiskPlan()


def disk_plan(seed: int, crashes: int, *, on_disk: bool) -> DiskPlan:
    """Draw the plan of a seed. It uses its own generator, so that the seed's other draws stay the same."""
    rng = random.Random(f"relay simulates {seed}: disks")
    wanted = rng.randrange(FLIPPED_EVERY) == 0
    refused: set[int] = set()
    if rng.random() < REFUSED_SHARE:
        for _ in range(rng.randint(1, 3)):
            first = rng.randint(0, 60)
            refused.update(range(first, first + rng.choice((1, 1, 4))))
    flips = tuple(
        Flip(after_crash=crash, place=rng.random(), bit=rng.randrange(8))
        for crash in range(1, crashes + 1)
        if rng.random() < 0.7
    )
    if not (on_disk or wanted):
        flips = ()
    return DiskPlan(on_disk=wanted and bool(flips), refused=frozenset(refused), flips=flips, reads=read_plan(seed))


@dataclass
class FaultyDisk:
    """The disk below one chain's database, with a record of the faults that struck."""

    plan: DiskPlan
    home: HomeLayout
    real: bool
    """True if the chain uses the real database."""
    struck: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    questions: int = 0
    lost: bool = False
    """True if the database was damaged before there was a backup."""
    identity: str = ""
    """Identity of the home folder."""

    def __post_init__(self) -> None:
        self._sectors = Sectors(self.plan.reads, self.home.path, lambda what: self.struck.update([what]))

    def around(self, store: Any) -> Any:
        """Wrap the store so that the planned writes and reads fail."""
        return _Refusing(store, self) if self.plan.refused or self.plan.reads.questions else store

    @contextmanager
    def under(self) -> Iterator[None]:
        """Make the planned file reads fail inside the context."""
        if not self.plan.reads.sectors:
            yield
            return
        with unread(self._sectors.refuses):
            yield

    def begins(self, now: Callable[[], Any]) -> None:
        """Make a backup, as a starting daemon does."""
        if self.plan.flips:
            Backups(self.home).make_by_itself(now())

    def after(self, tick: TickResult, now: Callable[[], Any]) -> None:
        """Make a backup after a tick, if the daemon would."""
        if self.plan.flips and any(isinstance(fact, CheckpointPublished) for fact in tick.facts):
            Backups(self.home).make_by_itself(now())

    def kept(self, tick: TickResult, state: RunState) -> None:
        """Assert that a checkpoint is given up as damaged only if one of its files is intact nowhere on this disk."""
        for fact in tick.facts:
            if not isinstance(fact, CheckpointDamaged):
                continue
            name = checkpoint_of(state.run.id, fact.number, fact.attempt)
            files = Manifest.from_json(state.checkpoint(name).manifest).files
            here = {sha256_of(path) for path in self.home.run(state.run.id).rglob("*") if path.is_file()}
            lost = {entry.path for entry in files if entry.sha256 not in here} - {COMPILED_NAME}
            assert lost, f"{name} was given up, and every byte of it is still on this disk"

    def flips_after(self, crash: int) -> bool:
        """Flip the bits drawn for this crash. Return True if there were any."""
        due = [flip for flip in self.plan.flips if flip.after_crash == crash]
        for flip in due:
            turn_over(self.home.database, flip)
            self.struck["disk: a bit turned over"] += 1
        return bool(due)

    def opened(self, run: str, now: Callable[[], Any]) -> Store:
        """Open the database as the next daemon does; if it is damaged, restore a backup as a user would.

        Raises BackupsGone if there is no backup.
        """
        try:
            return self._sound(run)
        except (StoreCorrupt, SchemaError, KeyError) as error:
            return self.restored(str(error), now)

    def restored(self, why: str, now: Callable[[], Any]) -> Store:
        """Replace a damaged database by a backup. Raises BackupsGone if there is none."""
        assert "\n" not in why, f"more than one sentence: {why}"
        backups = Backups(self.home)
        backup = backups.sound(lambda sentence: None)
        if backup is None:
            self.lost = True
            raise BackupsGone(why)
        self.struck["disk: a backup was put back"] += 1
        assert self.struck["disk: a backup was put back"] <= len(self.plan.flips), (
            f"restoring a backup did not help: {why}"
        )
        backups.put_back(backup, now())
        store = Store.at(self.home.path)
        go_on_here(store, self.identity, now())
        return store

    def _sound(self, run: str) -> Store:
        store = Store.at(self.home.path)
        store.verify()
        store.snapshot(run)
        return store

    def is_silent(self) -> bool:
        """Return True if the next database query fails."""
        number, self.questions = self.questions, self.questions + 1
        if number not in self.plan.reads.questions:
            return False
        self.struck["disk: the database could not be read"] += 1
        return True

    def refuses(self) -> bool:
        """Return True if the next write fails for lack of space."""
        number, self.writes = self.writes, self.writes + 1
        if number not in self.plan.refused:
            return False
        self.struck["disk: a write found no room"] += 1
        return True


class _Refusing:
    """Store whose planned writes and reads fail: really, if it is on disk, otherwise by raising the same error."""

    def __init__(self, inner: Any, disk: FaultyDisk) -> None:
        self._inner, self._disk = inner, disk

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in QUESTIONS:
            return self._asked(found)
        if name not in WRITES:
            return found

        def write(*args: Any, **options: Any) -> Any:
            if not self._disk.refuses():
                return found(*args, **options)
            if self._disk.real:
                with no_room():
                    found(*args, **options)
            raise StoreUnavailable("the disk that holds relay.db is full or fails: make room, then try again")

        return write

    def _asked(self, found: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any, **options: Any) -> Any:
            if not self._disk.is_silent():
                return found(*args, **options)
            if self._disk.real:
                with unread(database=True):
                    found(*args, **options)
            words = translated(read_error(), self._disk.home.database)
            assert words is not None
            raise words

        return ask


@contextmanager
def no_room() -> Iterator[None]:
    """Prevent this process from extending any file inside the context, as on a full disk."""
    import resource  # missing on Windows, where chains are simulated in memory only

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def turn_over(database: Path, flip: Flip) -> None:
    """Flip one bit of a file, in a non-zero byte."""
    data = bytearray(database.read_bytes())
    held = [place for place, byte in enumerate(data) if byte]
    data[held[int(flip.place * len(held))]] ^= 1 << flip.bit
    database.write_bytes(data)
