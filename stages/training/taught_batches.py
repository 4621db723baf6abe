"""Encodes the batches of a supervised stage: which examples a step learns from, in which rows, as which arrays.

A batch is a pure function of the data, the options, the seed and the step, and so is its shape.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stages.data import Example, examples_at
from stages.options import Sft
from stages.training.losses import TaughtBatch
from stages.training.model import Foundation
from stages.training.row_packing import (
    SAMPLED_BATCHES,
    ExampleSize,
    PackedLayout,
    PackedRows,
    PackedShape,
    chosen,
    full_width,
    summary,
)
from stages.training.stage_data import WorkedExamples, tokens_of

ChooseLayout = Callable[[WorkedExamples, Foundation, Sft, int], PackedLayout]
"""Function from a stage's examples, model, options and data seed to the layout of its batches."""


def best_layout(examples: WorkedExamples, foundation: Foundation, options: Sft, seed: int) -> PackedLayout:
    """Return the layout that computes the first batches at the lowest cost, in at most five shapes."""
    longest = ExampleSize(max(size.length for size in examples.sizes), max(size.learnt for size in examples.sizes))
    return chosen(
        sampled(examples, options, seed),
        longest,
        options.max_seq_length,
        multiple=rows_multiple(foundation, options),
        packing=options.packing,
    )


def full_width_layout(examples: WorkedExamples, foundation: Foundation, options: Sft, seed: int) -> PackedLayout:
    """Return the layout of one example a row and `max_seq_length` positions, for comparisons."""
    return full_width(options.batch, options.max_seq_length, rows_multiple(foundation, options))


def rows_multiple(foundation: Foundation, options: Sft) -> int:
    """Return the number that divides a batch's rows: each micro-batch has equally many on each part of the mesh."""
    return options.gradient_accumulation_steps * int(foundation.mesh.shape["fsdp"])


def sampled(examples: WorkedExamples, options: Sft, seed: int, steps: int = SAMPLED_BATCHES) -> list[list[ExampleSize]]:
    """Return the sizes of the examples of the first batches, at most `SAMPLED_BATCHES`."""
    return [
        examples_at(examples.sizes, number, options.batch, seed) for number in range(1, min(steps, SAMPLED_BATCHES) + 1)
    ]


class TaughtBatches:
    """A stage's batches by the number of the step."""

    def __init__(
        self,
        examples: WorkedExamples,
        foundation: Foundation,
        options: Sft,
        seed: int,
        choose: ChooseLayout = best_layout,
    ) -> None:
        self.layout = choose(examples, foundation, options, seed)
        self._examples, self._foundation, self._options, self._seed = examples, foundation, options, seed

    def at(self, number: int) -> TaughtBatch:
        """Return the batch of step `number` (from 1)."""
        batch = examples_at(self._examples.train, number, self._options.batch, self._seed)
        return encode(batch, self._foundation, self._options, self.layout)

    def summary(self, steps: int) -> str:
        """Summarise in one line the shapes of the first batches of a stage of so many steps."""
        return summary(
            self.layout,
            sampled(self._examples, self._options, self._seed, steps),
            self._options.max_seq_length,
        )


def encode(
    examples: Sequence[Example], foundation: Foundation, options: Sft, layout: PackedLayout | None = None
) -> TaughtBatch:
    """Encode the examples in the layout's cheapest shape that holds them; without a layout, each in a row of
    `max_seq_length` positions.

    The completion and its end are learnt. Each learnt token is weighted 1 / (learnt tokens in the batch) × number of
    micro-batches, because the micro-batches' gradients are averaged.
    """
    layout = layout or full_width(len(examples), options.max_seq_length)
    encoded = [tokens_of(example, foundation) for example in examples]
    shape, rows = layout.laid_out([ExampleSize(len(tokens), len(tokens) - asked) for tokens, asked in encoded])
    return _arrays(encoded, rows, shape, foundation, options.gradient_accumulation_steps)


def _arrays(
    encoded: Sequence[tuple[list[int], int]], rows: PackedRows, shape: PackedShape, foundation: Foundation, parts: int
) -> TaughtBatch:
    restart = not rows.shared or foundation.model.positions_restart(shape.width)
    tokens = np.full((shape.rows, shape.width), foundation.tokenizer.pad_id(), np.int32)
    segments = np.zeros_like(tokens)
    positions = np.zeros_like(tokens) if restart else np.tile(np.arange(shape.width, dtype=np.int32), (shape.rows, 1))
    at = np.zeros((shape.rows, shape.selected), np.int32)
    targets, weights = np.zeros_like(at), np.zeros(at.shape, np.float32)
    weight = parts / sum(len(whole) - asked for whole, asked in encoded)
    for row, members in enumerate(rows.rows):
        begin = learnt = 0
        for segment, number in enumerate(members, 1):
            whole, asked = encoded[number]
            place, chosen_ones = slice(begin, begin + len(whole)), slice(learnt, learnt + len(whole) - asked)
            tokens[row, place], segments[row, place] = whole, segment
            if restart:
                positions[row, place] = np.arange(len(whole))
            at[row, chosen_ones] = np.arange(begin + asked - 1, begin + len(whole) - 1)
            targets[row, chosen_ones], weights[row, chosen_ones] = whole[asked:], weight
            begin, learnt = place.stop, chosen_ones.stop
    return TaughtBatch(tokens, segments, positions, at, targets, weights)


def shape_of(batch: TaughtBatch) -> tuple[int, ...]:
    """Return what decides which compiled program a batch needs."""
    selected: Any = batch.at
    return (*batch.tokens.shape, selected.shape[1])
