"""Settings of options on the command line, such as `grpo.beta=0.01,0.04`, and the pipelines that they make. Pure."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, read_yaml
from orchestrator.pipeline.model import NAME_CHARS_MAX, Pipeline
from stages.catalog import find

PIPELINES_MAX = 16
"""Maximum number of pipelines of one sweep: each needs sessions of its own."""
STEPS = "steps"


@dataclass(frozen=True)
class Setting:
    """An option of a stage, or its `steps`, and the values that it takes in turn."""

    stage: str
    option: str
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        """The option as the user typed it."""
        return f"{self.stage}.{self.option}"


@dataclass(frozen=True)
class Variant:
    """A pipeline of a sweep, and the values in which it differs from the others."""

    pipeline: Pipeline
    values: Mapping[str, Any]


def read_setting(text: str, pipeline: Pipeline) -> Setting:
    """Parse `stage.option=value,value`; each value is YAML. Raises BadInput."""
    key, equals, values = text.partition("=")
    stage, dot, option = key.strip().partition(".")
    names = [each.name for each in pipeline.stages]
    if not (equals and dot and option and values.strip()):
        raise BadInput(f"--set {text}: write stage.option=value,value, such as {names[-1]}.learning_rate=1e-5,1e-6")
    if stage not in names:
        raise BadInput(f"--set {text}: there is no stage {stage}: the stages are {', '.join(names)}")
    try:
        found = read_yaml(f"[{values}]")
    except OddYaml as error:
        raise BadInput(f"--set {text}: the values are not YAML: {error}") from error
    if any(found.index(value) != index for index, value in enumerate(found)):
        raise BadInput(f"--set {text}: a value is given twice: name each one once")
    return Setting(stage, option, tuple(found))


def variants(pipeline: Pipeline, settings: Sequence[Setting]) -> tuple[Variant, ...]:
    """Return a pipeline for each combination of the values, in the order of the command line, under names of their own.

    Raises BadInput for an option that a stage does not have, a value that it does not take, or too many pipelines.
    """
    keys = [setting.key for setting in settings]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise BadInput(f"--set {twice} is given twice: name all of its values in one --set")
    combinations = list(itertools.product(*(setting.values for setting in settings)))
    if len(combinations) < 2:
        raise BadInput("--set: a sweep needs at least two pipelines: name several values, separated by commas")
    if len(combinations) > PIPELINES_MAX:
        raise BadInput(f"--set: {len(combinations)} pipelines are more than {PIPELINES_MAX}: name fewer values")
    found = []
    for number, values in enumerate(combinations, start=1):
        changed = pipeline
        for setting, value in zip(settings, values, strict=True):
            changed = with_value(changed, setting, value)
        named = changed.model_copy(update={"name": derived_name(pipeline.name, f"v{number}")})
        found.append(Variant(named, dict(zip(keys, values, strict=True))))
    return tuple(found)


def with_value(pipeline: Pipeline, setting: Setting, value: Any) -> Pipeline:
    """Return the pipeline with one value changed. Raises BadInput if the stage does not take it."""

    def changed(stage: Any) -> Any:
        if stage.name != setting.stage:
            return stage
        if setting.option == STEPS:
            if type(value) is not int or value < 1:
                raise BadInput(f"--set {setting.key}: {value!r} should be a whole number from 1")
            return stage.model_copy(update={STEPS: value})
        options = {**stage.options, setting.option: value}
        try:
            find(stage.kind).fit(options, f"--set {setting.stage}")
        except ValueError as error:
            raise BadInput(str(error)) from error
        return stage.model_copy(update={"options": options})

    return pipeline.model_copy(update={"stages": tuple(changed(stage) for stage in pipeline.stages)})


def derived_name(name: str, suffix: str, taken: Iterable[str] = ()) -> str:
    """Return a pipeline's name with a suffix, shortened to what Kaggle allows; numbered if it is taken."""
    known = set(taken)
    for number in itertools.count(1):
        end = f"-{suffix}" if number == 1 else f"-{suffix}-{number}"
        found = name[: NAME_CHARS_MAX - len(end)].rstrip("-") + end
        if found not in known:
            return found
    raise AssertionError("counting does not end")


def shared_stages(settings: Sequence[Setting], pipeline: Pipeline) -> int:
    """Return the number of stages, from the first, in which no value differs between the pipelines of a sweep."""
    names = [stage.name for stage in pipeline.stages]
    return min(names.index(setting.stage) for setting in settings if len(setting.values) > 1)
