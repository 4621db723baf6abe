"""Seconds of a step from its work: at the peak of the chips, and within what they are assumed to reach. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from orchestrator.core.work.counts import ComputeWork
from orchestrator.core.work.rates import RATES, ChipRates, Resource, ShareRange
from orchestrator.core.work.steps import BARE, RELAY, EngineTraits, StepWork, assumed_lengths, model_work, step_work
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages import options
from stages.catalog import KINDS

HOST_S: Mapping[str, ShareRange] = {
    "sft": ShareRange(0.005, 0.1),
    "grpo": ShareRange(0.05, 1.0),
    "continued": ShareRange(0.05, 1.0),
    "evaluate": ShareRange(0.05, 2.0),
    "curate": ShareRange(0.05, 2.0),
    "answer": ShareRange(0.02, 0.5),
}
"""Assumed seconds of a step on the host, by kind of stage: rows, metrics, and judging answers, whose programs run in
processes of their own. The work of the chips does not hide them."""


@dataclass(frozen=True)
class StepSeconds:
    """Bounds of a duration in seconds, and the usual value between them."""

    low: float
    usual: float
    high: float

    def __add__(self, other: "StepSeconds") -> "StepSeconds":
        return StepSeconds(self.low + other.low, self.usual + other.usual, self.high + other.high)

    @classmethod
    def between(cls, low: float, high: float) -> "StepSeconds":
        """Return the range with its geometric mean as the usual value."""
        return cls(low, float((low * high) ** 0.5), high)


def best_s(work: ComputeWork, chips: int, rates: ChipRates) -> float:
    """Return the seconds of a phase at the peak of its slowest resource: products, memory, or links between chips."""
    return max(
        work.flops / (chips * rates.flops),
        work.bytes / (chips * rates.bytes_s),
        work.link_bytes / (chips * rates.link_bytes_s),
    )


def step_best_s(step: StepWork, rates: ChipRates) -> float:
    """Return the seconds of a step's phases, one after the other, at 100 % of the chips' peak and without the host."""
    return sum(best_s(phase.work, step.chips, rates) for phase in step.phases)


def stage_work(pipeline: Pipeline, stage: Stage, engine: EngineTraits = RELAY, slow: float = 0.5) -> StepWork | None:
    """Return the work of one step of a stage on its pipeline's accelerator, or None if it is not known.

    `slow` is the place within the bounds of lengths that nobody has measured (see `assumed_lengths`).
    """
    devices = pipeline.hardware.promise.devices or 1
    return _stage_work(stage.kind, _text(stage.options), _text(pipeline.model), engine, slow, devices)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


@lru_cache(maxsize=1024)
def _stage_work(kind: str, values: str, model: str, engine: EngineTraits, slow: float, devices: int) -> StepWork | None:
    """Parse options and model, and return the work; None also for options that this version of relay does not know."""
    if kind not in HOST_S:
        return None
    try:
        fitted = KINDS[kind].fit(json.loads(values), kind)
        sizes = model_work(fitted, options.fit(options.Model, json.loads(model), "model"), devices)
    except ValueError:
        return None
    return None if sizes is None else step_work(kind, fitted, sizes, assumed_lengths(fitted, slow), engine)


def by_resource(step: StepWork, rates: ChipRates) -> dict[Resource, float]:
    """Return the seconds of a step at 100 % of the chips' peak, by the resource that calibrates them."""
    found: dict[Resource, float] = {}
    for phase in step.phases:
        found[phase.resource] = found.get(phase.resource, 0.0) + best_s(phase.work, step.chips, rates)
    return found


def usual_parts(pipeline: Pipeline, stage: Stage) -> dict[Resource, float] | None:
    """Return the usual seconds of a step by resource, without the host's; None if the stage's work is not known.

    The usual share of a peak is the geometric mean of its bounds, whatever was measured.
    """
    step, rates = stage_work(pipeline, stage), RATES[pipeline.accelerator]
    if step is None:
        return None
    return {resource: seconds / rates.share(resource).usual for resource, seconds in by_resource(step, rates).items()}


def computed_seconds(
    pipeline: Pipeline, stage: Stage, measured: Mapping[Resource, StepSeconds] = MappingProxyType({})
) -> StepSeconds | None:
    """Return the seconds of a step of a stage, or None if its work is not known.

    `measured` has measured seconds as multiples of `usual_parts`. Each resource's part of a step, and the host's, adds:

        measured      usual part * multiple
        else low      relay's work, lengths that nobody has measured at their least, at the highest share of the peak
             high     Tunix's work, lengths at their most, at the lowest share; GRPO draws as often as its options allow
             usual    sqrt(low * high)
    """
    parts = usual_parts(pipeline, stage)
    least, most = stage_work(pipeline, stage, RELAY, 0.0), stage_work(pipeline, stage, BARE, 1.0)
    if parts is None or least is None or most is None:
        return None
    rates, host = RATES[pipeline.accelerator], HOST_S[stage.kind]
    lows, highs = by_resource(least, rates), by_resource(most, rates)
    found = StepSeconds.between(host.low, host.high)
    for resource, part in parts.items():
        if (factor := measured.get(resource)) is not None:
            found += StepSeconds(part * factor.low, part * factor.usual, part * factor.high)
        else:
            share, rounds = rates.share(resource), _rounds(stage) if resource == "drawing" else 1.0
            found += StepSeconds.between(lows[resource] / share.high, rounds * highs[resource] / share.low)
    return found


def _rounds(stage: Stage) -> float:
    """Return the largest number of times that a step may draw: GRPO's dynamic sampling draws further problems."""
    return 1.0 + float(stage.options.get("dynamic_sampling", 0))
