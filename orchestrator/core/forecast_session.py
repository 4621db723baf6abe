"""Forecasts one session: how many steps it does, and how long it lasts. Pure.

A session stops where `stages.session.budget` would stop it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil, floor
from typing import Literal

from orchestrator.base.humanize import bounded_s
from orchestrator.core.durations import Times
from orchestrator.core.estimates import Estimate
from orchestrator.pipeline.model import Pipeline
from stages.session.budget import STEPS_KEPT, Budget


@dataclass(frozen=True, kw_only=True)
class LiveSession:
    """The session under way. `running_at` is None while it waits for a machine."""

    budget_s: float
    limit_s: float
    pushed_at: datetime
    running_at: datetime | None = None
    clock_s: float = 0.0
    """Session clock, in seconds, at `RunPosition.position`."""
    first_step_s: float | None = None
    """First-step seconds of the current stage; None if the next step is a stage's first."""
    stage_began_s: float = 0.0
    """Start of the current stage, in seconds on the session's clock."""


@dataclass(frozen=True, kw_only=True)
class RunPosition:
    """Current position of a run, or of one that begins now."""

    now: datetime
    position: int = 0
    """Steps done since the pipeline's beginning, including those that the live session reported."""
    live: LiveSession | None = None
    ended_at: datetime | None = None
    """End of the session whose checkpoint is being fetched or published."""
    until: datetime | None = None
    """Earliest time at which the next session may start."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Durations of one walk, in seconds."""

    queue_s: float
    handover_s: float
    startup_s: float
    save_s: float
    first_s: Mapping[str, float]
    step_s: Mapping[str, float]


def pace(times: Times, which: Literal["usual_s", "low_s", "high_s"]) -> Pace:
    """Return one number (usual, low or high) of each estimate."""

    def of(span: Estimate) -> float:
        return float(getattr(span, which))

    return Pace(
        queue_s=of(times.queue_s),
        handover_s=of(times.handover_s),
        startup_s=of(times.startup_s),
        save_s=of(times.save_s),
        first_s={stage: of(span) for stage, span in times.first_s.items()},
        step_s={stage: of(span) for stage, span in times.step_s.items()},
    )


def left(pipeline: Pipeline, position: int) -> list[str]:
    """Return the names of the stages that are not done."""
    found, before = [], 0
    for stage in pipeline.stages:
        before += stage.steps
        if before > position:
            found.append(stage.name)
    return found


@dataclass(frozen=True)
class Done:
    """A finished session; `clock_s` is its own clock at its end."""

    position: int
    clock_s: float
    training_s: float


def rest_of_session(pipeline: Pipeline, pace: Pace, standing: RunPosition, live: LiveSession) -> Done:
    """Continue the session under way from the last step that it reported."""
    budget = Budget(budget_s=live.budget_s, save_interval_s=pipeline.save_interval_s)
    if live.first_step_s is not None:
        round_s = max(1.0, pipeline.save_interval_s)
        saved_at_s = live.stage_began_s + floor((live.clock_s - live.stage_began_s) / round_s) * round_s
        budget = budget.stage_begun(saved_at_s).step_done(live.first_step_s)
        return whole_session(pipeline, pace, standing.position, budget, live.limit_s, live.clock_s, begun=True)
    clock_s = live.clock_s + pace.save_s if live.clock_s else pace.startup_s
    if live.running_at is not None and (names := left(pipeline, standing.position)):
        # what has not happened yet happens now at the earliest
        lasted_s = bounded_s(standing.now - live.running_at, live.limit_s)
        clock_s = max(clock_s, lasted_s - pace.first_s[names[0]] - pace.step_s[names[0]])
    return whole_session(pipeline, pace, standing.position, budget, live.limit_s, clock_s)


def whole_session(
    pipeline: Pipeline,
    pace: Pace,
    position: int,
    budget: Budget,
    limit_s: float,
    clock_s: float,
    *,
    begun: bool = False,
) -> Done:
    """Run stages while time is left, as `stages.session.runner` does. `begun`: the first stage is already under way.

    Only a stage's first step, which has no time bound, can exceed the limit; then the stage has saved nothing.
    """
    now_s, training_s, before = clock_s, 0.0, 0
    for stage in pipeline.stages:
        steps = before + stage.steps - position
        before += stage.steps
        if steps <= 0:
            continue
        if not begun:
            budget = budget.stage_begun(now_s, stage.name)
            if budget.must_stop(now_s):
                break
        begun = False
        done, budget, now_s, trained_s = _stage(budget, now_s, steps, pace, stage.name)
        if now_s > limit_s:
            return Done(position, limit_s, training_s)
        position, training_s = position + done, training_s + trained_s
        if done < steps:
            break
    return Done(position, now_s, training_s)


def _stage(budget: Budget, now_s: float, steps: int, pace: Pace, name: str) -> tuple[int, Budget, float, float]:
    """Run a stage until it ends or the session must stop: steps done, budget, session clock and seconds of steps."""
    step_s, first_s, done, trained_s = pace.step_s[name], pace.first_s[name], 0, 0.0
    while True:
        if budget.first_step_s is None:
            count, took_s = 1, first_s + step_s
        else:
            count, took_s = _until_due(budget, now_s, steps - done, step_s) if budget.steps_s else 1, step_s
        now_s, done, trained_s = now_s + took_s * count, done + count, trained_s + took_s * count
        if count == 1:
            budget = budget.step_done(took_s)
        else:  # as many calls of `step_done` with the same time would do
            budget = replace(budget, steps_s=(*budget.steps_s, *[took_s] * min(count, STEPS_KEPT))[-STEPS_KEPT:])
        if done >= steps or budget.must_stop(now_s):
            now_s += pace.save_s
            return done, budget.save_done(now_s, pace.save_s), now_s, trained_s
        if budget.must_save(now_s):  # while the following steps go on
            budget = budget.save_begun(now_s).save_done(now_s, pace.save_s)


def _until_due(budget: Budget, now_s: float, steps: int, step_s: float) -> int:
    """Return the steps until the stage ends, a save is due or the session must stop; at least one."""
    if step_s <= 0:
        return steps
    save_s = budget.saved_at_s + budget.save_interval_s - now_s
    stop_s = budget.last_start_s(now_s) - now_s
    return max(1, min(steps, ceil(save_s / step_s), floor(stop_s / step_s) + 1))
