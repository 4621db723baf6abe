"""A run's joined metrics as a file for spreadsheets and data frames: CSV, Parquet or JSON lines."""

import csv
import importlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.app.workspace import Workspace
from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput
from orchestrator.core.joined_metrics import JoinedMetrics, JoinedStep, joined

FIXED = ("position", "stage", "step", "session", "attempt", "at_s", "at", "verified")
"""Columns before those of the metrics."""
FORMATS = ("csv", "parquet", "jsonl")


def joined_metrics(workspace: Workspace, name: str) -> tuple[str, JoinedMetrics]:
    """Return the id of a run and its joined metrics. Raises BadInput if there are none yet."""
    state = workspace.run(name)
    found = joined(state, workspace.reader.metrics(state.run.id))
    if not found.steps:
        raise BadInput(f"{state.run.id} has reported no step yet: relay status {state.run.id} shows what it waits for")
    return state.run.id, found


def chosen_format(given: str | None, output: Path | None) -> str:
    """Return the format: the given one, else that of the file's suffix, else CSV. Raises BadInput."""
    suffix = output.suffix.removeprefix(".").lower() if output else ""
    layout = given or (suffix if suffix in FORMATS else "csv")
    if layout == "parquet":
        if output is None:
            raise BadInput("Parquet is a file and no text: name one with -o, such as -o metrics.parquet")
        _pyarrow()
    return layout


def encoded(found: JoinedMetrics, layout: str) -> bytes:
    """Return the metrics in one of FORMATS, a row for each step; values that a step did not report are empty."""
    return ENCODERS[layout](found)


def write_metrics(path: Path, data: bytes) -> None:
    """Write the file, completely or not at all. Raises BadInput if the path is unusable."""
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else f"is in no folder: there is no {path.parent}"
        raise BadInput(f"--output {path} {why}: name a file in a folder that exists")
    try:
        write_whole(path, data)
    except OSError as error:
        path.with_name(f"{path.name}.part").unlink(missing_ok=True)
        raise BadInput(f"--output {path} cannot be written ({error.strerror}): name another file") from error


def summary(run: str, found: JoinedMetrics) -> str:
    """Return a sentence about what was joined and what was left out."""
    of = f"{run}: {_counted(len(found.steps), 'step')} of {_counted(found.sessions, 'session')}"
    open_steps = sum(not step.verified for step in found.steps)
    parts = [f"{_counted(found.repeated, 'report')} of repeated steps left out, the last verified one is kept"]
    parts += [f"{_counted(open_steps, 'step')} not yet in a verified checkpoint"] if open_steps else []
    made_up = ", ".join(found.stand_ins)
    parts += [f"measured with stand-ins made up for rehearsals: {made_up}"] if made_up else []
    return f"{of}; {'; '.join(parts)}" if found.repeated else "; ".join([of, *parts[1:]])


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _row(step: JoinedStep, names: list[str]) -> dict[str, Any]:
    fixed = {name: getattr(step, name) for name in FIXED}
    return {**fixed, **{name: step.values.get(name) for name in names}}


def _csv(found: JoinedMetrics) -> bytes:
    names, text = found.names, io.StringIO()
    writer = csv.DictWriter(text, [*FIXED, *names], lineterminator="\n")
    writer.writeheader()
    for step in found.steps:
        writer.writerow({**_row(step, names), "at": step.at.isoformat() if step.at else ""})
    return text.getvalue().encode()


def _jsonl(found: JoinedMetrics) -> bytes:
    """Return a line for each step with the metrics that it reported; numbers that JSON lacks are null."""
    lines = []
    for step in found.steps:
        row = {**_row(step, sorted(step.values)), "at": step.at.isoformat() if step.at else None}
        finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        lines.append(json.dumps(finite, allow_nan=False))
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(found: JoinedMetrics) -> bytes:
    arrow, parquet = _pyarrow()
    names = found.names
    fixed = dict(zip(FIXED, ("int64", "string", "int64", "int64", "int64", "float64", None, "bool"), strict=True))
    types = {name: arrow.type_for_alias(kind) if kind else arrow.timestamp("us", "UTC") for name, kind in fixed.items()}
    types |= dict.fromkeys(names, arrow.float64())
    rows = [_row(step, names) for step in found.steps]
    columns = {name: arrow.array([row[name] for row in rows], kind) for name, kind in types.items()}
    file = io.BytesIO()
    parquet.write_table(arrow.table(columns), file)
    return file.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise BadInput("Parquet is written by pyarrow, which is not installed here: pip install pyarrow") from error


ENCODERS: dict[str, Callable[[JoinedMetrics], bytes]] = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}
