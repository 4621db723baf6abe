"""Time left? Save now? Stop now? Arithmetic over measured step and save times; no clock, no disk.

The rule: go on only if, should the next step and a save each take as long as they hardly ever do, everything would still be on
disk with the reserve untouched. How long that is, is a high quantile of what was measured lately, and some more: much more
after a few measurements, little after many. How uneven a stage's steps are may be known from earlier sessions; how long
they take on this machine says this session alone, as soon as it knows. A stage's first step holds loading and compiling and says
little of those that follow, so it bounds only what has not been measured yet: the second step, by half, and the next stage's
first step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from statistics import median

QUANTILE = 0.99
"""Steps that take longer than this share of them are what the reserve, and the margin behind it, are for."""
SAVE_QUANTILE = 0.9
"""Of saves there are few, and the last one has the machine for itself."""
SAFETY_MAX = 1.25
"""After FEW measurements or less: so many times their quantile, which is then the longest of them."""
SAFETY_MIN = 1.05
FEW = 8
KNOWN = 64
"""What an earlier session measured counts as so many measurements of how uneven steps are."""
START_SHARE = 0.5
"""Of a first step at least as much is loading and compiling, which the second step does not do again."""
STEPS_KEPT = 256
SAVES_KEPT = 32
RESERVE_SHARE = 0.05
RESERVE_S_MAX = 15.0
"""For writing the report and ending the process; a share of the budget where the budget is small."""
SAVE_GUESS_SHARE = 0.05
SAVE_GUESS_S_MAX = 60.0


def quantile(values: Sequence[float], share: float = QUANTILE) -> float:
    """The smallest of the values that at least this share of them do not exceed."""
    return sorted(values)[ceil(share * len(values)) - 1]


def safety(count: int) -> float:
    """How many times its quantile something may last of which so many were measured."""
    return SAFETY_MIN + (SAFETY_MAX - SAFETY_MIN) * FEW / max(FEW, count)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one session may use and what it has measured so far. All times are on the session's clock."""

    budget_s: float
    save_interval_s: float
    known: Mapping[str, float] = field(default_factory=dict)
    """What earlier sessions measured: `Order.times`."""
    stage: str = ""
    """That runs now."""
    saved_at_s: float = 0.0
    first_step_s: float | None = None
    """Of the stage that runs now."""
    steps_s: tuple[float, ...] = ()
    """Recent steps of the stage that runs now, its first one in this session not among them."""
    slowest_start_s: float = 0.0
    """The longest first step of any stage of this session."""
    saves_s: tuple[float, ...] = ()
    saving_since_s: float | None = None
    """Since when a checkpoint is being written beside the training."""

    @property
    def reserve_s(self) -> float:
        """Kept free at the end."""
        return min(RESERVE_S_MAX, RESERVE_SHARE * self.budget_s)

    @property
    def save_bound_s(self) -> float:
        """No save is expected to take longer."""
        if self.saves_s:
            return safety(len(self.saves_s)) * quantile(self.saves_s, SAVE_QUANTILE)
        known_s = self.known.get("save_s")
        return min(SAVE_GUESS_S_MAX, SAVE_GUESS_SHARE * self.budget_s) if known_s is None else SAFETY_MAX * known_s

    @property
    def step_bound_s(self) -> float:
        """The next step is not expected to take longer. Nothing known at all bounds nothing: the first step is allowed."""
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
        """A stage starts from something that is saved already."""
        return replace(self, stage=stage, first_step_s=None, steps_s=(), saved_at_s=now_s)

    def step_done(self, duration_s: float) -> "Budget":
        """One more step was measured."""
        if self.first_step_s is None:
            return replace(self, first_step_s=duration_s, slowest_start_s=max(duration_s, self.slowest_start_s))
        return replace(self, steps_s=(*self.steps_s, duration_s)[-STEPS_KEPT:])

    def save_begun(self, now_s: float) -> "Budget":
        """The state as it is at `now_s` is being written, beside the steps that follow."""
        return replace(self, saved_at_s=now_s, saving_since_s=now_s)

    def save_done(self, now_s: float, duration_s: float) -> "Budget":
        """A checkpoint is on disk since `now_s`; all of it, the part beside the training included, took `duration_s`."""
        saved_at_s = now_s if self.saving_since_s is None else self.saved_at_s
        saves_s = (*self.saves_s, duration_s)[-SAVES_KEPT:]
        return replace(self, saved_at_s=saved_at_s, saving_since_s=None, saves_s=saves_s)

    def must_save(self, now_s: float) -> bool:
        """Whether the interval since the last save is over."""
        return now_s - self.saved_at_s >= self.save_interval_s

    def must_stop(self, now_s: float) -> bool:
        """Whether there is no time for one more step with everything saved after it."""
        return now_s > self.last_start_s(now_s)

    def last_start_s(self, now_s: float) -> float:
        """When a step can be begun at the latest.

        A save that is due now or under way comes on top, as far as it may last longer than the step beside which it is written.
        """
        step_s, save_s = self.step_bound_s, self.save_bound_s
        since_s = now_s if self.must_save(now_s) else self.saving_since_s
        behind_s = 0.0 if since_s is None else max(0.0, since_s + save_s - now_s - step_s)
        return self.budget_s - self.reserve_s - save_s - step_s - behind_s

    def timings(self) -> dict[str, float]:
        """What this stage's steps took, by the names that `known` has them under."""
        found = {} if self.first_step_s is None else {f"{self.stage}.first_step_s": self.first_step_s}
        if self.steps_s:
            found[f"{self.stage}.step_s"] = median(self.steps_s)
            found[f"{self.stage}.step_high_s"] = quantile(self.steps_s)
        return found
