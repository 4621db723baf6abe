"""Builds a pipeline's text: an example, shortened after the recipe's last stage, with the answers filled in."""

import os
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.examples import example
from orchestrator.pipeline.init.answers import MODELS, RECIPES, Problems, WizardAnswers
from orchestrator.pipeline.init.yaml_edit import ExampleText, Lines

COLUMNS = 118

GOES_ALONG = "Before "
"""Start of those paragraphs in an example's head that are copied to a new pipeline: they tell the user what to do
first."""

LEARNING = ("sft", "grpo", "continued")

INPUTS_COMMENT = "published once for the run, as a private dataset"


def base_of(model: str) -> ExampleText:
    """Return the example from which a model's pipeline is made, with all comments."""
    base = MODELS[model]
    found = _read(base.example)
    return found.explained_by(_read(base.explained_by)) if base.explained_by else found


def composed(answers: WizardAnswers, into: Path) -> str:
    """Return the pipeline's text; data files are named relative to `into`, its future path. Raises BadInput."""
    whole = base_of(answers.model)
    end = RECIPES[answers.recipe].ends_before
    made = whole.before(end) if end else whole
    made = replace(made, head=_head(answers, whole.head))
    made = made.with_key("name", answers.name)
    if answers.accelerator != _value(whole, "accelerator"):
        made = made.with_key("accelerator", answers.accelerator, "")
    if answers.on_timeout != "resume" or "on_timeout" in whole.keys:
        made = made.with_key("on_timeout", answers.on_timeout)
    for file in answers.data:
        _require_use(file, made, answers.recipe)
    return (_with_data(made, answers.data, into) if answers.data else made).text()


def _read(name: str) -> ExampleText:
    return ExampleText.of(example(name).read_text(encoding="utf-8"))


def _value(made: ExampleText, key: str) -> str:
    return made.keys[key][0].partition(":")[2].partition("#")[0].strip()


def _head(answers: WizardAnswers, head: Lines) -> Lines:
    base = MODELS[answers.model]
    own = (
        f"{answers.name}: {base.says}, recipe {answers.recipe}. Written by `relay init` from relay's {base.example}, and "
        "yours to change: `relay explain` tells what every key and option means."
    )
    paragraphs = [" ".join(line.lstrip("# ") for line in part.splitlines()) for part in "\n".join(head).split("\n#\n")]
    found: list[str] = []
    for paragraph in (own, *(text for text in paragraphs if text.startswith(GOES_ALONG))):
        found += ["#", *textwrap.wrap(paragraph, COLUMNS, initial_indent="# ", subsequent_indent="# ")]
    return tuple(found[1:])


def _with_data(made: ExampleText, files: tuple[Problems, ...], into: Path) -> ExampleText:
    """Replace the data sets by the user's own files, in each stage that can use them."""
    listed = ", ".join(_quoted(os.path.relpath(file.path.absolute(), into.absolute().parent)) for file in files)
    made = made.with_key("inputs", "")
    made = replace(made, keys={**made.keys, "inputs": ("inputs:", f"  files: [{listed}]   # {INPUTS_COMMENT}")})
    for kind in set(made.kinds.values()):
        useful = [file for file in files if file.serves(kind)]
        if useful:
            names = ", ".join(_quoted(file.path.name) for file in useful)
            made = made.with_option("data", f"[{names}]", _count_comment(useful, kind), _equals(kind))
    return made


def _equals(kind: str) -> Callable[[str], bool]:
    return lambda other: other == kind


def _count_comment(files: list[Problems], kind: str) -> str:
    held_out = sum(file.held_out for file in files)
    if kind == "evaluate":
        return f"the {held_out:,} problems that are never trained on"
    return f"your own {sum(file.count for file in files) - held_out:,} problems; {held_out:,} more are held out"


def _require_use(file: Problems, made: ExampleText, recipe: str) -> None:
    """Raise BadInput for a data file that no training stage of the recipe can use."""
    if not any(file.serves(kind) for kind in made.kinds.values() if kind in LEARNING):
        raise BadInput(
            f"{file.path}: no line has completion, which the recipe {recipe} learns from: add it, or choose --recipe sft+grpo"
        )


def _quoted(text: str) -> str:
    """Quote a file name for a YAML list if necessary."""
    plain = text.replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    return text if plain else "'" + text.replace("'", "''") + "'"


def commands(path: Path, answers: WizardAnswers) -> list[str]:
    """Return the commands to type next."""
    file = shlex.quote(str(path))
    if not MODELS[answers.model].on_kaggle:
        return [f"relay plan {file}", f"relay rehearse {file}"]
    return [f"relay check {file}", f"relay plan {file}", f"relay rehearse {file} --short", f"relay start {file}"]
