"""Builds a pipeline's text: an example, shortened after the recipe's last stage, with the answers filled in."""

import os
import textwrap
from pathlib import Path

from ruamel.yaml.comments import CommentedMap

from orchestrator.base.errors import BadInput
from orchestrator.base.systems import shell_word
from orchestrator.pipeline.examples import example
from orchestrator.pipeline.init.answers import MODELS, RECIPES, ModelExample, Problems, WizardAnswers, base_for
from orchestrator.pipeline.init.yaml_edit import (
    commented_text,
    copy_comments,
    flow_list,
    head_of,
    read_commented,
    scalar,
    set_comment,
    set_value,
)

COLUMNS = 118

KEPT_PARAGRAPHS = "Before "
"""Start of those paragraphs in an example's head that are copied to a new pipeline: they tell the user what to do
first."""

LEARNING = ("sft", "grpo", "continued")

INPUTS_COMMENT = "published once for the run, as a private dataset"


def base_of(model: str, accelerator: str = "") -> CommentedMap:
    """Return the example from which a model's pipeline is made, with all comments."""
    base = base_for(model, accelerator)
    found = _read(base.example)
    if base.explained_by:
        _explain(found, _read(base.explained_by))
    if base.kind:
        _replace_model(found, base)
    return found


def _replace_model(made: CommentedMap, base: ModelExample) -> None:
    """Put another model in the example's place, and remove what holds for the example's only: comments, and times."""
    set_value(made["model"], "kind", base.kind)
    set_value(made["model"], "source", base.source, "")
    for key in ("dtype", "mesh_fsdp", "mesh_tp"):
        set_comment(made["model"], key, "")
    made.pop("expect", None)  # the example's times hold for its own model


def composed(answers: WizardAnswers, into: Path) -> str:
    """Return the pipeline's text; data files are named relative to `into`, its future path. Raises BadInput."""
    made = base_of(answers.model, answers.accelerator)
    made.yaml_set_start_comment(_head(answers, head_of(made)))
    if end := RECIPES[answers.recipe].ends_before:
        _end_before(made, end)
    set_value(made, "name", scalar(answers.name))
    if answers.accelerator != made["accelerator"]:
        set_value(made, "accelerator", answers.accelerator, "")
    if answers.on_timeout != "resume" or "on_timeout" in made:
        set_value(made, "on_timeout", answers.on_timeout)
    for file in answers.data:
        _require_use(file, made, answers.recipe)
    if answers.data:
        _set_data(made, answers.data, into)
    return commented_text(made)


def _read(name: str) -> CommentedMap:
    return read_commented(example(name).read_text(encoding="utf-8"))


def _explain(made: CommentedMap, by: CommentedMap) -> None:
    """Copy the other example's comments to the lines that both have in common; stages are matched by name."""
    copy_comments(made, by)
    others = {stage["name"]: stage for stage in by["stages"]}
    for stage in made["stages"]:
        if stage["name"] in others:
            copy_comments(stage, others[stage["name"]])


def _end_before(made: CommentedMap, kind: str) -> None:
    """Remove the first stage of that kind and all later ones, and what is expected of them, which relay would reject."""
    stages = made["stages"]
    del stages[[stage["kind"] for stage in stages].index(kind) :]
    known = {stage[key] for stage in stages for key in ("name", "kind")}
    expected = made.get("expect", {}).get("step_s", {})
    for name in [name for name in expected if name not in known]:
        del expected[name]


def _head(answers: WizardAnswers, head: str) -> str:
    base = base_for(answers.model, answers.accelerator)
    own = (
        f"{answers.name}: {base.description}, recipe {answers.recipe}. Written by `relay init` from relay's {base.example}, and "
        "yours to change: `relay explain` tells what every key and option means."
    )
    paragraphs = [" ".join(line.lstrip("# ") for line in part.splitlines()) for part in head.split("\n#\n")]
    found: list[str] = []
    kept = [text for text in paragraphs if text.startswith(KEPT_PARAGRAPHS)]
    if base.kind:
        kept = [base.licence] if base.licence else []
    for paragraph in (own, *kept):
        found += ["#", *textwrap.wrap(paragraph, COLUMNS, initial_indent="# ", subsequent_indent="# ")]
    return "\n".join(found[1:])


def _set_data(made: CommentedMap, files: tuple[Problems, ...], into: Path) -> None:
    """Replace the data sets by the user's own files, in each stage that can use them."""
    folder = into.absolute().parent
    inputs = CommentedMap(files=flow_list([_relative(file.path, folder) for file in files]))
    set_comment(inputs, "files", INPUTS_COMMENT)
    set_value(made, "inputs", inputs)
    for stage in made["stages"]:
        useful = [file for file in files if file.usable_for(stage["kind"])]
        if useful and "data" in dict(stage["options"].non_merged_items()):
            names = flow_list([file.path.name for file in useful])
            set_value(stage["options"], "data", names, _count_comment(useful, stage["kind"]))


def _relative(path: Path, folder: Path) -> str:
    """Return a path from `folder` with `/`, which every system reads; absolute if it is on another drive."""
    try:
        return Path(os.path.relpath(path.absolute(), folder)).as_posix()
    except ValueError:  # Windows: the paths are on different drives
        return path.absolute().as_posix()


def _count_comment(files: list[Problems], kind: str) -> str:
    held_out = sum(file.held_out for file in files)
    if kind == "evaluate":
        return f"the {held_out:,} problems that are never trained on"
    return f"your own {sum(file.count for file in files) - held_out:,} problems; {held_out:,} more are held out"


def _require_use(file: Problems, made: CommentedMap, recipe: str) -> None:
    """Raise BadInput for a data file that no training stage of the recipe can use."""
    if not any(file.usable_for(stage["kind"]) for stage in made["stages"] if stage["kind"] in LEARNING):
        raise BadInput(
            f"{file.path}: no line has completion, which the recipe {recipe} learns from: add it, or choose --recipe sft+grpo"
        )


def commands(path: Path, answers: WizardAnswers) -> list[str]:
    """Return the commands to type next."""
    file = shell_word(str(path))
    if not MODELS[answers.model].on_kaggle:
        return [f"relay plan {file}", f"relay rehearse {file}"]
    return [f"relay check {file}", f"relay plan {file}", f"relay rehearse {file} --short", f"relay start {file}"]
