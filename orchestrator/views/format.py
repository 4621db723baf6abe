"""Values in few characters: what training measures, hours, and the colour of each state."""

from collections.abc import Mapping

from orchestrator.base.humanize import duration
from stages.session.throughput import MEASURED, MEMORY, RATES

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
TELLING = ("loss", "reward", "format", "accuracy", "hard_accuracy", "tried", "hard", "kl")
PROGRESS = {
    "learning_rate": "learning rate {:.3g}",
    "grad_norm": "gradient norm {:.3g}",
    "mean_length": "answers of {:,.0f} tokens",
    "truncated_share": "{:.0%} cut off",
    "idle_groups": "{:.0%} of groups idle",
    "logprob": "log-probability {:.3g}",
}
ELSEWHERE = frozenset((*RATES, *MEASURED, *PROGRESS))
"""These and speed and memory have lines of their own, the counts that rates are made of none."""
METRICS_SHOWN = 4
CURVED = ("loss", "reward")
"""Values whose course says whether training goes well."""


def time_of(seconds: float, limit_s: float) -> str:
    """How much of a session's time is over: never more than all of it, whenever relay came to see that it had ended."""
    return f"{duration(min(seconds, limit_s))} of {duration(limit_s)}"


def metrics_text(metrics: Mapping[str, float], between: str = "  ") -> str:
    """The values that tell most, four digits each; the others are in the JSON document."""
    telling = [name for name in TELLING if name in metrics]
    others = sorted(name for name in metrics if name not in TELLING and name not in ELSEWHERE)
    return between.join(f"{name} {metrics[name]:.4g}" for name in [*telling, *others][:METRICS_SHOWN])


def speed_text(metrics: Mapping[str, float]) -> str:
    """How fast a stage's steps are and what memory they take; empty where nothing is known of it."""
    told = {name.removesuffix("_per_s"): metrics[name] for name in RATES.values() if name in metrics}
    parts = [f"{rate:{',.0f' if rate >= 100 else '.3g'}} {name}/s" for name, rate in told.items()]
    parts += [f"{size(metrics[MEMORY])} of memory at most"] if MEMORY in metrics else []
    return ", ".join(parts)


def progress_text(metrics: Mapping[str, float]) -> str:
    """What tells whether a training stage's steps do their work, beside its last values; empty where nothing is known of it."""
    return ", ".join(form.format(metrics[name]) for name, form in PROGRESS.items() if name in metrics)


def hours(seconds: float) -> str:
    """Seconds as hours, to the tenth."""
    return f"{seconds / 3600:.1f} h"


def size(size_bytes: float) -> str:
    """Bytes in the unit that leaves few digits: `512 B`, `1.6 KiB`, `300 MiB`, `18.6 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 10 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def clock_time(iso: str) -> str:
    """A time in UTC without its fractions of a second, as logs have it."""
    return iso[:19].replace("T", " ") + " UTC"
