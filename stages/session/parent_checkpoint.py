"""Finds the order's parent checkpoint among the inputs that Kaggle mounted and rejects any other.

The place of a dataset or of another kernel's output below `/kaggle/input` differs from session to session, and a mount
may contain an older version than the requested one. So a checkpoint is identified only by its manifest's digest.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from stages.contract import MANIFEST_NAME, OPTIMIZER, WEIGHTS, Cursor, Manifest, Order
from stages.documents import ContractError
from stages.session import packing
from stages.session.compilation_cache import Compiled
from stages.stage import OpenedCheckpoint, StageFailed

MOUNTED = "the checkpoint is mounted as "
"""Beginning of the log line with the layout in which a session's parent checkpoint was mounted."""
MANIFEST_BYTES_MAX = 4 * 1024 * 1024
"""Size limit of a manifest in bytes. Manifests of relay have a few kilobytes; unrelated
files may have the same name."""


@dataclass(frozen=True)
class MountedCheckpoint:
    """A mounted checkpoint of which only the manifest has been read."""

    folder: Path
    manifest: Manifest


def open_parent(
    order: Order, inputs: Path, directory: Path, compiled: Compiled | None = None
) -> OpenedCheckpoint | None:
    """Verify the order's parent and unpack it into `directory`; None if the order has no parent.

    Compiled programs of the parent are added to `compiled`.

    Raises StageFailed: `parent-missing` (transient: Kaggle may mount it next time), `parent-corrupt` if
    every mounted copy differs from its manifest, `parent-mismatch` if it belongs to another run than the order says or
    is not at the order's start cursor.
    """
    if order.parent is None:
        return None
    others: list[str] = []
    damage = ""
    for found in find(inputs):
        if found.manifest.digest != order.parent.digest:
            others.append(_describe(found.manifest))
            continue
        check_fits(order, found.manifest)
        try:
            packing.open_checkpoint(found.folder, found.manifest, directory)
        except (packing.CorruptCheckpoint, OSError) as error:
            damage = f"{found.folder.relative_to(inputs)}: {error}"
            continue
        if compiled is not None:
            compiled.take_in(found.folder, found.manifest)
        return _as_parent(order, opened(found.manifest, directory), found.manifest)
    if damage:
        raise StageFailed("parent-corrupt", f"the checkpoint {order.parent.name} arrived damaged, {damage}")
    raise StageFailed("parent-missing", _missing(order.parent.name, others), transient=True)


def place_of(order: Order, inputs: Path) -> str:
    """Return the layout in which the order's parent is mounted below `inputs`; empty if it is not mounted."""
    digest = order.parent.digest if order.parent else ""
    places = (found.folder.relative_to(inputs) for found in find(inputs) if found.manifest.digest == digest)
    return next(map(shape_of, places), "")


def shape_of(place: PurePath) -> str:
    """Return the layout of a mount's place below `/kaggle/input`, without names."""
    match place.parts:
        case (_,):
            return "{slug}"
        case ("datasets" | "notebooks" as kind, _, _):
            return f"{kind}/{{owner}}/{{slug}}"
        case parts:
            return f"another place, {len(parts)} folders deep"


def opened(manifest: Manifest, directory: Path) -> OpenedCheckpoint:
    """Return the checkpoint with this manifest, which is unpacked in `directory`."""
    return OpenedCheckpoint(manifest.cursor, directory, manifest.digest, manifest.digests, numerics=manifest.numerics)


def _as_parent(order: Order, checkpoint: OpenedCheckpoint, manifest: Manifest) -> OpenedCheckpoint:
    """Return the checkpoint as the order's first stage sees it.

    In a warm start with the optimizer's state it is of the first stage, at step 0, which the stage resumes. With the
    weights alone it is of a stage of the other run, which the stage follows.
    """
    match order.parent.keeps if order.parent else "":
        case keeps if keeps == OPTIMIZER:
            return replace(checkpoint, cursor=order.start, warm=True)
        case keeps if keeps == WEIGHTS:
            stage = f"{manifest.run}/{manifest.cursor.stage}"  # no stage of this run can have a name with a slash
            return replace(checkpoint, cursor=Cursor(stage=stage, step=manifest.cursor.step), warm=True)
        case _:
            return checkpoint


def find(inputs: Path) -> Iterator[MountedCheckpoint]:
    """Yield every mounted checkpoint of a readable format, the least nested first.

    Skips hidden folders, which may be unfinished, and symbolic links to targets outside `inputs`.
    """
    top = inputs.resolve()
    folders = [top]
    while folders:
        folder = folders.pop(0)
        manifest = _read(folder / MANIFEST_NAME, top)
        if manifest is not None and all(_inside(folder / entry.path, top) for entry in manifest.files):
            yield MountedCheckpoint(inputs / folder.relative_to(top), manifest)
        folders.extend(_below(folder))


def check_fits(order: Order, manifest: Manifest) -> None:
    """Raise StageFailed unless the checkpoint belongs to the run that the order says and is at the order's start cursor.

    In a warm start the cursor of the checkpoint has no meaning: the order starts at step 0.
    """
    run, keeps = (order.parent.run, order.parent.keeps) if order.parent else ("", "")
    if manifest.run != (run or order.run):
        wanted = f"the order names one of {run}" if run else f"this session to {order.run}"
        raise StageFailed("parent-mismatch", f"the checkpoint belongs to {manifest.run}, {wanted}")
    if keeps in (OPTIMIZER, WEIGHTS):
        return
    if position(order, manifest.cursor.stage, manifest.cursor.step) != position(
        order, order.start.stage, order.start.step
    ):
        raise StageFailed(
            "parent-mismatch",
            f"the order starts at {order.start.stage} {order.start.step} and its checkpoint is at "
            f"{manifest.cursor.stage} {manifest.cursor.step}",
        )


def position(order: Order, stage: str, step: int) -> tuple[int, int]:
    """Return (index of the current stage, number of its steps done); the end of a stage is the start of the next one.

    After the last stage it is (number of stages, 0). Raises StageFailed for a stage that the order does not have.
    """
    names = [spec.name for spec in order.stages]
    if stage not in names:
        raise StageFailed("order-inconsistent", f"the order has no stage {stage!r}")
    index = names.index(stage)
    while index < len(order.stages) and step >= order.stages[index].steps:
        index, step = index + 1, 0
    return index, step


def _below(folder: Path) -> list[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []  # skip an unreadable mount; `open_parent` reports a missing parent
    real = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
    return sorted(Path(entry.path) for entry in real)


def _inside(path: Path, top: Path) -> bool:
    return path.resolve().is_relative_to(top)


def _read(path: Path, top: Path) -> Manifest | None:
    if not path.is_file() or not _inside(path, top) or path.stat().st_size > MANIFEST_BYTES_MAX:
        return None
    try:
        return Manifest.from_json(path.read_bytes())
    except ContractError:
        return None  # an unrelated or damaged file: not the wanted manifest


def _describe(manifest: Manifest) -> str:
    return f"{manifest.run} {manifest.cursor.stage} {manifest.cursor.step} (session {manifest.session})"


def _missing(name: str, others: list[str]) -> str:
    seen = f"mounted instead: {', '.join(sorted(others))}" if others else "no checkpoint is mounted"
    return f"the checkpoint {name} is not among the inputs; {seen}"
