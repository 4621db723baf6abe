"""Finding the parent checkpoint among what Kaggle has mounted, and refusing anything else.

Where a dataset or another kernel's output appears below `/kaggle/input` differs from session to session, and a mount may hold
an older version than the one that was asked for. So a checkpoint is known by its manifest's digest alone, wherever it lies.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.contract import MANIFEST_NAME, Manifest, Order
from stages.documents import ContractError
from stages.session import packing
from stages.session.compilation_cache import Compiled
from stages.stage import OpenedCheckpoint, StageFailed

MANIFEST_BYTES_MAX = 4 * 1024 * 1024
"""Ours have a few kilobytes; other people's files of the same name can be anything."""


@dataclass(frozen=True)
class MountedCheckpoint:
    """A checkpoint that is mounted; only its manifest has been read."""

    folder: Path
    manifest: Manifest


def open_parent(
    order: Order, inputs: Path, directory: Path, compiled: Compiled | None = None
) -> OpenedCheckpoint | None:
    """Verify the order's parent and unpack it into `directory`; None where the order starts from nothing.

    What it brings of compiled programs goes to `compiled`.

    Raises StageFailed: `parent-missing` (transient: Kaggle may mount it next time), `parent-corrupt` where no mounted copy
    is what its manifest says, `parent-mismatch` where it is not of this run or does not stand where the order starts.
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
        return OpenedCheckpoint(cursor=found.manifest.cursor, directory=directory)
    if damage:
        raise StageFailed("parent-corrupt", f"the checkpoint {order.parent.name} arrived damaged, {damage}")
    raise StageFailed("parent-missing", _missing(order.parent.name, others), transient=True)


def find(inputs: Path) -> Iterator[MountedCheckpoint]:
    """Every mounted checkpoint of a readable format, the least nested first.

    Hidden folders and symbolic links to outside of `inputs` are passed by: the first may be unfinished, the second nobody
    asked for.
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
    """Raise StageFailed unless the checkpoint is of the order's run and stands where the order starts."""
    if manifest.run != order.run:
        raise StageFailed("parent-mismatch", f"the checkpoint belongs to {manifest.run}, this session to {order.run}")
    if position(order, manifest.cursor.stage, manifest.cursor.step) != position(
        order, order.start.stage, order.start.step
    ):
        raise StageFailed(
            "parent-mismatch",
            f"the order starts at {order.start.stage} {order.start.step} and its checkpoint stands at "
            f"{manifest.cursor.stage} {manifest.cursor.step}",
        )


def position(order: Order, stage: str, step: int) -> tuple[int, int]:
    """(index of the stage to work on, steps of it that are done): the end of a stage is the begin of the next one.

    Behind the last stage it is (number of stages, 0). Raises StageFailed for a stage that the order does not have.
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
        return []  # a mount that cannot be read has nothing to offer; what is missing then says so
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
        return None  # somebody else's manifest, or one that was damaged on its way: not the one that is looked for


def _describe(manifest: Manifest) -> str:
    return f"{manifest.run} {manifest.cursor.stage} {manifest.cursor.step} (session {manifest.session})"


def _missing(name: str, others: list[str]) -> str:
    seen = f"mounted instead: {', '.join(sorted(others))}" if others else "no checkpoint is mounted"
    return f"the checkpoint {name} is not among the inputs; {seen}"
