"""Estimates how long a stage's step takes: measured, scaled from a measurement, expected, or computed. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.core.estimates import EXPECTED_SHARE, MEASURED_SHARE, Estimate, TimeSource, best, step_duration
from orchestrator.core.run_history import RunHistory
from orchestrator.core.work.rates import RATES, Resource
from orchestrator.core.work.seconds import HOST_S, StepSeconds, computed_seconds, stage_work, usual_parts
from orchestrator.pipeline.measured import measured_stages
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Expect, ExpectedDuration, Stage

SCALED_SHARE, SCALED_DRAWING_SHARE = 0.3, 0.6
"""Assumed relative errors of a duration that is scaled from other options of the same model: where steps only teach, and where
they draw. `benchmarks.work_model` on a loaded CPU: median 9 % and 54 %, largest 27 % and 85 %."""
CALIBRATED_FACTOR = 2.0
"""Assumed error, as a factor, of a duration computed for another kind of stage or another model than what was measured."""
CALIBRATES = 0.25
"""Share of a step's usual time from which on its duration calibrates a resource."""
CLASSES = {
    "sft": "teach",
    "grpo": "reinforce",
    "continued": "reinforce",
    "evaluate": "ask",
    "curate": "ask",
    "answer": "ask",
}
"""Kinds of stages by what their steps do: durations are scaled within a class."""

Told = float | ExpectedDuration | None
"""Duration in the pipeline's section `expect`."""


def stated(pipeline: Pipeline) -> Expect:
    """Return what the pipeline expects on its accelerator: nothing if its figures are stated for another one."""
    return pipeline.expect if pipeline.expect.accelerator in (None, pipeline.accelerator) else Expect()


def as_estimate(told: Told) -> Estimate | None:
    """Return a figure of the section `expect`, a number with a quarter up and down."""
    match told:
        case None:
            return None
        case ExpectedDuration():
            return Estimate(told.usual, told.low, told.high, TimeSource.PIPELINE, told.source)
        case _:
            return Estimate.around(told, EXPECTED_SHARE, TimeSource.PIPELINE)


