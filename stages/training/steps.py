"""Runs a stage's steps: waits until each one is finished on the device before reporting it;
saves and stops when asked to.

Tunix has no stop hook, buffers metrics for a step, and fetches data in a separate thread. So each step is one complete
call of Tunix's public `train` with the data of that step alone, after which no work is pending.
"""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.options import Options, TrainingOptions, fit
from stages.session.time_accounting import TimeClass
from stages.stage import Context, Next, StageFailed
from stages.training import checkpoints, sharded_save
from stages.training.checkpoints import TrainingState
from stages.training.optimizers import learning_rates
from stages.training.spread import is_spread


class LatestMetrics:
    """Replacement for Tunix's metrics logger that only keeps the newest value of each metric."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def log(self, prefix: str, name: str, value: Any, mode: Any, step: int) -> None:
        """Store a metric; called by the trainer."""
        self._values[name] = float(np.mean(np.asarray(value)))

    def metric_exists(self, prefix: str, name: str, mode: Any) -> bool:
        """Return whether a metric was logged; called by the trainer."""
        return name in self._values

    def close(self) -> None:
        """Do nothing; called by the trainer after each step."""

    def take(self, *names: str) -> dict[str, float]:
        """Return those of the named metrics that the last step logged, and clear all metrics."""
        found = {name: self._values[name] for name in names if name in self._values}
        self._values.clear()
        return found


def do_steps(
    context: Context,
    step: Callable[[int], Mapping[str, float]],
    state: Callable[[], TrainingState],
    what: TimeClass = TimeClass.STEP,
    options: TrainingOptions | None = None,
) -> None:
    """Run all remaining steps; `step` returns its metrics once its results are ready,
    `state` returns the state to save.

    The record of what the run has read of its data sets is saved too. Seconds of a step are booked under `what` unless
    the step books them otherwise. The metrics `learning_rate` and `examples`, which follow from a training stage's
    `options`, are added unless the step reports them. From `examples` and `tokens` (without padding) the session
    computes rates.
    """
    from_options = _metrics_from_options(options, context.spec.steps)

    def whole() -> TrainingState:
        return replace(state(), data=context.pins.described())

    for number in range(context.start_step + 1, context.spec.steps + 1):
        with context.doing(what):
            metrics = {**from_options(number), **step(number), **context.pins.metrics()}
        answer = context.step_done(number, metrics)
        if answer is not Next.GO_ON:
            context.save(number, partial(_copy_state, whole, f"{context.spec.name} step {number}"))
        if answer is Next.STOP:
            return


def _metrics_from_options(options: TrainingOptions | None, steps: int) -> Callable[[int], dict[str, float]]:
    """Return a function from a step to those of its metrics that follow from the stage's options."""
    if options is None:
        return lambda _step: {}
    rates = learning_rates(options, steps)
    return lambda step: {"learning_rate": rates[step - 1], "examples": float(options.batch)}


def _copy_state(state: Callable[[], TrainingState], after: str, directory: Path) -> Callable[[], dict[str, str]]:
    """Copy the state, which the next step overwrites; returns the function that checks and writes the copy."""
    if is_spread():
        return sharded_save.begin(state(), directory, after)
    return partial(checkpoints.write, checkpoints.held(state()), directory, after)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress the libraries' informational logging, and free device memory at the end."""
    noisy = [logging.getLogger(name) for name in ("absl", "jax._src.xla_bridge")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
        gc.collect()


def checked(kind: type[Options], context: Context) -> Options:
    """Parse the stage's options; raises StageFailed if they are invalid."""
    try:
        return fit(kind, context.spec.options, f"stages.{context.spec.name}.options")
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
