"""The status for people: one screen that says where a run is, whether it is well, and what to do."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

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


def status_view(document: dict[str, Any]) -> RenderableType:
    """All runs of a status document, newest last."""
    parts: list[RenderableType] = [Text(sentence, style="yellow") for sentence in document.get("warnings", ())]
    if not document["runs"]:
        return Group(*parts, Text(f"No runs in {document['home']}. Start one with: relay start PIPELINE"))
    for run in document["runs"]:
        parts += [run_view(run), Text()]
    parts += [Text(line) for line in map(_quota_line, document["quota"]) if line]
    return Group(*parts)


def run_view(run: dict[str, Any]) -> RenderableType:
    """One run: headline, what to do, stages, sessions."""
    parts: list[RenderableType] = [_headline(run)]
    if run["reason"]:
        parts.append(Text(f"  {run['reason']}"))
    if run["waiting_until"]:
        parts.append(Text(f"  waiting until {clock_time(run['waiting_until'])}"))
    if run.get("failure") and run["state"] not in ("finished", "cancelled"):
        parts.append(Text(f"  trying again at {clock_time(run['retry_at'])}: {run['failure']}"))
    if run["excerpt"]:
        parts += [Text(f"  │ {line}", style="dim") for line in run["excerpt"].splitlines()[-8:]]
    if run["remedy"]:
        parts.append(Text.assemble("  type: ", (run["remedy"], "bold")))
    parts.append(stages_table(run))
    if run["sessions"]:
        parts.append(sessions_table(run))
    newest = next((c for c in reversed(run["checkpoints"]) if c["status"] in ("collected", "published")), None)
    if newest:
        parts.append(Text(f"  newest checkpoint {newest['name']}: {newest['stage']} step {newest['step']}, verified"))
    if run.get("damage"):
        parts.append(Text(f"  {damage_line(run['damage'])}", style="yellow"))
    return Group(*parts)


def damage_line(damage: list[dict[str, Any]]) -> str:
    """How often bytes were damaged, and the last time of it."""
    last, times = damage[-1], "once" if len(damage) == 1 else f"{len(damage)} times"
    kept = "; what differed is kept in the run's quarantine" if any(found["kept"] for found in damage) else ""
    return f"damaged bytes were found {times} and not used, last of {last['checkpoint']} ({last['place']}){kept}"


def _headline(run: dict[str, Any]) -> Text:
    percent = 100 * run["steps_done"] / run["steps_total"]
    return Text.assemble(
        (run["id"], "bold"),
        "  ",
        (run["state"], STYLES[run["state"]]),
        f"  {run['cursor']['stage']} step {run['cursor']['step']}, {run['steps_done']} of {run['steps_total']} steps ({percent:.0f} %)",
    )


def stages_table(run: dict[str, Any]) -> Table:
    """A row a stage: how far, and the last values."""
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    table.add_column("stage", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("done", justify="right", no_wrap=True)
    table.add_column("last values")
    for stage in run["stages"]:
        seen = f" ({stage['seen']} seen)" if stage["seen"] > stage["done"] else ""
        table.add_row(
            f"  {stage['name']}",
            stage["kind"],
            f"{stage['done']}/{stage['target']}{seen}",
            metrics_text(stage["metrics"]),
        )
    return table


def sessions_table(run: dict[str, Any]) -> Table:
    """A row a session: what became of it."""
    table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
    table.add_column("session", no_wrap=True)
    table.add_column("how it ended", min_width=14)
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    for session in run["sessions"]:
        ended = session["outcome"] or session["phase"]
        table.add_row(
            f"  {session['slug'].removeprefix(run['id'] + '-')}",
            Text(ending(session), style=STYLES.get(ended, "")),
            place(session["from"]),
            place(session["to"]),
            "" if session["seconds"] is None else f"{session['seconds']:.0f}",
            str(session["steps_lost"] or ""),
        )
    return table


ENDINGS = {
    "finished": "finished the pipeline",
    "yielded": "stopped itself in time",
    "timed_out": "killed at the session limit",
    "lost": "lost",
}


def ending(session: dict[str, Any]) -> str:
    """How a session ended, or where it is, in a few words."""
    if session["outcome"] is None:
        return str(session["phase"])
    if session["outcome"] == "failed":
        if session["cause"] == "no-report":
            return "killed without notice"
        return f"failed: {session['cause']}"
    return ENDINGS[session["outcome"]]


def place(cursor: dict[str, Any] | None) -> str:
    """A cursor in two words."""
    return "" if cursor is None else f"{cursor['stage']} {cursor['step']}"


TELLING = ("loss", "reward", "format", "accuracy", "hard_accuracy", "tried", "hard", "kl")
METRICS_SHOWN = 4


def metrics_text(metrics: dict[str, float]) -> str:
    """The values that tell most, four digits each; the others are in the JSON document."""
    telling = [name for name in TELLING if name in metrics]
    others = sorted(name for name in metrics if name not in TELLING)
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in [*telling, *others][:METRICS_SHOWN])


def clock_time(iso: str) -> str:
    """A time without its fractions of a second."""
    return iso[:19].replace("T", " ") + " UTC"


def _quota_line(quota: dict[str, Any]) -> str:
    if quota["total_s"] is None:
        return f"{quota['accelerator']} quota of {quota['owner']}: Kaggle does not say"
    return (
        f"{quota['accelerator']} quota of {quota['owner']}: {hours(quota['left_s'])} of {hours(quota['total_s'])} left"
        + (" by relay's own count, since Kaggle does not say" if quota["assumed"] else "")
        + (f", renewed {clock_time(quota['refreshes_at'])}" if quota["refreshes_at"] else "")
    )


def hours(seconds: float) -> str:
    """Seconds as hours, to the tenth."""
    return f"{seconds / 3600:.1f} h"


def event_line(run: str, text: str) -> Text:
    """One line of the daemon's report."""
    return Text.assemble((run, "bold"), "  ", text)
