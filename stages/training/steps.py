"""Does a stage's steps one by one: each finished on the device before it is told, saved where asked, stopped where asked.

Tunix has no stop hook, buffers metrics for a step, and fetches data in a thread of its own. So a step here is one whole
call of Tunix's public `train` with the data of that step alone, after which nothing of it is under way.
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

from stages import catalog
from stages.options import Options, TrainingOptions, fit
from stages.session.time_accounting import TimeClass
from stages.stage import Context, Next, StageFailed
from stages.training import checkpoints
from stages.training.checkpoints import TrainingState
from stages.training.optimizers import learning_rates


class LatestMetrics:
    """Stands in for Tunix's metrics logger: keeps the newest value of each metric, writes nothing, registers nothing."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def log(self, prefix: str, name: str, value: Any, mode: Any, step: int) -> None:
        """Called by the trainer."""
        self._values[name] = float(np.mean(np.asarray(value)))

    def metric_exists(self, prefix: str, name: str, mode: Any) -> bool:
        """Called by the trainer."""
        return name in self._values

    def close(self) -> None:
        """Called by the trainer after each step."""

    def take(self, *names: str) -> dict[str, float]:
        """The named metrics of the step that just ended, those that it had, and forget them."""
        found = {name: self._values[name] for name in names if name in self._values}
        self._values.clear()
        return found


def do_steps(
    context: Context,
    step: Callable[[int], Mapping[str, float]],
    state: Callable[[], TrainingState],
    what: TimeClass = TimeClass.STEP,
) -> None:
    """Run every step that is left; `step` returns its metrics once its results are ready, `state` is what to save then.

    What the run has read of its data sets is saved with it. `what` a step's seconds are, where the step does not say otherwise.
    What the options alone tell of a step is added to its metrics: `learning_rate`, and `examples`, unless the step says itself how
    many it had. With `tokens`, those that it computed and that are no padding, the session makes rates of them (`stages.session.throughput`).
    """
    told = _told_by_options(context)

    def whole() -> TrainingState:
        return replace(state(), data=context.pins.described())

    for number in range(context.start_step + 1, context.spec.steps + 1):
        with context.doing(what):
            metrics = {**told(number), **step(number), **context.pins.metrics()}
        answer = context.step_done(number, metrics)
        if answer is not Next.GO_ON:
            context.save(number, partial(_begin_to_write, whole, f"{context.spec.name} step {number}"))
        if answer is Next.STOP:
            return


def _told_by_options(context: Context) -> Callable[[int], dict[str, float]]:
    """From a step to the metrics of it that follow from the stage's options."""
    options = catalog.find(context.spec.kind).fit(context.spec.options, f"stages.{context.spec.name}.options")
    if not isinstance(options, TrainingOptions):
        return lambda _step: {}
    rates = learning_rates(options, context.spec.steps)
    return lambda step: {"learning_rate": rates[step - 1], "examples": float(options.batch)}


def _begin_to_write(state: Callable[[], TrainingState], after: str, directory: Path) -> Callable[[], dict[str, str]]:
    """Copy the state, which the next step overwrites; what is left to do is to look at the copy and to write it."""
    return partial(checkpoints.write, checkpoints.held(state()), directory, after)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries' chatter out of the session's log, and give the devices' memory back in the end."""
    chatty = [logging.getLogger(name) for name in ("absl", "jax._src.xla_bridge")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
        gc.collect()


def checked(kind: type[Options], context: Context) -> Options:
    """The stage's options; raises StageFailed where they do not fit."""
    try:
        return fit(kind, context.spec.options, f"stages.{context.spec.name}.options")
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
