"""Sessions of one training as different people run them, on the same machines with the same steps.

Times are seconds on a session's clock. A step's time is drawn once for all strategies; a machine is slower or faster in everything.
Steps go by in blocks of NumPy's; where a session of relay's may have to stop, one by one and asked of `stages.session.budget` itself, with
the very numbers that it would have been told of one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.pipeline.model import Pipeline
from stages.session.budget import SAVES_KEPT, STEPS_KEPT, Budget
from stages.session.last_exit import exit_at_s

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What everybody has to live with."""

    limit_s: float = 32_400.0
    startup_s: float = 240.0
    """Installing, loading, restoring: before a session's first stage begins."""
    first_s: float = 300.0
    """What a stage's first step takes beyond the others where its programs were never compiled."""
    cached: float = 0.5
    """The share of that where they were, for those who keep compiled programs; everybody else compiles again in each session."""
    save_s: float = 30.0
    hold_s: float = 1.0
    """Of a save beside the training, what the training waits for."""
    ahead_s: float = 10.0
    """Kaggle's clock is ahead of a session's by up to so much."""


@dataclass(frozen=True)
class Work:
    """A pipeline's steps: for each stage its kind and the seconds of each step on a usual machine."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    steps_s: tuple[Floats, ...]

    @property
    def useful_s(self) -> float:
        """Of all steps, each done once."""
        return float(sum(steps.sum() for steps in self.steps_s))


@dataclass(frozen=True)
class Place:
    """How far a training is: steps done of a stage."""

    stage: int = 0
    step: int = 0


@dataclass
class Machine:
    """What a session finds: how slow everything is, how long its saves take, how far ahead Kaggle's clock is."""

    slow: float
    saves_s: Floats
    ahead_s: float
    _taken: int = 0

    def save_s(self) -> float:
        """The next save's."""
        self._taken += 1
        return float(self.saves_s[self._taken % len(self.saves_s)])


@dataclass
class Memory:
    """What a training carries from session to session beside its checkpoint."""

    compiled: set[str] = field(default_factory=set)
    times: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A session: where the next one goes on, how long it had its machine, and whether Kaggle had to stop it."""

    place: Place
    lasted_s: float
    timed_out: bool
    stopped_for_time: bool


Strategy = Callable[[World, Work, Place, Machine, Memory, float], Ended]
"""One session with so many seconds of limit."""


def work_of(pipeline: Pipeline, generator: np.random.Generator, noise: float) -> Work:
    """Draw every step of a pipeline with the times that it expects; answers are longer or shorter, so such steps vary more."""
    said = pipeline.expect.step_s
    steps_s = []
    for stage in pipeline.stages:
        usual_s, uneven = said.get(stage.name, said.get(stage.kind)), noise if stage.kind != "sft" else noise / 5
        assert usual_s is not None, stage
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
"""Before this much is left no rule of ours stops a session; looked at anew, wider, where it would."""


def relay(budget_s: Callable[[float], float], save_interval_s: float) -> Strategy:
    """Relay's own: the budget decides, saves go on beside the steps, compiled programs and times are kept."""

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
            if (
                now_s > leave_s
            ):  # its last step or save did not end in time: reckoned as if it had not saved within the stage
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
    """Steps until the stage ends or the budget says stop: how many, the clock, and the budget as it is then."""
    window_s, done = WINDOW_S, 0
    ends_s = np.cumsum(steps_s)
    base_s = now_s
    while done < len(steps_s):
        due_s = budget.saved_at_s + budget.save_interval_s
        calm_s = min(due_s, budget.budget_s - window_s)
        block = int(np.searchsorted(ends_s, calm_s - base_s)) - done  # these end before anything is due
        count = min(max(1, block), len(steps_s) - done)
        budget = _measured(budget, steps_s[done : done + count])
        done += count
        now_s = base_s + float(ends_s[done - 1])
        budget = _save_ended(budget, now_s, machine)
        if done == len(steps_s) or budget.must_stop(now_s):
            return done, now_s, budget
        if budget.must_save(now_s):
            if budget.saving_since_s is not None:  # one at a time: the one before is waited for
                waited_s = _saved_at(budget, machine) - now_s
                base_s, now_s = base_s + waited_s, now_s + waited_s
                budget = _save_ended(budget, now_s, machine)
            budget = budget.save_begun(now_s)
            base_s, now_s = base_s + hold_s, now_s + hold_s
        if budget.budget_s - now_s > window_s > budget.budget_s - budget.last_start_s(now_s) > window_s / 2:
            window_s *= 2
    return done, now_s, budget


def _measured(budget: Budget, steps_s: Floats) -> Budget:
    """The budget once it was told of these steps one by one."""
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


# --- what people do today -----------------------------------------------------


def fixed_margin(margin_s: float) -> Strategy:
    """Stops so long before the limit and saves; a stage is gone on with."""

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
    """Saves every so often, while the training waits, and lets Kaggle kill it."""

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
    """A session for each stage; one that does not fit is gone on with in the next one."""
    whole = fixed_margin(margin_s)

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        until = place.stage + 1
        alone = Work(work.kinds[:until], work.names[:until], work.steps_s[:until])
        return whole(world, alone, place, machine, memory, limit_s)

    return session


def from_scratch() -> Strategy:
    """Saves at the end of each stage only: a stage that the limit cuts is begun anew."""
    often = until_killed(float("inf"))

    def session(world: World, work: Work, place: Place, machine: Machine, memory: Memory, limit_s: float) -> Ended:
        ended = often(world, work, Place(place.stage), machine, memory, limit_s)
        return replace(ended, place=Place(ended.place.stage))

    return session


def _ends(world: World, work: Work, stage: int, done: int, machine: Machine, now_s: float) -> Floats:
    """When each step that is left of a stage ends; everything is compiled again."""
    steps_s = work.steps_s[stage][done:] * machine.slow
    steps_s[0] += world.first_s * machine.slow
    ends: Floats = now_s + np.cumsum(steps_s)
    return ends


def today() -> Mapping[str, Strategy]:
    """By the words that the table has for them."""
    return {
        "fixed margin of 45 minutes": fixed_margin(2700.0),
        "saves every 30 minutes, killed": until_killed(1800.0),
        "one stage a session": stage_a_session(2700.0),
        "a cut stage from scratch": from_scratch(),
    }
