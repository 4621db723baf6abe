"""Finds what Kaggle has of a run: its kernels with their orders, and its datasets. Changes nothing on Kaggle."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_kernels import build
from orchestrator.base.disk import private_folder
from orchestrator.base.errors import BadInput, Corrupt, Transient
from orchestrator.core.plan import checkpoint_of, parse_key, parse_run, slug_of
from orchestrator.engine.collecting.files import DOCUMENT_BYTES_MAX
from orchestrator.engine.effects.session_status import seen_of
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import DatasetSeen, FileWanted, KernelFound, Platform, SessionSeen, Worker
from stages.contract import MANIFEST_NAME, Manifest, Order, Parent
from stages.documents import ContractError, NewerFormat
from state.model.dataset_names import copy_in, name_in, place_of
from state.model.run_origin import RunOrigin

Key = tuple[int, int]
"""(number, attempt) of a session."""

ABSENT_IN_A_ROW = 2
"""Number of consecutive session numbers without a kernel that end the search: a listing may lack the latest push."""


@dataclass(frozen=True)
class StartedSession:
    """A session that was really started: its order, and its status on Kaggle."""

    order: Order
    version: int | None
    seen: SessionSeen

    @property
    def key(self) -> Key:
        """(number, attempt)."""
        return (self.order.session, self.order.attempt)


@dataclass(frozen=True)
class FoundRun:
    """Everything found of one run. `orders` includes those of kernels that never ran, which are no sessions."""

    run: str
    orders: tuple[Order, ...]
    sessions: tuple[StartedSession, ...]
    datasets: dict[str, DatasetSeen]
    """Checkpoint datasets by their own name, whatever their status."""
    inputs: DatasetSeen | None

    @property
    def taken(self) -> dict[str, str]:
        """Name and digest of every checkpoint that a session was ordered to start from."""
        return {parent.name: parent.digest for parent in _own_parents(self.orders)}


@dataclass(frozen=True)
class RunOnKaggle:
    """Entry for one run in the list of runs on Kaggle."""

    run: str
    kernels: int
    whole: bool
    """True if the run's orders contain everything that adopting it needs."""


def runs_on_kaggle(gateway: Platform) -> tuple[RunOnKaggle, ...]:
    """Return every run that has a kernel on this account, by name."""
    slugs: dict[str, list[str]] = {}
    for slug in gateway.list_kernels(""):
        run = parse_run(slug)
        if run is not None:
            slugs.setdefault(run, []).append(slug)
    found = []
    for run, mine in sorted(slugs.items()):
        order = _first_order(mine, gateway)
        if order is not None:
            found.append(RunOnKaggle(run, len(mine), bool(order.pipeline_rest)))
    return tuple(found)


def order_in_kernel(slug: str, gateway: Platform) -> Order | None:
    """Return the order of a kernel; None if there is no such kernel of relay's."""
    kernel = gateway.find_kernel(slug)
    return None if kernel is None else _order_in(kernel)


def _first_order(slugs: Sequence[str], gateway: Platform) -> Order | None:
    """Return the order of the first kernel that exists; None if the names only look like a run's."""
    for slug in slugs:
        kernel = gateway.find_kernel(slug)
        if kernel is not None:
            return _order_in(kernel)
    return None


def _order_in(kernel: KernelFound) -> Order | None:
    try:
        return build.order_in(kernel.source)
    except NewerFormat as error:
        raise BadInput(f"kernel {kernel.ref}: {error}") from error


def look(run: str, inputs: str, gateway: Platform) -> FoundRun | None:
    """Find everything of a run; None if it has no kernel. Raises BadInput if such a kernel is another run's.

    The listing is only a start: each computed name is also looked up by itself.
    """
    listed = [key for slug in gateway.list_kernels(f"{run}-s") if (key := parse_key(run, "s", slug)) is not None]
    kernels = _kernels(run, listed, gateway)
    if not kernels:
        return None
    orders = {key: _order(run, key, kernel) for key, kernel in kernels.items()}
    _of_one_run(list(orders.values()))
    sessions = []
    for key, order in orders.items():
        version, seen = seen_of(order.slug, kernels[key].version, gateway)
        if seen.worker is Worker.UNKNOWN:
            raise Transient(
                f"{gateway.label}'s answer about {order.slug} cannot be read ({seen.message}): try again later"
            )
        if seen.worker is not Worker.NEW_SCRIPT:  # a declined push leaves its source, but no session
            sessions.append(StartedSession(order, version, seen))
    names = [name for name in gateway.list_datasets(f"{run}-c") if parse_key(run, "c", name_in(name)) is not None]
    names += [checkpoint_of(run, *key) for key in orders]
    names += [parent.name for parent in _own_parents(orders.values())]
    datasets: dict[str, DatasetSeen] = {}
    for name in dict.fromkeys(names):
        datasets |= _datasets(name, gateway)
    return FoundRun(run, tuple(orders.values()), tuple(sessions), datasets, newest_dataset(inputs, gateway))


