"""A stage of your own, with JAX: a line through noisy points, fitted by gradient descent with momentum."""

import jax
import jax.numpy as jnp

from stages.training.state_io import carry_on


def train(context):
    begin = {"line": jnp.zeros(2), "speed": jnp.zeros(2)}
    carry_on(context, begin, one_step)


@jax.jit
def one_step(state, step, seed):
    x, noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), step), (2, 64))
    loss, slope = jax.value_and_grad(lambda line: jnp.mean((line[0] * x + line[1] - (3 * x + 1 + noise / 10)) ** 2))(
        state["line"]
    )
    speed = 0.9 * state["speed"] - 0.01 * slope
    return {"line": state["line"] + speed, "speed": speed}, {"loss": loss}
