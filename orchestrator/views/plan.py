"""The plan of a pipeline and its forecast as text; 80 columns suffice."""

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import counted, duration, machine_time, utc_time
from orchestrator.views.layout import plain_table

STEP = "step_s."
"""Prefix of the step times among a plan's durations; the stage's name follows."""
WIDE = 2.0
"""Ratio of a step time's bounds above which the plan shows them."""


def outline_view(plan: dict[str, Any]) -> RenderableType:
    """Show the document that `outline` returns."""
    session, mounts, kernel = plan["session"], plan["mounts"], plan["kernel"]
    parts: list[RenderableType] = [
        Text.assemble((plan["pipeline"], "bold"), f"  {counted(plan['total_steps'], 'step')} on {plan['accelerator']}"),
        _stages(plan["stages"], plan.get("durations", {})),
        _line(
            "session",
            f"{duration(session['limit_s'])}, all saved by {duration(session['budget_s'])}, a checkpoint at least every "
            f"{duration(session['save_interval_s'])}",
        ),
        _line("quota", f"weekly {plan['quota']} hours" if plan["quota"] else "none is used"),
        _line(
            "handoff",
            "by dataset" if plan["handoff"] == "dataset" else "by kernel output; the dataset is published later",
        ),
    ]
    parts += [_line(name, ", ".join(mounts[name])) for name in ("models", "datasets", "files") if mounts[name]]
    if plan["sources"]:
        parts.append(_line("your own", ", ".join(plan["sources"])))
    parts.append(_line("installs", " ".join(plan["pins"]) or "nothing"))
    parts.append(_line("kernel", f"{kernel['bytes']:,} of less than {kernel['bytes_max']:,} bytes"))
    if "forecast" in plan:
        parts.append(forecast_view(plan))
    return Group(*parts)


def _stages(stages: list[dict[str, Any]], durations: dict[str, dict[str, Any]]) -> Table:
    """Show one row per stage, with step times if any is known, and with their bounds if those are far apart."""
    steps = {name.removeprefix(STEP): found for name, found in durations.items() if name.startswith(STEP)}
    wide = any(found["high_s"] > WIDE * found["low_s"] for found in steps.values())
    table = plain_table("  stage", "kind")
    names = ("a step", *(("range",) if wide else ()), "all steps") if steps else ()
    for name in ("steps", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        row = [f"  {stage['name']}", stage["kind"], f"{stage['steps']:,}"]
        if found := steps.get(stage["name"]):
            between = [f"{duration(found['low_s'])} – {duration(found['high_s'])}"] if wide else []
            row += [duration(found["usual_s"]), *between, duration(found["usual_s"] * stage["steps"])]
        table.add_row(*row, *["?"] * (3 + len(names) - len(row)))
    return table


def forecast_view(plan: dict[str, Any]) -> Table:
    """Show the forecast of a plan: quota, dates and assumptions."""
    table = _named()
    found = plan["forecast"]
    if found is None:
        table.add_row("  forecast", Text(f"none: {plan['forecast_problem']}" + _remedy(plan)))
        return table
    table.add_row("  needs", Text(_needs(found, plan["quota"])))
    table.add_row("  begun", Text(_clock(plan["begins_at"])))
    table.add_row("  done", Text.assemble((_clock(found["finish_at"]), "bold"), f", {_after(plan, found)}"))
    table.add_row("", Text(f"between {_clock(found['finish_earliest_at'])} and {_clock(found['finish_latest_at'])}"))
    for number, sentence in enumerate(found["assumptions"]):
        table.add_row("  assumed" if number == 0 else "", Text(sentence))
    return table


def _remedy(plan: dict[str, Any]) -> str:
    if "no figure for" in plan["forecast_problem"]:
        return f"; run relay probe, or give it under expect.step_s with expect.accelerator: {plan['accelerator']}"
    if "no time is known" in plan["forecast_problem"]:
        return "; give it under expect.step_s, or let relay measure it in a run"
    return ""


def _needs(found: dict[str, Any], quota: str) -> str:
    sessions = _range(found["sessions"], found["sessions_most"], "session", "sessions")
    if not quota:
        return f"{sessions}, {duration(found['training_s'])} of steps"
    low_s, usual_s, high_s = (found[key] for key in ("quota_low_s", "quota_s", "quota_high_s"))
    weeks = _range(found["weeks"] + 1, found["weeks_most"] + 1, "week of quota", "weeks of quota")
    spread = f"({machine_time(low_s)} to {machine_time(high_s)})"
    return f"{sessions}, {machine_time(usual_s)} of {quota.upper()} {spread}, {weeks}"


def _range(usual: int, most: int, one: str, many: str) -> str:
    told = f"{usual} {one if usual == 1 else many}"
    return told if most <= usual else f"{told} (at most {most})"


def _after(plan: dict[str, Any], found: dict[str, Any]) -> str:
    lasts_s = (datetime.fromisoformat(found["finish_at"]) - datetime.fromisoformat(plan["begins_at"])).total_seconds()
    return f"{duration(lasts_s)} later"


def _clock(iso: str) -> str:
    return utc_time(datetime.fromisoformat(iso))


def _line(name: str, text: str) -> Table:
    table = _named()
    table.add_row(f"  {name}", Text(text))
    return table


def _named() -> Table:
    """Return a grid with labels on the left and wrapping text on the right."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, style="dim", min_width=11)
    table.add_column(overflow="fold")
    return table
