"""Decides from measured step and save times whether to save or to stop. Pure arithmetic: no clock, no disk.

The rule: go on only if, should the next step and a save both take unusually long, everything would still be on disk
with the reserve untouched. "Unusually long" is a high quantile of recent measurements times a safety factor, which is
large after few measurements and small after many. The spread of a stage's step times may be known from earlier
sessions; the typical step time on this machine comes from this session alone once it has measured one. A stage's first
step includes loading and compiling and predicts later steps badly, so it only bounds what has not been measured yet:
the second step (half of it), and the first step of the next stage.

A later step may compile too, when it is the first with a shape. What a step compiled is no part of its duration here;
as long as the stage says that there are shapes that it has not compiled, the next step is expected to take as much
longer as any step of the stage has spent on compiling, or as half of the longest first step of earlier sessions, since
this one may have found its first programs in the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from statistics import median

QUANTILE = 0.99
"""Share of steps that the estimate of a step's duration covers; the safety factor and the reserve cover the rest."""
SAVE_QUANTILE = 0.9
"""Share of saves that the estimate covers. Lower than QUANTILE: there are few samples, and the final save does not
compete with a training step."""
SAFETY_MAX = 1.25
"""Safety factor on the quantile after FEW measurements or fewer, where the quantile is their maximum."""
SAFETY_MIN = 1.05
FEW = 8
KNOWN = 64
"""Number of measurements that an earlier session's spread of step times counts as."""
START_SHARE = 0.5
"""Share of the first step that bounds the second: at least half of a first step is loading
and compiling, done only once."""
STEPS_KEPT = 256
"""Number of recent steps to keep for the estimate."""
SAVES_KEPT = 32
"""Number of recent saves to keep for the estimate."""
RESERVE_SHARE = 0.05
RESERVE_S_MAX = 15.0
"""Upper bound of the time kept for writing the report and exiting, in seconds; a share of a small budget."""
SAVE_GUESS_SHARE = 0.05
SAVE_GUESS_S_MAX = 60.0
"""Upper bound of the guess for a save's duration before any was measured, in seconds; a share of a small budget."""


def quantile(values: Sequence[float], share: float = QUANTILE) -> float:
    """Return the smallest of the values that is not exceeded by at least this share of them."""
    return sorted(values)[ceil(share * len(values)) - 1]


