"""Writes a run's adapters as one adapter that PEFT loads over the base model."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from stages.formats.hugging_face import write_json
from stages.formats.lazy_arrays import Array
from stages.formats.names import PROJECTIONS, layer_and_module
from stages.formats.safetensors_files import TensorShape, write_file
from stages.formats.trained_weights import StoredState
from stages.stage import StageFailed
from stages.training.lora import Adapter

PREFIX = "base_model.model.model.layers"
FILE_NAME = "adapter_model.safetensors"


def refuse_without_adapter(state: StoredState) -> None:
    """Raise StageFailed `nothing-to-export` unless the run's training is all in adapters over the base model."""
    if state.base is not None:
        raise StageFailed(
            "nothing-to-export",
            "the run trained all weights, so no adapter over the base model has its result: export safetensors",
        )
    if not state.adapters:
        raise StageFailed("nothing-to-export", "the checkpoint has no adapter: no stage before it trained one")


def adapter_tensors(adapters: Sequence[Adapter]) -> dict[str, Array]:
    """Return PEFT's tensors of all adapters together, in float32: one adapter whose rank is the sum of theirs.

    `lora_A` are stacked, and so are `lora_B`, each times its adapter's scale; a single adapter keeps its own scale. Where
    an adapter of a stack lacks a module, its ranks are zero. All matrices of a module share its `lora_A`.
    """
    rank = sum(adapter.rank for adapter in adapters)
    found: dict[str, Array] = {}
    begin = 0
    for adapter in adapters:
        scale = adapter.alpha / adapter.rank if len(adapters) > 1 else 1.0
        ranks = slice(begin, begin + adapter.rank)
        for name in sorted(key.removesuffix("_lora_a") for key in adapter.arrays if key.endswith("_lora_a")):
            first, second = (np.asarray(adapter.arrays[name + end], np.float32) for end in ("_lora_a", "_lora_b"))
            layer, module = layer_and_module(name)
            for target, part in zip(PROJECTIONS[module], _outputs(module, second), strict=True):
                key = f"{PREFIX}.{layer}.{target}"
                inputs, outputs = prod(first.shape[:-1]), prod(part.shape[1:])
                lora_a = found.setdefault(f"{key}.lora_A.weight", np.zeros((rank, inputs), np.float32))
                lora_b = found.setdefault(f"{key}.lora_B.weight", np.zeros((outputs, rank), np.float32))
                lora_a[ranks] = first.reshape(inputs, adapter.rank).T
                lora_b[:, ranks] = np.float32(scale) * part.reshape(adapter.rank, outputs).T
        begin += adapter.rank
    return dict(sorted(found.items()))


def _outputs(module: str, second: Array) -> list[Array]:
    """Return the second factor's part for each matrix: `kv_einsum` has (rank, 2, heads, head)."""
    return [second[:, index] for index in range(second.shape[1])] if len(PROJECTIONS[module]) > 1 else [second]


def adapter_config(adapters: Sequence[Adapter], tensors: Mapping[str, Array], base_model: str) -> dict[str, Any]:
    """Return adapter_config.json. PEFT ignores tensors of modules that `target_modules` lacks, so it follows from them."""
    rank = sum(adapter.rank for adapter in adapters)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": adapters[0].alpha if len(adapters) == 1 else rank,
        "target_modules": target_modules(tensors),
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "use_rslora": False,
    }


def target_modules(tensors: Mapping[str, Array]) -> list[str]:
    """Return the modules to adapt: names such as `q_proj` if every layer has the same ones, else whole paths."""
    paths = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
    places = [path.removeprefix(f"{PREFIX}.").split(".") for path in paths]
    layers: dict[str, set[str]] = {}
    for layer, *_, module in places:
        layers.setdefault(module, set()).add(layer)
    every = set().union(*layers.values())
    if every == {str(number) for number in range(len(every))} and all(found == every for found in layers.values()):
        return sorted(layers)
    return sorted(path.removeprefix("base_model.model.") for path in paths)


def write_adapter(folder: Path, tensors: Mapping[str, Array], dtype: np.dtype[Any], about: Mapping[str, Any]) -> None:
    """Write the adapter's two files."""
    shapes = [TensorShape(name, array.shape) for name, array in tensors.items()]
    write_file(folder / FILE_NAME, shapes, dtype, iter(tensors.values()))
    write_json(folder / "adapter_config.json", about)
