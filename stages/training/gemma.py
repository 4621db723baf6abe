"""Tunix's Gemma 2 and Gemma 3: configurations by size, and conversion of Kaggle's checkpoints to arrays."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from tunix.models.gemma import model as gemma2
from tunix.models.gemma import params_safetensors as gemma2_safetensors
from tunix.models.gemma3 import model as gemma3
from tunix.models.gemma3 import params as gemma3_params
from tunix.models.gemma3 import params_safetensors as gemma3_safetensors

from stages.options import Model
from stages.options.families import Sizes
from stages.training import compat
from stages.training.attention import AttentionForm, attend, has_places
from stages.training.model_sizes import flax_leaves, flax_tree
from stages.training.port import Port
from stages.training.selective import Selective, selective

GEMMA2 = ("gemma2_2b", "gemma2_9b")
GEMMA3 = ("gemma3_1b_it", "gemma3_270m_it", "gemma3_4b_it", "gemma3_12b_it", "gemma3_27b_it")
"""Tunix's configurations of a family. The first one is the template for unknown sizes."""


def gemma2_config(sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of the most similar Gemma 2, changed to these sizes."""
    pattern = (gemma2.AttentionType.LOCAL_SLIDING, gemma2.AttentionType.GLOBAL)
    config = _most_similar([getattr(gemma2.ModelConfig, name)() for name in GEMMA2], sizes)
    return dataclasses.replace(
        config,
        attention_types=tuple(pattern[layer % 2] for layer in range(sizes.layers)),
        remat_config=gemma2.RematConfig[_remat(options)],
    )


def gemma3_config(sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of the most similar Gemma 3, changed to these sizes."""
    config = _most_similar([compat.gemma3_config(name)() for name in GEMMA3], sizes)
    return dataclasses.replace(
        config,
        remat_config=gemma3.RematConfig[_remat(options)],
        param_dtype=jnp.dtype(options.dtype),  # Gemma 2 takes the type of its arrays
    )


def _remat(options: Model) -> str:
    return "BLOCK" if options.remat == "block" else "NONE"


def _most_similar(presets: list[Any], sizes: Sizes) -> Any:
    alike = [preset for preset in presets if (preset.num_layers, preset.embed_dim) == (sizes.layers, sizes.width)]
    return dataclasses.replace(
        (alike or presets)[0],
        num_layers=sizes.layers,
        num_embed=sizes.vocabulary,
        embed_dim=sizes.width,
        hidden_dim=sizes.hidden,
        num_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads,
        head_dim=sizes.head_width,
    )


def gemma2_arrays(weights: Path, sizes: Sizes) -> dict[str, Any]:
    """Read the arrays of an Orbax checkpoint of Gemma 2 to the host, by Tunix's names."""
    leaves = flax_leaves(_tree(weights))
    return {name: array for module, leaf, value in leaves for name, array in _gemma2(module, leaf, value, sizes)}


def gemma3_arrays(weights: Path, sizes: Sizes) -> dict[str, Any]:
    """Read the arrays of an Orbax checkpoint of Gemma 3 to the host, by Tunix's names."""
    return dict(_dotted(gemma3_params.map_from_upstream_checkpoint(_tree(weights))))


def _tree(weights: Path) -> Any:
    """Read a checkpoint. Tunix's own readers would first put a whole copy on the first device."""
    wanted = flax_tree(weights)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(weights, args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy))


def _gemma2(module: str, leaf: str, value: Any, sizes: Sizes) -> Iterator[tuple[str, Any]]:
    """Yield (name in Tunix's Gemma 2, array) for one array, as `Gemma.from_params`, which
    supports only fixed sizes, does."""
    _, *places = module.split("/")
    path = [f"layers.{place[len('layer_') :]}" if place.startswith("layer_") else place for place in places]
    match path[-1]:
        case "gating_einsum":
            both = value if value.shape[1] == sizes.width else value.swapaxes(1, 2)  # Gemma 2 9B's is transposed
            yield ".".join([*path[:-1], "gate_proj.kernel"]), both[0]
            yield ".".join([*path[:-1], "up_proj.kernel"]), both[1]
        case "linear":
            yield ".".join([*path[:-1], "down_proj.kernel"]), value
        case "post_attention_norm":
            yield ".".join([*path[:-1], "post_attn_norm", leaf]), value
        case _:
            yield ".".join([*path, leaf]), value


