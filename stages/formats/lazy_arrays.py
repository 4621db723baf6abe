"""Reads the arrays of Orbax checkpoints and safetensors files one by one, and large ones in blocks of rows.

Orbax and the safetensors library would read a whole model at once, or map it into memory.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import tensorstore as ts

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK_BYTES = 64 * 2**20
"""Largest block of rows that is read at once, in bytes. An array that is not read in blocks needs its whole size."""
CACHE_BYTES = 3 * 2**30
"""Limit of decoded chunks in memory. Other programs write an array as one chunk, which is kept while its rows are read."""

SAFETENSORS_TYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


Read = Callable[[int, int], Array]
"""Function that reads the rows from the first number up to the second."""


@dataclass(frozen=True)
class LazyArray:
    """An array in a file. `opened` opens it for reading; what the reader keeps in memory goes when the reader goes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    opened: Callable[[], Read]

    def read(self, start: int, end: int) -> Array:
        """Read some rows."""
        return self.opened()(start, end)

    def whole(self) -> Array:
        """Read all of it."""
        return self.read(0, self.shape[0])

    def blocks(self) -> Iterator[Array]:
        """Read consecutive blocks of rows, each of at most BLOCK_BYTES in float32."""
        rows = max(1, BLOCK_BYTES // max(1, 4 * prod(self.shape[1:])))
        read = self.opened()
        for start in range(0, self.shape[0], rows):
            yield read(start, min(self.shape[0], start + rows))


def orbax_arrays(folder: Path) -> dict[str, LazyArray]:
    """Return the arrays of an Orbax checkpoint by the keys of its tree, joined with dots; nothing is read yet.

    Raises ValueError if it holds no arrays that TensorStore can read.
    """
    place = f"file://{folder.absolute()}/"
    ocdbt = (folder / "manifest.ocdbt").is_file()
    store: dict[str, Any] = {"driver": "ocdbt", "base": place} if ocdbt else {"driver": "file", "path": place[7:]}
    keys = [key.decode() for key in ts.KvStore.open(store).result().list().result()]
    found = {}
    for marker, driver in (("/.zarray", "zarr"), ("/zarr.json", "zarr3")):
        for key in keys:
            if key.endswith(marker):
                name = key.removesuffix(marker)
                path = {"path": f"{name}/"} if ocdbt else {"path": f"{place[7:]}{name}/"}
                found[name] = _stored({"driver": driver, "kvstore": {**store, **path}})
    if not found:
        raise ValueError(f"{folder} holds no arrays")
    return found


def _stored(spec: dict[str, Any]) -> LazyArray:
    about = ts.open(spec, open=True, read=True).result()

    def opened() -> Read:
        context = ts.Context({"cache_pool": {"total_bytes_limit": CACHE_BYTES}})
        array = ts.open(spec, open=True, read=True, context=context).result()
        return lambda start, end: np.asarray(array[start:end].read().result())

    return LazyArray(tuple(about.shape), np.dtype(about.dtype.numpy_dtype), opened)


def safetensors_arrays(path: Path) -> dict[str, LazyArray]:
    """Return the tensors of a safetensors file by name; nothing but the header is read yet.

    Raises ValueError for a file that is damaged or holds other types than floating-point numbers.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _tensor(path, 8 + length, about) for name, about in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path} is not a safetensors file that relay can read: {error}") from error


def _tensor(path: Path, begin: int, about: Mapping[str, Any]) -> LazyArray:
    dtype, shape = SAFETENSORS_TYPES[about["dtype"]], tuple(about["shape"])
    read = partial(_rows, path, begin + about["data_offsets"][0], dtype, shape)
    return LazyArray(shape, dtype, lambda: read)


def _rows(path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], start: int, end: int) -> Array:
    row_bytes = dtype.itemsize * prod(shape[1:])
    with path.open("rb") as file:
        file.seek(offset + start * row_bytes)
        data = file.read((end - start) * row_bytes)
    return np.frombuffer(data, dtype).reshape(end - start, *shape[1:])
