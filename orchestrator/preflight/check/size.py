"""Estimates a checkpoint's size from the model's name, without JAX; `relay plan --memory` computes it exactly."""

import re
from dataclasses import dataclass

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.options import Counting, Grpo, Model, TrainingOptions

MOMENTS = 2
"""Numbers that Adam keeps for each trained parameter."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a Gemma model, from its model card."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_width: int = 256

    @property
    def products(self) -> dict[str, tuple[int, int]]:
        """Input and output size of each matrix of a layer, by the name that `lora_targets` matches."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "q_einsum": (self.width, queries),
            "kv_einsum": (self.width, 2 * keys),
            "attn_vec_einsum": (queries, self.width),
            "gate_proj": (self.width, self.hidden),
            "up_proj": (self.width, self.hidden),
            "down_proj": (self.hidden, self.width),
        }

    @property
    def weights(self) -> int:
        """Number of parameters of the model, except its few norms."""
        layer = sum(into * out for into, out in self.products.values())
        return self.vocabulary * self.width + self.layers * layer

    def adapter(self, options: TrainingOptions) -> int:
        """Return the number of parameters of an adapter on the matching matrices."""
        put_on = [size for name, size in self.products.items() if re.fullmatch(options.lora_targets, f"layer.{name}")]
        return self.layers * options.lora_rank * sum(into + out for into, out in put_on)


DIMENSIONS = {
    "gemma2-2b": Dimensions(layers=26, width=2304, hidden=9216, heads=8, kv_heads=4, vocabulary=256_128),
    "gemma3-1b": Dimensions(layers=26, width=1152, hidden=6912, heads=4, kv_heads=1, vocabulary=262_144),
}


def checkpoint_bytes(pipeline: Pipeline) -> int | None:
    """Return the size of the largest checkpoint of any stage, in bytes; None if the model's size is unknown."""
    model = pipeline.loaded_model
    if any(stage.kind not in KINDS for stage in pipeline.stages):
        return None
    if model is None:
        fitted = [KINDS[stage.kind].fit(stage.options, "options") for stage in pipeline.stages]
        return max(options.payload_bytes for options in fitted if isinstance(options, Counting))
    if model.kind not in DIMENSIONS:
        return None
    return _largest(pipeline, model, DIMENSIONS[model.kind])


def _largest(pipeline: Pipeline, model: Model, sizes: Dimensions) -> int:
    """Return the size of the largest checkpoint, in bytes.

    Composed as in `stages.training.initial_state`: the base if it was trained, every adapter, the newest moments.
    """
    width = 4 if model.dtype == "float32" else 2
    base = adapters = largest = 0
    for stage in pipeline.stages:
        options = KINDS[stage.kind].fit(stage.options, "options")
        origin = moments = 0
        if isinstance(options, TrainingOptions) and options.mode == "full":
            origin = base + adapters if isinstance(options, Grpo) and options.beta > 0 else 0
            base, adapters, moments = width * sizes.weights, 0, MOMENTS * width * sizes.weights
        elif isinstance(options, TrainingOptions):
            adapter = 4 * sizes.adapter(options)
            adapters, moments = adapters + adapter, MOMENTS * adapter
        largest = max(largest, base + adapters + origin + moments)
    return largest