def _dotted(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class RowwiseGemma2(gemma2.Attention):  # type: ignore[misc]
    """Gemma 2's attention for rows of different age: sliding layers, and logits that are capped."""

    def block(self: Any, x: Any, segment_pos: Any, cache: Any, attn_mask: Any) -> Any:
        """Return (new cache, output) as Tunix's own; also with a cache of rows of different age."""
        if not has_places(cache):
            return super().block(x, segment_pos, cache, attn_mask)
        query, key, value = (gemma2.shard(each, self.shd_config.act_btnh) for each in _projections(self, x))
        query, key = (gemma2.apply_rope(each, segment_pos, head_dim=self.head_dim) for each in (query, key))
        slides = self.attn_type == gemma2.AttentionType.LOCAL_SLIDING
        form = AttentionForm(softcap=self.attn_logits_soft_cap, window=self.sliding_window_size if slides else None)
        new, output = attend(query * self.head_dim**-0.5, key, value, cache, attn_mask, form)
        return new, gemma2.shard(self.attn_vec_einsum(output), self.shd_config.act_btd)


class RowwiseGemma3(gemma3.Attention):  # type: ignore[misc]
    """Gemma 3's attention for rows of different age: sliding layers, normed queries and keys, frequencies by layer."""

    def block(self: Any, x: Any, segment_pos: Any, cache: Any, attn_mask: Any) -> Any:
        """Return (new cache, output) as Tunix's own; also with a cache of rows of different age."""
        if not has_places(cache):
            return super().block(x, segment_pos, cache, attn_mask)
        shard = compat.gemma3_shard()
        query, key, value = (shard(each, self.shd_config.act_btnh) for each in _projections(self, x))
        query, key = (
            gemma3.apply_rope(
                each,
                segment_pos,
                head_dim=self.head_dim,
                base_frequency=self.rope_base_frequency,
                scale_factor=self.rope_scale_factor,
            )
            for each in (self._query_norm(query), self._key_norm(key))
        )
        slides = self.attn_type == gemma3.AttentionType.LOCAL_SLIDING
        form = AttentionForm(window=self.sliding_window_size if slides else None)
        new, output = attend(query * self.query_pre_attn_scalar, key, value, cache, attn_mask, form)
        return new, shard(self.attn_vec_einsum(output), self.shd_config.act_btd)


def _projections(attention: Any, x: Any) -> tuple[Any, Any, Any]:
    """Return queries, keys and values (rows × tokens × heads × head width)."""
    if attention.use_qkv_einsum:
        query, key, value = attention.qkv_einsum(x)
    else:
        query = attention.q_einsum(x)
        key, value = attention.kv_einsum(x)
    return query, key, value


class SelectiveGemma2(Selective):
    """Mixin for Gemma 2, whose sliding window compares a query's position with the place of a key in the row."""

    def positions_restart(self, width: int) -> bool:
        """Return whether examples in a row may have positions from 0: in rows that the window does not cut."""
        return bool(width <= self.config.sliding_window_size)  # type: ignore[attr-defined]


PORTS = {
    "gemma2": Port(
        selective(compat.gemma2_class(), SelectiveGemma2, attention_class=RowwiseGemma2),
        gemma2_config,
        gemma2_safetensors,
        "tunix.models.gemma.model",
        flax=gemma2_arrays,
    ),
    "gemma3": Port(
        selective(gemma3.Gemma3, attention_class=RowwiseGemma3),
        gemma3_config,
        gemma3_safetensors,
        "tunix.utils.sharding_utils",
        flax=gemma3_arrays,
    ),
}