def step_estimate(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Estimate | None:
    """Return the estimated duration of a stage's step from the best source that has one."""
    return best(
        [
            *_measured_steps(pipeline, stage, own, earlier),
            *_probed_steps(pipeline, stage, earlier),
            _scaled_step(pipeline, stage, own, earlier),
            _stated_step(pipeline, stage),
            *_similar_steps(pipeline, stage, earlier),
            _computed_step(pipeline, stage, own, earlier),
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
    return as_estimate(expected_s.get(stage.name, expected_s.get(stage.kind)))


def _similar_steps(pipeline: Pipeline, stage: Stage, earlier: Sequence[RunHistory]) -> Iterator[Estimate]:
    """Yield what earlier runs of the same pipeline measured with other options, if the work of a step is not known."""
    if usual_parts(pipeline, stage) is not None:
        return
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


# --- by the work of a step ---------------------------------------------------


def _scaled_step(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Estimate | None:
    """Return what was measured of another stage of this model on this accelerator, scaled by the work of both.

    Both either teach, or draw and train, or only draw. The newest run counts, a stage of the same kind before others.
    """
    mine = usual_parts(pipeline, stage)
    if mine is None:
        return None
    for other, where in _histories(own, earlier):
        if not same_conditions(pipeline, other.pipeline):
            continue
        seen = [(twin, span) for twin, span in _seen_steps(other) if CLASSES.get(twin.kind) == CLASSES[stage.kind]]
        for twin, span in sorted(seen, key=lambda pair: pair[0].kind != stage.kind):
            theirs = usual_parts(other.pipeline, twin)
            if theirs is None:
                continue
            host_s = HOST_S[stage.kind].usual
            found = span.times((host_s + sum(mine.values())) / (host_s + sum(theirs.values())))
            share = SCALED_SHARE if CLASSES[stage.kind] == "teach" else SCALED_DRAWING_SHARE
            low_s, high_s = found.low_s * (1 - share), found.high_s * (1 + share)
            return Estimate(found.usual_s, low_s, high_s, TimeSource.SCALED, f"{twin.name}{where}")
    return None


def _computed_step(
    pipeline: Pipeline, stage: Stage, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> Estimate | None:
    """Return the work model's seconds, calibrated by everything that was measured on this accelerator."""
    factors, sources = calibrations(pipeline.accelerator, own, earlier)
    found, step = computed_seconds(pipeline, stage, factors), stage_work(pipeline, stage)
    if found is None or step is None:
        return None
    words = []
    by = list(dict.fromkeys(sources[phase.resource] for phase in step.phases if phase.resource in sources))
    if by:
        words.append(f"calibrated by {' and '.join(by)}")
    if not all(phase.resource in sources for phase in step.phases):
        words.append(_shares(pipeline.accelerator))
    if step.lengths.assumed:
        words.append(f"lengths of {', '.join(step.lengths.assumed)} are assumed")
    return Estimate(found.usual, found.low, found.high, TimeSource.WORK_MODEL, "; ".join(words))


def _shares(accelerator: str) -> str:
    """Return what is assumed of an accelerator in words."""
    rates = RATES[accelerator]
    low, high = min(rates.compute.low, rates.drawing.low), max(rates.compute.high, rates.drawing.high)
    return f"{100 * low:.2g} to {100 * high:.2g} % of the peak of a {rates.chip}, where nothing was measured"


def calibrations(
    accelerator: str, own: RunHistory | None, earlier: Sequence[RunHistory]
) -> tuple[dict[Resource, StepSeconds], dict[Resource, str]]:
    """Return measured seconds as multiples of the model's usual ones, by resource, and the sources of both.

    A stage calibrates each resource that makes up CALIBRATES or more of its usual time; the newest measurement counts.
    """
    factors: dict[Resource, StepSeconds] = {}
    sources: dict[Resource, str] = {}
    for other, where in _histories(own, earlier):
        if other.pipeline.accelerator != accelerator:
            continue
        for twin, span in _seen_steps(other):
            parts = usual_parts(other.pipeline, twin)
            if not parts:
                continue
            whole_s = sum(parts.values())
            factor = max(span.usual_s - HOST_S[twin.kind].usual, span.usual_s / 2) / whole_s
            for resource, part_s in parts.items():
                if part_s >= CALIBRATES * whole_s and resource not in factors:
                    factors[resource] = StepSeconds(factor / CALIBRATED_FACTOR, factor, factor * CALIBRATED_FACTOR)
                    sources[resource] = f"{twin.name}{where}"
    return factors, sources


def _histories(own: RunHistory | None, earlier: Sequence[RunHistory]) -> Iterator[tuple[RunHistory, str]]:
    """Yield this run and earlier ones, each with the words that name it after a stage."""
    if own is not None:
        yield own, ""
    yield from ((other, f" of {other.run}") for other in earlier)


def _seen_steps(history: RunHistory) -> Iterator[tuple[Stage, Estimate]]:
    """Yield the stages of which a run or a probe measured steps, with their durations."""
    for stage in history.pipeline.stages:
        if stage.kind in CLASSES and (span := step_duration(history.steps, stage.name)) is not None:
            yield stage, span
    for stage in measured_stages(history.pipeline):
        for timings in history.reported.values():
            if stage.kind in CLASSES and (took_s := timings.get(f"{stage.name}.step_s")) is not None:
                yield stage, Estimate.around(took_s, EXPECTED_SHARE, TimeSource.PROBE, history.run)


# --- equal work --------------------------------------------------------------

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
    return same_conditions(mine, other) and stage.kind == twin.kind and _telling(stage) == _telling(twin)


def same_conditions(mine: Pipeline, other: Pipeline) -> bool:
    """Return True if both pipelines train the same model with the same packages on the same accelerator."""
    return (mine.accelerator, mine.pins, mine.model) == (other.accelerator, other.pins, other.model)


def _telling(stage: Stage) -> dict[str, Any]:
    return {name: _bare(value) for name, value in stage.options.items() if name not in CHANGES_NO_TIME}


def _bare(value: Any) -> Any:
    """Return data sets without their counts."""
    return [str(each).partition(":")[0] for each in value] if isinstance(value, (list, tuple)) else value
