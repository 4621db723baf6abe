"""Estimates durations: as sessions measured them, else as the pipeline expects, else as assumed for Kaggle. Pure."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages.catalog import find
from state.facts.base import Fact
from state.facts.session import NothingCollected, OutputCollected
from state.model.metrics import StepSeen
from state.model.run_state import Checkpoint, Session

Basis = Literal["measured", "expected", "assumed"]


@dataclass(frozen=True)
class Estimate:
    """Typical, lowest and highest duration in seconds, and the basis of the estimate."""

    usual_s: float
    low_s: float
    high_s: float
    basis: Basis = "assumed"

    @classmethod
    def around(cls, usual_s: float, share: float, basis: Basis) -> "Estimate":
        """Return an estimate of `usual_s`, plus or minus `share` of it."""
        return cls(usual_s, usual_s * (1 - share), usual_s * (1 + share), basis)

    def times(self, factor: float) -> "Estimate":
        """Return this estimate multiplied by `factor`."""
        return Estimate(self.usual_s * factor, self.low_s * factor, self.high_s * factor, self.basis)


QUEUE_S = {
    "tpu": Estimate(900, 420, 1800),  # users report 7 to 30 minutes as typical, and sometimes up to 4 hours
    "gpu": Estimate(120, 20, 600),  # no published numbers: short, since users do not complain
    "cpu": Estimate(30, 5, 120),
}
"""Seconds from the push until the session runs, by kind of accelerator."""
HANDOVER_S = Estimate(600, 180, 1800)
"""Seconds from a session's end until the next one is pushed.

Usual: a gigabyte (a LoRA of rank 64 on 2B parameters) downloaded and uploaded at 5 MB/s, plus a minute of processing
per half gigabyte (measured by others). Worst: 1.4 MB/s (measured by one user) and the 10 to 15 minutes of processing in
old reports.
"""
INSTALL_S = Estimate(240, 90, 600)
"""Seconds to install pins, check the checkpoint's digests and unpack. Not measured on Kaggle."""
BARE_S = Estimate(10, 2, 30)
"""Start-up seconds of a session that installs nothing."""
FIRST_S = Estimate(300, 60, 600)
"""Extra seconds of a stage's first step: loading the model and compiling (reported: up to 5 minutes)."""
SAVE_S = Estimate(30, 10, 60)
"""Upper bound, in seconds, that a session assumes for a save before its first one."""
SHORT_S = 600.0
"""Session limit in seconds below which a run counts as a rehearsal: assumed durations shrink in proportion."""
QUICK_S = Estimate(1, 0, 2)
"""Extra seconds of a first step, and seconds of a save, in a pipeline that does not need JAX."""
SESSION_S_MAX = 12 * 3600.0
"""Longest session, in seconds. A report that states a longer duration is ignored."""
BETWEEN_S_MAX = 24 * 3600.0
"""Longest plausible time between two sessions, in seconds."""
EXPECTED_SHARE = 0.25
"""Assumed relative error of a duration that the pipeline states."""
MEASURED_SHARE = 0.05
"""Minimum relative error of a measured duration; doubled if only one session, on one machine, measured it."""
INTERVALS_MIN = 3
"""Minimum number of step intervals for an estimate."""
INTERVALS_ENOUGH = 30
"""Number of step intervals above which a session gets no more weight in the mean."""
INTERVALS_KEPT = 400
"""Number of a stage's newest steps that are used: completions grow longer while a model learns."""
ODD = 2.0
"""Factor from the median beyond which a step is an outlier: interrupted by a save, or reported late by the log."""


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """One run's recorded sessions, steps and timings."""

    run: str
    pipeline: Pipeline
    sessions: Sequence[Session]
    checkpoints: Sequence[Checkpoint]
    steps: Sequence[StepSeen]
    """Steps, in order of session and step."""
    reported: Mapping[tuple[int, int], Mapping[str, float]]
    """Timings in each session's report, by (number, attempt)."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Estimated durations of one pipeline. A stage that is missing in `step_s` has no known step time."""

    queue_s: Estimate
    handover_s: Estimate
    startup_s: Estimate
    """Seconds from a session's start until its first stage begins."""
    save_s: Estimate
    first_s: Mapping[str, Estimate]
    """Extra seconds of the first step in a session, by stage."""
    step_s: Mapping[str, Estimate]
    """Seconds per step, by stage."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Source of the step time, in words, by stage."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages without a known step time, in pipeline order."""
        return tuple(stage for stage in self.first_s if stage not in self.step_s)


def reported_in(facts: Iterable[Fact]) -> dict[tuple[int, int], Mapping[str, float]]:
    """Return the timings that sessions reported, by (number, attempt)."""
    return {
        (fact.number, fact.attempt): {n: s for n, s in fact.judgement.timings.items() if 0.0 <= s <= SESSION_S_MAX}
        for fact in facts
        if isinstance(fact, (OutputCollected, NothingCollected)) and fact.judgement.timings
    }


