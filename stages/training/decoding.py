"""The sampler's programs: each is a pure function, compiled once for each of its shapes.

All of them can be lowered with shapes alone (`jax.ShapeDtypeStruct` in place of every array); `graph` and `weights` are
the two parts of `nnx.split(model)`, made while rematerialisation is off (`families.without_remat`).

A cache is a dict from `layer_0`, `layer_1`, … to `k` and `v` (rows × width × kv heads × head width). Rows are aligned on
the left: the position of a token is its place. `layout` is the sharding of `k` and `v` (see `cache_layout`).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from stages.training.attention import PLACES

Cache = dict[str, dict[str, jax.Array]]


@dataclass(frozen=True)
class TokenChoice:
    """Way to choose a token from logits, a constant of the compiled programs."""

    greedy: bool = True
    """Takes the likeliest token; the other fields are not used."""
    top_k: int = 0
    """Number of likeliest tokens to choose from; 0: all."""
    nucleus: bool = False
    """Chooses from the likeliest tokens whose probability adds up to `Noise.top_p`."""


@dataclass(frozen=True)
class DecodeSettings:
    """Constants of the compiled programs: the choice of tokens, the cache's layout and the steps of a segment."""

    choice: TokenChoice
    layout: NamedSharding
    steps: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Noise:
    """Scalars of the random choice: `seed` (uint32), `temperature` and `top_p` (float32)."""

    seed: Any
    temperature: Any
    top_p: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SlotState:
    """State of the decode loop's rows; each field is an int32 array (rows).

    `token` is the last one that was chosen and `place` its place in the cache, where it is not written yet; `drawn` is
    the number of tokens of the answer so far, and `left` how many more it may have: 0 for an ended or empty row.
    `number` is the answer's number among those of the call, from which its random numbers follow.
    """

    token: Any
    place: Any
    drawn: Any
    left: Any
    number: Any


def cache_layout(mesh: jax.sharding.Mesh, kv_heads: int) -> NamedSharding:
    """Return the cache's sharding: rows along `fsdp`, and heads along `tp` if they can be divided."""
    heads = "tp" if kv_heads % mesh.shape["tp"] == 0 else None
    return NamedSharding(mesh, PartitionSpec("fsdp", None, heads, None))


def _prefill(
    graph: Any,
    weights: Any,
    tokens: jax.Array,
    lengths: jax.Array,
    numbers: jax.Array,
    noise: Noise,
    settings: DecodeSettings,
) -> tuple[jax.Array, jax.Array, Cache]:
    """Read prompts and choose each answer's first token; logits are computed for the last token of each prompt only.

    `tokens` (rows × width, int32) are padded on the right; `lengths` and `numbers` (rows, int32) are the prompts' lengths
    and `SlotState.number`. Returns the tokens (rows, int32), their log-probabilities (rows, float32) and the prompts'
    cache, as wide as `tokens`.
    """
    model = nnx.merge(graph, weights)
    rows, width = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(width), (rows, width))
    mask = (positions < lengths[:, None])[:, None, :] & jnp.tril(jnp.ones((width, width), bool))
    zeros = _zeros(model, rows, width, model.embedder.encode(tokens[:, :1]).dtype, settings.layout)
    begun = {name: {**layer, "end_index": jnp.zeros((rows,), jnp.int32)} for name, layer in zeros.items()}
    hidden, filled = model(tokens, positions, begun, mask, at=lengths[:, None] - 1)
    token, logprob = _chosen(model.head(hidden)[:, 0], numbers, jnp.zeros_like(numbers), noise, settings.choice)
    return token, logprob, _laid_out(filled, settings.layout)


def _fresh(graph: Any, weights: Any, *, rows: int, width: int, layout: NamedSharding) -> Cache:
    """Return an empty cache, which is made in its layout: no device ever has all of it."""
    model = nnx.merge(graph, weights)
    dtype = model.embedder.encode(jnp.zeros((1, 1), jnp.int32)).dtype
    return _zeros(model, rows, width, dtype, layout)


def _admit(cache: Cache, new: Cache, slots: jax.Array) -> Cache:
    """Write the rows of a prefill's cache to these slots (rows of `new`, int32); a slot that does not exist is skipped.

    `cache` may be narrower than `new`, as long as it holds the prompts without their padding.
    """

    def admitted(old: jax.Array, rows: jax.Array) -> jax.Array:
        rows = rows[:, : old.shape[1]]
        return old.at[slots, : rows.shape[1]].set(rows, mode="drop")

    found: Cache = jax.tree.map(admitted, cache, new)
    return found


def _resize(
    layer: dict[str, jax.Array], kept: jax.Array | None, *, width: int, layout: NamedSharding
) -> dict[str, jax.Array]:
    """Return one layer's cache with these rows (int32; None: all) in this order and so many places.

    Layer by layer, because the memory of a result of another shape cannot be that of the argument.
    """

    def resized(array: jax.Array) -> jax.Array:
        array = array[:, :width] if kept is None else array[kept, :width]
        more = width - array.shape[1]
        array = jnp.pad(array, ((0, 0), (0, more), (0, 0), (0, 0)))
        return jax.lax.with_sharding_constraint(array, layout)

    return {name: resized(array) for name, array in layer.items()}


