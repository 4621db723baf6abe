"""Metrics over the pipeline's steps, reduced to few points, each with a sentence that describes the curve. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.contract import STAND_IN_METRIC
from stages.session.throughput import RATES
from state.model.metrics import CurvePoint

MAIN = {
    "loss": ("Loss", False),
    "reward": ("Reward", False),
    "accuracy": ("Accuracy", True),
    "format": ("Parse rate", True),
}
"""Title of each main metric, shown first, and whether it is a share. Parse rate: answers in the requested form."""

OTHERS = {
    "hard_accuracy": ("Accuracy on hard problems", True),
    "kl": ("KL divergence from the reference", False),
    "grad_norm": ("Gradient norm", False),
    "learning_rate": ("Learning rate", False),
    "idle_groups": ("Groups whose answers all have the same reward", True),
    "mean_length": ("Mean length of an answer, in tokens", False),
    "max_length": ("Longest answer, in tokens", False),
    "truncated_share": ("Answers cut off", True),
    "logprob": ("Mean log-probability of a drawn token", False),
    "tokens_per_s": ("Tokens per second", False),
    "examples_per_s": ("Examples per second", False),
    "memory_bytes": ("Most memory in use, in GiB", False),
    "host_memory_bytes": ("Most memory of the host in use, in GiB", False),
}
"""Title of each further metric, in display order, and whether it is a share. All other metrics follow by name."""
SCALES = {"memory_bytes": 2.0**-30, "host_memory_bytes": 2.0**-30}
HIDDEN = ("done", *RATES)
"""Metrics that are not drawn: `done` marks a step without measurements, and counts only serve to compute rates."""
INTERVALS = ("_low", "_high")
WIDE = 50.0
"""Ratio of highest to lowest value from which the scale is logarithmic, if all values are positive."""
TABLE_ROWS_MAX = 24
"""Maximum number of rows in a curve's table: the first point, the last one, and evenly spaced ones between."""


def curves(
    points: Iterable[CurvePoint], stages: Sequence[Mapping[str, Any]], positions: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return one curve per metric, main ones first.

    A curve has one line per stage. Positions are counted from the beginning of the pipeline.
    """
    found: dict[str, dict[str, list[CurvePoint]]] = {}
    for point in points:
        if point.stage in positions and point.name not in HIDDEN and not point.name.startswith(STAND_IN_METRIC):
            found.setdefault(point.name, {}).setdefault(point.stage, []).append(point)
    titles = [*MAIN, *OTHERS]
    names = [name for name in titles if name in found]
    names += sorted(name for name in found if name not in titles and not _is_bound(name, found))
    return [_curve(name, found[name], stages, positions) for name in names]


def _is_bound(name: str, found: Mapping[str, object]) -> bool:
    """Return whether a metric is only a bound of another metric's interval."""
    return any(name.endswith(end) and name.removesuffix(end) in found for end in INTERVALS)


def _curve(
    name: str,
    by_stage: Mapping[str, list[CurvePoint]],
    stages: Sequence[Mapping[str, Any]],
    positions: Mapping[str, int],
) -> dict[str, Any]:
    title, share = metric_title(name)
    scale = SCALES.get(name, 1.0)
    lines = [
        {
            "stage": stage["name"],
            "at": [positions[stage["name"]] + point.step for point in by_stage[stage["name"]]],
            "value": [_short(scale * point.value) for point in by_stage[stage["name"]]],
            "low": [_short(scale * point.low) for point in by_stage[stage["name"]]],
            "high": [_short(scale * point.high) for point in by_stage[stage["name"]]],
        }
        for stage in stages
        if stage["name"] in by_stage
    ]
    return {
        "name": name,
        "title": title,
        "main": name in MAIN,
        "share": share,
        "logarithmic": not share and is_wide(lines),
        "sentence": _sentence(title, lines, share),
        "lines": lines,
        "table": _table(lines, positions),
        "points": sum(len(line["at"]) for line in lines),
    }


def metric_title(name: str) -> tuple[str, bool]:
    """Return a metric's title, and whether it is a share."""
    return {**MAIN, **OTHERS}.get(name, (name.replace("_", " "), False))


def is_wide(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the values span so wide a range that most would lie on the axis of a linear scale."""
    lowest = min(min(line["low"]) for line in lines)
    return bool(lowest > 0 and max(max(line["high"]) for line in lines) / lowest > WIDE)


def _sentence(title: str, lines: Sequence[Mapping[str, Any]], share: bool) -> str:
    """Describe the curve for users who cannot see it."""
    parts = []
    for line in lines:
        first, last = (value_text(line["value"][end], share) for end in (0, -1))
        moved = f"from {first} to {last}" if len(line["at"]) > 1 else last
        parts.append(f"{line['stage']} {moved}")
    lowest = min(min(line["low"]) for line in lines)
    highest = max(max(line["high"]) for line in lines)
    reach = f"lowest {value_text(lowest, share)}, highest {value_text(highest, share)}"
    stages = "; ".join(parts[:8]) + (f"; and {len(parts) - 8} more stages" if len(parts) > 8 else "")
    return f"{title} over the pipeline's steps. {stages}. Over all: {reach}."


def _table(lines: Sequence[Mapping[str, Any]], positions: Mapping[str, int]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        for index in thin_indices(len(line["at"]), TABLE_ROWS_MAX):
            at = line["at"][index]
            row = {key: line[key][index] for key in ("value", "low", "high")}
            rows.append({"stage": line["stage"], "step": at - positions[line["stage"]], **row})
    return rows


def thin_indices(count: int, most: int) -> list[int]:
    """Return at most `most` indices below `count`: the first, the last, and evenly spaced ones between."""
    if count <= most:
        return list(range(count))
    return sorted({round(number * (count - 1) / (most - 1)) for number in range(most)})


def value_text(value: float, share: bool) -> str:
    """Format a value for a sentence."""
    return f"{100 * value:.1f} %" if share else f"{value:.4g}"


def _short(value: float) -> float:
    """Round to five digits, which is more than a picture can show."""
    return float(f"{value:.5g}")
