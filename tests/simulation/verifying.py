"""Simulated sessions that check the bytes of what is mounted, as real ones do, and ways to damage a copy."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kaggle_kernels import build
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle
from stages.contract import MANIFEST_NAME, SEAL_NAME, Manifest, Order, Report, seal_of
from stages.documents import ContractError
from state.facts.base import Fact

Mounts = Mapping[str, Mapping[str, bytes]]


@dataclass
class Verifying(SimulatedKaggle):
    """A world whose sessions refuse a parent that is not what its manifest says."""

    def behave(self, source: str, mounts: Mounts, limit_s: float) -> Played:
        try:
            if all(whole(files) for files in mounts.values()):
                return super().behave(source, mounts, limit_s)
            cause, transient = "parent-corrupt", False
        except ContractError:
            cause, transient = "parent-missing", True  # it is found by its manifest
        order = build.order_in(source)
        assert order is not None
        self.started[order.slug] += 1
        self.mounted.append(set(mounts))
        return refusing(order, cause, transient=transient)


def whole(files: Mapping[str, bytes]) -> bool:
    """Whether every checkpoint among the mounted files has the bytes that its manifest names."""
    for path, data in files.items():
        if path.rpartition("/")[2] == MANIFEST_NAME:
            below = path.removesuffix(MANIFEST_NAME)
            for entry in Manifest.from_json(data).files:
                if hashlib.sha256(files[below + entry.path]).hexdigest() != entry.sha256:
                    return False
    return True


def refusing(order: Order, cause: str, *, transient: bool = False) -> Played:
    """A session that did not get its parent."""
    report = Report(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        outcome="failed",
        started=order.start,
        reached=order.start,
        cause=cause,
        reason=f"the checkpoint arrived damaged ({cause})",
        transient=transient,
    )
    return Played(ends_after_s=5.0, exit_code=1, files=[(5.0, "relay/report.json", report.to_json().encode())])


def flipped(data: bytes, bit: int = 0) -> bytes:
    """The data with one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def rot(path: Path, bit: int = 0) -> None:
    """Turn over one bit of a file of this disk."""
    path.write_bytes(flipped(path.read_bytes(), bit))


def drive_until(chain: Chain, fact: str) -> Fact:
    """Tick until the first fact of that name; the daemon may be driven on afterwards."""
    for tick in chain.ticks():
        for found in tick.facts:
            if found.name == fact:
                return found
    raise AssertionError(f"{fact} never happened: {chain.state.run}")


def lose_output(chain: Chain, slug: str) -> None:
    """Kaggle keeps nothing of what a session left."""
    with chain.kaggle.world.at_now():
        session = chain.kaggle.world.kernels.session("me", slug, "")
        assert session is not None
        session.files.clear()


def spoil_dataset(chain: Chain, slug: str, file: str = "state.bin", bit: int = 0) -> None:
    """One bit of a published file turns over where Kaggle keeps it."""
    with chain.kaggle.world.at_now() as now:
        version = chain.kaggle.world.datasets.version("me", slug, None, now)
        assert version is not None
        version.files[file] = Content.of_bytes(flipped(version.files[file].read(), bit), now)


def facts(chain: Chain, name: str) -> list[Fact]:
    """All facts of that name, oldest first."""
    return [fact for _, fact in chain.store.facts(chain.run) if fact.name == name]


def sealed(files: Iterable[tuple[float, str, bytes]]) -> list[tuple[float, str, bytes]]:
    """What a session leaves, with the seals that fit its manifests, as if it had written them so."""
    files = list(files)
    seals = {path.replace(MANIFEST_NAME, SEAL_NAME): seal_of(data) for _, path, data in files if MANIFEST_NAME in path}
    return [(at_s, path, seals.get(path, data)) for at_s, path, data in files]
