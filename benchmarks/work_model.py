"""Measure the error of relay's model of the work: calibrate it with one batch and length, and predict the others.

    python -m benchmarks.work_model
    python -m benchmarks.work_model --layers 6 --width 512 --rounds 9

Trained and decoded is Tunix's Gemma 2 with fresh weights, of a size that the options name, on this machine's CPU: full
training with logits of all positions, and greedy decoding over a whole cache. The model's peak rates of a CPU need not hold:
the first case of each kind calibrates the seconds, as a session's first measurement does. Cases take turns, so that other
load on the machine affects all of them, and medians over the rounds are compared. Printed are the measured and predicted
milliseconds of a step and the error; at the end the median and the largest error. The exit status is 1 if the median error
of a kind exceeds what forecasts assume (`SCALED_SHARE`, `SCALED_DRAWING_SHARE`).
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from tunix.models.gemma import model as gemma

from orchestrator.core.step_times import SCALED_DRAWING_SHARE, SCALED_SHARE
from orchestrator.core.work.counts import ComputeWork, ModelWork
from orchestrator.core.work.rates import RATES
from orchestrator.core.work.seconds import best_s
from stages.options.families import Sizes

TRAINED = ((4, 128), (4, 64), (8, 128), (16, 64), (4, 256), (2, 512))
"""Rows and positions of the training steps; the first one calibrates."""
DECODED = ((8, 256), (1, 256), (32, 256), (8, 64), (8, 1024))
"""Rows and cache positions of the decoding; the first one calibrates."""
TOKENS = 16
"""Number of tokens that a measured decoding draws."""


@dataclass(frozen=True)
class Case:
    """A step to measure: its name, its work, and the function that runs it to the end."""

    name: str
    work: ComputeWork
    run: Callable[[], Any]


def network(sizes: Sizes) -> Any:
    """Build Tunix's Gemma 2 of these sizes with fresh weights."""
    config = replace(
        gemma.ModelConfig.gemma2_2b(),
        num_layers=sizes.layers,
        num_embed=sizes.vocabulary,
        embed_dim=sizes.width,
        hidden_dim=sizes.hidden,
        num_heads=sizes.heads,
        head_dim=sizes.head_width,
        num_kv_heads=sizes.kv_heads,
        attention_types=(gemma.AttentionType.GLOBAL,) * sizes.layers,
    )
    return gemma.Gemma(config, rngs=nnx.Rngs(0))


def training_cases(model: Any, sizes: ModelWork) -> list[Case]:
    """Return steps of AdamW on rows of random tokens."""
    definition, weights = nnx.split(model)
    optimizer = optax.adamw(1e-4)
    state = optimizer.init(weights)

    @jax.jit
    def step(weights: Any, state: Any, tokens: jax.Array) -> Any:
        def loss(weights: Any) -> jax.Array:
            rows, width = tokens.shape
            mask = jnp.broadcast_to(jnp.tril(jnp.ones((width, width), bool)), (rows, width, width))
            positions = jnp.broadcast_to(jnp.arange(width), tokens.shape)
            logits, _ = nnx.merge(definition, weights)(tokens, positions, None, mask)
            return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:]).mean()

        change, after = optimizer.update(jax.grad(loss)(weights), state, weights)
        return optax.apply_updates(weights, change), after

    def case(rows: int, width: int) -> Case:
        tokens = jax.random.randint(jax.random.key(rows), (rows, width), 0, sizes.sizes.vocabulary)
        positions = rows * width
        work = sizes.training(positions, width, positions, 1, full=True, again=False)
        return Case(f"train {rows} × {width}", work, lambda: jax.block_until_ready(step(weights, state, tokens)))

    return [case(rows, width) for rows, width in TRAINED]


def decoding_cases(model: Any, sizes: ModelWork) -> list[Case]:
    """Return loops that draw TOKENS tokens for every row, attending to a whole cache."""
    definition, weights = nnx.split(model)

    @jax.jit
    def draw(weights: Any, cache: Any, tokens: jax.Array) -> Any:
        rows, width = tokens.shape[0], cache["layer_0"]["k"].shape[1]

        def one(at: Any, carried: Any) -> Any:
            tokens, cache = carried
            mask = jnp.broadcast_to(jnp.arange(width) <= at, (rows, 1, width))
            logits, cache = nnx.merge(definition, weights)(tokens, jnp.full((rows, 1), at), cache, mask)
            return jnp.argmax(logits, -1).astype(tokens.dtype), cache

        return jax.lax.fori_loop(0, TOKENS, one, (tokens, cache))[0]

    def case(rows: int, width: int) -> Case:
        cache = model.init_cache(rows, width, jnp.float32)
        tokens = jnp.ones((rows, 1), jnp.int32)
        row_steps = rows * TOKENS
        work = sizes.layers(row_steps, width) + sizes.logits(row_steps) + sizes.weights_read(TOKENS)
        work += ComputeWork(bytes=row_steps * width * sizes.cache_bytes)
        return Case(f"decode {rows} × {width}", work, lambda: jax.block_until_ready(draw(weights, cache, tokens)))

    return [case(rows, width) for rows, width in DECODED]


def measured_s(cases: list[Case], rounds: int) -> list[float]:
    """Return the median seconds of each case. The first run of each, which compiles, is left out."""
    for case in cases:
        case.run()
    taken: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for found, case in zip(taken, cases, strict=True):
            began_s = time.perf_counter()
            case.run()
            found.append(time.perf_counter() - began_s)
    return [statistics.median(found) for found in taken]


def report(cases: list[Case], rounds: int) -> float:
    """Measure, predict and print one kind of step; return the median error of the predictions, as a share."""
    seconds, rates = measured_s(cases, rounds), RATES["cpu"]
    best = [best_s(case.work, 1, rates) for case in cases]
    factor, errors = seconds[0] / best[0], []
    for case, took_s, least_s in zip(cases, seconds, best, strict=True):
        error = factor * least_s / took_s - 1
        told = "calibrates" if case is cases[0] else f"{100 * error:+.0f} %"
        errors += [] if case is cases[0] else [abs(error)]
        share = f"{case.work.flops / took_s / 1e9:6.1f} GFLOP/s {case.work.bytes / took_s / 1e9:6.1f} GB/s"
        print(
            f"{case.name:16} {1000 * took_s:9.1f} ms  predicted {1000 * factor * least_s:9.1f} ms  {told:>10}  {share}"
        )
    middle = statistics.median(errors)
    print(f"error: median {100 * middle:.0f} %, largest {100 * max(errors):.0f} %\n")
    return middle


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    sizes = Sizes(given.layers, given.vocabulary, given.width, 4 * given.width, 4, 2, given.width // 4)
    model = network(sizes)
    errors = [report(cases(model, ModelWork(sizes)), given.rounds) for cases in (training_cases, decoding_cases)]
    return int(errors[0] > SCALED_SHARE or errors[1] > SCALED_DRAWING_SHARE)


if __name__ == "__main__":
    sys.exit(main())
