"""Compares a plan with the peaks that this home's sessions measured, and corrects what was not measured yet. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from orchestrator.core.memory_peaks import larger
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.programs import MODEL_OPTIONS, StageNeeds, needs_of
from stages.session.peak_memory import DEVICE, HOST

BUDGETS = (("device", DEVICE), ("host", HOST))


@dataclass(frozen=True)
class MeasuredPeaks:
    """Peaks and limits of one stage in one run, in bytes, by the names in `stages.contract.StageReport.memory`."""

    needs: StageNeeds
    """Needs of the stage, without its name: equal needs take equal memory."""
    run: str
    peaks: Mapping[str, int]


def measured_in(
    run: str, ran: Pipeline, planned: Pipeline, peaks: Mapping[str, Mapping[str, int]]
) -> list[MeasuredPeaks]:
    """Return the peaks of a run's stages that say something about a planned pipeline.

    None if the run had another accelerator or model. A rehearsal's stand-in model has the same name as the real one:
    the caller leaves such runs out.
    """
    alike = all(ran.model.get(name) == planned.model.get(name) for name in MODEL_OPTIONS)
    if ran.accelerator != planned.accelerator or not alike or ran.loaded_model is None:
        return []
    return [
        MeasuredPeaks(replace(needs, names=()), run, peaks[name])
        for needs in needs_of(ran)
        for name in needs.names
        if peaks.get(name)
    ]


def with_measured(
    stages: Sequence[dict[str, Any]], measured: Iterable[MeasuredPeaks], limits: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the stages with `planned`, `measured`, `error` and `expected` for the budgets `device` and `host`.

    `error` is planned / measured - 1. `expected` is what was measured; for a stage that was not, the plan divided by
    the median of planned / measured of the others; without any, the plan. On a CPU there is the host's budget only.
    A stage that fits by its plan alone, and not by what is expected, does not fit.
    """
    known_of = list(measured)
    found = [_compared(stage, [each for each in known_of if each.needs == stage["needs"]]) for stage in stages]
    ratios = {
        name: median(each["memory"][name]["planned"] / each["memory"][name]["measured"] for each in known)
        for name, _ in BUDGETS
        if (known := [each for each in found if each["memory"].get(name, {}).get("measured")])
    }
    for stage in found:
        for name, budget in stage["memory"].items():
            corrected = round(budget["planned"] / ratios.get(name, 1.0))
            budget["corrected_by"] = None if budget["measured"] else ratios.get(name)
            budget["expected"] = budget["measured"] or corrected
            budget["limit"] = limits[name]
            if stage["fits"] and budget["expected"] > limits[name]:
                stage["fits"] = False
                stage["advice"] = "it fits by the plan alone, but other stages took more than planned: a smaller batch"
    return found


def _compared(stage: dict[str, Any], known: Sequence[MeasuredPeaks]) -> dict[str, Any]:
    peaks: dict[str, int] = {}
    for each in known:
        peaks = larger(peaks, each.peaks)
    planned = {"device": max(phase["peak"] for phase in stage["phases"])}
    if stage["host"]:
        planned["host"] = max(each["peak"] for each in stage["host"])
    else:
        planned = {"host": planned["device"]}  # a CPU's arrays are in the host's memory
    memory = {}
    for name, key in BUDGETS:
        if name in planned:
            taken = peaks.get(key) or None
            error = None if taken is None else planned[name] / taken - 1
            memory[name] = {"planned": planned[name], "measured": taken, "error": error}
    runs = sorted({each.run for each in known})
    return {**{name: value for name, value in stage.items() if name != "needs"}, "memory": memory, "measured_in": runs}
