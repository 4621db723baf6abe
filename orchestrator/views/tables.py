"""Tables of a run's stages and sessions, with fewer columns in a narrow terminal."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.base.humanize import duration
from orchestrator.views.curves import Curves, bar, curve
from orchestrator.views.format import CURVED, STYLES, metric_texts
from orchestrator.views.layout import AlignedCells, FirstThatFits, WideOrNarrow, labelled, plain_table, sentence

STAGES_SHOWN = 8
"""Maximum number of stages that have a row. Further ones, long done or far ahead, are counted."""
BAR_COLUMNS = 16


def stages_table(run: dict[str, Any]) -> RenderableType:
    """Show a progress bar and the latest metrics per stage; in a narrow terminal, metrics of the current stage only."""
    wide, narrow = plain_table(), plain_table()
    for table in (wide, narrow):
        table.add_column("  stage", overflow="fold")
        table.add_column()
        table.add_column("done", justify="right", no_wrap=True)
    wide.add_column("last values")
    before, shown, after = visible_stages(run["stages"])
    columns = max((len(text) for stage in shown for text in metric_texts(stage["metrics"])), default=0)
    _counted(f"  {before} done", before, wide, narrow)
    for stage in shown:
        name = Padding(Text(stage["name"], overflow="fold"), (0, 0, 0, 2), expand=False)
        wide.add_row(
            name, _bar(stage, BAR_COLUMNS), count_text(stage), AlignedCells(metric_texts(stage["metrics"]), columns)
        )
        narrow.add_row(name, _bar(stage, BAR_COLUMNS // 2), f"{stage['seen']}/{stage['target']}")
    _counted(f"  {after} to come", after, wide, narrow)
    current = current_stage(run)
    texts = metric_texts(current["metrics"])
    below = labelled([(current["name"], AlignedCells(texts, max(map(len, texts))))]) if texts else None
    return WideOrNarrow(wide, Group(narrow, below) if below else narrow)


def _counted(text: str, count: int, *tables: Table) -> None:
    for table in tables if count else ():
        table.add_row(text)


def curves_view(run: dict[str, Any], curves: Curves) -> RenderableType | None:
    """Show the curves of loss and reward in the newest stage that has one; None without two values."""
    for stage in reversed(run["stages"]):
        drawn = [(n, curves[stage["name"], n]) for n in CURVED if len(curves.get((stage["name"], n), ())) > 1]
        if drawn:
            return WideOrNarrow(_curve_lines(stage["name"], drawn, 40), _curve_lines(stage["name"], drawn, 12))
    return None


def _curve_lines(stage: str, drawn: Sequence[tuple[str, Sequence[float]]], columns: int) -> RenderableType:
    return labelled(
        (f"{stage} {name}", f"{curve(values, columns)} {values[0]:.3g} → {values[-1]:.3g}") for name, values in drawn
    )


def _bar(stage: dict[str, Any], columns: int) -> Text:
    done = stage["seen"] >= stage["target"]
    return Text(bar(stage["seen"], stage["target"], columns), style="green" if done else "cyan")


def count_text(stage: dict[str, Any]) -> str:
    """Format steps done and target; `seen` marks steps that are reported but not yet in a verified checkpoint."""
    seen = " seen" if stage["seen"] > stage["done"] else ""
    return f"{stage['seen']}/{stage['target']}{seen}"


def current_stage(run: dict[str, Any]) -> dict[str, Any]:
    """Return the current stage, or the last one if all are done."""
    found: dict[str, Any] = next((s for s in run["stages"] if s["seen"] < s["target"]), run["stages"][-1])
    return found


def visible_stages(stages: list[dict[str, Any]]) -> tuple[int, list[dict[str, Any]], int]:
    """Return the number of stages before the visible ones, the visible ones, and the number after them."""
    if len(stages) <= STAGES_SHOWN:
        return 0, stages, 0
    current = next((i for i, stage in enumerate(stages) if stage["seen"] < stage["target"]), len(stages) - 1)
    first = max(0, min(current - 2, len(stages) - STAGES_SHOWN))
    return first, stages[first : first + STAGES_SHOWN], max(0, len(stages) - first - STAGES_SHOWN)


def sessions_table(run: dict[str, Any], newest: int | None = None) -> RenderableType:
    """Show how each session ended, from and to which step, and its duration; in a narrow terminal in two lines each.

    With `newest`, earlier sessions are only counted.
    """
    sessions = run["sessions"] if newest is None else run["sessions"][-newest:]
    earlier = run["sessions"][: len(run["sessions"]) - len(sessions)]
    names = [session["slug"].removeprefix(f"{run['id']}-") for session in sessions]
    tables = FirstThatFits(
        [
            _session_rows(sessions, names, ("from", "to", "duration", "steps lost")),
            _session_rows(sessions, names, ("to", "duration")),
            _two_line_rows(sessions, names),
        ]
    )
    return Group(sentence(earlier_text(earlier), "dim"), tables) if earlier else tables


def _session_rows(sessions: Sequence[dict[str, Any]], names: Sequence[str], columns: Sequence[str]) -> Table:
    table = plain_table("  session", "result")
    for column in columns:
        table.add_column(column, justify="right" if column in ("duration", "steps lost") else "left")
    for session, name in zip(sessions, names, strict=True):
        table.add_row(f"  {name}", _ended(session), *(SESSION_CELLS[column](session) for column in columns))
    return table


def _two_line_rows(sessions: Sequence[dict[str, Any]], names: Sequence[str]) -> Table:
    table = plain_table("  session", "result, last step, duration")
    for session, name in zip(sessions, names, strict=True):
        rest = ", ".join(filter(None, (SESSION_CELLS[column](session) for column in ("to", "duration"))))
        table.add_row(f"  {name}", Group(_ended(session), Text(rest, style="dim", overflow="fold")))
    return table


def _ended(session: dict[str, Any]) -> Text:
    return Text(outcome_text(session), style=STYLES.get(session["outcome"] or session["phase"], ""))


def earlier_text(earlier: list[dict[str, Any]]) -> str:
    """Summarize how the sessions without a row ended."""
    counts = Counter(outcome_text(session) for session in earlier).most_common()
    told = ", ".join(f"{count} {how}" for how, count in counts[:3])
    more = f", {sum(count for _, count in counts[3:])} otherwise" if len(counts) > 3 else ""
    return f"{len(earlier)} earlier session{'' if len(earlier) == 1 else 's'}: {told}{more}"


OUTCOME_TEXTS = {
    "finished": "finished the pipeline",
    "yielded": "stopped itself in time",
    "timed_out": "killed at the session limit",
    "lost": "lost",
}


def outcome_text(session: dict[str, Any]) -> str:
    """Describe in a few words how a session ended, or its current phase."""
    if session["outcome"] is None:
        return str(session["phase"])
    if session["outcome"] == "failed":
        if session["cause"] == "no-report":
            return "killed without notice"
        return f"failed: {session['cause']}"
    return OUTCOME_TEXTS[session["outcome"]]


SESSION_CELLS: dict[str, Callable[[dict[str, Any]], str]] = {
    "from": lambda session: cursor_text(session["from"]),
    "to": lambda session: cursor_text(session["to"]),
    "duration": lambda session: "" if session["seconds"] is None else duration(session["seconds"]),
    "steps lost": lambda session: str(session["steps_lost"] or ""),
}
"""Text of each optional column of the table of sessions."""


def cursor_text(cursor: dict[str, Any] | None) -> str:
    """Format a cursor as stage and step."""
    return "" if cursor is None else f"{cursor['stage']} {cursor['step']}"
