"""Data sets that a pipeline provides itself: in its files, found by name or rows, and in the datasets it lists."""

from dataclasses import dataclass
from pathlib import Path, PurePath

from orchestrator.pipeline.model import Pipeline
from stages.catalog import KINDS
from stages.data.files import TEXT
from stages.data.layouts import bears_name, is_data, names_split, whole_copy
from stages.data.mounted import MountedFolder, Origin, named_alone
from stages.data.mounted_datasets import copies_of
from stages.data.passed import PassedBy
from stages.data.readers import read_copy
from stages.data.registry import KNOWN
from stages.options.training import set_and_count
from stages.stage import StageFailed


@dataclass(frozen=True)
class OwnCopy:
    """Result of searching `inputs.files` for a data set, as a session will find it."""

    files: tuple[str, ...] = ()
    """Files that the session reads; empty if it finds no copy or refuses one."""
    named: bool = True
    """True if the files, including refused ones, carry the set's name; otherwise their rows identify them, and a copy
    in a listed dataset may be read instead."""
    refused: str = ""
    """Reason why the session will refuse the files, with the remedy after the last colon; empty if it will not."""


def sets_used(pipeline: Pipeline) -> list[str]:
    """List relay's own data sets that any of relay's stages reads."""
    listed = [stage.options.get("data") or () for stage in pipeline.stages if stage.kind in KINDS]
    named = [set_and_count(str(entry))[0] for data in listed for entry in data]
    return [name for name in dict.fromkeys(named) if name in KNOWN]


def files_of(name: str, pipeline: Pipeline) -> list[str]:
    """List the `inputs.files` whose names make them a copy of the set; empty if they are not a complete one."""
    return whole_copy(KNOWN[name], _set_files(pipeline))


def halves_of(name: str, pipeline: Pipeline) -> list[str]:
    """List the `inputs.files` that name a split of the set without being a complete copy of it."""
    files = _set_files(pipeline)
    return [] if whole_copy(KNOWN[name], files) else [file for file in files if names_split(KNOWN[name], file)]


def own_copy(name: str, pipeline: Pipeline, folder: Path) -> OwnCopy:
    """Search `inputs.files`, which lie below `folder`, for the set, by the same names and rows as a session."""
    known = KNOWN[name]
    passed = PassedBy(known)
    paths = {PurePath(file).name: folder / file for file in pipeline.inputs.files}
    unopened = unopened_of(name, pipeline)
    files = {PurePath(file): paths[file] for file in _set_files(pipeline) if file not in unopened}
    try:
        for copy in copies_of(known, [MountedFolder(Origin.FILES, 0, files)]):
            is_read = not copy.problem and copy.suffix not in TEXT
            if is_read or read_copy(known, copy, passed, folder) is not None:
                return OwnCopy(tuple(path.name for path in copy.files), copy.named)
    except StageFailed as failed:
        return OwnCopy(refused=failed.reason.removeprefix("data: "))
    except (OSError, ValueError) as error:
        return OwnCopy(refused=f"{name} of inputs.files cannot be read ({error}): fix it")
    try:
        passed.refuse_others()
    except StageFailed as failed:
        return OwnCopy(named=False, refused=failed.reason.removeprefix("data: "))
    return OwnCopy()


def unopened_of(name: str, pipeline: Pipeline) -> list[str]:
    """List the `inputs.files` that may hold the rows of the set; only a session has the library to read them."""
    return [
        file
        for file in _set_files(pipeline)
        if is_data(PurePath(file)) and not bears_name(KNOWN[name], file) and PurePath(file).suffix.lower() not in TEXT
    ]


def sets_in_files(pipeline: Pipeline) -> list[str]:
    """List the sets of which `inputs.files` has a copy."""
    return [name for name in KNOWN if files_of(name, pipeline)]


def datasets_called(name: str, pipeline: Pipeline) -> list[str]:
    """List the `inputs.datasets` named after the set; their content is unknown on this machine."""
    return [ref for ref in pipeline.inputs.datasets if bears_name(KNOWN[name], ref.partition("/")[2])]


def _set_files(pipeline: Pipeline) -> list[str]:
    """List the names of `inputs.files`, except those that a stage names itself."""
    names = [PurePath(name).name for name in pipeline.inputs.files]
    alone = named_alone(names, [stage.options for stage in pipeline.stages])
    return [name for name in names if name not in alone]
