"""Implements `relay init`: ask or read flags, compose, check that relay accepts the result, write it atomically."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.pipeline import loader
from orchestrator.pipeline.chips import CHIPS
from orchestrator.pipeline.environments import HARDWARE, HOUR_S
from orchestrator.pipeline.examples import example
from orchestrator.pipeline.init.answers import (
    GPU,
    MODELS,
    ON_GPU,
    ON_TIMEOUT,
    RECIPES,
    ModelExample,
    Problems,
    Recipe,
    WizardAnswers,
    accelerator_meant,
    base_for,
    fitting,
    named,
    one_of,
    problems,
)
from orchestrator.pipeline.init.compose import commands, composed
from orchestrator.pipeline.init.copying import copy_example
from orchestrator.pipeline.init.free_path import require_free
from orchestrator.pipeline.model import Pipeline

T = TypeVar("T")

CHOICES = ("model", "recipe", "data", "accelerator", "on_timeout")
"""Flags that adapt an example, and do not apply if one is copied as it is."""

NONE = "none"
"""Answer for a user without a data file."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Values of the command line; None if a flag is not given."""

    file: Path | None = None
    name: str | None = None
    model: str | None = None
    recipe: str | None = None
    data: tuple[Path, ...] = ()
    accelerator: str | None = None
    on_timeout: str | None = None
    yes: bool = False
    force: bool = False
    from_: str | None = None
    """Example to copy as it is; the other choices do not apply then."""


def init(flags: Flags) -> None:
    """Write a pipeline; prompts on a terminal for values without a flag, and uses defaults elsewhere.

    Raises BadInput.
    """
    if flags.from_ is not None:
        if other := next((name for name in CHOICES if getattr(flags, name)), None):
            raise BadInput(f"--from copies an example as it is: leave out --{other.replace('_', '-')}, or --from")
        copy_example(flags.from_, flags.file, flags.name, force=flags.force)
        return
    asks = not flags.yes and sys.stdin.isatty() and sys.stdout.isatty()
    if flags.file is not None:
        require_free(flags.file, flags.force)
    answers = _answers(flags, asks)
    path = flags.file or Path(f"{answers.name}.yaml")
    require_free(path, flags.force)
    text = composed(answers, path)
    pipeline = loader.parse(text, str(path), path.parent)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror or error}): name another file") from error
    _print_result(path, answers, pipeline)


def _answers(flags: Flags, asks: bool) -> WizardAnswers:
    """Combine the flags with the user's answers, if `asks`; each value is checked as soon as it is given."""

    def answer(given: str | None, question: str, default: str, check: Callable[[str], T]) -> T:
        if given is not None or not asks:
            return check(default if given is None else given)
        return _asked(question, default, check)

    given = None if flags.accelerator is None else accelerator_meant(flags.accelerator)
    known, usual = (ON_GPU, "gemma3-1b") if given == GPU and flags.model is None else (MODELS, "gemma2-2b")
    model = answer(flags.model, _choices("model", known), usual, one_of(tuple(known), "model of relay's examples"))
    accelerator = given or _accelerator(model, asks)
    recipe = answer(flags.recipe, _choices("recipe", RECIPES), "sft+grpo", one_of(tuple(RECIPES), "recipe"))
    data = tuple(problems(path) for path in flags.data)
    if asks and not flags.data:
        data = _asked("data: a .jsonl file of your own, or none for the recipe's sets", NONE, _parsed_data)
    return WizardAnswers(
        name=answer(flags.name, "name of the pipeline", _default_name(flags.file, model), _name_check(flags)),
        model=model,
        recipe=recipe,
        data=data,
        accelerator=fitting(accelerator, model, _devices(model, accelerator)),
        on_timeout=one_of(ON_TIMEOUT, "way to go on after a timeout")(flags.on_timeout or "resume"),
    )


def _asked(question: str, default: str, check: Callable[[str], T]) -> T:
    """Prompt for an answer; an invalid one is explained and asked for again."""

    def checked(given: str) -> T:
        try:
            return check(given)
        except BadInput as error:
            raise click.UsageError(str(error)) from error

    found: T = click.prompt(question, default=default, value_proc=checked)
    return found


def _choices(what: str, known: Mapping[str, Recipe | ModelExample]) -> str:
    lines = [f"  {name:<10} {choice.description}" for name, choice in known.items()]
    return "\n".join([f"{what}:", *lines, what])


def _parsed_data(given: str) -> tuple[Problems, ...]:
    return () if given.strip() in ("", NONE) else (problems(given.strip()),)


def _name_check(flags: Flags) -> Callable[[str], str]:
    def checked(given: str) -> str:
        name = named(given)
        if flags.file is None:
            require_free(Path(f"{name}.yaml"), flags.force)
        return name

    return checked


def _default_name(file: Path | None, model: str) -> str:
    """Return the file's own name if it is valid for a pipeline, else the model's."""
    stem = "" if file is None else file.stem.lower().replace("_", "-")
    return stem if stem and not loader.name_problem(stem) else model


def _accelerator(model: str, asks: bool) -> str:
    """Return the accelerator of a model's example, or the user's choice if there is one."""
    usual = str(_of_example(model, "")["accelerator"])
    if not asks or model not in ON_GPU:
        return usual
    lines = (f"  {name:<14} {_hours(name)}" for name in (usual, GPU))
    return _asked("\n".join(["accelerator:", *lines, "accelerator"]), usual, accelerator_meant)


def _hours(accelerator: str) -> str:
    """Describe an accelerator in a few words."""
    hardware = HARDWARE[accelerator]
    return (
        f"{hardware.promise.devices} x {CHIPS[accelerator].name}: {hardware.hours_per_week:g} hours a week of its own quota, sessions of "
        f"{hardware.limit_s / HOUR_S:g} hours"
    )


def _devices(model: str, accelerator: str) -> int:
    """Return the number of devices over which the example splits the model."""
    options = _of_example(model, accelerator)["model"]
    return int(options.get("mesh_fsdp", 1) * options.get("mesh_tp", 1))


def _of_example(model: str, accelerator: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(example(base_for(model, accelerator).example).read_text(encoding="utf-8"))
    return value


def _print_result(path: Path, answers: WizardAnswers, pipeline: Pipeline) -> None:
    click.echo(f"{path} is written: {MODELS[answers.model].description}, {answers.recipe}, on {answers.accelerator}")
    click.echo(f"  {counted(pipeline.total_steps, 'step')}: {', '.join(stage.name for stage in pipeline.stages)}")
    click.echo("next:")
    for command in commands(path, answers):
        click.echo(f"  {command}")
