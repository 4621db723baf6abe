"""Arrays that lie on the devices of several processes: places values there, and brings them back to each process.

With one process every function here does what `jax.device_put` and `np.asarray` do. With several, all processes must call
the same functions in the same order, because they exchange data.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

TEXT_BYTES_MAX = 2048
"""Length of the texts that processes exchange, in bytes."""


def is_spread() -> bool:
    """Return whether the session has several processes."""
    return bool(jax.process_count() > 1)


def placed(value: Any, sharding: Sharding | None) -> jax.Array:
    """Return a value laid out as `sharding` says; every process passes the whole value and keeps its part of it.

    None leaves the array uncommitted on the first device of this process.
    """
    if sharding is None or sharding.is_fully_addressable or _is_global(value):
        return jax.device_put(value, sharding)
    whole = np.asarray(value)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """Return the whole array in this process's memory."""
    if _is_global(array) and not array.is_fully_replicated:
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def rows_placed(batch: Any, mesh: Mesh) -> Any:
    """Return a batch whose rows are split along the mesh's axis `fsdp`, if their number is divisible by it.

    Tunix would take what each process passes for another part of a larger batch. With one process the batch stays as it is:
    Tunix's trainer lays it out in the same way.
    """
    if not is_spread():
        return batch

    def layout(array: Any) -> NamedSharding:
        split = array.ndim > 0 and len(array) % mesh.shape["fsdp"] == 0
        return NamedSharding(mesh, PartitionSpec(*["fsdp"] * split))

    return jax.tree.map(lambda array: placed(array, layout(array)), batch)


def _is_global(value: Any) -> bool:
    return isinstance(value, jax.Array) and not value.is_fully_addressable


def shared_texts(text: str) -> list[str]:
    """Return the texts that all processes of the session pass, in their order; each must call this at the same place.

    A text is cut to TEXT_BYTES_MAX bytes.
    """
    row = np.zeros(TEXT_BYTES_MAX, np.uint8)
    encoded = text.encode("ascii", "backslashreplace")[:TEXT_BYTES_MAX]
    row[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    rows = multihost_utils.process_allgather(row)
    return [bytes(each).rstrip(b"\0").decode("ascii") for each in np.asarray(rows)]
