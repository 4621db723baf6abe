"""Final output of a rehearsal: its sessions, its evaluations, and the digests to compare."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.views.text import run_view


def summary_view(run: dict[str, Any], home: Path) -> RenderableType:
    """Show the run, its evaluations side by side, the final digests, and a command to see more."""
    parts: list[RenderableType] = [run_view(run, datetime.fromisoformat(run["updated_at"])), Text()]
    measured = [stage for stage in run["stages"] if stage["kind"] == "evaluate" and stage["metrics"]]
    if measured:
        parts += [_evaluations(measured), Text()]
    if run["checkpoints"]:
        contents = run["checkpoints"][-1]["contents"]
        parts += [Text(f"  {name} sha256 {digest}") for name, digest in sorted(contents.items())]
    parts.append(Text(f"  show it again: relay --home {home} status", style="dim"))
    return Group(*parts)


def _evaluations(stages: list[dict[str, Any]]) -> Table:
    """Show one row per evaluation. A share with an interval shows the interval's larger half-width."""
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    table.add_column("asked, never trained on")
    names = sorted({name for stage in stages for name in stage["metrics"]} & _shares(stages), key=_importance)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for stage in stages:
        made_up = f" (stand-in {', '.join(stage['stand_ins'])})" if stage.get("stand_ins") else ""
        table.add_row(f"  {stage['name']}{made_up}", *(_share(stage["metrics"], name) for name in names))
    return table


def _shares(stages: list[dict[str, Any]]) -> set[str]:
    intervals = {name.removesuffix("_low") for stage in stages for name in stage["metrics"] if name.endswith("_low")}
    return {"format", "hard_accuracy", *intervals}


def _importance(name: str) -> tuple[int, str]:
    first = ("format", "accuracy", "hard_accuracy")
    return (first.index(name), "") if name in first else (len(first), name)


def _share(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return ""
    value, low, high = metrics[name], metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ±{max(value - low, high - value):.3f}"
