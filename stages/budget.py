"""Time left? Save now? Stop now? Arithmetic over measured step and save times; no clock, no disk.

The rule: go on only if, should the next step and a save each take a quarter longer than the longest one lately, everything
would still be on disk with the reserve untouched. A stage's first step holds loading and compiling and says little of those
that follow, so it bounds only what has not been measured yet: the second step, by half, and the next stage's first step.
"""

from dataclasses import dataclass, replace

SAFETY = 1.25
"""Steps and saves may take this much longer than the longest recent one before the budget is overrun."""
START_SHARE = 0.5
"""Of a first step at least as much is loading and compiling, which the second step does not do again."""
STEPS_KEPT = 32
SAVES_KEPT = 8
RESERVE_SHARE = 0.05
RESERVE_S_MAX = 60.0
"""For writing the report and letting Kaggle notice the end; a share of the budget where the budget is small."""
SAVE_GUESS_SHARE = 0.05
SAVE_GUESS_S_MAX = 60.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one session may use and what it has measured so far. All times are on the session's clock."""

    budget_s: float
    save_interval_s: float
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
        if not self.saves_s:
            return min(SAVE_GUESS_S_MAX, SAVE_GUESS_SHARE * self.budget_s)
        return SAFETY * max(self.saves_s)

    @property
    def step_bound_s(self) -> float:
        """The next step is not expected to take longer. Nothing measured at all bounds nothing: the first step is allowed."""
        if self.steps_s:
            return SAFETY * max(self.steps_s)
        return self.slowest_start_s if self.first_step_s is None else START_SHARE * self.first_step_s

    def stage_begun(self, now_s: float) -> "Budget":
        """A stage starts from something that is saved already."""
        return replace(self, first_step_s=None, steps_s=(), saved_at_s=now_s)

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
        """Whether there is no time for one more step with everything saved after it.

        A save that is due now or under way comes on top, as far as it may last longer than the step beside which it is written.
        """
        since_s = now_s if self.must_save(now_s) else self.saving_since_s
        behind_s = 0.0 if since_s is None else max(0.0, since_s + self.save_bound_s - now_s - self.step_bound_s)
        return self.budget_s - now_s < self.step_bound_s + behind_s + self.save_bound_s + self.reserve_s
