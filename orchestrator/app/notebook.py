"""`relay notebook`: writes a pipeline as a notebook that anybody can run on Kaggle without relay."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.core.durations import estimate_durations
from orchestrator.core.forecast import Unforeseeable, forecast
from orchestrator.core.forecast_session import RunPosition
from orchestrator.pipeline.loader import load
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.notebook import texts
from orchestrator.views.notebook.cells import document
from orchestrator.views.notebook.code_cells import NotebookValues
from orchestrator.views.notebook.library import library
from orchestrator.views.notebook.story import story
from stages.catalog import KINDS
from stages.training.model_files import BASE, INSTRUCT

SIZE_BYTES_MAX = 1_000_000
"""Size of a notebook, in bytes, from which on Kaggle refuses it."""
MODEL_ID = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*")
STAND_IN_OWNER = "relay/"
"""Beginning of the names of models that only a rehearsal's Kaggle has."""
LEFT_OUT = ("export",)
"""Kinds of stages that a notebook leaves out: they do not change the weights, and depend on relay."""


@dataclass(frozen=True)
class NotebookChoice:
    """Choices of the user."""

    target: Path
    model_id: str = ""
    title: str = ""
    overwrite: bool = False


def write_notebook(path: Path, choice: NotebookChoice) -> str:
    """Write the notebook of the pipeline in a file; returns what to tell the user.

    Raises BadInput for a pipeline that a notebook cannot show, and for a file that exists already.
    """
    target = choice.target
    if target.exists() and not choice.overwrite:
        raise BadInput(f"{target} exists already: name another file, or add --force to overwrite it")
    if choice.model_id and not MODEL_ID.fullmatch(choice.model_id):
        raise BadInput(f"--model {choice.model_id}: name a Kaggle Model as owner/name")
    pipeline = load(path)
    notebook, left_out = notebook_of(pipeline, path, choice)
    import nbformat

    text = nbformat.writes(notebook) + "\n"
    size_bytes = len(text.encode())
    if size_bytes >= SIZE_BYTES_MAX:
        raise BadInput(
            f"the notebook of {path} would have {size_bytes:,} bytes and Kaggle takes less than {SIZE_BYTES_MAX:,}: "
            "put large modules of your own into a dataset of inputs.datasets"
        )
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{target} cannot be written: {error.strerror or error}") from error
    lines = [f"{target}: {counted(len(notebook.cells), 'cell')}, {size_bytes / 1000:,.0f} kB"]
    lines += [
        f"left out: stage {name}, of a kind that needs relay and does not change the weights" for name in left_out
    ]
    model = pipeline.loaded_model
    if model is not None and model.source.startswith(STAND_IN_OWNER):
        lines.append(
            f"the model {model.source} is a stand-in of rehearsals, which nobody can attach on Kaggle: the notebook runs "
            "only where its files are; name a model of Kaggle or Hugging Face before you publish it"
        )
    attached = [*pipeline.model_sources, *pipeline.inputs.datasets, *pipeline.inputs.files]
    lines += [f"attach on Kaggle: {', '.join(attached)}"] if attached else []
    return "\n".join(lines)


def notebook_of(pipeline: Pipeline, path: Path, choice: NotebookChoice) -> tuple[Any, list[str]]:
    """Return the notebook of a pipeline, and the names of the stages that it leaves out."""
    left_out = [stage.name for stage in pipeline.stages if stage.kind in LEFT_OUT]
    values = _values(pipeline, path, choice)
    kinds = {stage.kind for stage in values.stages if stage.kind in KINDS}
    return document(story(values, library(sorted(kinds), values.own)), pipeline.accelerator), left_out


def _values(pipeline: Pipeline, path: Path, choice: NotebookChoice) -> NotebookValues:
    specs = tuple(spec for spec in pipeline.specs if spec.kind not in LEFT_OUT)
    model = pipeline.loaded_model
    if model is None or all(spec.kind not in texts.KIND_TITLES for spec in specs):
        raise BadInput(
            f"{path}: no stage of relay's own kinds trains or evaluates a model: a notebook has nothing to show"
        )
    for spec in specs:
        if spec.kind in KINDS and spec.kind not in texts.KIND_TITLES:
            raise BadInput(
                f"{path}: stage {spec.name} is of kind {spec.kind}, which a notebook does not show: leave it out"
            )
    if model.is_folder and not model.source.startswith("/kaggle/"):
        raise BadInput(
            f"{path}: model.source {model.source} is a folder of this machine: name a model of Kaggle or Hugging Face"
        )
    shown: dict[str, Any] = {"kind": model.kind, "source": model.source, **pipeline.model}
    variation = model.source.split("/")[3] if model.kaggle_model else ""
    if model.variant == "auto" and variation:  # a download lies in a folder that has another name
        if INSTRUCT.search(variation):
            shown["variant"] = "instruct"
        elif BASE.fullmatch(variation):
            shown["variant"] = "base"
    return NotebookValues(
        name=pipeline.name,
        seed=pipeline.seed,
        model=shown,
        stages=specs,
        files=dict(pipeline.inputs.sha256),
        datasets=pipeline.inputs.datasets,
        packages=pipeline.pins,
        lock=pipeline.lock,
        limit_s=pipeline.limit_s,
        save_interval_s=pipeline.save_interval_s,
        accelerator=pipeline.accelerator,
        own=dict(pipeline.sources),
        model_id=choice.model_id,
        sessions=_sessions(pipeline),
        title=choice.title
        or f"Teaching {model.source.split('/')[-2 if model.kaggle_model else -1]} to reason with Tunix",
    )


def _sessions(pipeline: Pipeline) -> int:
    """Return how many sessions the pipeline takes at most by the step times that it names; 0 if it names too few."""
    begin = RunPosition(now=datetime.fromtimestamp(0, UTC), position=pipeline.position(pipeline.beginning))
    try:
        return forecast(pipeline, estimate_durations(pipeline), begin, None).sessions_most
    except Unforeseeable:
        return 0