def _own_parents(orders: Iterable[Order]) -> list[Parent]:
    """Return the parents that the orders name, without the checkpoint of another run that the run began from."""
    return [order.parent for order in orders if order.parent is not None and not order.parent.run]


def origin_in(orders: Iterable[Order], pipeline: Pipeline) -> RunOrigin | None:
    """Return the checkpoint of another run that the run began from, as its pipeline and its orders have it."""
    wanted = pipeline.origin
    if not wanted.run:
        return None
    found = (order.parent for order in orders if order.parent is not None and order.parent.run)
    name, digest = next(((parent.name, parent.digest) for parent in found), (wanted.checkpoint, wanted.digest))
    return RunOrigin(
        run=wanted.run, cursor=wanted.cursor, keeps=wanted.keeps, checkpoint=name, digest=digest, dataset=name
    )


def _datasets(name: str, gateway: Platform) -> dict[str, DatasetSeen]:
    """Return the dataset of that name, or else of the next name, under which it may have been uploaded again."""
    for place in (name, place_of(name_in(name), copy_in(name_in(name), name) + 1)):
        if (there := gateway.find_dataset(place)) is not None:
            return {place: there}
    return {}


def newest_dataset(name: str, gateway: Platform) -> DatasetSeen | None:
    """Return the dataset of that name, or of the next name under which it may have been uploaded again; else None."""
    return next(iter(_datasets(name, gateway).values()), None)


def _kernels(run: str, listed: Iterable[Key], gateway: Platform) -> dict[Key, KernelFound]:
    attempts: dict[int, int] = {}
    for number, attempt in listed:
        attempts[number] = max(attempt, attempts.get(number, 1))
    found: dict[Key, KernelFound] = {}
    probed: set[int] = set()
    for start in sorted({1, *attempts}):
        absent, number = 0, start
        while absent < ABSENT_IN_A_ROW and number not in probed:
            here = _attempts(run, number, attempts.get(number, 1), gateway)
            probed.add(number)
            found |= here
            absent, number = 0 if here else absent + 1, number + 1
    return dict(sorted(found.items()))


def _attempts(run: str, number: int, known: int, gateway: Platform) -> dict[Key, KernelFound]:
    """Return the kernels of one session number: the known attempts, and later ones until one is missing."""
    found: dict[Key, KernelFound] = {}
    for attempt in itertools.count(1):
        kernel = gateway.find_kernel(slug_of(run, number, attempt))
        if kernel is not None:
            found[number, attempt] = kernel
        elif attempt >= known:
            return found
    raise AssertionError("counting does not end")


def _order(run: str, key: Key, kernel: KernelFound) -> Order:
    order = _order_in(kernel)
    fits = order is not None and (order.run, order.session, order.attempt, order.slug) == (
        run,
        *key,
        slug_of(run, *key),
    )
    if order is None or not fits or _has_odd_parent(order):
        raise BadInput(f"the kernel {kernel.ref} was not made by relay for {run}: delete it there, then adopt again")
    return order


def _has_odd_parent(order: Order) -> bool:
    parent = order.parent
    return parent is not None and parse_key(parent.run or order.run, "c", parent.name) is None


def _of_one_run(orders: Sequence[Order]) -> None:
    for order in orders[1:]:
        first = orders[0]
        # An order of an older relay lacks the run's start time; it may appear beside orders of a newer one. A run's
        # pipeline may have been changed, so the time alone tells runs apart where it is known.
        known = bool(order.created_at and first.created_at)
        if order.created_at != first.created_at if known else order.pipeline_digest != first.pipeline_digest:
            raise BadInput(
                f"the kernels {orders[0].slug} and {order.slug} belong to two different runs of the same name: delete "
                "those of the one that is not wanted, then adopt again"
            )


def published_manifest(run: str, name: str, seen: DatasetSeen, gateway: Platform, folder: Path) -> Manifest | None:
    """Return the manifest in a checkpoint's dataset; None if the dataset is not ready or its manifest does not fit."""
    listed = {file.name: file.size_bytes for file in seen.files}
    if seen.status != "ready" or MANIFEST_NAME not in listed:
        return None
    into = private_folder(folder) / f"{name}.{MANIFEST_NAME}"
    into.unlink(missing_ok=True)
    try:
        gateway.download_dataset_file(name, MANIFEST_NAME, into, FileWanted(size_bytes_max=DOCUMENT_BYTES_MAX))
        manifest = Manifest.from_json(into.read_bytes())
    except (Corrupt, ContractError):
        return None
    if manifest.run != run or checkpoint_of(run, manifest.session, manifest.attempt) != name_in(name):
        return None
    return manifest
