"""A run's joined metrics in Weights & Biases or trackio: one run there for all sessions, and each step sent once."""

import importlib
import importlib.util
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from orchestrator.base.disk import private_folder, write_whole
from orchestrator.base.errors import BadInput, Transient
from orchestrator.core.joined_metrics import JoinedStep
from stages.session.metrics import WANDB_PROJECT

TRACKERS = ("wandb", "trackio")


class Tracker(Protocol):
    """A run in an experiment tracker that is open for further steps."""

    def log(self, values: dict[str, float], position: int) -> None:
        """Add the values of one step, by stage and name."""

    def finish(self) -> None:
        """Wait until all steps are stored."""


def require_tracker(name: str) -> None:
    """Raise BadInput if the tracker's library is not installed."""
    if importlib.util.find_spec(name) is None:
        raise BadInput(f"{name} is not installed here: pip install {name}, then type the same again")


def opened(name: str, project: str, run: str, config: dict[str, Any], folder: Path) -> Tracker:
    """Open the run in a tracker, or create it. Raises Transient with what the library says if it cannot."""
    try:
        return _Wandb(project, run, config, folder) if name == "wandb" else _Trackio(project, run, config)
    except Exception as error:  # the libraries raise types of their own, and those of what they use
        raise Transient(
            f"{name} cannot be used ({' '.join(str(error).split())}): sign in, or try again later"
        ) from error


def default_project() -> str:
    """Return the project to which sessions send by themselves."""
    return os.environ.get("WANDB_PROJECT", WANDB_PROJECT)


class SentSteps:
    """Note of the last step that was sent to each project of each tracker, in the run's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self, place: str) -> int:
        """Return the position of the last step that was sent to a place; 0 if none was."""
        return int(self._read().get(place, 0))

    def note(self, place: str, position: int) -> None:
        """Note that all steps up to a position were sent to a place."""
        private_folder(self._path.parent)
        write_whole(self._path, json.dumps({**self._read(), place: position}).encode())

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def unsent(steps: Iterable[JoinedStep], last: int) -> list[JoinedStep]:
    """Return the steps to send: verified ones after the last one that was sent, since no tracker takes a step back."""
    return [step for step in steps if step.verified and step.position > last]


def send(steps: Iterable[JoinedStep], tracker: Tracker, sent: SentSteps, place: str) -> int:
    """Send steps in order and note the last one. Return how many were sent."""
    count = last = 0
    for step in steps:
        tracker.log({f"{step.stage}/{name}": value for name, value in step.values.items()}, step.position)
        count, last = count + 1, step.position
    tracker.finish()
    if count:
        sent.note(place, last)
    return count


class _Wandb:
    """Weights & Biases, under the run's id: sessions that report to it by themselves use the same one."""

    def __init__(self, project: str, run: str, config: dict[str, Any], folder: Path) -> None:
        wandb: Any = importlib.import_module("wandb")
        os.environ.setdefault("WANDB_CONSOLE", "off")
        private_folder(folder)
        self._run = wandb.init(
            project=project, id=run, name=run, resume="allow", dir=str(folder), config=config, allow_val_change=True
        )

    def log(self, values: dict[str, float], position: int) -> None:
        self._run.log(values, step=position)

    def finish(self) -> None:
        self._run.finish()


class _Trackio:
    """trackio, under the run's id as name."""

    def __init__(self, project: str, run: str, config: dict[str, Any]) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(project=project, name=run, resume="allow", config=config)

    def log(self, values: dict[str, float], position: int) -> None:
        self._trackio.log(values, step=position)

    def finish(self) -> None:
        self._trackio.finish()