def safety(count: int) -> float:
    """Return the safety factor on a quantile of that many measurements."""
    return SAFETY_MIN + (SAFETY_MAX - SAFETY_MIN) * FEW / max(FEW, count)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Time budget of one session and its measurements so far. All times are in seconds on the session's clock."""

    budget_s: float
    save_interval_s: float
    known: Mapping[str, float] = field(default_factory=dict)
    """Measurements of earlier sessions, from `Order.times`."""
    stage: str = ""
    """Name of the current stage."""
    saved_at_s: float = 0.0
    first_step_s: float | None = None
    """Duration of the current stage's first step in this session; None before it is done."""
    steps_s: tuple[float, ...] = ()
    """Durations of recent steps of the current stage, without its first step in this session and without compiling."""
    shapes_left: int = 0
    """Number of shapes for which the current stage may still compile its programs in this session."""
    compiled_s_max: float = 0.0
    """Longest time that a step of the current stage has spent on compiling in this session."""
    slowest_start_s: float = 0.0
    """Longest first step of any stage in this session."""
    saves_s: tuple[float, ...] = ()
    saving_since_s: float | None = None
    """Time at which the save in progress began; None if no checkpoint is being written."""

    @property
    def reserve_s(self) -> float:
        """Seconds kept free at the end of the session."""
        return min(RESERVE_S_MAX, RESERVE_SHARE * self.budget_s)

    @property
    def save_bound_s(self) -> float:
        """Upper bound expected for the duration of a save, in seconds."""
        if self.saves_s:
            return safety(len(self.saves_s)) * quantile(self.saves_s, SAVE_QUANTILE)
        known_s = self.known.get("save_s")
        return min(SAVE_GUESS_S_MAX, SAVE_GUESS_SHARE * self.budget_s) if known_s is None else SAFETY_MAX * known_s

    @property
    def step_bound_s(self) -> float:
        """Upper bound expected for the next step, in seconds; 0 if nothing is known, so
        that the first step is allowed."""
        if not self.shapes_left:
            return self._step_without_compiling_s
        start_s = START_SHARE * self.known.get(f"{self.stage}.first_step_s", 0.0)
        return self._step_without_compiling_s + max(self.compiled_s_max, start_s)

    @property
    def _step_without_compiling_s(self) -> float:
        usual_s, high_s = (self.known.get(f"{self.stage}.{name}") for name in ("step_s", "step_high_s"))
        if self.steps_s:
            found_s, count = quantile(self.steps_s), len(self.steps_s)
            if usual_s and high_s and high_s >= usual_s:
                found_s, count = max(found_s, median(self.steps_s) * high_s / usual_s), count + KNOWN
            return safety(count) * found_s
        if self.first_step_s is not None:
            return START_SHARE * self.first_step_s if high_s is None else SAFETY_MAX * high_s
        first_s = self.known.get(f"{self.stage}.first_step_s")
        return self.slowest_start_s if first_s is None else SAFETY_MAX * first_s

    def stage_begun(self, now_s: float, stage: str = "") -> "Budget":
        """Reset the step measurements for a new stage, which starts from a saved checkpoint."""
        cleared = replace(self, first_step_s=None, steps_s=(), shapes_left=0, compiled_s_max=0.0)
        return replace(cleared, stage=stage, saved_at_s=now_s)

    def may_compile(self, shapes: int) -> "Budget":
        """Record for how many shapes the current stage may still compile its programs."""
        return replace(self, shapes_left=shapes)

    def step_done(self, duration_s: float, compiled_s: float = 0.0) -> "Budget":
        """Record the duration of one step, and how much of it was spent on compiling."""
        found = replace(self, compiled_s_max=max(compiled_s, self.compiled_s_max))
        if self.first_step_s is None:
            return replace(found, first_step_s=duration_s, slowest_start_s=max(duration_s, self.slowest_start_s))
        return replace(found, steps_s=(*self.steps_s, max(0.0, duration_s - compiled_s))[-STEPS_KEPT:])

    def save_begun(self, now_s: float) -> "Budget":
        """Record that the state as of `now_s` is being written in the background."""
        return replace(self, saved_at_s=now_s, saving_since_s=now_s)

    def save_done(self, now_s: float, duration_s: float) -> "Budget":
        """Record that a checkpoint is on disk as of `now_s`; `duration_s` includes the background part."""
        saved_at_s = now_s if self.saving_since_s is None else self.saved_at_s
        saves_s = (*self.saves_s, duration_s)[-SAVES_KEPT:]
        return replace(self, saved_at_s=saved_at_s, saving_since_s=None, saves_s=saves_s)

    def must_save(self, now_s: float) -> bool:
        """Return whether the save interval has passed since the last save."""
        return now_s - self.saved_at_s >= self.save_interval_s

    def must_stop(self, now_s: float) -> bool:
        """Return whether too little time is left for one more step and a save after it."""
        return now_s > self.last_start_s(now_s)

    def last_start_s(self, now_s: float) -> float:
        """Return the latest time at which a step may begin.

        If a save is due or in progress, the time by which it may outlast the step that
        runs beside it is subtracted too.
        """
        step_s, save_s = self.step_bound_s, self.save_bound_s
        since_s = now_s if self.must_save(now_s) else self.saving_since_s
        behind_s = 0.0 if since_s is None else max(0.0, since_s + save_s - now_s - step_s)
        return self.budget_s - self.reserve_s - save_s - step_s - behind_s

    def timings(self) -> dict[str, float]:
        """Return the step durations of this stage, under the keys that `known` uses."""
        found = {} if self.first_step_s is None else {f"{self.stage}.first_step_s": self.first_step_s}
        if self.steps_s:
            found[f"{self.stage}.step_s"] = median(self.steps_s)
            found[f"{self.stage}.step_high_s"] = quantile(self.steps_s)
        return found
