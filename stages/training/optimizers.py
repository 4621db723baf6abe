"""Builds an Optax optimizer from a stage's options: warm-up, decay over the whole stage, clipping, AdamW."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stages.options import Grpo, TrainingOptions


class Measured(NamedTuple):
    """State of an optimizer, with Euclidean norms of its latest update.

    `gradient` is the norm of the whole batch's gradient before clipping; `wanted` that of the update; `lost` that of
    the part of the update which is lost to rounding when it is added to the weights.
    """

    inner: Any
    gradient: Any
    wanted: Any
    lost: Any


def optimizer(options: TrainingOptions, steps: int) -> optax.GradientTransformation:
    """Create the optimizer of a stage of `steps` steps. The schedule depends on nothing else, so
    interruptions do not affect it."""
    return measured(
        optax.chain(
            optax.clip_by_global_norm(options.clip_norm),
            optax.adamw(schedule(options, steps), b1=options.b1, b2=options.b2, weight_decay=options.weight_decay),
        )
    )


def schedule(options: TrainingOptions, steps: int) -> optax.Schedule:
    """Return the learning rate by number of updates done: linear warm-up, then the decay that the options name."""
    updates = steps * updates_a_step(options)
    peak, warmup = options.learning_rate, min(options.warmup_steps * updates_a_step(options), updates - 1)
    left = max(1, updates - warmup)
    match options.schedule:
        case "constant":
            after = optax.constant_schedule(peak)
        case "linear":
            after = optax.linear_schedule(peak, peak * options.min_lr_ratio, left)
        case _:
            after = optax.cosine_decay_schedule(peak, left, alpha=options.min_lr_ratio)
    # Starts above zero, because a first update with a rate of exactly zero would be wasted.
    rising = optax.linear_schedule(peak / (warmup + 1), peak, max(1, warmup))
    return optax.join_schedules([rising, after], [warmup])


def updates_a_step(options: TrainingOptions) -> int:
    """Return the number of weight updates per step."""
    return options.num_iterations if isinstance(options, Grpo) else 1


def learning_rates(options: TrainingOptions, steps: int) -> list[float]:
    """Return the learning rate of each step's first update, in order of steps."""
    first = np.arange(steps) * updates_a_step(options)
    return [float(rate) for rate in np.asarray(schedule(options, steps)(first))]


def schedule_counts(names: Iterable[str]) -> list[str]:
    """Return the names, among those of an optimizer state, of the counters that the learning rate depends on.

    AdamW's own counter, which corrects the bias of its moments, is not among them: it has the moments beside it.
    """
    known = list(names)
    counts = [name.removesuffix(".count") for name in known if name.endswith(".count")]
    return [f"{place}.count" for place in counts if not any(name.startswith(f"{place}.mu.") for name in known)]


def measured(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wrap an optimizer to record norms of each update; Tunix's trainer only knows the mean of the parts' gradients."""

    def init(params: Any) -> Measured:
        return Measured(inner.init(params), *(jnp.zeros((), jnp.float32) for _ in range(3)))

    def update(gradients: Any, state: Measured, params: Any = None) -> tuple[Any, Measured]:
        updates, after = inner.update(gradients, state.inner, params)

        def lost(weight: jax.Array, change: jax.Array) -> jax.Array:
            moved = (weight + change).astype(weight.dtype).astype(jnp.float32) - weight.astype(jnp.float32)
            return moved - change

        norms = (optax.global_norm(tree) for tree in (gradients, updates, jax.tree.map(lost, params, updates)))
        return updates, Measured(after, *(norm.astype(jnp.float32) for norm in norms))

    return optax.GradientTransformation(init, update)


def measurements(state: Any) -> dict[str, float]:
    """Extract `grad_norm` and `update_lost` from an optimizer state (`nnx.Optimizer.opt_state`)
    that contains one of `measured`.

    `update_lost` is the share of the latest update that was lost to rounding; absent if the update was zero.
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Measured))
    found = next(node for node in nodes if isinstance(node, Measured))
    gradient, wanted, lost = (float(norm[...]) for norm in found[1:])
    return {"grad_norm": gradient, **({"update_lost": lost / wanted} if wanted > 0 else {})}