def estimate_durations(pipeline: Pipeline, own: RunHistory | None = None, earlier: Sequence[RunHistory] = ()) -> Times:
    """Estimate durations from this run, then from `earlier` runs (newest first) that did the same work."""
    seen = [*([own] if own else []), *(other for other in earlier if _like(pipeline, other.pipeline))]
    expect, jax = pipeline.expect, pipeline.needs_jax
    share = min(1.0, pipeline.limit_s / SHORT_S)
    steps: dict[str, Estimate] = {}
    sources: dict[str, str] = {}
    for stage in pipeline.stages:
        found = _step(pipeline, stage, own, earlier)
        if found is not None:
            steps[stage.name], sources[stage.name] = found
    return Times(
        queue_s=_span(seen, _queue) or _expected(expect.queue_s) or QUEUE_S[pipeline.slot].times(share),
        handover_s=_span(seen, _handover) or _expected(expect.handover_s) or HANDOVER_S.times(share),
        startup_s=_span(seen, _startup)
        or _expected(expect.startup_s)
        or (INSTALL_S if pipeline.pins else BARE_S).times(share),
        save_s=_span(seen, _saves) or _expected(expect.save_s) or (SAVE_S if jax else QUICK_S).times(share),
        first_s={
            stage.name: _first(pipeline, stage, seen)
            or _expected(expect.first_s)
            or _first_guess(pipeline, stage, share)
            for stage in pipeline.stages
        },
        step_s=steps,
        sources=sources,
    )


def _expected(seconds: float | None) -> Estimate | None:
    return None if seconds is None else Estimate.around(seconds, EXPECTED_SHARE, "expected")


# --- a stage's step ----------------------------------------------------------


