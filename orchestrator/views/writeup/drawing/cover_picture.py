"""The cover of a write-up: 560 × 280 pixels with the run's name, what it did, and its main curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from orchestrator.views.writeup.drawing.canvas import drawing, figure, fitted, png, text_width_in, write_mark
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.tables import Cell, cell_text

FILE = "cover.png"
WIDTH_IN, HEIGHT_IN, PIXELS_PER_INCH = 5.6, 2.8, 100
GROUND, LIGHT, SOFT, BRIGHT = "#10243e", "#ffffff", "#b9cbe0", "#7fd4a3"
MARGIN_IN = 0.28
TITLE_PT, TITLE_PT_MIN = 26.0, 15.0
CURVE_IN = (3.35, 0.98, 1.95, 1.0)
"""Left, bottom, width and height of the curve, in inches."""
CHIP_IN = 0.27
PREFERRED = ("reward", "accuracy", "loss")
"""Metrics whose curve is drawn, the first one that a run has."""


def cover_picture(values: Mapping[str, Any], history: Mapping[str, Any], ledger: Ledger, mark: str) -> bytes:
    """Return the cover as PNG."""
    headline, below = (cell_text(cell, ledger, FILE) for cell in _headline(values))
    model = values["model"]
    title = ledger.printed(values["run"]["name"], FILE)
    subtitle = ledger.printed(model["base"], FILE) if model else "a chain of Kaggle sessions"
    names = [ledger.printed(stage["name"], FILE) for stage in values["stages"]]
    with drawing():
        made = figure(WIDTH_IN, HEIGHT_IN)
        made.set_facecolor(GROUND)
        axes = made.add_axes((0, 0, 1, 1), xlim=(0, WIDTH_IN), ylim=(0, HEIGHT_IN))
        axes.axis("off")
        inner_in = WIDTH_IN - 2 * MARGIN_IN
        size = TITLE_PT
        while size > TITLE_PT_MIN and text_width_in(title, size, bold=True) > inner_in:
            size -= 1
        axes.text(
            MARGIN_IN,
            2.36,
            fitted(title, size, inner_in, bold=True),
            size=size,
            weight="bold",
            color=LIGHT,
            va="center",
        )
        axes.text(MARGIN_IN, 2.06, fitted(subtitle, 10.5, inner_in), size=10.5, color=SOFT, va="center")
        column_in = CURVE_IN[0] - MARGIN_IN - 0.3
        axes.text(
            MARGIN_IN,
            1.5,
            _shrunk(headline, column_in),
            size=_size(headline, column_in),
            weight="bold",
            color=BRIGHT,
            va="center",
        )
        axes.text(MARGIN_IN, 1.1, fitted(below, 9.5, column_in), size=9.5, color=SOFT, va="center")
        _chips(axes, names)
        _curve(made.add_axes(_frame(CURVE_IN)), history)
        write_mark(made, mark, LIGHT)
        return png(made, PIXELS_PER_INCH)


def _headline(values: Mapping[str, Any]) -> tuple[Cell, Cell]:
    """Return the result in a few words, and a line below it."""
    gain, evaluations, run = values["gain"], values["evaluations"], values["run"]
    sessions, quota = values["sessions"]["count"], values["hours"]["total"]
    noun = " session, " if sessions == 1 else " sessions, "
    spent: Cell = (sessions, noun, quota, " of quota")
    if gain:
        return (gain["first"]["accuracy"], " → ", gain["last"]["accuracy"], " right"), spent
    if evaluations and evaluations[-1]["finished"]:
        return (evaluations[-1]["accuracy"], " right"), spent
    if run["finished"]:
        return (run["steps_done"], " steps"), spent
    return (run["steps_done"], " of ", run["steps"], " steps"), spent


def _size(text: str, width_in: float) -> float:
    size = 19.0
    while size > 11 and text_width_in(text, size, bold=True) > width_in:
        size -= 0.5
    return size


def _shrunk(text: str, width_in: float) -> str:
    return fitted(text, _size(text, width_in), width_in, bold=True)


def _frame(place: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, low, width, height = place
    return left / WIDTH_IN, low / HEIGHT_IN, width / WIDTH_IN, height / HEIGHT_IN


def _chips(axes: Axes, names: Sequence[str]) -> None:
    """Draw the stages in order, as many as there is room for."""
    left, right = MARGIN_IN, WIDTH_IN - MARGIN_IN
    for number, name in enumerate(names):
        text = fitted(name, 8.5, 1.5)
        width_in = text_width_in(text, 8.5) + 0.24
        rest_in = 0.0 if number == len(names) - 1 else 0.3
        if left + width_in + rest_in > right:
            axes.text(left, 0.42, "…", size=11, color=SOFT, va="center")
            return
        look: dict[str, Any] = {"facecolor": "#1d3a5f", "edgecolor": "#4a76a8", "linewidth": 0.8}
        corner, inset_in = (left + 0.05, 0.42 - CHIP_IN / 2 + 0.05), 0.1
        axes.add_patch(
            FancyBboxPatch(corner, width_in - inset_in, CHIP_IN - inset_in, boxstyle="round,pad=0.05", **look)
        )
        axes.text(left + width_in / 2, 0.42, text, size=8.5, color=LIGHT, ha="center", va="center")
        left += width_in
        if rest_in:
            axes.annotate(
                "", xy=(left + 0.17, 0.42), xytext=(left + 0.02, 0.42), arrowprops={"arrowstyle": "->", "color": SOFT}
            )
            left += 0.19


def _curve(axes: Axes, history: Mapping[str, Any]) -> None:
    """Draw one main curve without its numbers; the write-up has the same one with them."""
    axes.set_facecolor(GROUND)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#4a76a8")
    by_name = {curve["name"]: curve for curve in history["curves"]}
    chosen = next((by_name[name] for name in PREFERRED if name in by_name), None)
    if chosen is None:
        axes.axis("off")
        return
    for line in chosen["lines"]:
        axes.plot(line["at"], line["value"], color=BRIGHT, linewidth=1.6, solid_capstyle="round")
    if chosen["logarithmic"]:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_yticks([])
    axes.set_title(chosen["title"].lower(), size=8.5, color=SOFT, loc="left", pad=3)
