"""Results of a probe as a document for programs and as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.base.humanize import duration
from orchestrator.core.assumptions import ASSUMPTIONS, Assumption, Evidence, Observation, Verdict, fold
from orchestrator.core.probe_evidence import ProbedRun
from orchestrator.views.document import FORMAT
from orchestrator.views.format import size
from orchestrator.views.layout import labelled, plain_table
from state.model.statuses import RunStatus

BY_PROBES = (Observation.CPU_PROBE, Observation.TPU_PROBE)
MARKS = {"refuted": ("✗", "bold red"), "confirmed": ("✓", "green"), "unknown": ("·", "dim")}
"""Mark and style of each verdict, in the order of the table."""


def probe_document(pipeline: str, runs: Sequence[ProbedRun], found: Iterable[Evidence], command: str) -> dict[str, Any]:
    """Return everything about the probes of a pipeline.

    `found` is all evidence of the account, oldest first; `command` is the one that follows an unfinished run.
    """
    rows = _assumptions(fold(found))
    timings = [timing.to_dict() for run in runs for timing in run.report.timings]
    stops = [row["key"] for row in rows if row["verdict"] == Verdict.REFUTED and row["stops"]]
    return {
        "format": FORMAT,
        "pipeline": pipeline,
        "runs": [_run(run) for run in runs],
        "assumptions": rows,
        "stages": timings,
        "notes": {subject: note for run in runs for subject, note in run.report.notes.items()},
        "stops": stops,
        "problems": _problems(runs, timings, command),
    }


def is_stopped(document: Mapping[str, Any]) -> bool:
    """Return whether something that a probe saw would stop a run."""
    return bool(document["stops"] or document["problems"])


def _run(run: ProbedRun) -> dict[str, Any]:
    state = run.state.run
    return {
        "run": state.id,
        "accelerator": run.pipeline.accelerator,
        "state": state.status.value,
        "reason": state.reason,
        "remedy": state.remedy,
    }


def _assumptions(counting: Mapping[str, Evidence]) -> list[dict[str, Any]]:
    """Return a row for each assumption that a probe can observe or about which there is evidence: refuted ones first."""
    known = [
        one for one in ASSUMPTIONS.values() if one.key in counting or any(by in BY_PROBES for by in one.observed_by)
    ]
    rows = [_row(one, counting.get(one.key)) for one in known]
    return sorted(rows, key=lambda row: list(MARKS).index(row["verdict"]))


def _row(assumption: Assumption, seen: Evidence | None) -> dict[str, Any]:
    return {
        "key": assumption.key,
        "assumed": assumption.assumes,
        "verdict": seen.verdict.value if seen else Verdict.UNKNOWN.value,
        "seen": seen.detail if seen else "",
        "numbers": dict(seen.numbers) if seen else {},
        "seen_at": seen.seen_at.isoformat() if seen else None,
        "stops": assumption.stops,
        "remedy": assumption.if_refuted,
    }


def _problems(runs: Sequence[ProbedRun], timings: Sequence[Mapping[str, Any]], command: str) -> list[str]:
    """Return a sentence for each run that did not finish and each stage that failed."""
    found = []
    for run in runs:
        state = run.state.run
        if state.status is RunStatus.PARKED:
            found.append(f"{state.id} is parked: {state.reason}; then type {state.remedy}")
        elif state.status is not RunStatus.FINISHED:
            found.append(f"{state.id} is {state.status.value}: type {command} again, or relay daemon")
    failed = (timing for timing in timings if timing["failed"])
    return [*found, *(f"stage {timing['stage']} failed on the accelerator: {timing['problem']}" for timing in failed)]


# --- text --------------------------------------------------------------------


def probe_view(document: dict[str, Any]) -> RenderableType:
    """Show the document: assumptions, measured stages, notes, and a last line."""
    parts: list[RenderableType] = [_table(document["assumptions"])]
    if unseen := [row["key"] for row in document["assumptions"] if not row["seen_at"]]:
        parts.append(Text(f"not observed: {', '.join(unseen)}", style="dim"))
    if document["stages"]:
        parts += [Text(), _stages(document["stages"])]
    if document["notes"]:
        parts += [Text(), labelled((subject, Text(note)) for subject, note in document["notes"].items())]
    return Group(*parts, Text(), Text(_summary(document)))


def _table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("assumed", overflow="fold", ratio=1)
    table.add_column("seen", overflow="fold", ratio=1)
    for row in rows:
        if not row["seen_at"]:
            continue
        mark, style = MARKS[row["verdict"]]
        refuted = row["verdict"] == Verdict.REFUTED
        seen = Text(row["seen"], style=style if refuted else "")
        if refuted:
            seen.append(f"\n→ {row['remedy']}", style="not bold default")
        table.add_row(Text(mark, style), Text(row["key"]), Text(row["assumed"], style="dim"), seen)
    return table


def _stages(timings: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = plain_table()
    table.add_column("stage", no_wrap=True)
    for heading in ("first step", "of it compiling", "a step", "a save", "checkpoint", "peak memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for timing in timings:
        seconds = [timing[name] for name in ("first_s", "compile_s", "step_s", "save_s")]
        sizes = [timing[name] for name in ("checkpoint_bytes", "memory_bytes")]
        table.add_row(
            timing["stage"],
            *("–" if value is None else duration(value) if value >= 60 else f"{value:.2f} s" for value in seconds),
            *("–" if value is None else size(value) for value in sizes),
            Text(timing["problem"], style="yellow"),
        )
    return table


def _summary(document: Mapping[str, Any]) -> str:
    verdicts = [row["verdict"] for row in document["assumptions"]]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("confirmed", "refuted", "unknown"))
    if not is_stopped(document):
        return f"{counts}: nothing that was seen stops a run of {document['pipeline']}"
    told = [f"refuted, and a run cannot continue: {', '.join(document['stops'])}"] if document["stops"] else []
    return "\n".join([counts, *told, *document["problems"]])
