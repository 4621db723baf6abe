"""Builds the inputs of a policy update: rows padded to one of a few shapes, weights, and log-probabilities of models that
are not being trained.

`score` begins the device's part, which needs no rewards; `weigh` adds what the rewards decide. Both can be called with
completions from anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.options import Grpo
from stages.stage import StageFailed
from stages.training.initial_state import StageState
from stages.training.losses import AnswerRows, PolicyBatch, frozen_logprobs
from stages.training.policy import (
    DrawnAnswer,
    PartRows,
    Sampled,
    parts_by_length,
    prompts_without_padding,
    sampler_logprobs,
    token_arrays,
    weight_arrays,
)
from stages.training.widths import RowShape, row_shapes


@dataclass(frozen=True)
class ScoredPart:
    """Rows of a step that are computed together, with log-probabilities that the device may still be computing."""

    of: PartRows
    rows: AnswerRows
    reference: Any
    old: Any


def score(
    prompts: np.ndarray[Any, Any],
    answers: Sequence[DrawnAnswer],
    stage_state: StageState,
    options: Grpo,
    shapes: Sequence[RowShape],
) -> list[ScoredPart]:
    """Begin to compute log-probabilities under the reference and, for several updates a batch, under the policy that
    generated the answers.

    `prompts` (rows × positions) are padded on the left to any width. Returns one part for each that the gradient is
    accumulated over, without waiting for the device: neither result depends on rewards.
    """
    foundation = stage_state.foundation
    padding, mesh = foundation.tokenizer.pad_id(), foundation.mesh
    asked = prompts_without_padding(prompts, padding)
    lengths = [len(tokens) for tokens in asked], [len(answer.tokens) for answer in answers]
    found = []
    for part in parts_by_length(*lengths, options.gradient_accumulation_steps, shapes):
        chosen = [asked[row] for row in part.rows], [answers[row] for row in part.rows]
        rows = AnswerRows(**token_arrays(*chosen, part.shape, padding))
        with mesh:
            reference, old = (
                frozen_logprobs(model, rows, options.temperature, mesh, padding) if needed else None
                for model, needed in (
                    (stage_state.frozen, options.beta > 0),
                    (stage_state.model, options.num_iterations > 1),
                )
            )
        found.append(ScoredPart(part, rows, reference, old))
    return found


@dataclass(frozen=True)
class WeighedPart:
    """Input of one part of an update, and its shape."""

    batch: PolicyBatch
    shape: RowShape


def weigh(
    sampled: Sampled,
    stage_state: StageState,
    options: Grpo,
    shapes: Sequence[RowShape] = (),
    scored: Sequence[ScoredPart] | None = None,
) -> list[WeighedPart]:
    """Build the step's arrays, one part for each that the gradient is accumulated over; `stages.grpo.PolicyUpdater.update`
    learns from them.

    `shapes` are those of the stage, by default those for prompts of `max_prompt_length`. `scored` is the result
    of `score` for the same rows, which is called here otherwise. Raises StageFailed if the options ask for importance
    weights and the completions lack the sampler's log-probabilities.
    """
    if scored is None:
        shapes = shapes or row_shapes((), options.max_prompt_length, options.max_completion_length)
        scored = score(sampled.prompts, sampled.answers, stage_state, options, shapes)
    arrays = weight_arrays(sampled.answers, sampled.rewards, options)
    drawn_with = sampler_logprobs(sampled.answers, options.max_completion_length)
    if options.importance_cap and drawn_with is None:
        raise StageFailed(
            "bad-options", "importance_cap needs log-probabilities, which this sampler does not return: leave it at 0"
        )
    found = []
    for part in scored:
        rows, width = part.of.rows, part.of.shape.answers
        batch = PolicyBatch(
            rows=part.rows,
            learnt=arrays["learnt"][rows, :width],
            **{name: arrays[name][rows] for name in ("advantages", "row_weight", "token_weight")},
            reference=part.reference,
            old=part.old,
            sampler=None if drawn_with is None else drawn_with[rows, :width],
        )
        found.append(WeighedPart(batch, part.of.shape))
    return found
