"""Detects training that goes wrong, and ends the session with a report that names the guard and the remedy.

Guards only use metrics of the current session: their history starts anew in each session.
Thresholds are in the stage's options.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from stages.options import TrainingOptions
from stages.stage import StageFailed

LASTING_STEPS = 5
"""Number of consecutive steps with a loss spike, or with vanishing updates, after which the session is stopped."""
LOOK_AFTER_STEPS = 3
"""Number of steps of a session after which it is checked that the adapter, and nothing else, has changed."""
DEVIATIONS_PER_MAD = 1.4826
"""Ratio of the standard deviation to the median absolute deviation for normally distributed noise."""
DEVIATION_SHARE_MIN = 0.05
"""Lower bound of a loss's standard deviation, as a share of its median, for losses that hardly vary."""
ACCURACY_MIN = 0.1
"""Accuracy below which a collapse is not checked."""
FORMAT_SLACK = 0.02
"""Decrease of the format rate that counts as no change in the check for a collapse."""


class TrainingGuard:
    """Watches one stage in one session; `watch` raises StageFailed when a problem lasts."""

    def __init__(self, options: TrainingOptions, stage: str) -> None:
        self._options = options
        self._stage = stage
        self._losses: deque[float] = deque(maxlen=options.guard_steps)
        self._judged: deque[Mapping[str, float]] = deque(maxlen=options.guard_steps)
        self._spiking = 0
        self._vanishing = 0
        self._best: Mapping[str, float] | None = None

    def watch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Check a step's metrics: `loss` (without `accuracy`) for spikes; `accuracy` with `format` for a collapse;
        `idle_groups` (share of groups whose completions all have the same reward) for missing progress; and
        `update_lost` (share of an update lost to rounding) for vanishing updates."""
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
                f"accuracy of {self._stage} fell from {self._best['accuracy']:.2f} to {now['accuracy']:.2f} "
                f"(averages of {self._options.guard_steps} steps) at step {step} while the format held: "
                "the model answers the same to everything; lower learning_rate or raise beta",
            )

    def _watch_vanishing(self, step: int, lost: float) -> None:
        limit = self._options.guard_vanish
        self._vanishing = self._vanishing + 1 if limit and lost >= limit else 0
        if self._vanishing >= LASTING_STEPS:
            raise StageFailed(
                "updates-vanish",
                f"for {LASTING_STEPS} steps until {step} rounding lost {lost:.0%} or about as much of each update of "
                f"{self._stage}, although the trained weights are kept in float32: raise learning_rate (it is "
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
                f"for {self._options.guard_steps} steps until {step} all answers of {self._stage} to the same problem "
                f"had the same reward (accuracy {worth:.2f}), so nothing is learnt: {remedy}, or raise temperature or "
                "num_generations",
            )


def spike_limit(losses: Sequence[float] | deque[float], deviations: float) -> float:
    """Return the loss above which a step counts as a spike: the median plus that many robust standard deviations.

    Infinite if there are no losses to compare with.
    """
    if not losses:
        return math.inf
    middle = median(losses)
    spread = DEVIATIONS_PER_MAD * median(abs(loss - middle) for loss in losses)
    return middle + deviations * max(spread, DEVIATION_SHARE_MIN * abs(middle))
