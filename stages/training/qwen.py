"""Tunix's configurations of Qwen 2.5 and Qwen 3."""

from typing import Any

import jax.numpy as jnp
from tunix.models.qwen2 import model as qwen2
from tunix.models.qwen2 import params as qwen2_safetensors
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as qwen3_safetensors

from stages.options import Model
from stages.options.families import FAMILIES, Sizes
from stages.training.attention import AttentionForm, attend, has_places
from stages.training.port import Port
from stages.training.selective import Selective, gradients_in_turn, selective


def qwen2_config(sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of a Qwen 2.5 of these sizes."""
    return _config(qwen2, "qwen2.5", sizes, options)


def qwen3_config(sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of a Qwen 3 of these sizes.

    Tunix 0.1.7 ignores `rope_theta` in Qwen 3's attention and computes with 1,000,000, which all of them have.
    """
    return _config(qwen3, "qwen3", sizes, options)


def _config(module: Any, family: str, sizes: Sizes, options: Model) -> Any:
    computed, dtype = FAMILIES[family].computed, jnp.dtype(options.dtype)
    return module.ModelConfig(
        num_layers=sizes.layers,
        vocab_size=sizes.vocabulary,
        embed_dim=sizes.width,
        hidden_dim=sizes.hidden,
        num_heads=sizes.heads,
        head_dim=sizes.head_width,
        num_kv_heads=sizes.kv_heads,
        rope_theta=int(computed["rope_theta"]),
        norm_eps=computed["rms_norm_eps"],
        use_tied_embedding=sizes.tied,
        remat_config=module.RematConfig["BLOCK" if options.remat == "block" else "NONE"],
        dtype=dtype,
        param_dtype=dtype,
    )


class SelectiveQwen2(Selective):
    """Mixin for Qwen 2.5, whose layers take the sines and cosines of positions."""

    def run_layers(self, x: Any, positions: Any, cache: Any, attention_mask: Any) -> Any:
        """Return (hidden states before the final norm, new cache)."""
        config = self.config  # type: ignore[attr-defined]
        sin, cos = qwen2._generate_pos_embeddings(positions, config.head_dim, config.rope_theta)
        sin, cos = sin.astype(x.dtype), cos.astype(x.dtype)
        filled: dict[str, Any] | None = None if cache is None else {}
        for number, each in enumerate(self.layers):  # type: ignore[attr-defined]
            name = f"layer_{number}"
            layer, x = gradients_in_turn(each, x) if number and cache is None else (each, x)
            found, x = layer(x, None if cache is None else cache[name], attention_mask, sin, cos)
            if filled is not None:
                filled[name] = found
        return x, filled


class RowwiseQwen2(qwen2.Attention):  # type: ignore[misc]
    """Qwen 2.5's attention for rows of different age: biases, and the sines and cosines of positions as arguments."""

    def block(self: Any, x: Any, cache: Any, attn_mask: Any, sin: Any, cos: Any, segment_ids: Any = None) -> Any:
        """Return (new cache, output) as Tunix's own; also with a cache of rows of different age."""
        if not has_places(cache):
            return super().block(x, cache, attn_mask, sin, cos, segment_ids)
        projections = ((self.q_proj, self.q_bias), (self.k_proj, self.k_bias), (self.v_proj, self.v_bias))
        query, key, value = (
            qwen2.shard(_biased(project(x), bias.astype(self.config.dtype)), self.shd_config.act_btnh)
            for project, bias in projections
        )
        query, key = (qwen2.apply_rotary_embedding(each, sin, cos) for each in (query, key))
        new, output = attend(query, key, value, cache, attn_mask, AttentionForm(self.scale, softmax_dtype=jnp.float32))
        return new, qwen2.shard(self.o_proj(output), self.shd_config.act_btd)


def _biased(projected: Any, bias: Any) -> Any:
    rows, tokens, heads, width = projected.shape
    return (projected.reshape(rows, tokens, heads * width) + bias).reshape(rows, tokens, heads, width)


class RowwiseQwen3(qwen3.Attention):  # type: ignore[misc]
    """Qwen 3's attention for rows of different age: normed queries and keys."""

    def block(self: Any, x: Any, segment_pos: Any, cache: Any, attn_mask: Any, segment_ids: Any = None) -> Any:
        """Return (new cache, output) as Tunix's own; also with a cache of rows of different age."""
        if not has_places(cache):
            return super().block(x, segment_pos, cache, attn_mask, segment_ids)
        projected = (self.q_norm(self.q_proj(x)), self.k_norm(self.k_proj(x)), self.v_proj(x))
        query, key, value = (qwen3.shard(each, self.shd_config.act_btnh) for each in projected)
        query, key = (qwen3.apply_rope(each, segment_pos, head_dim=self.head_dim) for each in (query, key))
        new, output = attend(query, key, value, cache, attn_mask, AttentionForm(self.scale, softmax_dtype=jnp.float32))
        return new, qwen3.shard(self.o_proj(output), self.shd_config.act_btd)


PORTS = {
    "qwen2.5": Port(
        selective(qwen2.Qwen2, SelectiveQwen2, RowwiseQwen2),
        qwen2_config,
        qwen2_safetensors,
        "tunix.models.qwen2.model",
    ),
    "qwen3": Port(
        selective(qwen3.Qwen3, attention_class=RowwiseQwen3),
        qwen3_config,
        qwen3_safetensors,
        "tunix.models.qwen3.model",
    ),
}
