"""Speed and memory metrics, for display only: they differ between identical runs, so no result depends on them."""

import sys
from collections.abc import Mapping
from typing import Any

RATES = {"tokens": "tokens_per_s", "examples": "examples_per_s"}
"""Rates by the count that they are computed from; a step reports the count among its metrics."""
MEMORY = "memory_bytes"
MEASURED = (*RATES.values(), MEMORY)
"""Metrics that the session adds to those of a step; they are excluded from traces, digests and checkpoints."""


def rates(metrics: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Compute `tokens_per_s` and `examples_per_s` of a step from its duration and its
    metrics `tokens` and `examples`."""
    if seconds <= 0:
        return {}
    return {rate: float(f"{metrics[count] / seconds:.5g}") for count, rate in RATES.items() if count in metrics}


def memory_bytes() -> float:
    """Return the peak memory in bytes of the device that used most; that of the process if no device reports memory."""
    import resource  # imported here: missing on Windows, where relay reads this module's names

    jax: Any = sys.modules.get("jax")  # without an imported JAX nothing is on a device
    stats = [device.memory_stats() or {} for device in jax.local_devices()] if jax is not None else []
    peaks = [device_stats["peak_bytes_in_use"] for device_stats in stats if "peak_bytes_in_use" in device_stats]
    return float(max(peaks, default=0) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
