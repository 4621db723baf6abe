"""Tiny models in files for tests, and what a model says to a fixed text."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import vocabulary_size, write_tokenizer_of
from stages.training.model import Foundation, load

SMALL = {"width": 16, "hidden": 32, "heads": 2, "kv_heads": 1, "head_width": 8}
"""Learns nothing to speak of, and computes like the large one."""


def written(folder: Path, kind: str = "gemma2", layout: str = "flax", **sizes: int) -> dict[str, Any]:
    """Write a model and its tokenizer; the answer is what a pipeline's `model:` says to have it."""
    write_model(folder, kind, layout, vocabulary=vocabulary_size(kind), **{**SMALL, **sizes})
    write_tokenizer_of(kind, folder)
    return {"kind": kind, "source": str(folder)}


def loaded(values: dict[str, Any], **options: Any) -> Foundation:
    """The model of a path; nothing is mounted."""
    return load({**values, **options}, Path("no-inputs"), Path("no-scratch"))


def quick_compile() -> dict[str, str]:
    """Variables by which a process that inherits nothing compiles as these tests do, and shares the programs."""
    return {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}


def devices(count: int) -> dict[str, str]:
    """The variable that gives a process as many devices, beside the flags that all tests have."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags.strip()}


def logits(model: nnx.Module) -> np.ndarray[Any, Any]:
    """(1, 12, vocabulary) after a fixed text."""
    graph, state = nnx.split(model)
    tokens = jnp.arange(3, 15)[None]
    mask = jnp.tril(jnp.ones((12, 12), bool))[None]
    return np.asarray(
        jax.jit(lambda state: nnx.merge(graph, state)(tokens, jnp.arange(12)[None], None, mask)[0])(state)
    )
