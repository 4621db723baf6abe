"""`relay ask RUN --file`: begins a run of one session that answers a file of questions with another run's weights."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.app.app import App
from orchestrator.app.ask import asking_limits
from orchestrator.app.origins import begun_from, named_origin
from orchestrator.base.errors import BadInput
from orchestrator.core.asking import Drawing
from orchestrator.pipeline import loader
from orchestrator.pipeline.environments import HARDWARE
from orchestrator.pipeline.files_beside import KnownLock
from orchestrator.pipeline.model import NAME_CHARS_MAX, Pipeline
from stages.contract import ANSWERS
from stages.data.questions import read_questions
from stages.options import Answer
from state.model.run_state import Run

STAGE = "answer"
PROMPT_TOKENS_MIN = 512
"""Shortest limit of prompts: questions that people write are longer than those of a training set."""
DIGEST_CHARS = 6


@dataclass(frozen=True)
class FileChoice:
    """Questions that the user wants answered, and the place for it."""

    run: str
    file: Path
    drawing: Drawing
    checkpoint: str | None = None
    accelerator: str | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class AnsweringRun:
    """Run that answers a file of questions."""

    run: Run
    questions: int
    origin: str
    """Checkpoint whose weights answer, as `RUN at STAGE step STEP`."""
    is_new: bool
    """False if such a run was open already."""

    @property
    def artifact(self) -> str:
        """Name of the file with the answers, among the run's artifacts."""
        return ANSWERS.format(stage=STAGE)


def answer_file(app: App, choice: FileChoice) -> AnsweringRun:
    """Begin the run, unless one that answers the same is open. Raises BadInput, with nothing created."""
    state = app.run(choice.run)
    named = f"{state.run.id}:{choice.checkpoint or ''}"
    origin = named_origin(app, named, weights_only=True)
    if choice.accelerator is not None and choice.accelerator not in HARDWARE:
        raise BadInput(
            f"--accelerator {choice.accelerator}: there is none of that name: use one of {', '.join(HARDWARE)}"
        )
    if choice.file.suffix != ".jsonl":
        raise BadInput(f"--file {choice.file}: give it a name that ends in .jsonl, with a question on each line")
    try:
        questions = read_questions(choice.file)
    except (OSError, ValueError) as error:
        raise BadInput(f"--file {choice.file}: {error}") from error
    trained = Pipeline.from_canonical(state.run.pipeline)
    if choice.accelerator is not None:
        app.platforms.require_kaggle(trained, f"--accelerator {choice.accelerator}")
    if trained.loaded_model is None:
        raise BadInput(f"{state.run.id}: none of relay's own stages trains a model in this run: there is none to ask")
    pipeline = answering_pipeline(trained, choice, len(questions), origin.digest)
    title = f"{origin.run} at {origin.cursor.stage} step {origin.cursor.step}"
    if already := app.open_runs(pipeline.name):
        return AnsweringRun(already[0], len(questions), title, is_new=False)
    run = app.begin(begun_from(pipeline, origin, choice.file), choice.file.absolute())
    return AnsweringRun(run, len(questions), title, is_new=True)


def answering_pipeline(trained: Pipeline, choice: FileChoice, questions: int, weights: str) -> Pipeline:
    """Return the pipeline that answers this number of questions; `weights` is the digest of the origin's checkpoint.

    Packages are those of the run that trained, also where their lock file does not lie beside the questions. Raises
    BadInput.
    """
    value = _pipeline(trained, choice, questions)
    digest = hashlib.sha256(choice.file.read_bytes())
    digest.update(json.dumps([value, weights], sort_keys=True).encode())
    value["name"] = _name(trained.name, digest.hexdigest())
    return loader.check(
        value, str(choice.file), choice.file.parent, KnownLock(str(trained.environment), trained.own_lock)
    )


def _name(trained: str, digest: str) -> str:
    """Return a name of the answering pipeline that is different for different questions and options."""
    end = f"-ask-{digest[:DIGEST_CHARS]}"
    return trained[: NAME_CHARS_MAX - len(end)].rstrip("-") + end


def _pipeline(trained: Pipeline, choice: FileChoice, questions: int) -> dict[str, Any]:
    """Return the pipeline, as its file would have it, except its name: the environment of the run that trained."""
    elsewhere = set() if trained.platform == "kaggle" else {"platform", trained.platform}
    shared = trained.model_dump(mode="json", include={"account", "internet", "environment", "handoff", *elsewhere})
    model, session = dict(trained.model), trained.session.model_dump(mode="json")
    if choice.accelerator not in (None, trained.accelerator):  # other limits, and another number of devices
        model |= {"mesh_fsdp": 1, "mesh_tp": 1}
        shared.pop("account")
        session = {}
    limits = asking_limits(trained)
    drawn = {name: value for name, value in asdict(choice.drawing).items() if name in ("temperature", "top_k", "top_p")}
    options = {
        "questions": choice.file.name,
        "max_prompt_length": max(limits.max_prompt_length, PROMPT_TOKENS_MIN),
        "max_completion_length": choice.max_new_tokens or limits.max_completion_length,
        **drawn,
    }
    steps = Answer(questions=choice.file.name).steps_for(questions)
    return {
        **shared,
        "seed": choice.drawing.seed,
        "model": model,
        "accelerator": choice.accelerator or trained.accelerator,
        "session": session,
        "inputs": {
            "files": [choice.file.name],
            "datasets": list(trained.inputs.datasets),
            "models": list(trained.inputs.models),
            "wheels": trained.inputs.wheels,
        },
        "stages": [{"name": STAGE, "kind": "answer", "steps": steps, "options": options}],
    }