def _step(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> tuple[Estimate, str] | None:
    for steps, name, words in _alike(pipeline, stage, own, earlier):
        if (span := step_duration(steps, name)) is not None:
            return span, words
    if stage.kind == "counting" and "step_s" in stage.options:
        return Estimate.around(
            float(stage.options["step_s"]), MEASURED_SHARE, "expected"
        ), "as the options of the stage say"
    expected_s = pipeline.expect.step_s
    if (seconds := expected_s.get(stage.name, expected_s.get(stage.kind))) is not None:
        return Estimate.around(seconds, EXPECTED_SHARE, "expected"), "as the pipeline expects"
    for other in earlier:
        same = (other.pipeline.name, other.pipeline.accelerator) == (pipeline.name, pipeline.accelerator)
        if same and (span := step_duration(other.steps, stage.name)) is not None:
            estimate = Estimate.around(span.usual_s, EXPECTED_SHARE, "measured")
            return estimate, f"as measured in {other.run}, with other options"
    return None


def _alike(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Iterator[tuple[Sequence[StepSeen], str, str]]:
    """Yield steps of the same work: the steps, the stage's name in that run, and a description of the source."""
    if own is not None:
        yield own.steps, stage.name, "as measured in this run"
        for twin in own.pipeline.stages:
            if same_work(pipeline, stage, own.pipeline, twin):
                yield own.steps, twin.name, f"as measured for {twin.name}"
    for other in earlier:
        for twin in other.pipeline.stages:
            if same_work(pipeline, stage, other.pipeline, twin):
                yield other.steps, twin.name, f"as measured in {other.run}"


def step_duration(steps: Sequence[StepSeen], stage: str) -> Estimate | None:
    """Return the seconds per step of a stage, or None if too few steps were seen.

    Each session contributes the mean of its intervals near the median, which leaves out intervals that contain a save.
    The result is the mean over sessions, since each runs on a machine of its own, however long it ran.
    """
    found: dict[tuple[int, int], list[float]] = {}
    for before, after in pairwise(step for step in steps if step.stage == stage):
        done = after.step - before.step
        if (before.session, before.attempt) == (after.session, after.attempt) and done > 0:
            found.setdefault((after.session, after.attempt), []).append((after.at_s - before.at_s) / done)
    rates = [rate for session in found.values() for rate in session]
    if len(rates) < INTERVALS_MIN:
        return None
    middle = statistics.median(rates)
    kept = [near for session in found.values() if (near := [r for r in session if middle / ODD <= r <= middle * ODD])]
    if not kept:
        return Estimate.around(middle, EXPECTED_SHARE, "measured")
    means = [statistics.fmean(near) for near in kept]
    weights = [min(len(near), INTERVALS_ENOUGH) for near in kept]
    usual = statistics.fmean(means, weights)
    every = [rate for near in kept for rate in near]
    error_s = 2 * statistics.stdev(every) / len(every) ** 0.5 if len(every) > 1 else usual
    share = MEASURED_SHARE if len(means) > 1 else 2 * MEASURED_SHARE
    spread_s = max(abs(mean - usual) for mean, weight in zip(means, weights, strict=True) if weight == max(weights))
    margin_s = min(max(share * usual, error_s, spread_s), 0.9 * usual)
    return Estimate(usual, usual - margin_s, usual + margin_s, "measured")


CHANGES_NO_TIME = frozenset(
    (
        "learning_rate", "schedule", "warmup_steps", "min_lr_ratio", "b1", "b2", "weight_decay", "clip_norm", "check",
        "beta", "epsilon", "temperature", "rewards", "guard_steps", "guard_spike", "guard_collapse", "guard_idle",
        "lora_alpha", "replay", "solved_max", "hard_min", "transcripts", "show_every",
    )
)  # fmt: skip
"""Options that affect what the model learns, but not how long a step takes."""


def same_work(mine: Pipeline, stage: Stage, other: Pipeline, twin: Stage) -> bool:
    """Return True if steps of both stages take equally long: same kind, model, machine and options that affect time."""
    return _like(mine, other) and stage.kind == twin.kind and _telling(stage) == _telling(twin)


def _like(mine: Pipeline, other: Pipeline) -> bool:
    return (mine.accelerator, mine.pins, mine.model) == (other.accelerator, other.pins, other.model)


def _telling(stage: Stage) -> dict[str, Any]:
    return {name: _bare(value) for name, value in stage.options.items() if name not in CHANGES_NO_TIME}


def _bare(value: Any) -> Any:
    """Return data sets without their counts."""
    return [str(each).partition(":")[0] for each in value] if isinstance(value, (list, tuple)) else value


# --- the rest of a session, and the time between two -------------------------


def _span(seen: Iterable[RunHistory], measure: Callable[[RunHistory], list[float]]) -> Estimate | None:
    """Return the median, minimum and maximum from the first run in which `measure` finds values, or None."""
    for observed in seen:
        if values := measure(observed):
            usual = statistics.median(values)
            margin_s = MEASURED_SHARE * usual
            return Estimate(usual, min(*values, usual - margin_s), max(*values, usual + margin_s), "measured")
    return None


def _queue(observed: RunHistory) -> list[float]:
    pairs = [(s.pushed_at, s.running_at) for s in observed.sessions]
    return _sensible((running - pushed).total_seconds() for pushed, running in pairs if pushed and running)


def _handover(observed: RunHistory) -> list[float]:
    """Return the seconds from each session's end until its checkpoint was published or the next session was planned."""
    published = {checkpoint.name: checkpoint.published_at for checkpoint in observed.checkpoints}
    found = []
    for number, session in enumerate(observed.sessions):
        ready = [published.get(session.checkpoint or "")]
        ready += [later.planned_at for later in observed.sessions[number + 1 : number + 2]]
        if session.ended_at is not None and ready[0] is not None:
            found.append((min(at for at in ready if at is not None) - session.ended_at).total_seconds())
    return _sensible(found)


def _sensible(durations: Iterable[float]) -> list[float]:
    """Drop implausible durations: the clock was set, or this machine was off in between."""
    return [seconds for seconds in durations if 0.0 <= seconds <= BETWEEN_S_MAX]


def _startup(observed: RunHistory) -> list[float]:
    """Return the seconds until the first stage begins: the time of the first step's end minus its reported duration."""
    found = []
    for key, timings in observed.reported.items():
        first = next((step for step in observed.steps if (step.session, step.attempt) == key), None)
        if first is not None and (took_s := timings.get(f"{first.stage}.first_step_s")) is not None:
            found.append(max(0.0, first.at_s - took_s))
    return found


def _saves(observed: RunHistory) -> list[float]:
    return [timings["save_s"] for timings in observed.reported.values() if "save_s" in timings]


def _first_guess(pipeline: Pipeline, stage: Stage, share: float) -> Estimate:
    return (FIRST_S if find(stage.kind, pipeline.sources).needs_jax else QUICK_S).times(share)


def _first(pipeline: Pipeline, stage: Stage, seen: Sequence[RunHistory]) -> Estimate | None:
    for observed in seen:
        twins = [t for t in observed.pipeline.stages if same_work(pipeline, stage, observed.pipeline, t)]
        for twin in sorted(twins, key=lambda twin: twin.name != stage.name):
            values = [
                max(0.0, timings[f"{twin.name}.first_step_s"] - timings.get(f"{twin.name}.step_s", 0.0))
                for timings in observed.reported.values()
                if f"{twin.name}.first_step_s" in timings
            ]
            if values:
                return Estimate(statistics.median(values), min(values), max(values), "measured")
    return None
