"""From options to an Optax optimizer: a warm-up, a decay over the whole stage, clipping, AdamW."""

import numpy as np
import optax

from stages.options import Trained


def optimizer(options: Trained, steps: int) -> optax.GradientTransformation:
    """The optimizer of a stage of `steps` steps. The schedule depends on nothing else, so a cut does not bend it."""
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(schedule(options, steps), b1=options.b1, b2=options.b2, weight_decay=options.weight_decay),
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


def learning_rates(options: Trained, steps: int) -> list[float]:
    """The learning rate of each step of a stage, the first step's first."""
    return [float(rate) for rate in np.asarray(schedule(options, steps)(np.arange(steps)))]
