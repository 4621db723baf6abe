"""Writes the weights of a Hugging Face folder: safetensors files of limited size and their index, in bounded memory.

The safetensors library copies a whole file's tensors to memory twice. The format is a header in JSON and then the bytes.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from stages.formats.lazy_arrays import SAFETENSORS_TYPES, Array
from stages.formats.names import EMBEDDING, matrices
from stages.formats.trained_weights import bytes_of

SHARD_BYTES_MAX = 1_200_000_000
"""Largest file, in bytes of tensors; a larger tensor gets a file of its own."""
INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True)
class TensorShape:
    """Name and shape of a tensor to write."""

    name: str
    shape: tuple[int, ...]


def hugging_face_tensors(blocks: Iterable[tuple[str, Array]], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Array]:
    """Convert blocks of Tunix's weights to consecutive blocks of the Hugging Face tensors `hugging_face_shapes`."""
    gathered: list[Array] = []
    for name, block in blocks:
        if name == EMBEDDING:
            yield block
            continue
        gathered.append(block)
        if sum(len(part) for part in gathered) == shapes[name][0]:
            whole = gathered[0] if len(gathered) == 1 else np.concatenate(gathered)
            gathered = []
            for matrix in matrices(name, shapes[name]):
                yield np.ascontiguousarray(matrix.taken(whole))


def hugging_face_shapes(shapes: Mapping[str, tuple[int, ...]]) -> list[TensorShape]:
    """Return the tensors in which a model's weights are stored at Hugging Face, in the order in which they are written."""
    return [TensorShape(one.name, one.shape) for name, shape in shapes.items() for one in matrices(name, shape)]


def write_model(
    folder: Path,
    tensors: Sequence[TensorShape],
    dtype: np.dtype[Any],
    blocks: Iterator[Array],
    shard_bytes_max: int = SHARD_BYTES_MAX,
) -> None:
    """Write the tensors as `model.safetensors`, or as several files with an index; `blocks` are in the tensors' order."""
    shards = _shards(tensors, dtype, shard_bytes_max)
    count = len(shards)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    if count == 1:
        names = ["model.safetensors"]
    else:
        total = sum(prod(tensor.shape) for tensor in tensors)
        metadata = {"total_parameters": total, "total_size": total * dtype.itemsize}
        place = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        text = json.dumps({"metadata": metadata, "weight_map": place}, indent=2, sort_keys=True)
        (folder / INDEX_NAME).write_text(text + "\n", encoding="ascii")
    for name, shard in zip(names, shards, strict=True):
        write_file(folder / name, shard, dtype, blocks)


def write_file(path: Path, tensors: Sequence[TensorShape], dtype: np.dtype[Any], blocks: Iterator[Array]) -> None:
    """Write one new file with these tensors, taking exactly their bytes from `blocks`."""
    kind = next(name for name, known in SAFETENSORS_TYPES.items() if known == dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + prod(tensor.shape) * dtype.itemsize
        header[tensor.name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors have to be aligned
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while end > 0:
            data = bytes_of(np.ascontiguousarray(next(blocks).astype(dtype, copy=False)))
            end -= file.write(data)
    assert end == 0, "a block of rows never belongs to two tensors"


def _shards(tensors: Sequence[TensorShape], dtype: np.dtype[Any], shard_bytes_max: int) -> list[list[TensorShape]]:
    shards: list[list[TensorShape]] = [[]]
    size = 0
    for tensor in tensors:
        bytes_ = prod(tensor.shape) * dtype.itemsize
        if shards[-1] and size + bytes_ > shard_bytes_max:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += bytes_
    return shards
