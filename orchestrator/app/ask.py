"""`relay ask`: starts the process that loads a run's model, or an export, and passes questions and answers."""

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.app.app import App
from orchestrator.app.export import (
    download_base,
    is_read,
    models_folder,
    process_environment,
    require_whole,
)
from orchestrator.base.disk import disk_errors, private_folder
from orchestrator.base.errors import BadInput, Permanent, Transient
from orchestrator.base.memory import free_memory_bytes
from orchestrator.base.systems import require_posix
from orchestrator.core.asking import Answered, AskedQuestion, AskRequest, Drawing
from orchestrator.core.selectors import verified_checkpoint
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.format import size
from stages.catalog import KINDS
from stages.contract import BLOB_NAME
from stages.documents import ContractError
from stages.formats.export_manifest import EXPORT_NAME, ExportManifest
from stages.options import Asking, Evaluate
from stages.session import packing

SAY_DOWNLOAD = "the base model {source} is downloaded from Hugging Face unless it is here already"


@dataclass(frozen=True)
class ModelChoice:
    """The model that the user wants to ask; None stands for the default."""

    run: str | None = None
    export: Path | None = None
    """Folder that `relay export` wrote."""
    checkpoint: str | None = None
    base: Path | None = None
    """Folder with the base model's files."""
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class AnsweringModel:
    """Everything that the process starts with: a title for the user, the request, and the packed checkpoint if any."""

    title: str
    request: AskRequest
    blob: Path | None = None


def chosen_model(app: App, choice: ModelChoice) -> AnsweringModel:
    """Find the model, and download what is missing of it. Raises BadInput."""
    if importlib.util.find_spec("jax") is None:
        raise BadInput("relay ask needs JAX and Tunix in this Python: pip install 'relay-kaggle[train]'")
    return _of_export(choice, choice.export) if choice.export else _of_run(app, choice)


def _of_run(app: App, choice: ModelChoice) -> AnsweringModel:
    state = app.run(choice.run or "")
    named = f"--checkpoint {choice.checkpoint}: " if choice.checkpoint else ""
    checkpoint = verified_checkpoint(state, choice.checkpoint, named)
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    model = pipeline.loaded_model
    if model is None:
        raise BadInput(f"{state.run.id}: none of relay's own stages trains a model in this run: there is none to ask")
    require_whole(app, state, checkpoint, "relay ask")
    if choice.base is None and model.kaggle_model:
        download_base(app, model, _refuse_too_large)
    elif choice.base is None and not model.is_folder:
        app.notice(SAY_DOWNLOAD.format(source=model.source))
    limits = asking_limits(pipeline)
    request = AskRequest(
        model=dict(pipeline.model),
        directory="checkpoint",
        base=str(choice.base.absolute()) if choice.base else "",
        inputs=str(models_folder(app.home)),
        scratch=str(app.home.path),
        prompt_tokens=limits.max_prompt_length,
        answer_tokens=choice.max_new_tokens or limits.max_completion_length,
        memory_bytes=free_memory_bytes(),
    )
    title = f"{state.run.id} at {checkpoint.cursor.stage} step {checkpoint.cursor.step}"
    return AnsweringModel(title, request, app.home.checkpoint(state.run.id, checkpoint.name) / BLOB_NAME)


def _of_export(choice: ModelChoice, folder: Path) -> AnsweringModel:
    try:
        manifest = ExportManifest.from_json((folder / EXPORT_NAME).read_bytes())
    except (OSError, ContractError) as error:
        raise BadInput(f"--export {folder}: it has no readable {EXPORT_NAME}: name a folder of relay export") from error
    if manifest.layout == "peft":
        raise BadInput(
            f"--export {folder} holds the adapter alone: ask the run itself, or export it with --format safetensors"
        )
    weights = folder / manifest.weights_folder  # a published version has its files at other places than an export
    limits = Asking()
    model = {
        "kind": manifest.model_kind,
        "source": str(weights.absolute()),
        "dtype": manifest.dtype,
        "system": manifest.system,
    }
    request = AskRequest(
        model=model,
        inputs=str(folder),
        scratch=str(folder),
        prompt_tokens=limits.max_prompt_length,
        answer_tokens=choice.max_new_tokens or limits.max_completion_length,
        memory_bytes=free_memory_bytes(),
    )
    return AnsweringModel(f"the export of {manifest.run} in {folder}", request)


