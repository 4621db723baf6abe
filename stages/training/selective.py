"""Forward passes that compute logits only where they are needed.

Tunix's models return logits of every position: rows × positions × vocabulary, most of what a small model computes and
holds. Models loaded by relay are subclasses of Tunix's, made by `selective`, whose `__call__` takes one more argument:
`at` selects the positions whose hidden states are returned instead. `token_logprobs` turns those into log-probabilities
in chunks, so that all logits never exist at once.

The selection is inside `__call__` because Qwix adds adapters to that method alone: a forward pass beside it would run
the base model without its adapter.

Without a cache, the gradients of each layer's adapter are computed before the backward pass of the layer below it begins:
see `gradients_in_turn`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

CHUNK_TOKENS = 1024
"""Number of tokens whose logits exist at once, on all devices together."""

Head = Callable[[jax.Array], jax.Array]
"""Function from hidden states (… × width) to logits (… × vocabulary)."""


class Selective:
    """Mixin for Tunix's models: `at` selects positions. The layers and the head may differ by family."""

    attention_class: Any = None
    """Class of the layers' attention, instead of Tunix's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.attention_class is not None:
            for layer in self.layers:  # type: ignore[attr-defined]
                object.__setattr__(layer.attn, "__class__", self.attention_class)  # Flax forbids plain assignment

    def __call__(self, *args: Any, at: jax.Array | slice | None = None, **kwargs: Any) -> Any:
        """Return (logits, cache) as Tunix's model does; with `at`, (hidden states of those positions, cache).

        `at` is a slice of the positions, or their numbers (rows × selected, int32). The hidden states (rows × selected
        × width) are those after the final norm, the input of `head`. With `at` the arguments are tokens, positions,
        cache and attention mask, by position.
        """
        if at is None:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        tokens, positions, cache, attention_mask = args
        hidden, cache = self.run_layers(self.embedder.encode(tokens), positions, cache, attention_mask)  # type: ignore[attr-defined]
        hidden = hidden[:, at] if isinstance(at, slice) else jnp.take_along_axis(hidden, at[..., None], axis=1)
        return self.final_norm(hidden), cache  # type: ignore[attr-defined]

    def run_layers(self, x: jax.Array, positions: jax.Array, cache: Any, attention_mask: jax.Array) -> Any:
        """Return (hidden states before the final norm, new cache)."""
        filled: dict[str, Any] | None = None if cache is None else {}
        for number, each in enumerate(self.layers):  # type: ignore[attr-defined]
            name = f"layer_{number}"
            layer, x = gradients_in_turn(each, x) if number and cache is None else (each, x)
            found, x = layer(x, positions, None if cache is None else cache[name], attention_mask)
            if filled is not None:
                filled[name] = found
        return x, filled

    def positions_restart(self, width: int) -> bool:
        """Return whether each example packed into a row of `width` positions may have positions from 0.

        Masks of sliding windows then have to compare places in the row, not positions.
        """
        return True

    def head(self, hidden: jax.Array) -> jax.Array:
        """Return the logits (… × vocabulary) of hidden states after the final norm (… × width)."""
        output = getattr(self, "lm_head", None)
        logits: jax.Array = self.embedder.decode(hidden) if output is None else output(hidden)  # type: ignore[attr-defined]
        softcap = getattr(self, "final_logits_softcap", None)  # Gemma 2's
        return logits if softcap is None else jnp.tanh(logits / softcap) * softcap


def gradients_in_turn(layer: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    """Return a copy of the layer and its input (rows × positions × width), tied together for the backward pass.

    An adapter's gradient is a small product of two large arrays: a layer's input and the gradient of its output. The
    order is the compiler's, and XLA's schedulers postpone such products, because by themselves they free nothing: then
    those arrays of all layers exist at once. The tie is an optimization barrier on the gradients of the layer's input
    and of its adapter, so that nothing below the layer is computed before both. It changes neither values nor the
    forward pass. A layer without an adapter is returned as it is: gradients of all weights are large themselves, and
    their sums over devices may go on beside the next layer.
    """
    graph, adapter, rest = nnx.split(layer, nnx.LoRAParam, ...)
    if not jax.tree.leaves(adapter):
        return layer, x
    x, adapter = _tied(x, adapter)
    return nnx.merge(graph, adapter, rest), x


def _unchanged(x: jax.Array, adapter: Any) -> Any:
    return x, adapter


def _tied_forwards(x: jax.Array, adapter: Any) -> tuple[Any, None]:
    return (x, adapter), None


def _tied_backwards(_: None, gradients: Any) -> Any:
    return jax.lax.optimization_barrier(gradients)


_tied = jax.custom_vjp(_unchanged)
_tied.defvjp(_tied_forwards, _tied_backwards)


@functools.cache
def selective(module_class: Any, mixin: Any = Selective, attention_class: Any = None) -> Any:
    """Return a subclass of one of Tunix's model classes whose `__call__` takes `at`, with its layers' attention of
    another class (see `stages.training.attention`)."""
    contents = {"__module__": module_class.__module__, "attention_class": attention_class}
    return type(module_class.__name__, (mixin, module_class), contents)


def token_logprobs(
    head: Head,
    hidden: jax.Array,
    targets: jax.Array,
    temperature: float | jax.Array = 1.0,
    *,
    head_trains: bool = False,
    chunk_tokens: int = CHUNK_TOKENS,
) -> jax.Array:
    """Return the log-probability (natural logarithm) of each target token (rows × selected, float32).

    `hidden` (rows × selected × width) are the states that predict `targets` (rows × selected, int32); logits are divided
    by `temperature`. At most about `chunk_tokens` tokens have logits at once, in the gradient's computation too:

    - With `head_trains` (full training) each chunk's logits are computed again for the gradient.
    - Otherwise the gradient of each log-probability by its hidden state is computed beside it and kept: as large as
      `hidden`, and nothing is computed twice. Gradients by the head's own weights are then zero.
    """

    def of_chunk(states: jax.Array, tokens: jax.Array) -> jax.Array:
        logits = head(states).astype(jnp.float32) / temperature
        chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1).squeeze(-1)
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    function = jax.checkpoint(of_chunk) if head_trains else _keeping_slopes(of_chunk)
    rows, selected = targets.shape
    chunk = max(1, chunk_tokens // rows)
    if selected <= chunk:
        return function(hidden, targets) if not head_trains else of_chunk(hidden, targets)
    count = -(-selected // chunk)
    padding = count * chunk - selected
    states = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0))).reshape(rows, count, chunk, -1).swapaxes(0, 1)
    tokens = jnp.pad(targets, ((0, 0), (0, padding))).reshape(rows, count, chunk).swapaxes(0, 1)
    _, found = jax.lax.scan(lambda carry, each: (carry, function(*each)), None, (states, tokens))
    return found.swapaxes(0, 1).reshape(rows, count * chunk)[:, :selected]


def _keeping_slopes(of_chunk: Callable[[jax.Array, jax.Array], jax.Array]) -> Any:
    """Return the function with a gradient by its first argument that is computed forwards.

    Each value depends on one hidden state only, so that one pull-back of ones has the slopes of all of them.
    """

    function = jax.custom_vjp(of_chunk)

    def forwards(states: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        values, pull = jax.vjp(lambda states: of_chunk(states, tokens), states)
        return values, pull(jnp.ones_like(values))[0]

    def backwards(slopes: jax.Array, cotangents: jax.Array) -> tuple[jax.Array, None]:
        return (slopes * cotangents[..., None]).astype(slopes.dtype), None

    function.defvjp(forwards, backwards)
    return function
