"""The data sets that a pipeline brings itself, as far as names tell: those of its files, and those of the datasets that it lists."""

from pathlib import PurePath

from orchestrator.pipeline import Pipeline
from stages.catalog import KINDS
from stages.data.layouts import bears_name, is_data, names_split, whole_copy
from stages.data.mounted import named_alone
from stages.data.sets import KNOWN
from stages.options.training import set_and_count


def sets_used(pipeline: Pipeline) -> list[str]:
    """The sets of relay's own that any of relay's stages reads."""
    listed = [stage.options.get("data") or () for stage in pipeline.stages if stage.kind in KINDS]
    named = [set_and_count(str(entry))[0] for data in listed for entry in data]
    return [name for name in dict.fromkeys(named) if name in KNOWN]


def files_of(name: str, pipeline: Pipeline) -> list[str]:
    """Those of `inputs.files` that are a copy of the set by their names; none where they are not a whole one."""
    return whole_copy(KNOWN[name], _set_files(pipeline))


def halves_of(name: str, pipeline: Pipeline) -> list[str]:
    """Those of `inputs.files` that name a split of the set, where they are no whole copy of it."""
    files = _set_files(pipeline)
    return [] if whole_copy(KNOWN[name], files) else [file for file in files if names_split(KNOWN[name], file)]


def unsplit_of(name: str, pipeline: Pipeline) -> list[str]:
    """Those of `inputs.files` that are called after the set and after none of its splits, where they are no whole copy of it."""
    known, files = KNOWN[name], _set_files(pipeline)
    if whole_copy(known, files):
        return []
    return [
        file for file in files if is_data(PurePath(file)) and bears_name(known, file) and not names_split(known, file)
    ]


def sets_in_files(pipeline: Pipeline) -> list[str]:
    """The sets of which `inputs.files` has a copy."""
    return [name for name in KNOWN if files_of(name, pipeline)]


def datasets_called(name: str, pipeline: Pipeline) -> list[str]:
    """The datasets of `inputs.datasets` that are called after the set; what is in them nobody here can tell."""
    return [ref for ref in pipeline.inputs.datasets if bears_name(KNOWN[name], ref.partition("/")[2])]


def _set_files(pipeline: Pipeline) -> list[str]:
    """The names of `inputs.files`, without those that a stage names by themselves."""
    names = [PurePath(name).name for name in pipeline.inputs.files]
    alone = named_alone(names, [stage.options for stage in pipeline.stages])
    return [name for name in names if name not in alone]
