"""`relay export`: writes the model in a verified checkpoint as a folder that other programs read."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrator.app.app import App
from orchestrator.app.checkpoints import bring_back
from orchestrator.base.disk import disk_errors, private_folder, shortage_message
from orchestrator.base.errors import BadInput, DiskRefused, Permanent, Transient
from orchestrator.base.humanize import counted
from orchestrator.core.selectors import verified_checkpoint
from orchestrator.engine.checkpoint_checks import damage_here
from orchestrator.engine.home import HomeLayout
from orchestrator.kaggle.gateway import Access
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.format import size
from stages.contract import ARTIFACTS_DIRECTORY, BLOB_NAME, STAND_IN_METRIC, Manifest
from stages.session import packing
from state.model.run_state import Checkpoint, RunState

if TYPE_CHECKING:
    from stages.options import Model

FORMATS = ("safetensors", "peft", "tunix")
DTYPES = ("bfloat16", "float32")
STAND_INS = "stand-ins"
"""Folder of a rehearsal's home with its stand-in for the model."""
UNPACKED = ("state.json", "arrays/base", "arrays/adapter_", f"{ARTIFACTS_DIRECTORY}/")
"""Beginnings of the names in a packed state that an export reads. The optimizer's state is left packed."""


@dataclass(frozen=True)
class ExportChoice:
    """Choices of the user; None stands for the default."""

    checkpoint: str | None = None
    to: Path | None = None
    layout: str = "safetensors"
    dtype: str | None = None
    base: Path | None = None
    """Folder with the base model's files."""


def export(app: App, name: str, choice: ExportChoice) -> str:
    """Export one checkpoint of a run and return a sentence for the user.

    Raises BadInput, with nothing created, for a wrong choice and for what cannot be exported.
    """
    state = app.run(name)
    named = f"--checkpoint {choice.checkpoint}: " if choice.checkpoint else ""
    checkpoint = verified_checkpoint(state, choice.checkpoint, named)
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    model = pipeline.loaded_model
    if model is None:
        raise BadInput(
            f"{state.run.id}: none of relay's own stages trains a model in this run: nothing can be exported"
        )
    target = _target(choice.to or Path(f"{state.run.id}-{choice.layout}"))
    if importlib.util.find_spec("jax") is None:
        raise BadInput("relay export needs JAX and Orbax in this Python: pip install 'relay-kaggle[train]'")
    require_whole(app, state, checkpoint, "relay export")
    if choice.layout != "peft" and choice.base is None and model.kaggle_model:
        download_base(app, model)
    reported = [metric.name for metric in app.reader.last_metrics(state.run.id)]
    stand_ins = {name.removeprefix(STAND_IN_METRIC) for name in reported if name.startswith(STAND_IN_METRIC)}
    request = {
        "model": pipeline.model,
        "run": state.run.id,
        "cursor": checkpoint.cursor.to_dict(),
        "stages": [spec.to_dict() for spec in pipeline.specs],
        "checkpoint": checkpoint.digest,
        "contents": Manifest.from_json(checkpoint.manifest).digests,
        "options": {"format": choice.layout, "dtype": choice.dtype or "auto"},
        "target": str(target),
        "inputs": str(models_folder(app.home)),
        "scratch": str(app.home.path),
        "base": str(choice.base.absolute()) if choice.base else "",
        "made_up": "model" in stand_ins,
        "made_up_sets": sorted(stand_ins - {"model"}),
    }
    manifest = _written(app.home.checkpoint(state.run.id, checkpoint.name), target, request)
    size_bytes = sum(entry["size_bytes"] for entry in manifest["files"])
    return (
        f"{target} holds {state.run.id} at {checkpoint.cursor.stage} step {checkpoint.cursor.step} as {manifest['layout']} in "
        f"{manifest['dtype']}: {counted(len(manifest['files']), 'file')}, {size_bytes:,} bytes; export.json has their SHA-256"
    )


def models_folder(home: HomeLayout) -> Path:
    """Return the folder of base models of a home folder: downloaded ones, or a rehearsal's stand-ins."""
    stand_ins = home.path / STAND_INS
    return stand_ins if stand_ins.is_dir() else home.path / "models"


def _target(path: Path) -> Path:
    path = path.absolute()
    if path.exists() or path.is_symlink():
        raise BadInput(f"--to {path} exists already: name a new folder, or remove it first")
    if not path.parent.is_dir():
        raise BadInput(f"--to {path}: {path.parent} is not a folder: create it first")
    return path


def require_whole(app: App, state: RunState, checkpoint: Checkpoint, asked: str) -> None:
    """Verify every byte of the local copy, and fetch what is missing or damaged from Kaggle; `asked` is the command."""
    bring_back(app, state, [checkpoint], asked)
    if damage := damage_here(checkpoint, app.home):
        raise BadInput(
            f"{checkpoint.name} is incomplete: {next(iter(damage.values())).says}: choose another --checkpoint"
        )


def download_base(app: App, model: "Model", fits: Callable[[int], None] = lambda _size_bytes: None) -> None:
    """Download the base model from Kaggle to the home folder, unless it is there; say so before.

    `fits` gets the size of its files before anything is downloaded, and may raise. Raises BadInput if Kaggle declines.
    """
    ref = model.kaggle_model
    folder = models_folder(app.home) / ref
    stored = models_folder(app.home) / "models" / ref  # where a rehearsal has it
    if folder.is_dir() or stored.is_dir():
        return
    seen = app.gateway.see_model(ref)
    if seen.access is not Access.READABLE:
        raise BadInput(
            f"the base model {ref} cannot be downloaded ({seen.reason}): accept its licence on Kaggle, or name a folder that "
            "holds it with --base"
        )
    fits(seen.size_bytes or 0)
    app.notice(f"downloading the base model {ref} ({size(seen.size_bytes or 0)}) to {folder}")
    part = folder.with_name(f".{folder.name}.part")
    if problem := shortage_message(private_folder(app.home.path), seen.size_bytes or 0):
        raise DiskRefused(problem)
    with disk_errors(part):
        app.gateway.download_model(ref, part)
        part.rename(folder)


def _written(stored: Path, target: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Unpack the weights beside the target and run the export in a process of its own; returns the manifest."""
    blob = stored / BLOB_NAME
    with disk_errors(target.parent), TemporaryDirectory(prefix=".relay-export-", dir=target.parent) as folder:
        unpacked = Path(folder) / "state"
        packing.unpack(blob, unpacked, size_bytes_max=blob.stat().st_size, wanted=is_read)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "stages.formats.command"],
            input=json.dumps({**request, "directory": str(unpacked)}),
            capture_output=True,
            text=True,
            env=process_environment(),
            check=False,
        )
    lines = done.stdout.splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (ValueError, IndexError) as error:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it gave no message")
        raise Permanent(f"the export failed: {said.strip()[:300]}") from error
    if "reason" in answer:
        kind = Transient if answer["transient"] else BadInput
        raise kind(answer["reason"])
    return answer


def is_read(name: str) -> bool:
    """Return whether a file of a packed state is needed to compute with the model."""
    return name.startswith(UNPACKED) or name in ("arrays", ARTIFACTS_DIRECTORY)


def process_environment() -> dict[str, str]:
    """Return the environment of a process of relay's own that computes on this machine's CPU."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}
