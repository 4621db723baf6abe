"""Computes the inputs of a policy update from judged answers: advantages, learnt tokens, and the weight of each token.

Uses NumPy only, in float64 until the last step; every function is pure. The answers to one problem
form a group and are adjacent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.options import Grpo
from stages.training.widths import RowShape, smallest

SPREAD_MIN = 1e-6
"""Constant added to a group's standard deviation to avoid division by zero, as in TRL and Tunix."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class DrawnAnswer:
    """A generated answer.

    `tokens` ends with the stop token, unless the answer reached the length limit (`truncated`). `text` is the input of
    the rewards: the tokens without the stop token. `logprobs` (float32, one per token) are the natural logarithms of the
    tokens' probabilities as the sampler computed them, under the softmax over all tokens at the sampling temperature;
    None if the sampler does not return them.
    """

    text: str
    tokens: np.ndarray[Any, np.dtype[np.int32]]
    truncated: bool
    logprobs: np.ndarray[Any, np.dtype[np.float32]] | None = None


@dataclass(frozen=True)
class Sampled:
    """Completions that a step learns from, grouped by problem, with their rewards."""

    prompts: np.ndarray[Any, Any]
    """Prompt tokens, rows × positions, padded on the left."""
    answers: list[DrawnAnswer]
    rewards: Floats
    metrics: dict[str, float]
    """Metrics over all completions that were generated, including those not learnt from."""


