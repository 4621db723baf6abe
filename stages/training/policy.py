"""Computes the inputs of a policy update from judged answers: advantages, learnt tokens, and the weight of each token.

Uses NumPy only, in float64 until the last step; every function is pure. The answers to one problem
form a group and are adjacent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.options import Grpo

SPREAD_MIN = 1e-6
"""Constant added to a group's standard deviation to avoid division by zero, as in TRL and Tunix."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class DrawnAnswer:
    """A generated answer.

    `tokens` ends with the stop token, unless the answer reached the length limit (`truncated`). `text` is the input of
    the rewards: the tokens without the stop token. `logprobs` (one for each token, float32) are the sampler's natural
    logarithms of the tokens' probabilities among all tokens at the sampling temperature.
    """

    text: str
    tokens: np.ndarray[Any, np.dtype[np.int32]]
    truncated: bool
    logprobs: np.ndarray[Any, np.dtype[np.float32]] | None = None


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


def learnt_tokens(answers: list[DrawnAnswer], width: int, *, mask_truncated: bool) -> Bools:
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


def arrays_for(answers: list[DrawnAnswer], rewards: Floats, options: Grpo, padding: int) -> dict[str, Any]:
    """Return the arrays of a `stages.training.losses.PolicyBatch` by name, except the
    prompts and the log-probabilities.

    Weights are multiplied by the number of parts, since the trainer averages the parts' gradients.
    """
    width, parts = options.max_completion_length, options.gradient_accumulation_steps
    tokens = np.full((len(answers), width), padding, np.int32)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer.tokens)] = answer.tokens
    learnt = learnt_tokens(answers, width, mask_truncated=options.mask_truncated_completions)
    return {
        "answers": tokens,
        "lengths": np.array([len(answer.tokens) for answer in answers], np.int32),
        "learnt": learnt,
        "advantages": advantages(rewards, options.num_generations, options.scale_rewards).astype(np.float32),
        "row_weight": (parts * row_weights(learnt, options.loss_type, width)).astype(np.float32),
        "token_weight": (parts * row_weights(learnt, "dapo", width)).astype(np.float32),
    }
