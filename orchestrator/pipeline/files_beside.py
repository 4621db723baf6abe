"""Adds to a pipeline the contents of the files beside its own: digests of data files, its lock, the user's modules."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import BadInput
from orchestrator.base.validation import unknown
from orchestrator.pipeline.lock_files import read_lock, require_pins
from orchestrator.pipeline.model import Pipeline
from stages import options
from stages.catalog import KINDS
from stages.data.questions import read_questions
from stages.session import user_code
from stages.session.package_lock import BadLock, names_lock


@dataclass(frozen=True)
class KnownLock:
    """Text of a lock file that a run keeps."""

    name: str
    text: str
    """Text of the lock; empty if there is none."""
    unless_there: bool = False
    """True if the text counts only where there is no file of that name, and a file takes precedence."""

    def stands_for(self, name: str, path: Path) -> bool:
        """Return True if the text is that of the lock file which `environment` calls `name`, and lies at `path`."""
        return bool(self.text) and name == self.name and not (self.unless_there and path.exists())


NO_LOCK = KnownLock("", "")


def with_files_beside(pipeline: Pipeline, where: str, folder: Path, known: KnownLock = NO_LOCK) -> Pipeline:
    """Return the pipeline with the contents of the files that it names; `folder` is the base of their relative names.

    `known` is a lock whose file need not be read. Raises BadInput for a file that is missing or unsuitable.
    """
    return _with_sources(_with_files(_with_lock(pipeline, where, folder, known), where, folder), where, folder)


def _with_files(pipeline: Pipeline, where: str, folder: Path) -> Pipeline:
    """Return the pipeline with each file's SHA-256, so that changed content makes a different pipeline."""
    if pipeline.inputs.sha256:
        raise BadInput(f"{where}: {unknown('inputs.sha256', 'sha256', ['datasets', 'models', 'files'], 'key')}")
    found: dict[str, str] = {}
    for index, name in enumerate(pipeline.inputs.files):
        path = folder / name
        if not path.is_file():
            raise BadInput(
                f"{where}: inputs.files[{index}]: {path} does not exist: correct the name, or create the file first"
            )
        if path.name in found:
            raise BadInput(f"{where}: inputs.files[{index}]: two files are called {path.name}: rename one")
        try:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadInput(
                f"{where}: inputs.files[{index}]: {path} cannot be read: {error.strerror or error}"
            ) from error
    _check_data(pipeline, where, set(found))
    _check_questions(pipeline, where, folder)
    return pipeline.model_copy(update={"inputs": pipeline.inputs.model_copy(update={"sha256": found})})


def _with_lock(pipeline: Pipeline, where: str, folder: Path, known: KnownLock) -> Pipeline:
    """Return the pipeline with the text of its lock file, so that another lock makes a different pipeline."""
    if pipeline.own_lock:
        raise BadInput(f"{where}: own_lock: relay fills this in from the file that environment names: leave it out")
    if not names_lock(pipeline.environment):
        return pipeline
    path = folder / str(pipeline.environment)
    if known.stands_for(str(pipeline.environment), path):
        return pipeline.model_copy(update={"own_lock": known.text})
    try:
        require_pins(lock := read_lock(path))
    except FileNotFoundError as error:
        raise BadInput(
            f"{where}: environment: {path} does not exist: correct the name, or write the list of pins here and type relay environment lock"
        ) from error
    except BadLock as error:
        raise BadInput(f"{where}: environment: {path} is not a lock that relay can use: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{where}: environment: {path} cannot be read as text: {error}") from error
    return pipeline.model_copy(update={"own_lock": lock.text})


def _with_sources(pipeline: Pipeline, where: str, folder: Path) -> Pipeline:
    """Return the pipeline with the source of the user's modules, so that changed code makes a different pipeline."""
    if pipeline.sources:
        raise BadInput(
            f"{where}: sources: relay fills this in with the files that lie beside the pipeline: leave it out"
        )
    try:
        return pipeline.model_copy(update={"sources": user_code.gather(_own_functions(pipeline), folder)})
    except user_code.BadSource as error:
        raise BadInput(f"{where}: {error}") from error


def _own_functions(pipeline: Pipeline) -> dict[str, str]:
    """Return the names of the user's own functions, each with the first key that names it."""
    found: dict[str, str] = {}
    for index, stage in enumerate(pipeline.stages):
        if stage.kind not in KINDS:
            found.setdefault(stage.kind, f"stages[{index}].kind")
            continue
        for name in stage.options.get("rewards") or ():
            if ":" in name:
                found.setdefault(name, f"stages[{index}].options.rewards")
    return found


def _check_data(pipeline: Pipeline, where: str, files: set[str]) -> None:
    """Raise BadInput for a data file that is not in inputs.files, since no session would find it."""
    for index, stage in enumerate(pipeline.stages):
        data = stage.options.get("data")  # may be of any type in a stage of the user's own
        for entry in data if isinstance(data, (list, tuple)) else [data]:
            name = str(entry).partition(":")[0]
            if name.endswith(".jsonl") and name not in files:
                raise BadInput(
                    f"{where}: stages[{index}].options.data: {name} is not among inputs.files: list it there"
                )


def _check_questions(pipeline: Pipeline, where: str, folder: Path) -> None:
    """Raise BadInput for a file of questions that a session could not read, and unless the steps answer all of it."""
    paths = {Path(name).name: folder / name for name in pipeline.inputs.files}
    for index, stage in enumerate(pipeline.stages):
        if stage.kind != "answer":
            continue
        key = f"{where}: stages[{index}]"
        asked = options.fit(options.Answer, stage.options, f"{key}.options")
        if asked.questions not in paths:
            raise BadInput(f"{key}.options.questions: {asked.questions} is not among inputs.files: list it there")
        try:
            count = len(read_questions(paths[asked.questions]))
        except (OSError, ValueError) as error:
            raise BadInput(f"{key}.options.questions: {error}") from error
        if stage.steps != (needed := asked.steps_for(count)):
            raise BadInput(
                f"{key}.steps is {stage.steps}, and {count:,} questions in batches of {asked.batch} take {needed}: write "
                f"steps: {needed}"
            )
