"""The picture of a run's curves: main metrics over the steps of the pipeline, with its stages and evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from orchestrator.views.writeup.drawing.canvas import (
    COLOURS,
    FAINT,
    INK,
    RULE,
    drawing,
    figure,
    fitted,
    png,
    text_width_in,
    write_mark,
)

FILE = "curves.png"
WIDTH_IN = 8.0
PANEL_IN = 1.75
LEFT_IN, RIGHT_IN, BOTTOM_IN, GAP_IN = 0.85, 0.2, 0.55, 0.28
LEGEND = "      —  training      ◆  evaluation, with its interval"
LABEL_PT = 8.0
LABEL_IN = 0.16
"""Room for one label that is written upwards."""
UPRIGHT_MAX_IN = 1.1
"""Maximum length of a label that is written upwards."""


def curves_picture(history: Mapping[str, Any], mark: str) -> bytes | None:
    """Return the curves as PNG; None for a run that measured none of the main metrics."""
    found = [curve for curve in history["curves"] if curve["main"]]
    if not found:
        return None
    with drawing():
        return _picture(found, history["stages"], mark)


def _picture(found: Sequence[Mapping[str, Any]], stages: Sequence[Mapping[str, Any]], mark: str) -> bytes:
    total = max(1, sum(stage["target"] for stage in stages))
    labels = _labels(stages, total)
    top_in = 0.2 + max(text_width_in(text, LABEL_PT) if upright else 0.15 for _, text, upright in labels)
    height_in = top_in + len(found) * PANEL_IN + (len(found) - 1) * GAP_IN + BOTTOM_IN
    made = figure(WIDTH_IN, height_in)
    for number, curve in enumerate(found):
        low_in = height_in - top_in - (number + 1) * PANEL_IN - number * GAP_IN
        frame = (
            LEFT_IN / WIDTH_IN,
            low_in / height_in,
            1 - (LEFT_IN + RIGHT_IN) / WIDTH_IN,
            PANEL_IN / height_in,
        )
        axes = made.add_axes(frame, xlim=(0, total))
        _panel(axes, curve, stages)
        if number == 0:
            _write(axes, labels)
        if number == len(found) - 1:
            axes.set_xlabel("step of the pipeline" + (LEGEND if any(_evaluated(stage) for stage in stages) else ""))
        else:
            axes.set_xticklabels([])
    write_mark(made, mark)
    return png(made)


def _evaluated(stage: Mapping[str, Any]) -> bool:
    return stage["kind"] == "evaluate" and "accuracy" in stage["metrics"]


def _labels(stages: Sequence[Mapping[str, Any]], total: int) -> list[tuple[float, str, bool]]:
    """Return the names of stages with their places, and whether they are written upwards. Names without room are left out."""
    per_step_in = (WIDTH_IN - LEFT_IN - RIGHT_IN) / total
    chosen: list[tuple[float, str, bool]] = []
    free_from_in = -LABEL_IN
    for stage in sorted(stages, key=lambda stage: stage["begins_at"]):
        room_in = stage["target"] * per_step_in
        centre_in = (stage["begins_at"] + stage["target"] / 2) * per_step_in
        upright = text_width_in(stage["name"], LABEL_PT) > room_in - 0.05
        half_in = LABEL_IN / 2 if upright else room_in / 2
        if centre_in - half_in < free_from_in - 1e-6 and upright:
            continue
        text = fitted(stage["name"], LABEL_PT, UPRIGHT_MAX_IN) if upright else stage["name"]
        chosen.append((centre_in / per_step_in, text, upright))
        free_from_in = centre_in + (half_in if upright else text_width_in(stage["name"], LABEL_PT) / 2 + 0.05)
    return chosen


def _write(axes: Axes, labels: Sequence[tuple[float, str, bool]]) -> None:
    for at, text, upright in labels:
        axes.annotate(
            text,
            xy=(at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            rotation=90 if upright else 0,
            size=LABEL_PT,
            color=FAINT,
            ha="center",
            va="bottom",
        )


def _panel(axes: Axes, curve: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> None:
    by_name = {stage["name"]: stage for stage in stages}
    for stage in stages:
        axes.axvline(stage["begins_at"], color=RULE, linewidth=0.8, zorder=0)
    for line in curve["lines"]:
        stage = by_name[line["stage"]]
        if stage["kind"] == "evaluate":
            _evaluation(axes, curve["name"], stage)
            continue
        axes.plot(
            line["at"],
            line["value"],
            color=COLOURS["training"],
            linewidth=1.3,
            marker="." if len(line["at"]) == 1 else "",
        )
        axes.fill_between(line["at"], line["low"], line["high"], color=COLOURS["training"], alpha=0.18, linewidth=0)
    axes.set_ylabel(curve["title"] + (", logarithmic" if curve["logarithmic"] else ""), color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.5, alpha=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if curve["share"]:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif curve["logarithmic"]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_label_coords(-0.62 / (WIDTH_IN - LEFT_IN - RIGHT_IN), 0.5)


def _evaluation(axes: Axes, metric: str, stage: Mapping[str, Any]) -> None:
    """Mark the result of an evaluation, with its interval if there is one."""
    value = stage["metrics"].get(metric)
    if value is None:
        return
    low, high = (stage["metrics"].get(f"{metric}_{end}", value) for end in ("low", "high"))
    at = stage["begins_at"] + stage["seen"]
    axes.errorbar(
        [at],
        [value],
        yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        fmt="D",
        color=COLOURS["evaluation"],
        markersize=4.5,
        capsize=3,
        linewidth=1.2,
        clip_on=False,
        zorder=3,
    )
