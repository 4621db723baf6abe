"""What an answer is worth beside its group, and what each of its tokens counts: tables by hand."""

import dataclasses

import numpy as np
import pytest

from stages.options import Grpo
from stages.training.policy import (
    DrawnAnswer,
    advantages,
    informative,
    learnt_tokens,
    length_metrics,
    overlong_penalty,
    parts_by_length,
    prompts_without_padding,
    row_weights,
    sampler_logprobs,
    token_arrays,
    weight_arrays,
    weighted_sum,
)
from stages.training.widths import RowShape

STOPPED = DrawnAnswer("ab", np.array([7, 8, 1], np.int32), truncated=False)
EMPTY = DrawnAnswer("", np.array([1], np.int32), truncated=False)
CUT = DrawnAnswer("abcd", np.array([7, 8, 9, 7], np.int32), truncated=True)


@pytest.mark.parametrize(
    ("scale", "rewards", "expected"),
    [
        ("group", [1.0, 0.0], [0.7071058, -0.7071058]),  # 0.5 / (sqrt(0.5) + 1e-6)
        ("group", [0.1, 0.0], [0.7070968, -0.7070968]),  # a small difference counts as much as a large one
        ("none", [1.0, 0.0], [0.5, -0.5]),
        ("none", [0.1, 0.0], [0.05, -0.05]),
        ("group", [3.0, 3.0], [0.0, 0.0]),  # nothing to tell apart
        ("none", [1.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 4.0], [0.75, -0.25, -0.25, -0.25, -0.5, -0.5, -0.5, 1.5]),
    ],
)
def test_an_advantage_is_what_an_answer_is_above_its_groups_mean(
    scale: str, rewards: list[float], expected: list[float]
) -> None:
    group = 2 if len(rewards) == 2 else 4
    np.testing.assert_allclose(advantages(np.array(rewards), group, scale), expected, rtol=1e-6)


def test_an_answers_reward_is_the_sum_of_what_each_reward_gave_times_its_weight() -> None:
    values = {"structure": np.array([1.0, 0.0, 1.0]), "mine:kind": np.array([0.5, 2.0, 0.0])}
    assert weighted_sum(values, {"structure": 0.5, "mine:kind": -1.0}).tolist() == [0.0, -2.0, 0.5]


def test_only_a_group_whose_answers_differ_in_worth_teaches_something() -> None:
    assert informative(np.array([1.0, 1.0, 0.0, 0.5, 0.0, 0.0]), 2).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("learnt", "teaches"),
    [
        ([True, True, True], True),
        ([False, False, False], False),
        ([False, True, False], False),  # the only answer that is learnt was worth what the group was
        ([True, False, False], True),
    ],
)
def test_a_group_teaches_only_by_answers_that_are_learnt(learnt: list[bool], teaches: bool) -> None:
    assert informative(np.array([1.0, 0.5, 0.0]), 3, np.array(learnt)).tolist() == [teaches]


@pytest.mark.parametrize(
    ("tokens", "buffer", "penalty"),
    [
        (100, 0, 0.0),  # no buffer, no penalty
        (60, 40, 0.0),
        (61, 40, -0.025),
        (80, 40, -0.5),
        (100, 40, -1.0),
    ],
)
def test_an_answer_that_comes_near_the_limit_loses_worth_linearly(tokens: int, buffer: int, penalty: float) -> None:
    assert overlong_penalty(np.array([tokens]), 100, buffer).tolist() == pytest.approx([penalty])


def test_every_token_that_was_drawn_is_learnt_and_the_stop_is_one_of_them() -> None:
    answers = [STOPPED, EMPTY, CUT]
    assert learnt_tokens(answers, 4, mask_truncated=False).sum(axis=1).tolist() == [3, 1, 4]
    assert learnt_tokens(answers, 4, mask_truncated=True).sum(axis=1).tolist() == [3, 1, 0]


