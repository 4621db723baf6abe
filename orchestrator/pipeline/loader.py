"""Loads the pipeline file: checks all of it before anything is created; reports each mistake in one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.base.safe_yaml import OddYaml, UniqueKeys, check_values, read_yaml
from orchestrator.base.systems import shell_word
from orchestrator.base.validation import Mistakes, unknown, validated
from orchestrator.pipeline.environments import ENVIRONMENTS, HARDWARE, replacement_of, similar_accelerator
from orchestrator.pipeline.examples import near_miss
from orchestrator.pipeline.files_beside import NO_LOCK, KnownLock, with_files_beside
from orchestrator.pipeline.mended import without_mistakes
from orchestrator.pipeline.model import NAME_CHARS_MAX, Pipeline
from orchestrator.pipeline.model_folder import home_problem, similar_folder, source_problem, with_absolute_paths
from orchestrator.pipeline.pins import canonical_pin, pin_problems
from orchestrator.pipeline.references import dataset_problem, model_problem
from orchestrator.pipeline.sections import EXPECTED_S_MAX, SLUG, OriginOptions
from orchestrator.pipeline.several_hosts import problems_of_several
from orchestrator.pipeline.slurm_section import SlurmOptions
from orchestrator.pipeline.ssh_section import SshOptions
from stages import options
from stages.catalog import KINDS, StageKind, UnknownKind, find
from stages.options.families import KINDS as FAMILY_KINDS
from stages.options.families import family_of
from stages.session.package_lock import names_lock

MODEL_STAGES = tuple(
    kind for kind, known in KINDS.items() if known.needs_jax and known.loads_model and kind != "export"
)
"""Kinds of stages whose checkpoints hold a model."""

NOTEBOOK = {"cells", "nbformat"}
"""Keys of every Jupyter notebook, which is JSON and so YAML too."""


def load(path: Path, lock: KnownLock = NO_LOCK) -> Pipeline:
    """Read and check a pipeline file; raises BadInput with file, key and remedy of its first mistake.

    `lock` is a lock whose file need not be read.
    """
    pipeline, mistakes = examine(path, lock)
    if pipeline is None:
        raise BadInput(mistakes[0] + _and_more(path, len(mistakes) - 1))
    return pipeline


def parse(text: str, where: str, folder: Path = Path(), lock: KnownLock = NO_LOCK) -> Pipeline:
    """Check a pipeline's text; `where` names it in errors, `folder` is the base of its relative file names.

    `lock` is a lock whose file need not be read.
    """
    return _without_mistakes(*_examined(text, where, folder, lock))


def check(value: Any, where: str, folder: Path = Path(), lock: KnownLock = NO_LOCK) -> Pipeline:
    """Check a pipeline given as a value: parsed YAML, or one that a program built.

    `lock` is a lock whose file need not be read.
    """
    return _without_mistakes(*_checked(value, where, folder, lock))


def _without_mistakes(pipeline: Pipeline | None, mistakes: tuple[str, ...]) -> Pipeline:
    if pipeline is None:
        raise BadInput(mistakes[0])
    return pipeline


def examine(path: Path, lock: KnownLock = NO_LOCK) -> tuple[Pipeline | None, tuple[str, ...]]:
    """Return the pipeline of a file, or None and one sentence for each of its mistakes."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = near_miss(path)
        example = f"; {near} is one of relay's examples" if near else ""
        return None, (f"{path} does not exist: name a pipeline file, or have relay init write one{example}",)
    except (OSError, UnicodeDecodeError) as error:
        return None, (f"{path} cannot be read as text: {error}",)
    return _examined(text, str(path), path.parent, lock)


def _and_more(path: Path, more: int) -> str:
    if more < 1:
        return ""
    return f" (and {more} more mistake{'s' if more > 1 else ''}: relay check {shell_word(str(path))} lists all)"


def _examined(text: str, where: str, folder: Path, lock: KnownLock) -> tuple[Pipeline | None, tuple[str, ...]]:
    try:
        value = read_yaml(text, UniqueKeys)
    except OddYaml as error:
        return None, (f"{where}{error.place}: this is not YAML that relay takes: {error}",)
    return _checked(value, where, folder, lock)


def _checked(value: Any, where: str, folder: Path, lock: KnownLock) -> tuple[Pipeline | None, tuple[str, ...]]:
    """Run the checks in order; each one requires that the previous one found no mistake."""
    try:
        check_values(value)  # the value may come from a program instead of YAML
    except OddYaml as error:
        return None, (f"{where}: {error}",)
    if isinstance(value, Mapping) and value.keys() >= NOTEBOOK:
        return None, (f"{where}: this is a Jupyter notebook: name the pipeline that relay notebook made it from",)
    if not isinstance(value, Mapping):
        return None, (f"{where}: a pipeline is a list of keys such as name and stages; see examples/tiny.yaml",)
    try:
        pipeline = validated(Pipeline, value)
    except Mistakes as error:
        found = [f"{where}: {sentence}" for sentence in error.sentences]
        rest = without_mistakes(value, error)
        return None, (*found, *(_mistakes(rest, where, folder) if rest is not None else ()))
    pipeline = pipeline.model_copy(update={"model": with_absolute_paths(pipeline.model, folder)})
    if mistakes := tuple(_mistakes(pipeline, where, folder)):
        return None, mistakes
    if isinstance(pins := pipeline.environment, tuple):
        pipeline = pipeline.model_copy(update={"environment": tuple(map(canonical_pin, pins))})
    try:
        return with_files_beside(pipeline, where, folder, lock), ()
    except BadInput as error:
        return None, (str(error),)


