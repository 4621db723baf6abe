"""Attention of rows of different age: each row's next token has its own place in the key-value cache.

Tunix's attention writes the cache at one index for all rows, so all rows have to be equally old. Models loaded by relay
have subclasses of it (one for each family, beside its configuration) that recognise another kind of cache: with `at` (rows,
int32) instead of `end_index`. Everything else of a layer is Tunix's, and so is every other call of its attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

PLACES = "at"
"""Key of a layer's cache for the rows' places; the others are `k` and `v` (rows × width × kv heads × head width)."""

MASKED = -2.3819763e38
"""Logit of a position that is not attended to, as in Tunix's models."""


def has_places(cache: Mapping[str, jax.Array] | None) -> bool:
    """Return True for a layer's cache that rows of different age share."""
    return cache is not None and PLACES in cache


@dataclass(frozen=True)
class AttentionForm:
    """Differences between the families' attention, beside their projections."""

    scale: float = 1.0
    """Factor of the logits; Gemma scales the queries instead."""
    softcap: float | None = None
    """Bound of the logits' absolute values."""
    window: int | None = None
    """Number of positions that a sliding layer sees, including the row's own."""
    softmax_dtype: Any = None
    """Type of the softmax; by default that of the logits."""


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    cache: Mapping[str, jax.Array],
    mask: jax.Array,
    form: AttentionForm,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Write each row's key and value at its place and attend to the row's positions.

    `query` is rows × 1 × heads × head width, `key` and `value` are rows × 1 × kv heads × head width; `mask` (rows × 1 ×
    cache width, bool) has the positions up to each row's own. A row whose place is not in the cache writes nothing.
    Returns (new cache of the layer, output as rows × 1 × heads × head width).
    """
    rows, _, heads, head_width = query.shape
    places, kv_heads = cache[PLACES], cache["k"].shape[2]
    where = (jnp.arange(rows), places)
    keys = cache["k"].at[where].set(key[:, 0], mode="drop")
    values = cache["v"].at[where].set(value[:, 0], mode="drop")
    if form.window is not None:
        mask = mask & (jnp.arange(mask.shape[-1]) > places[:, None] - form.window)[:, None, :]
    grouped = query.reshape(rows, kv_heads, heads // kv_heads, head_width)
    logits = jnp.einsum("bkgh,bskh->bkgs", grouped, keys)
    if form.scale != 1.0:
        logits = logits * form.scale
    if form.softcap is not None:
        logits = jnp.tanh(logits / form.softcap) * form.softcap
    logits = jnp.where(mask[:, None], logits, MASKED)
    weights = jax.nn.softmax(logits.astype(form.softmax_dtype or logits.dtype), axis=-1).astype(keys.dtype)
    output = jnp.einsum("bkgs,bskh->bkgh", weights, values).reshape(rows, 1, heads, head_width)
    return {"k": keys, "v": values, PLACES: places}, output