@pytest.mark.parametrize(
    ("loss_type", "lengths", "weights"),
    [
        ("grpo", [1, 2, 4], [1 / 3, 1 / 6, 1 / 12]),
        ("grpo", [1, 0, 4], [1 / 2, 1 / 2, 1 / 8]),  # two answers are learnt; the second has no token that could count
        ("dapo", [1, 2, 4], [1 / 7, 1 / 7, 1 / 7]),
        ("dapo", [0, 0, 0], [1.0, 1.0, 1.0]),
        ("dr_grpo", [1, 2, 4], [1 / 24, 1 / 24, 1 / 24]),  # three answers of at most eight tokens
        ("dr_grpo", [1, 0, 4], [1 / 24, 1 / 24, 1 / 24]),  # constant: what is left out changes nothing for the others
    ],
)
def test_a_token_counts_what_the_loss_type_says(loss_type: str, lengths: list[int], weights: list[float]) -> None:
    learnt = np.arange(8) < np.array(lengths)[:, None]
    np.testing.assert_allclose(row_weights(learnt, loss_type, 8), weights)


def test_weights_of_a_batch_are_for_as_many_parts() -> None:
    options = Grpo(num_generations=2, batch=2, gradient_accumulation_steps=2, max_completion_length=5)
    arrays = weight_arrays([STOPPED, EMPTY, CUT, STOPPED], np.array([1.0, 0.0, 0.0, 0.0]), options)
    assert arrays["learnt"].sum(axis=1).tolist() == [3, 1, 4, 3]
    np.testing.assert_allclose(arrays["row_weight"], [2 / 11] * 4, rtol=1e-6)
    types = {name: array.dtype.name for name, array in arrays.items()}
    assert types == {"learnt": "bool", "advantages": "float32", "row_weight": "float32", "token_weight": "float32"}


def test_a_row_is_its_prompt_without_padding_followed_by_its_answer_with_the_stop() -> None:
    prompts = prompts_without_padding(np.array([[0, 2, 4], [2, 5, 6], [0, 0, 2]]), 0)
    arrays = token_arrays(prompts, [STOPPED, EMPTY, CUT], RowShape(7, 5), 0)
    assert arrays["tokens"].tolist() == [[2, 4, 7, 8, 1, 0, 0], [2, 5, 6, 1, 0, 0, 0], [2, 7, 8, 9, 7, 0, 0]]
    assert arrays["answers"].tolist() == [[7, 8, 1, 0, 0], [1, 0, 0, 0, 0], [7, 8, 9, 7, 0]]
    assert (arrays["starts"].tolist(), arrays["lengths"].tolist()) == ([2, 3, 1], [3, 1, 4])
    assert {array.dtype.name for array in arrays.values()} == {"int32"}


SHAPES = (RowShape(8, 4), RowShape(12, 8), RowShape(20, 12))


@pytest.mark.parametrize(
    ("prompts", "answers", "count", "rows", "shapes"),
    [
        ([4, 4], [4, 1], 1, [[0, 1]], [0]),
        ([4, 4], [4, 5], 1, [[0, 1]], [1]),  # the answer is too wide for the first shape
        ([6, 4], [4, 1], 1, [[0, 1]], [1]),  # prompt and answer are, together
        ([8, 1], [12, 1], 1, [[0, 1]], [2]),
        ([8, 1], [12, 1], 2, [[1], [0]], [0, 2]),  # the short row no longer pays for the long one
        ([4, 4, 4, 4], [1, 9, 1, 2], 2, [[0, 2], [3, 1]], [0, 2]),  # rows of equal length keep their order
    ],
)
def test_each_part_has_rows_of_like_length_and_the_smallest_shape_that_holds_them(
    prompts: list[int], answers: list[int], count: int, rows: list[list[int]], shapes: list[int]
) -> None:
    found = parts_by_length(prompts, answers, count, SHAPES)
    assert [part.rows.tolist() for part in found] == rows
    assert [SHAPES.index(part.shape) for part in found] == shapes


def test_the_samplers_logprobs_are_there_if_all_answers_have_them() -> None:
    told = [dataclasses.replace(each, logprobs=-np.ones(len(each.tokens), np.float32)) for each in (EMPTY, STOPPED)]
    found = sampler_logprobs(told, 4)
    assert found is not None
    assert found.tolist() == [[-1, 0, 0, 0], [-1, -1, -1, 0]]
    assert sampler_logprobs([*told, CUT], 4) is None


def test_lengths_are_told_with_the_stop_token() -> None:
    found = length_metrics([3, 1, 4, 3], [False, False, True, False])
    assert found == {"mean_length": 2.75, "max_length": 4.0, "truncated_share": 0.25}
