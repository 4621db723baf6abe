"""Speed and memory metrics, for display only: they differ between identical runs, so no result depends on them."""

from collections.abc import Mapping

from stages.session.peak_memory import DEVICE, DEVICE_LIMIT, HOST

RATES = {"tokens": "tokens_per_s", "examples": "examples_per_s"}
"""Rates by the count that they are computed from; a step reports the count among its metrics."""
MEMORY, HOST_MEMORY = "memory_bytes", "host_memory_bytes"
"""Peaks of the memory that a stage takes, on the device that used most and on the host. Where no device reports its
memory, as on a CPU, there is only `memory_bytes`, the host's."""
MEASURED = (*RATES.values(), MEMORY, HOST_MEMORY)
"""Metrics that the session adds to those of a step; they are excluded from traces, digests and checkpoints."""


def rates(metrics: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Compute `tokens_per_s` and `examples_per_s` of a step from its duration and its
    metrics `tokens` and `examples`."""
    if seconds <= 0:
        return {}
    return {rate: float(f"{metrics[count] / seconds:.5g}") for count, rate in RATES.items() if count in metrics}


def memory_metrics(peaks: Mapping[str, int]) -> dict[str, float]:
    """Return a step's memory metrics from what `stages.session.peak_memory.PeakMemory` found.

    Without `memory_bytes` if the devices report memory, and the stage's own peak on them is unknown.
    """
    device, host = peaks.get(DEVICE), peaks.get(HOST)
    named = {MEMORY: device, HOST_MEMORY: host} if device or DEVICE_LIMIT in peaks else {MEMORY: host}
    return {name: float(value) for name, value in named.items() if value}
