"""Memory that a model takes on this machine while it is loaded and while it answers."""

from math import prod

import jax.numpy as jnp

from stages.options import Model
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import read_sizes, shapes_of

PROGRAM_BYTES = 3 * 2**29
"""Memory of Python, of JAX and its compiler, and of activations: 1.5 GiB."""


def memory_needed_bytes(files: ModelFiles, model: Model, tokens: int, *, changes: bool) -> int:
    """Estimate the largest memory need, in bytes.

    Where training has changed the weights (`changes`), the old and the new ones are in memory beside the model's while
    they are replaced. A bfloat16 model is computed on a CPU with float32 copies of its weights. Otherwise the arrays of the
    files are there for a moment. Answering adds the cache of `tokens` tokens.
    """
    sizes, shapes = read_sizes(files, model.kind), shapes_of(files)
    item_bytes = jnp.dtype(model.dtype).itemsize
    weights = item_bytes * sum(prod(shape) for shape in shapes.values())
    largest = 4 * max(prod(shape) for shape in shapes.values())
    cache = 2 * item_bytes * sizes.layers * sizes.kv_heads * sizes.head_width * tokens
    read = sum(path.stat().st_size for path in files.weights.rglob("*") if path.is_file())
    beside = 2 * weights if changes or item_bytes == 2 else max(weights, read)
    return weights + beside + largest + cache + PROGRAM_BYTES
