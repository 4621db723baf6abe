"""The optimizer is AdamW as its artifact has it (arXiv:1711.05101, algorithm 2), computed here once more with NumPy in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stages.options import Grpo, Sft, TrainingOptions
from stages.training.optimizers import learning_rates, measurements, optimizer

STEPS, WARMUP, PEAK = 20, 5, 0.01


def rate_by_hand(shape: str, update: int, updates: int, warmup: int) -> float:
    """The learning rate of an update, counted from 0."""
    if update < warmup:
        return PEAK / (warmup + 1) * (1 + update / warmup * warmup)
    share = (update - warmup) / (updates - warmup)
    match shape:
        case "constant":
            return PEAK
        case "linear":
            return PEAK * (1 - 0.9 * share)
    return PEAK * (0.9 * 0.5 * (1 + math.cos(math.pi * share)) + 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_the_learning_rate_rises_then_falls_over_the_stages_steps(shape: str) -> None:
    options = Sft(schedule=shape, learning_rate=PEAK, warmup_steps=WARMUP)
    wanted = [rate_by_hand(shape, step, STEPS, WARMUP) for step in range(STEPS)]
    np.testing.assert_allclose(learning_rates(options, STEPS), wanted, rtol=1e-5)


@pytest.mark.slow
def test_with_several_updates_a_step_the_rate_is_the_same_at_the_same_step() -> None:
    options = Grpo(learning_rate=PEAK, warmup_steps=WARMUP, num_iterations=3)
    wanted = [rate_by_hand("cosine", 3 * step, 3 * STEPS, 3 * WARMUP) for step in range(STEPS)]
    np.testing.assert_allclose(learning_rates(options, STEPS), wanted, rtol=1e-5)


def adamw_by_hand(weights: np.ndarray, gradients: list[np.ndarray], options: TrainingOptions) -> np.ndarray:
    weights, mean, square = weights.astype(float), 0.0, 0.0
    for step, gradient in enumerate(gradients):
        norm = np.linalg.norm(gradient)
        clipped = gradient * min(1.0, options.clip_norm / norm)
        mean = options.b1 * mean + (1 - options.b1) * clipped
        square = options.b2 * square + (1 - options.b2) * clipped**2
        unbiased = mean / (1 - options.b1 ** (step + 1)), square / (1 - options.b2 ** (step + 1))
        rate = rate_by_hand(options.schedule, step, STEPS, options.warmup_steps)
        weights = weights - rate * (unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + options.weight_decay * weights)
    return weights


@pytest.mark.slow
def test_updates_are_adamws_also_where_a_cut_puts_the_state_away_and_back() -> None:
    options = Sft(learning_rate=PEAK, warmup_steps=WARMUP, clip_norm=2.0, weight_decay=0.1, b1=0.9, b2=0.95)
    noise = np.random.default_rng(5)
    start, gradients = noise.normal(size=7), [noise.normal(size=7) for _ in range(STEPS)]
    weights = jnp.asarray(start, jnp.float32)
    transformation = optimizer(options, STEPS)
    state = transformation.init(weights)
    for number, gradient in enumerate(gradients):
        updates, state = transformation.update(jnp.asarray(gradient, jnp.float32), state, weights)
        weights = optax.apply_updates(weights, updates)
        assert measurements(state)["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
        if number == 8:  # cut: everything goes to the host and comes back into an optimizer that was made anew
            saved = jax.tree.map(np.asarray, (weights, state))
            transformation = optimizer(options, STEPS)
            weights, state = jax.tree.map(jnp.asarray, saved)
    np.testing.assert_allclose(weights, adamw_by_hand(start, gradients, options), rtol=2e-5, atol=1e-7)


@pytest.mark.slow
def test_the_gradients_norm_is_found_wherever_it_lies_in_the_state() -> None:
    transformation = optax.MultiSteps(optimizer(Sft(warmup_steps=0), STEPS), 2)
    state = transformation.init(jnp.zeros(2))
    for gradient in ([3.0, 0.0], [3.0, 8.0]):  # their mean is (3, 4)
        _, state = transformation.update(jnp.asarray(gradient), state, jnp.zeros(2))
    assert measurements(state)["grad_norm"] == pytest.approx(5.0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_changed_learning_rate_holds_after_its_step_and_no_earlier_step_differs_by_a_bit(shape: str) -> None:
    before = Grpo(schedule=shape, learning_rate=PEAK, warmup_steps=WARMUP, num_iterations=2)
    after = Grpo(
        schedule=shape,
        learning_rate=PEAK,
        warmup_steps=WARMUP,
        num_iterations=2,
        learning_rate_after={"12": PEAK / 4, "8": PEAK * 3},
    )
    wanted = [
        rate_by_hand(shape, 2 * step, 2 * STEPS, 2 * WARMUP) * (1 if step < 8 else 3 if step < 12 else 0.25)
        for step in range(STEPS)
    ]
    found = learning_rates(after, STEPS)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found[:8] == learning_rates(before, STEPS)[:8]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_more_steps_leave_the_decay_of_the_first_ones_as_it_was(shape: str) -> None:
    short = learning_rates(Sft(schedule=shape, learning_rate=PEAK, warmup_steps=WARMUP), STEPS)
    longer = learning_rates(Sft(schedule=shape, learning_rate=PEAK, warmup_steps=WARMUP, decay_steps=STEPS), STEPS + 9)
    assert longer[:STEPS] == short
    lowest = PEAK if shape == "constant" else PEAK * 0.1
    np.testing.assert_allclose(longer[STEPS:], [lowest] * 9, rtol=1e-5)