def asking_limits(pipeline: Pipeline) -> Asking:
    """Return the lengths of the last evaluation, else of the last stage that generates, else relay's own defaults."""
    fitted = [KINDS[stage.kind].fit(stage.options, stage.name) for stage in pipeline.stages if stage.kind in KINDS]
    found = [options for options in fitted if isinstance(options, Asking)]
    evaluations = [options for options in found if isinstance(options, Evaluate)]
    return (evaluations or found or [Asking()])[-1]


def _refuse_too_large(size_bytes: int) -> None:
    """Raise BadInput if the memory does not even hold the base model's files twice; nothing is downloaded then."""
    free_bytes = free_memory_bytes()
    if free_bytes and 2 * size_bytes > free_bytes:
        raise BadInput(
            f"the base model's files have {size(size_bytes)}, and this machine has only {size(free_bytes)} of memory "
            "free: close other programs, or let a session answer with relay ask RUN --file QUESTIONS"
        )


class AnsweringProcess:
    """The process that loads a model and answers questions; `answering` starts it."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self._process, self._errors = process, errors

    def ask(self, text: str, drawing: Drawing, show: Callable[[str], None]) -> Answered:
        """Return the answer, and pass its pieces to `show` as they come. Ctrl-C ends the answer, a second one everything.

        Raises BadInput for a question that is too long.
        """
        with self._interrupting():
            self._send(AskedQuestion(text=text, drawing=drawing).to_dict())
            while True:
                match self._event():
                    case {"text": piece}:
                        show(piece)
                    case {"answered": answered}:
                        return Answered.from_dict(answered)
                    case {"refused": reason}:
                        raise BadInput(reason)

    def load(self, request: dict[str, Any], say: Callable[[str], None]) -> None:
        """Wait until the model is loaded, and pass on what the process says. Raises BadInput if it cannot be loaded."""
        self._send(request)
        while True:
            match self._event():
                case {"say": sentence}:
                    say(sentence)
                case {"ready": _}:
                    return
                case {"failed": failed}:
                    raise (Transient if failed["transient"] else BadInput)(failed["reason"])

    @contextlib.contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Pass SIGINT on to the process. As an exception it could get lost between two events."""

        def interrupt(_number: int, _frame: object) -> None:
            signal.signal(signal.SIGINT, before)
            self._process.send_signal(signal.SIGINT)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _send(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_event` tells why the process has ended
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def _event(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            event: dict[str, Any] = json.loads(line)
            return event
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        said = next((line for line in reversed(lines) if line.strip()), "it gave no message")
        status = self._process.wait()
        raise Permanent(f"the process that answers ended with status {status}: {said.strip()[:300]}")


@contextlib.contextmanager
def answering(app: App, model: AnsweringModel) -> Iterator[AnsweringProcess]:
    """Start the process and wait until it has loaded the model; it ends with the `with` block."""
    require_posix("answering on this machine", "relay ask RUN --file QUESTIONS.jsonl answers in a session on Kaggle")
    home = private_folder(app.home.path)
    with disk_errors(home), TemporaryDirectory(prefix=".relay-ask-", dir=home) as folder:
        request = model.request.to_dict()
        if model.blob is not None:
            unpacked = Path(folder) / request["directory"]
            packing.unpack(model.blob, unpacked, size_bytes_max=model.blob.stat().st_size, wanted=is_read)
            request["directory"] = str(unpacked)
        errors = Path(folder) / "errors.txt"
        with errors.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "orchestrator.app.answering.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf-8",
                env=process_environment(),
                start_new_session=True,  # Ctrl-C reaches it through `ask` only
            )
        try:
            answers = AnsweringProcess(process, errors)
            answers.load(request, app.notice)
            yield answers
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
