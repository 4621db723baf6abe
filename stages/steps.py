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

from stages import checkpoints
from stages.accounting import Spent
from stages.checkpoints import State
from stages.options import Options, fit
from stages.stage import Context, Next, StageFailed


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
    state: Callable[[], State],
    what: Spent = Spent.STEP,
) -> None:
    """Run every step that is left; `step` returns its metrics once its results are ready, `state` is what to save then.

    What the run has read of its data sets is saved with it.

    `what` a step's seconds are, where the step does not say otherwise.
    """

    def write(directory: Path) -> Callable[[], dict[str, str]]:
        whole = replace(state(), data=context.pins.described())
        return partial(checkpoints.write, checkpoints.held(whole), directory)

    for number in range(context.start_step + 1, context.spec.steps + 1):
        with context.doing(what):
            metrics = {**step(number), **context.pins.metrics()}
        answer = context.step_done(number, metrics)
        if answer is not Next.GO_ON:
            context.save(number, write)
        if answer is Next.STOP:
            return


@contextmanager
def calm() -> Iterator[None]:
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