def weighted_sum(values: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Return the reward of each answer (rows): the sum of the named rewards times their weights."""
    return np.asarray(sum(weights[name] * each for name, each in values.items()), np.float64)


def informative(rewards: Floats, group: int, learnt: Bools | None = None) -> Bools:
    """Return for each group (groups, bool) whether it has a gradient: a learnt answer's reward
    differs from the group's mean.

    `learnt` (rows, bool) marks the answers that are learnt; by default all. A group of equal
    rewards has advantages of zero.
    """
    grouped = rewards.reshape(-1, group)
    differs = grouped.max(axis=1) > grouped.min(axis=1)
    apart = grouped != grouped.mean(axis=1, keepdims=True)
    counts = np.ones_like(apart) if learnt is None else learnt.reshape(-1, group)
    return np.asarray(differs & (apart & counts).any(axis=1))


def advantages(rewards: Floats, group: int, scale: str) -> Floats:
    """Return the advantage of each answer (rows): its reward minus its group's mean.

    `scale` `group` divides by the group's standard deviation (GRPO, arXiv:2402.03300, section 4.1.2: with n - 1 in the
    denominator, as in TRL and Tunix); `none` does not (Dr. GRPO, arXiv:2503.20783, section 3.1: the division weights
    problems by how unevenly they are solved).
    """
    grouped = rewards.reshape(-1, group)
    above = grouped - grouped.mean(axis=1, keepdims=True)
    if scale == "group":
        above = above / (grouped.std(axis=1, ddof=1, keepdims=True) + SPREAD_MIN)
    return np.asarray(above.reshape(-1))


def overlong_penalty(lengths: np.ndarray[Any, Any], longest: int, buffer: int) -> Floats:
    """Return DAPO's soft overlong punishment (arXiv:2503.14476, equation 13): 0 to -1 for each answer (rows).

    Zero up to `longest - buffer` tokens, falling linearly to -1 at `longest`, the length
    limit. A `buffer` of 0 disables it.
    """
    if not buffer:
        return np.zeros(len(lengths))
    return np.clip((longest - buffer - lengths) / buffer, -1.0, 0.0)


def learnt_tokens(answers: Sequence[DrawnAnswer], width: int, *, mask_truncated: bool) -> Bools:
    """Return the learnt positions of the answers (rows × width, bool): all generated tokens, including the stop token.

    `mask_truncated` excludes answers that were truncated at the limit (overlong filtering,
    arXiv:2503.14476, section 3.4).
    """
    lengths = np.array([0 if answer.truncated and mask_truncated else len(answer.tokens) for answer in answers])
    return np.arange(width) < lengths[:, None]


def row_weights(learnt: Bools, loss_type: str, longest: int) -> Floats:
    """Return the weight of each learnt token of each row in the loss of the whole batch (rows).

    | loss_type | weight of a token | source |
    |---|---|---|
    | `grpo` | 1 / (its answer's tokens × answers that are learnt): the mean over answers of their means | arXiv:2402.03300, equation 3 |
    | `dapo` | 1 / (all learnt tokens): the mean over tokens | arXiv:2503.14476, equation 8, over the whole batch as in TRL |
    | `dr_grpo` | 1 / (answers × `longest`, the limit of an answer): a constant | arXiv:2503.20783, section 3.2, as TRL has it |
    """
    rows = len(learnt)
    lengths = learnt.sum(axis=1).astype(np.float64)
    match loss_type:
        case "grpo":
            return np.asarray(1.0 / (np.maximum(lengths, 1.0) * max(1, np.count_nonzero(lengths))))
        case "dapo":
            return np.full(rows, 1.0 / max(1.0, lengths.sum()))
        case "dr_grpo":
            return np.full(rows, 1.0 / (rows * longest))
    raise ValueError(f"there is no loss_type {loss_type!r}")


def length_metrics(lengths: Sequence[int], truncated: Sequence[bool]) -> dict[str, float]:
    """Compute `mean_length` and `max_length` in tokens, including the stop token, and `truncated_share`, the share of
    answers that reached the limit."""
    return {
        "mean_length": sum(lengths) / max(1, len(lengths)),
        "max_length": float(max(lengths, default=0)),
        "truncated_share": sum(truncated) / max(1, len(truncated)),
    }


@dataclass(frozen=True)
class PartRows:
    """Rows of a batch that are computed together, and the shape that they are padded to."""

    rows: np.ndarray[Any, np.dtype[np.int64]]
    """Numbers of the rows within the batch."""
    shape: RowShape


def prompts_without_padding(prompts: np.ndarray[Any, Any], padding: int) -> list[np.ndarray[Any, Any]]:
    """Return the tokens of each prompt (rows × positions, padded on the left) that are not padding."""
    return [row[row != padding] for row in prompts]


def parts_by_length(
    prompts: Sequence[int], answers: Sequence[int], count: int, shapes: Sequence[RowShape]
) -> list[PartRows]:
    """Cut a batch into `count` parts with equal numbers of rows, each with the smallest of the `shapes` that holds it.

    `prompts` and `answers` are the rows' lengths in tokens. Several parts are cut from the rows in ascending order of
    their total length, so that short rows share a part; a single part keeps the order.
    """
    tokens, answer_tokens = np.add(prompts, answers), np.asarray(answers)
    order = np.argsort(tokens, kind="stable") if count > 1 else np.arange(len(tokens))
    return [
        PartRows(rows, smallest(shapes, int(tokens[rows].max()), int(answer_tokens[rows].max())))
        for rows in np.split(order, count)
    ]


def token_arrays(
    prompts: Sequence[np.ndarray[Any, Any]], answers: Sequence[DrawnAnswer], shape: RowShape, padding: int
) -> dict[str, Any]:
    """Return the arrays of a `stages.training.losses.AnswerRows` by name: each prompt directly followed by its answer."""
    tokens = np.full((len(answers), shape.tokens), padding, np.int32)
    starts = np.array([len(prompt) for prompt in prompts], np.int32)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens[row, : len(prompt)] = prompt
        tokens[row, len(prompt) : len(prompt) + len(answer.tokens)] = answer.tokens
    return {
        "tokens": tokens,
        "starts": starts,
        "answers": _padded([answer.tokens for answer in answers], shape.answers, padding, np.int32),
        "lengths": np.array([len(answer.tokens) for answer in answers], np.int32),
    }


def sampler_logprobs(answers: Sequence[DrawnAnswer], width: int) -> np.ndarray[Any, Any] | None:
    """Return the sampler's log-probabilities (rows × width, float32, zeros after an answer's end); None unless all
    answers have them."""
    found = [answer.logprobs for answer in answers if answer.logprobs is not None]
    return _padded(found, width, 0, np.float32) if len(found) == len(answers) else None


def _padded(rows: Sequence[np.ndarray[Any, Any]], width: int, padding: int, dtype: Any) -> np.ndarray[Any, Any]:
    array = np.full((len(rows), width), padding, dtype)
    for number, row in enumerate(rows):
        array[number, : len(row)] = row
    return array


def weight_arrays(answers: Sequence[DrawnAnswer], rewards: Floats, options: Grpo) -> dict[str, Any]:
    """Return what the whole batch decides of a `stages.training.losses.PolicyBatch`, by name, for all rows: the learnt
    tokens (rows × `max_completion_length`), the advantages and the weights.

    Weights are multiplied by the number of parts, since the trainer averages the parts' gradients.
    """
    width, parts = options.max_completion_length, options.gradient_accumulation_steps
    learnt = learnt_tokens(answers, width, mask_truncated=options.mask_truncated_completions)
    return {
        "learnt": learnt,
        "advantages": advantages(rewards, options.num_generations, options.scale_rewards).astype(np.float32),
        "row_weight": (parts * row_weights(learnt, options.loss_type, width)).astype(np.float32),
        "token_weight": (parts * row_weights(learnt, "dapo", width)).astype(np.float32),
    }
