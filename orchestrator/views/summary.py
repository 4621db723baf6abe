"""What a rehearsal leaves on the screen: its sessions, what was measured, and the digests to compare."""

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.views.text import run_view


def summary_view(run: dict[str, Any], home: Path) -> RenderableType:
    """The run, its evaluations side by side, the final digests, and where to look further."""
    parts: list[RenderableType] = [run_view(run), Text()]
    measured = [stage for stage in run["stages"] if stage["kind"] == "evaluate" and stage["metrics"]]
    if measured:
        parts += [_evaluations(measured), Text()]
    if run["checkpoints"]:
        contents = run["checkpoints"][-1]["contents"]
        parts += [Text(f"  {name} sha256 {digest}") for name, digest in sorted(contents.items())]
    parts.append(Text(f"  look again: relay --home {home} status", style="dim"))
    return Group(*parts)


def _evaluations(stages: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    table.add_column("measured on problems never trained on")
    names = sorted({name for stage in stages for name in stage["metrics"]})
    for name in names:
        table.add_column(name, justify="right")
    for stage in stages:
        values = [f"{stage['metrics'][name]:.3f}" if name in stage["metrics"] else "" for name in names]
        table.add_row(f"  {stage['name']}", *values)
    return table