def _segment(
    graph: Any,
    weights: Any,
    cache: Cache,
    slots: SlotState,
    stops: jax.Array,
    noise: Noise,
    settings: DecodeSettings,
) -> tuple[Cache, SlotState, jax.Array, jax.Array]:
    """Continue all rows for `settings.steps` steps, or until all have ended. A row that has ended stands still.

    `stops` (int32) are the tokens that end an answer. The cache needs room for so many more places of each row, or up to
    its limit. Returns the new cache and slots, and the tokens (rows × steps, int32; -1 where a row had ended) with their
    log-probabilities (rows × steps, float32).
    """
    rows, width = len(slots.token), jax.tree.leaves(cache)[0].shape[1]

    def step(carry: Any) -> Any:
        number, cache, slots, tokens, logprobs = carry
        live = slots.left > 0
        mask = (jnp.arange(width) <= slots.place[:, None])[:, None, :]
        places = jnp.where(live, slots.place, width)  # an ended row writes outside of the cache: nowhere
        begun = {name: {**layer, PLACES: places} for name, layer in cache.items()}
        # The model's own __call__, which is the only method that Qwix adds adapters to.
        logits, filled = nnx.merge(graph, weights)(slots.token[:, None], slots.place[:, None], begun, mask)
        token, logprob = _chosen(logits[:, 0], slots.number, slots.drawn, noise, settings.choice)
        tokens = tokens.at[:, number].set(jnp.where(live, token, -1))
        logprobs = logprobs.at[:, number].set(jnp.where(live, logprob, 0.0))
        left = jnp.where(jnp.isin(token, stops), 0, slots.left - 1)
        slots = replace(
            slots,
            token=jnp.where(live, token, slots.token),
            place=slots.place + live,
            drawn=slots.drawn + live,
            left=jnp.where(live, left, 0),
        )
        return number + 1, _laid_out(filled, settings.layout), slots, tokens, logprobs

    def unfinished(carry: Any) -> jax.Array:
        return (carry[0] < settings.steps) & jnp.any(carry[2].left > 0)

    begun = (
        0,
        cache,
        slots,
        jnp.full((rows, settings.steps), -1, jnp.int32),
        jnp.zeros((rows, settings.steps), jnp.float32),
    )
    return jax.lax.while_loop(unfinished, step, begun)[1:]  # type: ignore[no-any-return]


prefill = partial(jax.jit, static_argnames=("settings",))(_prefill)
fresh = partial(jax.jit, static_argnames=("rows", "width", "layout"))(_fresh)
admit = partial(jax.jit, donate_argnames=("cache",))(_admit)
resize = partial(jax.jit, static_argnames=("width", "layout"))(_resize)
segment = partial(jax.jit, static_argnames=("settings",), donate_argnames=("cache",))(_segment)


def _zeros(model: Any, rows: int, width: int, dtype: Any, layout: NamedSharding) -> Cache:
    config = model.config
    shape = (rows, width, config.num_kv_heads, config.head_dim)

    def array() -> jax.Array:
        return jax.lax.with_sharding_constraint(jnp.zeros(shape, dtype), layout)

    return {f"layer_{number}": {"k": array(), "v": array()} for number in range(config.num_layers)}


def _laid_out(cache: Cache, layout: NamedSharding) -> Cache:
    return {
        name: {key: jax.lax.with_sharding_constraint(layer[key], layout) for key in ("k", "v")}
        for name, layer in cache.items()
    }


def _chosen(
    logits: jax.Array, numbers: jax.Array, drawn: jax.Array, noise: Noise, choice: TokenChoice
) -> tuple[jax.Array, jax.Array]:
    """Return each row's token (int32) and its log-probability under all tokens at the temperature (float32).

    Greedy choices have the log-probability at a temperature of 1. Random ones add Gumbel noise, which is a function of
    the seed, the answer's number and the token's index in it: the same whatever other rows there are.
    """
    logits = logits.astype(jnp.float32)
    if choice.greedy:
        token = jnp.argmax(logits, axis=-1)
    else:
        logits = logits / noise.temperature
        seed = jax.random.key(noise.seed)
        key_of = jax.vmap(lambda number, index: jax.random.fold_in(jax.random.fold_in(seed, number), index))
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(key_of(numbers, drawn))
        token = _noisiest(logits, gumbel, noise.top_p, choice)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    return token.astype(jnp.int32), chosen - jax.nn.logsumexp(logits, axis=-1)


def _noisiest(logits: jax.Array, gumbel: jax.Array, top_p: jax.Array, choice: TokenChoice) -> jax.Array:
    """Return the token with the highest sum of logit and noise among those allowed, which samples from their softmax."""
    if not choice.top_k and not choice.nucleus:
        return jnp.argmax(logits + gumbel, axis=-1)
    best, tokens = jax.lax.top_k(logits, choice.top_k or logits.shape[-1])
    if choice.nucleus:
        probabilities = jax.nn.softmax(best, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        best = jnp.where(before > top_p, -jnp.inf, best)  # as in Tunix's sampler; the likeliest one always stays
    place = jnp.argmax(best + jnp.take_along_axis(gumbel, tokens, axis=-1), axis=-1)
    return jnp.take_along_axis(tokens, place[:, None], axis=-1)[:, 0]
