"""A run's joined metrics as TensorBoard's event files, one folder for each stage, and TensorBoard itself on them."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput
from orchestrator.core.joined_metrics import JoinedStep

WRITTEN = "written.json"
"""File in the folder that says which steps are written."""


def require_packages(*, start: bool) -> None:
    """Raise BadInput, before anything is written, if the writer of event files, or TensorBoard itself, is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise BadInput("event files are written by tensorboardX, which is not installed here: pip install tensorboardX")
    if start and tensorboard_command() is None:
        raise BadInput(
            "TensorBoard is not installed here: pip install tensorboard, or write the files alone with --no-start"
        )


def tensorboard_command() -> list[str] | None:
    """Return the command that starts TensorBoard: that of this Python, else the one on PATH; None without one."""
    if importlib.util.find_spec("tensorboard") is not None:
        return [sys.executable, "-m", "tensorboard.main"]
    found = shutil.which("tensorboard")
    return [found] if found else None


def update_event_files(folder: Path, steps: Sequence[JoinedStep]) -> int:
    """Bring the event files up to date. Return the number of steps that were written.

    Steps that are in the files with the same values stay there. A new file begins at the first step that differs, with
    the mark after which TensorBoard drops that step and later ones of earlier files.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    told, known = [_identity(step) for step in steps], _known(folder)
    same = next((n for n, (one, other) in enumerate(zip(told, known, strict=False)) if one != other), None)
    same = min(len(told), len(known)) if same is None else same
    for stage, mine in groupby(steps[same:], key=lambda step: step.stage):
        _write_stage(folder / stage, list(mine))
    write_whole(folder / WRITTEN, json.dumps(told).encode())
    return len(steps) - same


def serve(folder: Path, port: int | None) -> int:
    """Run TensorBoard until it ends. Return its exit status."""
    command = tensorboard_command()
    assert command is not None, "require_packages was not called"
    where = [] if port is None else ["--port", str(port)]
    try:
        return subprocess.run([*command, "--logdir", str(folder), *where], env={**os.environ}, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _identity(step: JoinedStep) -> list[Any]:
    return [step.position, step.session, step.attempt, len(step.values)]


def _known(folder: Path) -> list[Any]:
    try:
        found = json.loads((folder / WRITTEN).read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _write_stage(folder: Path, steps: Sequence[JoinedStep]) -> None:
    """Write one event file in the format of tensorboardX; its SummaryWriter would pass the events to a thread."""
    files: Any = importlib.import_module("tensorboardX.event_file_writer")
    events: Any = importlib.import_module("tensorboardX.proto.event_pb2")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = len(list(folder.glob("events*")))
    writer = files.EventsWriter(str(folder / "events"), f".s{number:04d}-joined")
    start = events.SessionLog(status=events.SessionLog.START)
    writer.write_event(events.Event(wall_time=_wall_s(steps[0]), step=steps[0].position, session_log=start))
    for event in _events(steps):
        writer.write_event(event)
    writer.close()


def _events(steps: Sequence[JoinedStep]) -> Iterator[Any]:
    events: Any = importlib.import_module("tensorboardX.proto.event_pb2")
    summaries: Any = importlib.import_module("tensorboardX.proto.summary_pb2")
    for step in steps:
        values = [summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in step.values.items()]
        yield events.Event(wall_time=_wall_s(step), step=step.position, summary=summaries.Summary(value=values))


def _wall_s(step: JoinedStep) -> float:
    return step.at.timestamp() if step.at else step.at_s
