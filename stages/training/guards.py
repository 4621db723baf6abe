"""Notices training that goes wrong, and ends the session with a report that says which guard it was and what to do.

Guards look at what a session saw itself: one that was cut begins to look back anew. Thresholds are in the stage's options.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from stages.options import TrainingOptions
from stages.stage import StageFailed

LASTING_STEPS = 5
"""A spike that is over after fewer steps than this is no reason to stop."""
LOOK_AFTER_STEPS = 3
"""After so many steps of a session it is looked whether an adapter has moved, and nothing below it."""
DEVIATIONS_PER_MAD = 1.4826
"""Median absolute deviation to standard deviation, of normal noise."""
DEVIATION_SHARE_MIN = 0.05
"""A loss that hardly moves has no deviation to speak of: this share of its median stands in."""
ACCURACY_MIN = 0.1
"""Below this there is nothing that could collapse."""
FORMAT_SLACK = 0.02


class TrainingGuard:
    """Watches one stage in one session; `watch` raises StageFailed when something lasts."""

    def __init__(self, options: TrainingOptions, stage: str) -> None:
        self._options = options
        self._stage = stage
        self._losses: deque[float] = deque(maxlen=options.guard_steps)
        self._judged: deque[Mapping[str, float]] = deque(maxlen=options.guard_steps)
        self._spiking = 0
        self._vanishing = 0
        self._best: Mapping[str, float] | None = None

    def watch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Look at a step's metrics. `loss` alone is looked at for spikes; `accuracy` with `format` for a collapse,
        `idle_groups` (the share of groups whose answers were all worth the same) for learning nothing, and `update_lost`
        (the share of an update that rounding took) for updates that never arrive."""
        if "update_lost" in metrics:
            self._watch_vanishing(step, metrics["update_lost"])
        if "accuracy" in metrics:
            self._judged.append(metrics)
            self._watch_collapse(step)
            self._watch_idle(step)
        elif "loss" in metrics:
            self._watch_spike(step, metrics["loss"])

    def _watch_spike(self, step: int, loss: float) -> None:
        limit = spike_limit(self._losses, self._options.guard_spike)
        full = len(self._losses) == self._losses.maxlen
        if self._options.guard_spike and full and not loss <= limit:
            self._spiking += 1
        else:
            self._spiking = 0
            self._losses.append(loss)
        if self._spiking >= LASTING_STEPS:
            raise StageFailed(
                "loss-spike",
                f"the loss of {self._stage} is {loss:.4g} at step {step} and has been above {limit:.4g} for "
                f"{LASTING_STEPS} steps: lower learning_rate or clip_norm, or raise guard_spike",
            )

    def _watch_collapse(self, step: int) -> None:
        if not self._options.guard_collapse or len(self._judged) < self._options.guard_steps:
            return
        now = {name: fmean(each[name] for each in self._judged) for name in ("accuracy", "format")}
        if self._best is None or now["accuracy"] > self._best["accuracy"]:
            self._best = now
        fell = now["accuracy"] < self._options.guard_collapse * self._best["accuracy"]
        if self._best["accuracy"] >= ACCURACY_MIN and fell and now["format"] >= self._best["format"] - FORMAT_SLACK:
            raise StageFailed(
                "reward-collapse",
                f"accuracy of {self._stage} fell from {self._best['accuracy']:.2f} to {now['accuracy']:.2f} (averages of "
                f"{self._options.guard_steps} steps) at step {step} while the format held: the model answers the same to "
                "everything; lower learning_rate or raise beta",
            )

    def _watch_vanishing(self, step: int, lost: float) -> None:
        limit = self._options.guard_vanish
        self._vanishing = self._vanishing + 1 if limit and lost >= limit else 0
        if self._vanishing >= LASTING_STEPS:
            raise StageFailed(
                "updates-vanish",
                f"for {LASTING_STEPS} steps until {step} rounding took {lost:.0%} or about as much of each update of "
                f"{self._stage}, although what trains is kept in float32: raise learning_rate (it is "
                f"{self._options.learning_rate:g} after the warm-up), or set guard_vanish to 0",
            )

    def _watch_idle(self, step: int) -> None:
        idle = self._options.guard_idle
        if not idle or len(self._judged) < self._options.guard_steps:
            return
        if all(each.get("idle_groups", 0.0) >= idle for each in self._judged):
            worth = fmean(each["accuracy"] for each in self._judged)
            remedy = "the problems are too easy: end the stage sooner" if worth > 0.5 else "the problems are too hard"
            raise StageFailed(
                "no-progress",
                f"for {self._options.guard_steps} steps until {step} the answers of {self._stage} to one problem were all "
                f"worth the same (accuracy {worth:.2f}), so nothing is learnt: {remedy}, or raise temperature or num_generations",
            )


def spike_limit(losses: Sequence[float] | deque[float], deviations: float) -> float:
    """The loss above which a step counts as a spike: so many robust standard deviations above the median.

    Infinite where there is nothing to compare with.
    """
    if not losses:
        return math.inf
    middle = median(losses)
    spread = DEVIATIONS_PER_MAD * median(abs(loss - middle) for loss in losses)
    return middle + deviations * max(spread, DEVIATION_SHARE_MIN * abs(middle))
