"""Values in few characters: what training measures, hours, and the colour of each state."""

from collections.abc import Mapping

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
METRICS_SHOWN = 4
CURVED = ("loss", "reward")
"""Values whose course says whether training goes well."""


def metrics_text(metrics: Mapping[str, float], between: str = "  ") -> str:
    """The values that tell most, four digits each; the others are in the JSON document."""
    telling = [name for name in TELLING if name in metrics]
    others = sorted(name for name in metrics if name not in TELLING)
    return between.join(f"{name} {metrics[name]:.4g}" for name in [*telling, *others][:METRICS_SHOWN])


def hours(seconds: float) -> str:
    """Seconds as hours, to the tenth."""
    return f"{seconds / 3600:.1f} h"


def clock_time(iso: str) -> str:
    """A time in UTC without its fractions of a second, as logs have it."""
    return iso[:19].replace("T", " ") + " UTC"
