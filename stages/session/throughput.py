"""Speed and memory: numbers to be looked at. They differ from run to run, so nothing is computed from them or compared with them."""

import sys
from collections.abc import Mapping
from typing import Any

RATES = {"tokens": "tokens_per_s", "examples": "examples_per_s"}
"""From a count that a step tells among its metrics to the rate that is made of it."""
MEMORY = "memory_bytes"
MEASURED = (*RATES.values(), MEMORY)
"""Metrics that the session adds to what a step tells: they are in no trace, no digest and no checkpoint."""


def rates(metrics: Mapping[str, float], seconds: float) -> dict[str, float]:
    """`tokens_per_s` and `examples_per_s` of a step that took so many seconds, where it told of `tokens` and `examples`."""
    if seconds <= 0:
        return {}
    return {rate: float(f"{metrics[count] / seconds:.5g}") for count, rate in RATES.items() if count in metrics}


def memory_bytes() -> float:
    """The most memory that was in use so far on the device that has used most; of the process, where no device tells."""
    import resource  # the laptop, which reads this module's names, need not have it

    jax: Any = sys.modules.get("jax")  # a stage that has not imported it has nothing on a device
    told = [device.memory_stats() or {} for device in jax.local_devices()] if jax is not None else []
    peaks = [stats["peak_bytes_in_use"] for stats in told if "peak_bytes_in_use" in stats]
    return float(max(peaks, default=0) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
