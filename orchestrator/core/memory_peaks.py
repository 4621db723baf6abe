"""Peaks of memory that sessions measured, stage by stage. Pure."""

from collections.abc import Iterable, Mapping

from stages.session.peak_memory import DEVICE, DEVICE_LIMIT, HOST, HOST_LIMIT
from stages.session.throughput import HOST_MEMORY, MEMORY
from state.facts.base import Fact
from state.facts.session import NothingCollected, OutputCollected
from state.model.metrics import Metric

PEAKS = (DEVICE, DEVICE_LIMIT, HOST, HOST_LIMIT)
"""Names of what a session reports of a stage, in bytes."""


def larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return the larger value of each name."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def peaks_of(metrics: Mapping[str, float]) -> dict[str, int]:
    """Return the peaks in a step's metrics: of device and host, or of the host alone where no device reports any."""
    if HOST_MEMORY in metrics:
        device = {DEVICE: int(metrics[MEMORY])} if MEMORY in metrics else {}
        return {**device, HOST: int(metrics[HOST_MEMORY])}
    return {HOST: int(metrics[MEMORY])} if MEMORY in metrics else {}


def peaks_in(facts: Iterable[Fact], newest: Iterable[Metric] = ()) -> dict[str, dict[str, int]]:
    """Return the largest peaks of each stage of a run, from its ended sessions and the newest metrics of the live one."""
    found: dict[str, dict[str, int]] = {}
    for fact in facts:
        if isinstance(fact, (OutputCollected, NothingCollected)):
            for stage, peaks in fact.judgement.memory.items():
                found[stage] = larger(found.get(stage, {}), peaks)
    told: dict[str, dict[str, float]] = {}
    for metric in newest:
        told.setdefault(metric.stage, {})[metric.name] = metric.value
    for stage, metrics in told.items():
        if peaks := peaks_of(metrics):
            found[stage] = larger(found.get(stage, {}), peaks)
    return found
