"""Checks whether a pipeline can begin with the weights of another run's checkpoint. Pure."""

from collections.abc import Mapping

from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import Stage
from stages import options
from stages.catalog import KINDS
from stages.contract import OPTIMIZER, Cursor
from stages.options import TrainingOptions

SAME_MODEL = ("kind", "source", "tokenizer", "dtype")
"""Keys of `model` that determine the base weights, their type and the tokens."""
SAME_OPTIMIZER = ("mode", "lora_rank", "lora_alpha", "lora_targets", "gradient_accumulation_steps")
"""Options that determine which weights an optimizer's state belongs to, and its layout."""


def misfit(pipeline: Pipeline, other: Pipeline, at: Cursor, keeps: str, contents: Mapping[str, str]) -> str:
    """Return why the pipeline cannot begin with the checkpoint of the other one, or an empty string.

    `at` is the checkpoint's place, and `contents` are the digests in its manifest.
    """
    first = pipeline.stages[0]
    stage = next(stage for stage in other.stages if stage.name == at.stage)
    if "weights" not in contents:
        counts = stage.kind == first.kind == "counting" and keeps != OPTIMIZER
        return "" if counts else f"its stage {stage.name} wrote no model of relay's: begin from another checkpoint"
    if first.kind == "counting":
        return f"the stage {first.name} counts and loads no model: begin with another stage"
    if problem := model_misfit(pipeline, other):
        return problem
    return _optimizer_misfit(first, stage, contents) if keeps == OPTIMIZER else ""


def model_misfit(pipeline: Pipeline, other: Pipeline) -> str:
    """Return the difference of the two pipelines' models that makes their weights incompatible, or an empty string."""
    mine, theirs = (options.fit(options.Model, each.model, "model") for each in (pipeline, other))
    for key in SAME_MODEL:
        wanted, found = getattr(mine, key), getattr(theirs, key)
        if wanted != found:
            return f"model.{key} is {wanted or 'the default'} here and {found or 'the default'} there: use the same"
    if mine.sha256 and theirs.sha256 and mine.sha256 != theirs.sha256:
        return "model.sha256 names other weights there: use the same model"
    return ""


def _optimizer_misfit(first: Stage, stage: Stage, contents: Mapping[str, str]) -> str:
    remedy = "add --weights-only"
    if "optimizer" not in contents:
        return f"its stage {stage.name} keeps no optimizer state: {remedy}"
    if first.kind != stage.kind or first.kind not in KINDS:
        return f"the stage {first.name} is of kind {first.kind} and the checkpoint's of kind {stage.kind}: {remedy}"
    mine, theirs = (KINDS[each.kind].fit(each.options, "options") for each in (first, stage))
    assert isinstance(mine, TrainingOptions), "only training has an optimizer"
    if mine.mode == "full" and bool(getattr(mine, "beta", 0)) != bool(getattr(theirs, "beta", 0)):
        return f"beta of the stage {first.name} needs the reference model, which the checkpoint does not keep: {remedy}"
    for key in SAME_OPTIMIZER:
        wanted, found = getattr(mine, key), getattr(theirs, key)
        if wanted != found:
            return (
                f"{key} of the stage {first.name} is {wanted}, and {found} where the checkpoint was trained: {remedy}"
            )
    return ""