def name_problem(name: str) -> str:
    """Return why a pipeline's name is not valid, or an empty string."""
    if SLUG.fullmatch(name) and len(name) <= NAME_CHARS_MAX:
        return ""
    return (
        f"name {name!r} becomes part of Kaggle's names: use at most {NAME_CHARS_MAX} of a-z, 0-9 and single "
        "hyphens, beginning with a letter"
    )


def _mistakes(pipeline: Pipeline, where: str, folder: Path) -> Iterator[str]:
    if problem := name_problem(pipeline.name):
        yield f"{where}: {problem}"
    named = pipeline.environment if isinstance(pipeline.environment, str) else None
    if named is not None and named not in ENVIRONMENTS and not names_lock(named):
        yield _unknown(where, "environment", named, list(ENVIRONMENTS))
    pins = pipeline.environment if isinstance(pipeline.environment, tuple) else ()
    yield from (f"{where}: environment[{index}]: {problem}" for index, problem in pin_problems(pins))
    if (stated := pipeline.expect.accelerator) is not None and stated not in HARDWARE:
        yield _unknown_accelerator(where, stated, "expect.accelerator")
    for key, seconds in pipeline.expect.too_long():
        yield f"{where}: expect.{key}: {seconds:g} s is longer than 30 days: write at most {EXPECTED_S_MAX:,} s"
    if pipeline.accelerator not in HARDWARE:
        yield _unknown_accelerator(where, pipeline.accelerator)
    else:
        yield from _mistakes_of_time(pipeline, where)
    yield from _mistakes_of_platform(pipeline, where)
    yield from _mistakes_of_inputs(pipeline, where)
    yield from _mistakes_of_origin(pipeline, where)
    yield from _mistakes_of_stages(pipeline, where)
    yield from _mistakes_of_model(pipeline, where, folder)


def _unknown_accelerator(where: str, found: str, key: str = "accelerator") -> str:
    meant, retired = replacement_of(found)
    if not meant:
        if near := similar_accelerator(found):
            return f"{where}: {key}: {found!r} is not a value that relay knows: did you mean {near!r}?"
        return _unknown(where, key, found, list(HARDWARE))
    what = "is no longer available on Kaggle" if retired else "is not a value that relay knows"
    return f"{where}: {key}: {found!r} {what}: use {meant}"


def _mistakes_of_platform(pipeline: Pipeline, where: str) -> Iterator[str]:
    if pipeline.platform != "slurm" and pipeline.slurm != SlurmOptions():
        yield f"{where}: slurm: this section is for a cluster: write platform: slurm, or leave it out"
    if pipeline.platform != "ssh" and pipeline.ssh != SshOptions():
        yield f"{where}: ssh: this section is for a machine with SSH: write platform: ssh, or leave it out"
    if pipeline.platform == "kaggle":
        return
    inputs = pipeline.inputs
    kaggle = bool(inputs.datasets or inputs.models or inputs.wheels)
    with suppress(ValueError):  # reported with the other mistakes of `model`
        kaggle = kaggle or bool(pipeline.model_sources)
    section: SlurmOptions | SshOptions = pipeline.slurm if pipeline.platform == "slurm" else pipeline.ssh
    problems = section.problems(pipeline.accelerator, pipeline.session.limit_s, kaggle)
    yield from (f"{where}: {problem}" for problem in (*problems, *problems_of_several(pipeline)))


def _mistakes_of_inputs(pipeline: Pipeline, where: str) -> Iterator[str]:
    """Yield a mistake for each malformed reference to a dataset or model."""
    named = [(f"inputs.datasets[{index}]", ref) for index, ref in enumerate(pipeline.inputs.datasets)]
    named += [("inputs.wheels", pipeline.inputs.wheels)] if pipeline.inputs.wheels else []
    yield from (f"{where}: {key}: {problem}" for key, ref in named if (problem := dataset_problem(ref)))
    models = ((f"inputs.models[{index}]", ref) for index, ref in enumerate(pipeline.inputs.models))
    yield from (f"{where}: {key}: {problem}" for key, ref in models if (problem := model_problem(ref)))


