"""Memory that a model takes on this machine while it is loaded and while it answers."""

from math import prod

import jax.numpy as jnp

from stages.options import Model
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import read_sizes, shapes_of

PROGRAM_BYTES = 2**30
"""Memory of Python, of JAX and its compiler, and of activations."""


def memory_needed_bytes(files: ModelFiles, model: Model, tokens: int, *, changes: bool) -> int:
    """Estimate the largest memory need, in bytes.

    While a model is loaded, the arrays of a Flax checkpoint are in memory beside the model's; those of safetensors are
    read one by one. Where training has changed the weights (`changes`), old and new ones are both in memory for a
    moment. Answering adds the cache of `tokens` tokens.
    """
    sizes, shapes = read_sizes(files, model.kind), shapes_of(files)
    item_bytes = jnp.dtype(model.dtype).itemsize
    weights = item_bytes * sum(prod(shape) for shape in shapes.values())
    largest = 4 * max(prod(shape) for shape in shapes.values())
    cache = 2 * item_bytes * sizes.layers * sizes.kv_heads * sizes.head_width * tokens
    read = sum(path.stat().st_size for path in files.weights.rglob("*") if path.is_file())
    second = max(weights if changes else 0, read if files.layout == "flax" else largest)
    return weights + second + largest + cache + PROGRAM_BYTES
