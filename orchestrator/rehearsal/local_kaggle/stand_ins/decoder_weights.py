"""Fresh weights of tiny Qwen and Llama models, by Hugging Face's names, and their config.json."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.data.order import derive_seed
from stages.options.families import LLAMA_ROPE, family_name, family_of

if TYPE_CHECKING:
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import Array, Shape

ROTARY = ("rope_type", *LLAMA_ROPE)


def weights(kind: str, rows: int, shape: "Shape", seed: int) -> "dict[str, Array]":
    """Draw all weights; each matrix is (outputs, inputs). The embedding is the output matrix too."""
    width, family = shape.width, family_name(kind)

    def drawn(name: str, *size: int) -> "Array":
        # Normal with variance 1 / inputs (LeCun), as in the tiny Gemma models.
        draws = np.random.default_rng(derive_seed(seed, "weights", name)).standard_normal(size)
        return np.asarray(draws / np.sqrt(size[-1]), np.float32)

    found = {"model.embed_tokens.weight": drawn("embed", rows, width)}
    for layer in range(shape.layers):
        for name, size in _matrices(shape):
            found[f"model.layers.{layer}.{name}.weight"] = drawn(f"{layer}/{name}", *size)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{name}.weight"] = _near_one(f"{layer}/{name}", width, seed)
        for part in ("q", "k") if family == "qwen3" else ():
            name = f"model.layers.{layer}.self_attn.{part}_norm.weight"
            found[name] = _near_one(name, shape.head_width, seed)
        for part in ("q", "k", "v") if family == "qwen2.5" else ():
            outputs = (shape.heads if part == "q" else shape.kv_heads) * shape.head_width
            bias = drawn(f"{layer}/{part}_bias", outputs)
            found[f"model.layers.{layer}.self_attn.{part}_proj.bias"] = bias
    return {**found, "model.norm.weight": _near_one("norm", width, seed)}


def _matrices(shape: "Shape") -> Iterator[tuple[str, tuple[int, int]]]:
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "self_attn.q_proj", (queries, shape.width)
    yield "self_attn.k_proj", (keys, shape.width)
    yield "self_attn.v_proj", (keys, shape.width)
    yield "self_attn.o_proj", (shape.width, queries)
    yield "mlp.gate_proj", (shape.hidden, shape.width)
    yield "mlp.up_proj", (shape.hidden, shape.width)
    yield "mlp.down_proj", (shape.width, shape.hidden)


def _near_one(name: str, size: int, seed: int) -> "Array":
    """Return a norm's weight: not exactly one, so that a norm that is left out or misplaced changes the result."""
    draws = np.random.default_rng(derive_seed(seed, "weights", name)).standard_normal(size)
    return np.asarray(1 + 0.05 * draws, np.float32)


def config(kind: str, rows: int, shape: "Shape") -> dict[str, Any]:
    """Return config.json as in the family's repositories at Hugging Face."""
    family = family_of(kind)
    scaled = "factor" in family.computed
    rotary = {key: value for key, value in family.computed.items() if key in ROTARY}
    return {
        "architectures": [family.architecture],
        "model_type": family.model_types[0],
        "vocab_size": rows,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "max_position_embeddings": family.tokens_max,
        "rope_scaling": rotary if scaled else None,
        **{key: value for key, value in family.computed.items() if key not in ROTARY},
        "torch_dtype": "float32",
    }
