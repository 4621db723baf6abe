"""A stage of your own, without JAX: a running estimate of pi from random points in a square."""

from random import Random

from stages.training.state_io import carry_on

POINTS = 20_000


def train(context):
    carry_on(context, {"inside": 0, "tried": 0}, one_step)


def one_step(state, step, seed):
    draw = Random(f"{seed}/{step}")  # the step's own numbers, whichever session does it
    inside = sum(draw.random() ** 2 + draw.random() ** 2 < 1 for _ in range(POINTS))
    state = {"inside": state["inside"] + inside, "tried": state["tried"] + POINTS}
    return state, {"pi": 4 * state["inside"] / state["tried"]}
