"""Simulated sessions of one training under different strategies, on the same machines with the same steps.

Times are seconds on a session's clock. A step's time is drawn once for all strategies; a machine's speed scales
everything. Steps are simulated in NumPy blocks. Near a possible stop of a relay session they are simulated one by one,
and `stages.session.budget` decides with exactly the measurements that it would have in a real session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.durations import estimate_durations
from orchestrator.pipeline.model import Pipeline
from stages.session.budget import SAVES_KEPT, STEPS_KEPT, Budget
from stages.session.last_exit import exit_at_s

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Conditions common to all strategies. Times are in seconds."""

    limit_s: float = 32_400.0
    startup_s: float = 240.0
    """Start-up time before a session's first stage: installing, loading, restoring."""
    first_s: float = 300.0
    """Extra time of a stage's first step if nothing has been compiled yet."""
    cached: float = 0.5
    """Share of `first_s` with cached compiled programs. Only relay keeps them; other strategies compile in each
    session."""
    save_s: float = 30.0
    hold_s: float = 1.0
    """Time for which training waits during an asynchronous save."""
    ahead_s: float = 10.0
    """Maximum lead of Kaggle's clock over a session's clock."""


@dataclass(frozen=True)
class Work:
    """A pipeline's steps: for each stage its kind, its name and the seconds of each step on a typical machine."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    steps_s: tuple[Floats, ...]

    @property
    def useful_s(self) -> float:
        """Total seconds of all steps, each done once."""
        return float(sum(steps.sum() for steps in self.steps_s))


@dataclass(frozen=True)
class Place:
    """Position in a training: the stage, and the steps of it that are done."""

    stage: int = 0
    step: int = 0


@dataclass
class Machine:
    """Properties of a session's machine: slowdown factor, save times, and the lead of Kaggle's clock."""

    slow: float
    saves_s: Floats
    ahead_s: float
    _taken: int = 0

    def save_s(self) -> float:
        """Return the seconds of the next save."""
        self._taken += 1
        return float(self.saves_s[self._taken % len(self.saves_s)])


@dataclass
class Memory:
    """State that a training keeps between sessions besides its checkpoint."""

    compiled: set[str] = field(default_factory=set)
    times: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """Result of a session: where the next one resumes, its duration, and whether Kaggle stopped it."""

    place: Place
    lasted_s: float
    timed_out: bool
    stopped_for_time: bool


Strategy = Callable[[World, Work, Place, Machine, Memory, float], Ended]
"""Function that simulates one session with a limit in seconds."""


def work_of(pipeline: Pipeline, generator: np.random.Generator, noise: float) -> Work:
    """Draw the times of all steps around the pipeline's expected ones. Steps that generate completions vary more."""
    said = estimate_durations(pipeline).step_s
    steps_s = []
    for stage in pipeline.stages:
        usual_s, uneven = said[stage.name].usual_s, noise if stage.kind != "sft" else noise / 5
        factors = np.exp(generator.normal(-(uneven**2) / 2, uneven, stage.steps))
        hiccups = (generator.random(stage.steps) < 1 / 2000) * generator.exponential(20.0, stage.steps)
        steps_s.append(usual_s * factors + hiccups)
    kinds, names = tuple(s.kind for s in pipeline.stages), tuple(s.name for s in pipeline.stages)
    return Work(kinds, names, tuple(steps_s))


def machine_of(world: World, generator: np.random.Generator) -> Machine:
    """Draw a machine."""
    slow = float(np.exp(generator.normal(0.0, 0.05)))
    saves_s = world.save_s * slow * np.exp(generator.normal(0.0, 0.2, 64))
    return Machine(slow, saves_s, float(generator.uniform(0.0, world.ahead_s)))


# --- relay --------------------------------------------------------------------

WINDOW_S = 600.0
"""Remaining seconds of budget above which relay never stops a session. Doubled if a stop could occur earlier."""


def relay(budget_s: Callable[[float], float], save_interval_s: float) -> Strategy:
    """relay's strategy: the budget decides, saves are asynchronous, compiled programs and timings are kept."""

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        budget = Budget(budget_s=budget_s(limit_s), save_interval_s=save_interval_s, known=dict(memory.times))
        leave_s, now_s = exit_at_s(budget.budget_s, limit_s), world.startup_s * machine.slow
        saved, over = place, False
        for stage in range(place.stage, len(work.names)):
            done = place.step if stage == place.stage else 0
            budget = budget.stage_begun(now_s, work.names[stage])
            if budget.must_stop(now_s):
                over = True
                break
            steps_s = work.steps_s[stage][done:] * machine.slow
            steps_s[0] += _first_s(world, work, stage, machine, memory)
            count, now_s, budget = _until_told(budget, steps_s, now_s, machine, world.hold_s)
            now_s = (now_s if budget.saving_since_s is None else max(now_s, _saved_at(budget, machine))) + (
                save_s := machine.save_s()
            )
            if now_s > leave_s:  # the last step or save did not end in time: counted as if the stage had not been saved
                break
            budget = budget.save_done(now_s, save_s)
            memory.times.update({**budget.timings(), "save_s": max(budget.saves_s)})
            saved = Place(stage, done + count) if done + count < len(work.steps_s[stage]) else Place(stage + 1)
            over = saved.stage == stage
            if over:
                break
        left = now_s > leave_s
        lasted_s = min(now_s, leave_s)
        return Ended(saved, min(lasted_s, limit_s), lasted_s + machine.ahead_s > limit_s, over or left)

    return session


