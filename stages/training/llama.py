"""Tunix's Llama 3.2: its configuration, and the rotary frequencies that Tunix leaves out.

Tunix 0.1.7 calls its rotary embedding without the configured base, so with 1,000,000 where Llama has 500,000, and without
Llama 3.2's scaling of low frequencies: its logits differ from the model's own. `rotated` replaces that function.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tunix.models.llama3 import model as llama3
from tunix.models.llama3 import params as llama3_safetensors

from stages.options import Model
from stages.options.families import FAMILIES, LLAMA_ROPE, Sizes
from stages.training.attention import AttentionForm, attend, has_places
from stages.training.port import Port
from stages.training.selective import selective

COMPUTED = FAMILIES["llama3.2"].computed


def llama_config(sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of a Llama 3.2 of these sizes."""
    return llama3.ModelConfig(
        num_layers=sizes.layers,
        vocab_size=sizes.vocabulary,
        embed_dim=sizes.width,
        hidden_dim=sizes.hidden,
        num_heads=sizes.heads,
        head_dim=sizes.head_width,
        num_kv_heads=sizes.kv_heads,
        rope_theta=int(COMPUTED["rope_theta"]),
        norm_eps=COMPUTED["rms_norm_eps"],
        weight_tying=sizes.tied,
        remat_config=llama3.RematConfig["BLOCK" if options.remat == "block" else "NONE"],
    )


def frequencies(head_width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return Llama 3.2's rotary frequencies (half of `head_width`, in radians per token).

    Frequencies whose wavelength is longer than the original context are divided by the factor, short ones are kept, and
    those between are interpolated: `_compute_llama3_parameters` in transformers' `modeling_rope_utils`.
    """
    exponents = np.arange(0, head_width, 2, dtype=np.float64) / head_width
    exact = COMPUTED["rope_theta"] ** -exponents
    low, high, factor = (LLAMA_ROPE[name] for name in ("low_freq_factor", "high_freq_factor", "factor"))
    turns = LLAMA_ROPE["original_max_position_embeddings"] * exact / (2 * np.pi)  # within the original context
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray((1 - kept) * exact / factor + kept * exact, np.float32)


def rotated(inputs: jax.Array, positions: jax.Array, head_dim: int, rope_theta: int = 0) -> jax.Array:
    """Rotate queries or keys (rows × tokens × heads × `head_dim`) by their positions (rows × tokens).

    The parameters are those of Tunix's `apply_rope`, which this function replaces; `rope_theta` is not used.
    """
    angles = positions[..., None, None].astype(jnp.float32) * frequencies(head_dim)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    first, second = jnp.split(inputs, 2, axis=-1)
    both = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return both.astype(inputs.dtype)


llama3.apply_rope = rotated


class RowwiseLlama3(llama3.Attention):  # type: ignore[misc]
    """Llama 3.2's attention for rows of different age."""

    def block(self: Any, x: Any, segment_pos: Any, cache: Any, attn_mask: Any) -> Any:
        """Return (new cache, output) as Tunix's own; also with a cache of rows of different age."""
        if not has_places(cache):
            return super().block(x, segment_pos, cache, attn_mask)
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        query, key, value = (llama3.shard(each, self.shd_config.act_btnh) for each in projected)
        query, key = (rotated(each, segment_pos, self.head_dim) for each in (query, key))
        new, output = attend(query, key, value, cache, attn_mask, AttentionForm(self.scale, softmax_dtype=jnp.float32))
        return new, llama3.shard(self.o_proj(output), self.shd_config.act_btd)


PORT = Port(
    selective(llama3.Llama3, attention_class=RowwiseLlama3),
    llama_config,
    llama3_safetensors,
    "tunix.models.llama3.model",
)
