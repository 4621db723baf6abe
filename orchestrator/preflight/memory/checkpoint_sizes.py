"""Sizes of the checkpoints that each stage of a pipeline leaves, and whether they fit in a session's output. Pure."""

from collections.abc import Mapping
from typing import Any

from orchestrator.pipeline.chips import OUTPUT_BYTES_MAX
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.measure import Needs
from orchestrator.preflight.memory.programs import Program, StageNeeds, stage_of

KEPT_CHECKPOINTS = 2
"""Number of its newest checkpoints that a session's output holds (`Order.keep_checkpoints`); briefly one more."""


def checkpoint_verdicts(
    pipeline: Pipeline, needs: tuple[StageNeeds, ...], found: Mapping[Program, Needs]
) -> list[dict[str, Any]]:
    """Return the size of each stage's checkpoint and whether it fits.

    Composed as in `stages.training.initial_state`: the base if it was trained, every adapter, the newest moments.
    """
    verdicts, base, adapters = [], 0, 0
    for stage in pipeline.stages:
        each = stage_of(needs, stage.name)
        if each is None:
            continue
        origin = base + adapters if each.keeps_origin else 0
        trained = next((found[p.program] for p in each.phases if p.program.kind in ("sft", "grpo")), None)
        if trained is not None and each.mode == "full":
            base, adapters = trained.masters[1] or trained.weights[1], 0
        elif trained is not None:
            adapters += trained.masters[1] or trained.adapter[1]
        size = base + adapters + origin + (trained.optimizer[1] - trained.masters[1] if trained else 0)
        verdicts.append({"stage": stage.name, **_output(size, each.mode)})
    return verdicts


def _output(size: int, mode: str) -> dict[str, Any]:
    """Report how many checkpoints of this size fit in Kaggle's output: one has to; a session keeps two if it can."""
    fits = size <= OUTPUT_BYTES_MAX
    advice = ""
    if not fits:
        advice = (
            "mode: lora keeps the checkpoint to an adapter and its moments" if mode == "full" else "a smaller lora_rank"
        )
    elif size * (KEPT_CHECKPOINTS + 1) > OUTPUT_BYTES_MAX:
        advice = f"only {OUTPUT_BYTES_MAX // size} of them fit side by side, and a session keeps two and writes a third"
    return {"bytes": size, "fits": fits, "advice": advice}
