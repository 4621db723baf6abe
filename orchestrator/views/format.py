"""Compact formats: training metrics, hours, sizes, times, and the style of each state."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.base.humanize import duration, machine_time, when
from stages.session.throughput import HOST_MEMORY, MEASURED, MEMORY, RATES

STYLES = {
    "active": "cyan",
    "waiting": "yellow",
    "parked": "bold red",
    "finished": "green",
    "cancelled": "dim",
    "yielded": "green",
    "timed_out": "yellow",
    "failed": "red",
    "lost": "red",
}
ACCELERATOR_NAMES = {"TpuV5E8": "TPU v5e-8", "TpuV6E8": "TPU v6e-8", "NvidiaTeslaT4": "GPU T4 x2"}
"""Names of accelerators in Kaggle's editor."""
MAIN_METRICS = ("loss", "reward", "format", "accuracy", "hard_accuracy", "tried", "hard", "kl")
PROGRESS = {
    "learning_rate": "learning rate {:.3g}",
    "grad_norm": "gradient norm {:.3g}",
    "mean_length": "answers of {:,.0f} tokens",
    "truncated_share": "{:.0%} cut off",
    "idle_groups": "{:.0%} of groups idle",
    "logprob": "log-probability {:.3g}",
}
SHOWN_ELSEWHERE = frozenset((*RATES, *MEASURED, *PROGRESS))
"""Metrics that are left out of the general list: some have lines of their own, counts only serve to compute rates."""
METRICS_SHOWN = 4
CURVED = ("loss", "reward")
"""Metrics that are drawn as curves, since their course shows whether training goes well."""


def elapsed_text(seconds: float, limit_s: float) -> str:
    """Format a session's elapsed time against its limit. The elapsed time is capped, since the end may be seen late."""
    return f"{duration(min(seconds, limit_s))} of {duration(limit_s)}"


def metrics_text(metrics: Mapping[str, float], between: str = "  ") -> str:
    """Format the most telling metrics with four digits; the others are in the JSON document."""
    return between.join(metric_texts(metrics))


def metric_texts(metrics: Mapping[str, float]) -> list[str]:
    """Format each of the most telling metrics as `name value`."""
    telling = [name for name in MAIN_METRICS if name in metrics]
    others = sorted(name for name in metrics if name not in MAIN_METRICS and not _is_shown_elsewhere(name))
    return [f"{name} {metrics[name]:.4g}" for name in [*telling, *others][:METRICS_SHOWN]]


def _is_shown_elsewhere(name: str) -> bool:
    """Return whether a metric has a line of its own, or is an end of the interval of another."""
    return name in SHOWN_ELSEWHERE or name.endswith(("_low", "_high"))


def speed_text(metrics: Mapping[str, float]) -> str:
    """Format a stage's throughput and peak memory; empty if unknown."""
    told = {name.removesuffix("_per_s"): metrics[name] for name in RATES.values() if name in metrics}
    parts = [f"{rate:{',.0f' if rate >= 100 else '.3g'}} {name}/s" for name, rate in told.items()]
    parts += [f"{size(metrics[MEMORY])} of memory at most"] if MEMORY in metrics else []
    words = "of the host's" if MEMORY in metrics else "of the host's memory at most"
    parts += [f"{size(metrics[HOST_MEMORY])} {words}"] if HOST_MEMORY in metrics else []
    return ", ".join(parts)


def progress_text(metrics: Mapping[str, float]) -> str:
    """Format the metrics that show whether training works, other than the main ones; empty if unknown."""
    return ", ".join(form.format(metrics[name]) for name, form in PROGRESS.items() if name in metrics)


def size(size_bytes: float) -> str:
    """Format bytes in a readable unit: `512 B`, `1.6 KiB`, `300 MiB`, `18.6 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 10 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def quota_text(quota: dict[str, Any], now: datetime) -> str:
    """Format the remaining hours of the week's quota, and when it is renewed."""
    if quota["total_s"] is None:
        return "Kaggle does not report it"
    assumed = " by relay's own count, since Kaggle does not report it" if quota["assumed"] else ""
    renewed = f", renewed {when(datetime.fromisoformat(quota['refreshes_at']), now)}" if quota["refreshes_at"] else ""
    return f"{machine_time(quota['left_s'])} of {machine_time(quota['total_s'])} left{assumed}{renewed}"
