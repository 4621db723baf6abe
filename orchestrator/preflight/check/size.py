"""Estimates a checkpoint's size from the model's name, without JAX; `relay plan --memory` computes it exactly."""

import re

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.options import Counting, Grpo, Model, TrainingOptions
from stages.options.families import FULL_SIZE, family_of, sizes_of

MOMENTS = 2
"""Numbers that Adam keeps for each trained parameter."""


def products(kind: str) -> dict[str, tuple[int, int]]:
    """Return the input and output size of each matrix of a layer, by the name that `lora_targets` matches."""
    sizes = sizes_of(kind)
    queries, keys = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
    found = {
        **dict.fromkeys(("q_einsum", "q_proj"), (sizes.width, queries)),
        "kv_einsum": (sizes.width, 2 * keys),
        **dict.fromkeys(("k_proj", "v_proj"), (sizes.width, keys)),
        **dict.fromkeys(("attn_vec_einsum", "o_proj"), (queries, sizes.width)),
        **dict.fromkeys(("gate_proj", "up_proj"), (sizes.width, sizes.hidden)),
        "down_proj": (sizes.hidden, sizes.width),
    }
    return {name: found[name] for name in family_of(kind).matrices}


def weights(kind: str) -> int:
    """Return the number of parameters of a model whose kind names its size, except its few norms and biases."""
    sizes = sizes_of(kind)
    layer = sum(into * out for into, out in products(kind).values())
    return sizes.vocabulary * sizes.width + sizes.layers * layer


def adapter_weights(kind: str, options: TrainingOptions) -> int:
    """Return the number of parameters of an adapter on the matching matrices."""
    put_on = [size for name, size in products(kind).items() if re.fullmatch(options.lora_targets, f"layer.{name}")]
    return sizes_of(kind).layers * options.lora_rank * sum(into + out for into, out in put_on)


def checkpoint_bytes(pipeline: Pipeline) -> int | None:
    """Return the size of the largest checkpoint of any stage, in bytes; None if the model's size is unknown."""
    model = pipeline.loaded_model
    if any(stage.kind not in KINDS for stage in pipeline.stages):
        return None
    if model is None:
        fitted = [KINDS[stage.kind].fit(stage.options, "options") for stage in pipeline.stages]
        return max(options.payload_bytes for options in fitted if isinstance(options, Counting))
    return _largest(pipeline, model) if model.kind in FULL_SIZE else None


def _largest(pipeline: Pipeline, model: Model) -> int:
    """Return the size of the largest checkpoint, in bytes.

    Composed as in `stages.training.initial_state`: the base if it was trained, every adapter, the newest moments.
    """
    width = 4 if model.dtype == "float32" else 2
    whole = width * weights(model.kind)
    base = adapters = largest = 0
    for stage in pipeline.stages:
        options = KINDS[stage.kind].fit(stage.options, "options")
        origin = moments = 0
        if isinstance(options, TrainingOptions) and options.mode == "full":
            origin = base + adapters if isinstance(options, Grpo) and options.beta > 0 else 0
            base, adapters, moments = whole, 0, MOMENTS * whole
        elif isinstance(options, TrainingOptions):
            adapter = 4 * adapter_weights(model.kind, options)
            adapters, moments = adapters + adapter, MOMENTS * adapter
        largest = max(largest, base + adapters + origin + moments)
    return largest
