"""Writes the checkpoint that Tunix's own loaders of Gemma read, as Google's Kaggle models have it, in bounded memory.

Orbax keeps almost two further copies of everything that it saves in memory. So TensorStore writes the arrays a few at a
time, and the small files beside them, which hold no shapes, come from Orbax's save of an equal tree of tiny arrays.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from stages.formats.lazy_arrays import BLOCK_BYTES, Array
from stages.formats.names import Place, place_of

GROUP_BYTES = 256 * 2**20
"""Bytes of arrays that are held in memory and then written as two files."""
SMALL_FILES = ("_METADATA", "_CHECKPOINT_METADATA", "commit_success.txt")


def is_turned(kind: str, width: int) -> bool:
    """Return whether `gating_einsum` holds the transposed matrices: in Gemma 3, and in Gemma 2 9B."""
    return kind.startswith("gemma3") or width == 3584


def write_checkpoint(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    blocks: Iterator[tuple[str, Array]],
    *,
    turned: bool,
) -> None:
    """Write an Orbax checkpoint in DeepMind's layout into a new folder; `blocks` are those of `TrainedWeights`."""
    folder.mkdir(parents=True)
    arrays = _created(folder, shapes, dtype, turned)
    group, group_bytes = ts.Transaction(), 0
    row, current = 0, ""
    for name, block in blocks:
        row = row if name == current else 0
        current, rows = name, slice(row, row + len(block))
        row += len(block)
        place, rounded = place_of(name), block.astype(dtype, copy=False)
        array = arrays[place.key, place.leaf].with_transaction(group)
        if place.part is None:
            array[rows].write(rounded).result()
        elif turned:
            array[place.part, :, rows].write(rounded.T).result()
        else:
            array[place.part, rows].write(rounded).result()
        group_bytes += rounded.nbytes
        if group_bytes >= GROUP_BYTES:
            group.commit_sync()
            group, group_bytes = ts.Transaction(), 0
    group.commit_sync()
    write_small_files(folder, arrays)


def _created(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any], turned: bool
) -> dict[tuple[str, str], Any]:
    """Create all arrays, still empty, at once: TensorStore would write several files for each created by itself."""
    context, waiting = ts.Context(), {}
    for name, shape in shapes.items():
        place = place_of(name)
        if place.part is None:
            row_bytes = max(1, dtype.itemsize * prod(shape[1:]))
            spec = _spec(folder, place, shape, min(shape[0], max(1, BLOCK_BYTES // row_bytes)), dtype)
        else:
            spec = _spec(folder, place, (2, *(shape[::-1] if turned else shape)), 1, dtype)
        if (place.key, place.leaf) not in waiting:
            waiting[place.key, place.leaf] = ts.open(spec, create=True, context=context)
    return {place: array.result() for place, array in waiting.items()}


def _spec(folder: Path, place: Place, shape: tuple[int, ...], rows: int, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return TensorStore's description of an array that is stored in chunks of so many rows."""
    return {
        "driver": "zarr",
        "kvstore": {"driver": "ocdbt", "base": f"file://{folder.absolute()}/", "path": f"{place.key}.{place.leaf}/"},
        "metadata": {
            "shape": list(shape),
            "chunks": [rows, *shape[1:]],
            "dtype": "bfloat16" if dtype.itemsize == 2 else "<f4",
            "compressor": {"id": "zstd", "level": 1},
            "dimension_separator": ".",
        },
        "store_data_equal_to_fill_value": True,
    }


def write_small_files(folder: Path, places: Iterable[tuple[str, str]]) -> None:
    """Write the files that make a folder with these arrays a checkpoint of Orbax."""
    small = folder.with_name(f"{folder.name}.small")
    tree: dict[str, dict[str, Array]] = {}
    for key, leaf in places:
        tree.setdefault(key, {})[leaf] = np.zeros((1, 1), np.float32)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(small.absolute(), tree)
    for name in SMALL_FILES:
        shutil.move(small / name, folder / name)
    shutil.rmtree(small)
