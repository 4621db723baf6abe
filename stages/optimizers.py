"""From options to an Optax optimizer: a warm-up, a decay over the whole stage, clipping, AdamW."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stages.options import Grpo, Trained


class GradientNorm(NamedTuple):
    """State of `noting_the_norm`: the Euclidean norm of the last gradient, all parts of its batch in it, before clipping."""

    norm: Any


def optimizer(options: Trained, steps: int) -> optax.GradientTransformation:
    """The optimizer of a stage of `steps` steps. The schedule depends on nothing else, so a cut does not bend it."""
    return optax.chain(
        noting_the_norm(),
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(schedule(options, steps), b1=options.b1, b2=options.b2, weight_decay=options.weight_decay),
    )


def schedule(options: Trained, steps: int) -> optax.Schedule:
    """Learning rate by number of updates done: linear warm-up from zero, then the decay that the options name."""
    updates = steps * updates_a_step(options)
    peak, warmup = options.learning_rate, min(options.warmup_steps * updates_a_step(options), updates - 1)
    left = max(1, updates - warmup)
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


def updates_a_step(options: Trained) -> int:
    """How often a step moves the weights."""
    return options.num_iterations if isinstance(options, Grpo) else 1


def learning_rates(options: Trained, steps: int) -> list[float]:
    """The learning rate of each step's first update, the first step's first."""
    first = np.arange(steps) * updates_a_step(options)
    return [float(rate) for rate in np.asarray(schedule(options, steps)(first))]


def noting_the_norm() -> optax.GradientTransformation:
    """Changes nothing; keeps the norm of what passes. Tunix's trainer reports the mean of the norms of a batch's parts instead."""

    def update(updates: Any, state: GradientNorm, params: Any = None) -> tuple[Any, GradientNorm]:
        return updates, GradientNorm(optax.global_norm(updates).astype(jnp.float32))

    return optax.GradientTransformation(lambda params: GradientNorm(jnp.zeros((), jnp.float32)), update)


def gradient_norm(state: Any) -> float:
    """The norm that `noting_the_norm` kept, from an optimizer's state (`nnx.Optimizer.opt_state`)."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, GradientNorm))
    return float(next(node for node in nodes if isinstance(node, GradientNorm)).norm[...])
