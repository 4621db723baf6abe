"""Estimates durations: as sessions measured them, else as the pipeline expects, else as assumed for Kaggle. Pure."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.core.estimates import EXPECTED_SHARE, MEASURED_SHARE, Estimate, TimeSource, best, step_duration
from orchestrator.core.probed_times import NOT_PROBED, ProbedTimes
from orchestrator.pipeline.measured import measured_stages
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Expect, ExpectedDuration, Stage
from stages.catalog import find
from state.facts.base import Fact
from state.facts.session import NothingCollected, OutputCollected
from state.model.metrics import StepSeen
from state.model.run_state import Checkpoint, Session

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
INTERVALS_KEPT = 400
"""Number of a stage's newest steps that are used: completions grow longer while a model learns."""


Told = float | ExpectedDuration | None
"""Duration in the pipeline's section `expect`."""


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """Recorded sessions, steps and timings of a run."""

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

    @property
    def figures(self) -> dict[str, Estimate]:
        """All estimates by name: `queue_s`, and `step_s.sft` for one of a stage."""
        every = {name: getattr(self, name) for name in ("queue_s", "handover_s", "startup_s", "save_s")}
        every |= {f"first_s.{stage}": span for stage, span in self.first_s.items()}
        return every | {f"step_s.{stage}": span for stage, span in self.step_s.items()}

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


def estimate_durations(
    pipeline: Pipeline,
    own: RunHistory | None = None,
    earlier: Sequence[RunHistory] = (),
    probed: ProbedTimes = NOT_PROBED,
) -> Times:
    """Estimate durations from this run, from `earlier` runs (newest first) that did the same work, and from evidence.

    `best` chooses among all sources of a duration.
    """
    alike = [other for other in earlier if _like(pipeline, other.pipeline)]
    seen = [*([(own, TimeSource.THIS_RUN, "")] if own else []), *((o, _source(o), o.run) for o in alike)]
    expect, jax, installs = stated(pipeline), pipeline.needs_jax, bool(pipeline.pins)
    share = min(1.0, pipeline.limit_s / SHORT_S)
    steps = {stage.name: _step(pipeline, stage, own, earlier) for stage in pipeline.stages}

    def chosen(
        measure: Callable[[RunHistory], list[float]], told: Told, assumed: Estimate, probe: Estimate | None = None
    ) -> Estimate:
        measured = (_span(measure(history), source, run) for history, source, run in seen)
        found = best([*measured, probe, _expected(told), assumed.times(share)])
        assert found is not None  # the last one is always there
        return found

    return Times(
        queue_s=chosen(_queue, expect.queue_s, QUEUE_S[pipeline.slot], probed.queue_s),
        handover_s=chosen(_handover, expect.handover_s, probed.between(HANDOVER_S)),
        startup_s=chosen(
            _startup, expect.startup_s, INSTALL_S if installs else BARE_S, probed.startup_s if installs else None
        ),
        save_s=chosen(_saves, expect.save_s, SAVE_S if jax else QUICK_S),
        first_s={
            stage.name: chosen(partial(_first, pipeline, stage), expect.first_s, _first_guess(pipeline, stage))
            for stage in pipeline.stages
        },
        step_s={name: found for name, found in steps.items() if found is not None},
    )


def _source(other: RunHistory) -> TimeSource:
    return TimeSource.PROBE if measured_stages(other.pipeline) else TimeSource.OTHER_RUN


def stated(pipeline: Pipeline) -> Expect:
    """Return what the pipeline expects on its accelerator: nothing if its figures are stated for another one."""
    return pipeline.expect if pipeline.expect.accelerator in (None, pipeline.accelerator) else Expect()


def _expected(told: Told) -> Estimate | None:
    match told:
        case None:
            return None
        case ExpectedDuration():
            return Estimate(told.usual, told.low, told.high, TimeSource.PIPELINE, told.source)
        case _:
            return Estimate.around(told, EXPECTED_SHARE, TimeSource.PIPELINE)


# --- a stage's step ----------------------------------------------------------


def _step(pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]) -> Estimate | None:
    """Return the estimated duration of a stage's step from the best source that has one."""
    return best(
        [
            *_measured_steps(pipeline, stage, own, earlier),
            *_probed_steps(pipeline, stage, earlier),
            _stated_step(pipeline, stage),
            *_similar_steps(pipeline, stage, earlier),
        ]
    )