def _until_told(
    budget: Budget, steps_s: Floats, now_s: float, machine: Machine, hold_s: float
) -> tuple[int, float, Budget]:
    """Run steps until the stage ends or the budget stops it. Return (number of steps, clock, budget)."""
    window_s, done = WINDOW_S, 0
    ends_s = np.cumsum(steps_s)
    base_s = now_s
    while done < len(steps_s):
        due_s = budget.saved_at_s + budget.save_interval_s
        calm_s = min(due_s, budget.budget_s - window_s)
        block = int(np.searchsorted(ends_s, calm_s - base_s)) - done  # these end before a save or stop is due
        count = min(max(1, block), len(steps_s) - done)
        budget = _measured(budget, steps_s[done : done + count])
        done += count
        now_s = base_s + float(ends_s[done - 1])
        budget = _save_ended(budget, now_s, machine)
        if done == len(steps_s) or budget.must_stop(now_s):
            return done, now_s, budget
        if budget.must_save(now_s):
            if budget.saving_since_s is not None:  # one save at a time: wait for the previous one
                waited_s = _saved_at(budget, machine) - now_s
                base_s, now_s = base_s + waited_s, now_s + waited_s
                budget = _save_ended(budget, now_s, machine)
            budget = budget.save_begun(now_s)
            base_s, now_s = base_s + hold_s, now_s + hold_s
        if budget.budget_s - now_s > window_s > budget.budget_s - budget.last_start_s(now_s) > window_s / 2:
            window_s *= 2
    return done, now_s, budget


def _measured(budget: Budget, steps_s: Floats) -> Budget:
    """Return the budget after recording these steps one by one."""
    if budget.first_step_s is None:
        budget, steps_s = budget.step_done(float(steps_s[0])), steps_s[1:]
    newest = tuple(float(step_s) for step_s in steps_s[-STEPS_KEPT:])
    return replace(budget, steps_s=(*budget.steps_s, *newest)[-STEPS_KEPT:])


def _saved_at(budget: Budget, machine: Machine) -> float:
    assert budget.saving_since_s is not None
    return budget.saving_since_s + float(machine.saves_s[len(budget.saves_s) % SAVES_KEPT])


def _save_ended(budget: Budget, now_s: float, machine: Machine) -> Budget:
    if budget.saving_since_s is None or (ended_s := _saved_at(budget, machine)) > now_s:
        return budget
    return budget.save_done(ended_s, ended_s - budget.saving_since_s)


def _first_s(world: World, work: Work, stage: int, machine: Machine, memory: Memory) -> float:
    kind = work.kinds[stage]
    share = world.cached if kind in memory.compiled else 1.0
    memory.compiled.add(kind)
    return share * world.first_s * machine.slow


# --- other strategies ---------------------------------------------------------


def fixed_margin(margin_s: float) -> Strategy:
    """Stop `margin_s` before the limit and save; the next session resumes the stage."""

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        now_s, stop_s = world.startup_s * machine.slow, limit_s - margin_s
        for stage in range(place.stage, len(work.names)):
            if now_s >= stop_s:
                return Ended(Place(stage), now_s, False, True)
            done = place.step if stage == place.stage else 0
            ends_s = _ends(world, work, stage, done, machine, now_s)
            count = min(len(ends_s), int(np.searchsorted(ends_s, stop_s)) + 1)
            now_s = float(ends_s[count - 1]) + machine.save_s()
            if done + count < len(work.steps_s[stage]):
                return Ended(Place(stage, done + count), min(now_s, limit_s), now_s > limit_s, True)
        return Ended(Place(len(work.names)), now_s, False, False)

    return session


def until_killed(interval_s: float) -> Strategy:
    """Save synchronously every `interval_s`, and run until Kaggle kills the session."""

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        now_s = saved_s = world.startup_s * machine.slow
        saved = place
        for stage in range(place.stage, len(work.names)):
            done = place.step if stage == place.stage else 0
            base_s, ends_s = 0.0, _ends(world, work, stage, done, machine, now_s)
            count = 0
            while count < len(ends_s):
                count = min(
                    len(ends_s), max(count + 1, int(np.searchsorted(ends_s, saved_s + interval_s - base_s)) + 1)
                )
                took_s = machine.save_s()
                now_s = base_s + float(ends_s[count - 1]) + took_s
                if now_s > limit_s:
                    return Ended(saved, limit_s, True, True)
                base_s, saved_s, saved = base_s + took_s, now_s, Place(stage, done + count)
            saved = Place(stage + 1)
        return Ended(saved, now_s, False, False)

    return session


def stage_a_session(margin_s: float) -> Strategy:
    """Use one session per stage; a stage that does not fit is resumed in the next one."""
    whole = fixed_margin(margin_s)

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        until = place.stage + 1
        alone = Work(work.kinds[:until], work.names[:until], work.steps_s[:until])
        return whole(world, alone, place, machine, memory, limit_s)

    return session


def from_scratch() -> Strategy:
    """Save only at the end of each stage: an interrupted stage starts again from its beginning."""
    often = until_killed(float("inf"))

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        ended = often(world, work, Place(place.stage), machine, memory, limit_s)
        return replace(ended, place=Place(ended.place.stage))

    return session


def _ends(world: World, work: Work, stage: int, done: int, machine: Machine, now_s: float) -> Floats:
    """Return the end time of each remaining step of a stage, including compilation."""
    steps_s = work.steps_s[stage][done:] * machine.slow
    steps_s[0] += world.first_s * machine.slow
    ends: Floats = now_s + np.cumsum(steps_s)
    return ends


def today() -> Mapping[str, Strategy]:
    """Return the strategies other than relay's, by their label in the table."""
    return {
        "fixed margin of 45 minutes": fixed_margin(2700.0),
        "saves every 30 minutes, killed": until_killed(1800.0),
        "one stage a session": stage_a_session(2700.0),
        "a cut stage from scratch": from_scratch(),
    }
