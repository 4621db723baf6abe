"""What an answer is worth beside its group, and what each of its tokens counts: tables by hand."""

import numpy as np
import pytest

from stages.options import Grpo
from stages.training.policy import (
    DrawnAnswer,
    advantages,
    arrays_for,
    informative,
    learnt_tokens,
    length_metrics,
    overlong_penalty,
    row_weights,
    weighted_sum,
)

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


def test_arrays_of_a_batch_have_the_stop_token_and_weights_for_as_many_parts() -> None:
    options = Grpo(num_generations=2, batch=2, gradient_accumulation_steps=2, max_completion_length=5)
    arrays = arrays_for([STOPPED, EMPTY, CUT, STOPPED], np.array([1.0, 0.0, 0.0, 0.0]), options, 0)
    assert arrays["answers"].tolist() == [[7, 8, 1, 0, 0], [1, 0, 0, 0, 0], [7, 8, 9, 7, 0], [7, 8, 1, 0, 0]]
    assert arrays["lengths"].tolist() == [3, 1, 4, 3]
    np.testing.assert_allclose(arrays["row_weight"], [2 / 11] * 4, rtol=1e-6)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "answers": "int32",
        "lengths": "int32",
        "learnt": "bool",
        "advantages": "float32",
        "row_weight": "float32",
        "token_weight": "float32",
    }


def test_lengths_are_told_with_the_stop_token() -> None:
    found = length_metrics([3, 1, 4, 3], [False, False, True, False])
    assert found == {"mean_length": 2.75, "max_length": 4.0, "truncated_share": 0.25}