def _probed_steps(pipeline: Pipeline, stage: Stage, earlier: Sequence[RunHistory]) -> Iterator[Estimate]:
    """Yield what probes of the same work measured: one step after the compiled first one."""
    for other in earlier:
        for twin in measured_stages(other.pipeline):
            if not same_work(pipeline, stage, other.pipeline, twin):
                continue
            for timings in other.reported.values():
                if (took_s := timings.get(f"{twin.name}.step_s")) is not None:
                    yield Estimate.around(took_s, EXPECTED_SHARE, TimeSource.PROBE, other.run)


def _stated_step(pipeline: Pipeline, stage: Stage) -> Estimate | None:
    """Return what the pipeline itself says."""
    if stage.kind == "counting" and "step_s" in stage.options:
        took_s = float(stage.options["step_s"])
        return Estimate.around(took_s, MEASURED_SHARE, TimeSource.PIPELINE, "step_s in the stage's options")
    expected_s = stated(pipeline).step_s
    return _expected(expected_s.get(stage.name, expected_s.get(stage.kind)))


def _similar_steps(pipeline: Pipeline, stage: Stage, earlier: Sequence[RunHistory]) -> Iterator[Estimate]:
    """Yield what earlier runs of the same pipeline measured with other options."""
    for other in earlier:
        same = (other.pipeline.name, other.pipeline.accelerator) == (pipeline.name, pipeline.accelerator)
        if same and (span := step_duration(other.steps, stage.name)) is not None:
            yield Estimate.around(span.usual_s, EXPECTED_SHARE, TimeSource.OTHER_OPTIONS, other.run)


def _measured_steps(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Iterator[Estimate]:
    """Yield what runs measured of the same work: this run first, the stage itself before others that are alike."""
    if own is not None:
        alike = [twin.name for twin in own.pipeline.stages if same_work(pipeline, stage, own.pipeline, twin)]
        for name in dict.fromkeys([stage.name, *alike]):
            if (span := step_duration(own.steps, name)) is not None:
                yield span.of(TimeSource.THIS_RUN, "" if name == stage.name else name)
    for other in earlier:
        for twin in other.pipeline.stages:
            alike_there = same_work(pipeline, stage, other.pipeline, twin)
            if alike_there and (span := step_duration(other.steps, twin.name)) is not None:
                yield span.of(TimeSource.OTHER_RUN, other.run)


CHANGES_NO_TIME = frozenset(
    (
        "learning_rate", "learning_rate_after", "decay_steps", "schedule", "warmup_steps", "min_lr_ratio", "b1", "b2",
        "weight_decay", "clip_norm", "check",
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


def _span(values: Sequence[float], source: TimeSource, detail: str) -> Estimate | None:
    """Return the median, minimum and maximum of measured values, or None if there are none."""
    if not values:
        return None
    usual = statistics.median(values)
    margin_s = MEASURED_SHARE * usual
    return Estimate(usual, min(*values, usual - margin_s), max(*values, usual + margin_s), source, detail)


def _queue(observed: RunHistory) -> list[float]:
    pairs = [(s.pushed_at, s.running_at) for s in observed.sessions]
    return _sensible((running - pushed).total_seconds() for pushed, running in pairs if pushed and running)


def _handover(observed: RunHistory) -> list[float]:
    """Return the seconds from each session's end until its checkpoint was published or the next session was planned.

    A probe hands no model over: its checkpoints say nothing about those of a run.
    """
    if measured_stages(observed.pipeline):
        return []
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


def _first_guess(pipeline: Pipeline, stage: Stage) -> Estimate:
    return FIRST_S if find(stage.kind, pipeline.sources).needs_jax else QUICK_S


def _first(pipeline: Pipeline, stage: Stage, observed: RunHistory) -> list[float]:
    """Return the extra seconds of first steps of the same work, of the stage itself if it was measured."""
    stages = (*observed.pipeline.stages, *measured_stages(observed.pipeline))
    twins = [t for t in stages if same_work(pipeline, stage, observed.pipeline, t)]
    for twin in sorted(twins, key=lambda twin: twin.name != stage.name):
        if values := list(_first_extras(observed, twin.name)):
            return values
    return []


def _first_extras(observed: RunHistory, stage: str) -> Iterator[float]:
    """Yield, for each session that reported it, the duration of the first step minus that of a usual one."""
    for timings in observed.reported.values():
        if (first_s := timings.get(f"{stage}.first_step_s")) is not None:
            yield max(0.0, first_s - timings.get(f"{stage}.step_s", 0.0))
