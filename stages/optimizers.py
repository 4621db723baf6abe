"""From options to an Optax optimizer: a warm-up, a decay over the whole stage, clipping, AdamW; and how much of an update arrives."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stages.options import Trained


def optimizer(options: Trained, steps: int) -> optax.GradientTransformation:
    """The optimizer of a stage of `steps` steps. The schedule depends on nothing else, so a cut does not bend it."""
    return measured(
        optax.chain(
            optax.clip_by_global_norm(options.clip_norm),
            optax.adamw(schedule(options, steps), b1=options.b1, b2=options.b2, weight_decay=options.weight_decay),
        )
    )


def schedule(options: Trained, steps: int) -> optax.Schedule:
    """Learning rate by number of updates done: linear warm-up from zero, then the decay that the options name."""
    peak, warmup = options.learning_rate, min(options.warmup_steps, steps - 1)
    left = max(1, steps - warmup)
    match options.schedule:
        case "constant":
            after = optax.constant_schedule(peak)
        case "linear":
            after = optax.linear_schedule(peak, peak * options.final_share, left)
        case _:
            after = optax.cosine_decay_schedule(peak, left, alpha=options.final_share)
    # The first update already moves: a rate of exactly zero would waste it.
    rising = optax.linear_schedule(peak / (warmup + 1), peak, max(1, warmup))
    return optax.join_schedules([rising, after], [warmup])


class Measured(NamedTuple):
    """An optimizer's state, and of the newest update two norms: of what was wanted, and of what rounding took from it."""

    inner: Any
    update_wanted: Any
    update_lost: Any


def measured(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same optimizer. It also measures how much of each update is lost when it is added to weights of their type."""

    def init(params: Any) -> Measured:
        return Measured(inner.init(params), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    def update(gradients: Any, state: Measured, params: Any = None) -> tuple[Any, Measured]:
        updates, after = inner.update(gradients, state.inner, params)

        def lost(weight: jax.Array, change: jax.Array) -> jax.Array:
            moved = (weight + change).astype(weight.dtype).astype(jnp.float32) - weight.astype(jnp.float32)
            return moved - change

        return updates, Measured(
            after, optax.global_norm(updates), optax.global_norm(jax.tree.map(lost, params, updates))
        )

    return optax.GradientTransformation(init, update)


def lost_share(arrays: Mapping[str, Any]) -> dict[str, float]:
    """`update_lost` of an optimizer's arrays by name: the share of the newest update that rounding took.

    Nothing where nothing was to be changed.
    """
    found = {
        end: float(value)
        for name, value in arrays.items()
        if (end := name.rpartition(".")[2]) in ("update_wanted", "update_lost")
    }
    wanted = found["update_wanted"]
    return {"update_lost": found["update_lost"] / wanted} if wanted > 0 else {}