def _mistakes_of_origin(pipeline: Pipeline, where: str) -> Iterator[str]:
    """Yield a mistake for an origin that no run can have, or an unknown fork point.

    Whether the origin exists is checked when the run begins.
    """
    origin, names = pipeline.origin, [stage.name for stage in pipeline.stages]
    unknown_points = ((number, name) for number, name in enumerate(pipeline.fork_points) if name not in names)
    yield from (_unknown(where, f"fork_points[{number}]", name, names, what="stage") for number, name in unknown_points)
    if origin == OriginOptions():
        return
    if not origin.run:
        yield f"{where}: origin.run is missing: name the run to begin from, or leave origin out"
        return
    try:
        at = origin.cursor
    except ValueError as error:
        yield f"{where}: origin.at: {error}"
        return
    stage = next((stage for stage in pipeline.stages if stage.name == at.stage), None)
    if origin.continues and (stage is None or stage.steps < at.step):
        has = "has no such stage" if stage is None else f"ends that stage after {counted(stage.steps, 'step')}"
        yield f"{where}: origin.at is {origin.at}, and the pipeline {has}: keep the stages up to there as they were"


def _mistakes_of_time(pipeline: Pipeline, where: str) -> Iterator[str]:
    if pipeline.budget_s(pipeline.limit_s) <= 0:
        yield f"{where}: session.margin_s leaves nothing of session.limit_s ({pipeline.limit_s:g} s)"
    if pipeline.limit_s > pipeline.hardware.limit_s:
        why, most = f"Kaggle ends a {pipeline.accelerator} session after", f"{pipeline.hardware.limit_s:g} s"
        if pipeline.platform != "kaggle":
            why, most = "that is longer than", f"a year ({most})"
        yield f"{where}: session.limit_s is {pipeline.limit_s:g}, and {why} {most}: use that or less"


def _mistakes_of_stages(pipeline: Pipeline, where: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, stage in enumerate(pipeline.stages):
        key = f"stages[{index}]"
        if not SLUG.fullmatch(stage.name):
            yield f"{where}: {key}.name {stage.name!r}: use a-z, 0-9 and single hyphens"
        if stage.name in seen:
            yield f"{where}: {key}.name {stage.name!r} is taken by an earlier stage: choose another"
        seen.add(stage.name)
        try:
            kind = _kind(stage.kind, where, f"{key}.kind")
        except BadInput as error:
            yield str(error)
        else:
            yield from (f"{where}: {mistake}" for mistake in kind.mistakes(stage.options, f"{key}.options"))
    yield from _mistakes_of_exports(pipeline, where)
    known = list(dict.fromkeys([*seen, *(stage.kind for stage in pipeline.stages)]))
    for name in pipeline.expect.step_s:
        if name not in known:
            yield _unknown(where, f"expect.step_s.{name}", name, known, what="stage")


def _mistakes_of_model(pipeline: Pipeline, where: str, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the options of the model, with the kind or the folder that may be meant."""
    if not any(stage.kind in KINDS and KINDS[stage.kind].needs_jax for stage in pipeline.stages):
        return
    given = pipeline.model
    if isinstance(kind := given.get("kind"), str) and kind not in FAMILY_KINDS:
        yield _unknown(where, "model.kind", kind, list(FAMILY_KINDS))
        return
    mistakes = [f"{where}: {mistake}" for mistake in options.mistakes(options.Model, given, "model")]
    source = given.get("source", options.Model.source)
    if isinstance(source, str) and (problem := source_problem(source)):
        mistakes = [f"{where}: model.source: {problem}", *(each for each in mistakes if "model.source" not in each)]
    if isinstance(tokenizer := given.get("tokenizer"), str) and (problem := home_problem(tokenizer)):
        mistakes.append(f"{where}: model.tokenizer: {problem}")
    for mistake in mistakes:
        close = similar_folder(given.get("source"), folder) if "model.source" in mistake else ""
        yield f"{mistake} (did you mean the folder {close}?)" if close else mistake


def _mistakes_of_exports(pipeline: Pipeline, where: str) -> Iterator[str]:
    """Yield a mistake for each export that no session could carry out."""
    for index, stage in enumerate(pipeline.stages):
        if stage.kind != "export":
            continue
        if stage.options.get("format") == "tunix" and (title := _title_without_flax(pipeline)):
            yield (
                f"{where}: stages[{index}].options.format: Tunix reads {title} from safetensors only: write format: safetensors"
            )
        if stage.steps != 1:
            yield f"{where}: stages[{index}].steps is {stage.steps}, and an export has one step: write steps: 1"
        if not any(earlier.kind in MODEL_STAGES for earlier in pipeline.stages[:index]):
            yield f"{where}: stages[{index}]: no stage before this export trains a model: put one there"


def _title_without_flax(pipeline: Pipeline) -> str:
    """Return the title of the model's family if it has no Orbax layout, else an empty string."""
    kind = str(pipeline.model.get("kind", options.Model.kind))
    family = family_of(kind) if kind in FAMILY_KINDS else None
    return "" if family is None or family.has_flax else family.title


def _kind(name: str, where: str, key: str) -> StageKind:
    try:
        return find(name)
    except UnknownKind as error:
        raise BadInput(
            f"{where}: {key}: {error}" if ":" in name else _unknown(where, key, name, list(KINDS))
        ) from error


def _unknown(where: str, key: str, found: str, known: list[str], what: str = "value") -> str:
    return f"{where}: {unknown(key, found, known, what)}"
