"""Paired differences of two evaluations, and what `benchmarks.real` concludes from them."""

import math
from typing import Any

import pytest

from benchmarks import real
from benchmarks.cut_model import kept_rows
from benchmarks.paired import averaged, gain

WEIGHTS = {"structure": 0.5, "correctness": 1.0}


def test_a_gain_is_the_mean_difference_of_shared_problems_with_its_interval() -> None:
    found = gain({"a": 0.0, "b": 1.0, "c": 0.0, "gone": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "new": 0.0})
    differences = [1.0, 0.0, 1.0]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((each - mean) ** 2 for each in differences) / 2)
    assert (found.mean, found.problems) == (pytest.approx(mean), 3)
    assert found.half_width == pytest.approx(1.96 * deviation / math.sqrt(3))


def test_a_gain_counts_only_if_its_interval_lies_above_zero() -> None:
    before = {str(number): 0.0 for number in range(100)}
    few, many = ({**before, **dict.fromkeys(map(str, range(count)), 1.0)} for count in (3, 10))
    assert not gain(before, few).is_positive
    assert gain(before, many).is_positive
    assert not gain(many, before).is_positive


def test_too_few_shared_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="1 problems are in both evaluations: at least two are needed"):
        gain({"a": 1.0, "b": 0.0}, {"a": 1.0, "c": 0.0})


def test_runs_are_averaged_problem_by_problem_so_that_more_runs_are_not_more_problems() -> None:
    assert averaged([{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0}]) == {"a": 0.5, "b": 0.0}
    assert averaged([]) == {}


def verdicts(right: int, shaped: int, total: int = 100) -> list[dict[str, Any]]:
    return [
        {"key": str(number), "set": real.PROBLEMS, "format": number < shaped, "right": number < right}
        for number in range(total)
    ]


def chain(seed: int, *, sft: bool = True, **found: tuple[int, int]) -> real.Chain:
    stages = {name.replace("_", "-"): verdicts(*each) for name, each in found.items()}
    return real.Chain(seed, sft, stages, sessions=3)


GOOD = {"base": (0, 2), "after_sft": (40, 99), "after_grpo": (60, 99)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"base": (0, 10)}, ["0.100 of the base model's answers have the format"]),
        ({"after_sft": (40, 94)}, ["only 0.940 of the answers have the format after-sft"]),
        ({"after_grpo": (60, 94)}, ["only 0.940 of the answers have the format after-grpo"]),
        ({"after_grpo": (41, 99)}, ["GRPO above SFT"]),
    ],
)
def test_each_expectation_of_a_chain_can_be_missed(changed: dict[str, tuple[int, int]], said: list[str]) -> None:
    chains = [chain(0, **{**GOOD, **changed})]
    missed = real.shortfalls(chains, real.gains(chains, WEIGHTS))
    assert len(missed) == len(said)
    assert all(part in line for part, line in zip(said, missed, strict=True))


@pytest.mark.parametrize(("alone", "reaches"), [((5, 10), False), ((60, 99), True)])
def test_grpo_without_sft_must_stay_below(alone: tuple[int, int], reaches: bool) -> None:
    chains = [chain(0, **GOOD), chain(0, sft=False, base=(0, 2), after_grpo=alone)]
    missed = real.shortfalls(chains, real.gains(chains, WEIGHTS))
    assert ["SFT and GRPO above GRPO alone" in line for line in missed] == [True] * reaches


def test_the_ablation_is_the_same_chain_without_sft(tmp_path: Any) -> None:
    whole, alone = (real.pipeline_for(3, tmp_path, 0.5, sft=sft) for sft in (True, False))
    assert [stage["name"] for stage in alone["stages"]] == ["base", "grpo", "after-grpo"]
    (grpo,), (other,) = ([s for s in each["stages"] if s["name"] == "grpo"] for each in (whole, alone))
    assert other == {**grpo, "options": {**grpo["options"], "guard_idle": 0.0}}
    assert whole["seed"] == alone["seed"] == 3
    assert grpo["steps"] == 15
    (fault,) = real.faults_for(whole)["sessions"]
    assert (fault["action"], fault["stage"], fault["step"]) == ("kill", "grpo", 7)


def test_a_cut_vocabulary_keeps_the_first_pieces_and_all_ascii_characters() -> None:
    pieces = [("<pad>", 3), ("\n", 4), ("he", 1), ("ll", 1), ("é", 1), ("漢", 1), ("h", 1), ("e", 1), ("▁", 1)]
    assert kept_rows(pieces, 6) == [0, 1, 2, 6, 7, 8]
    assert kept_rows(pieces, 9) == list(range(9))
    assert kept_rows([("<pad>", 3), ("a", 1), ("he", 1), ("b", 1)], 4) == [0, 1, 3]
