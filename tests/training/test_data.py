"""What a step learns from depends on the seed and the step alone, and what is evaluated is never trained on."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data import derive_seed, examples_at, mixed_at, open_source, taught_at
from stages.data.order import index_at
from stages.data.sums import Example
from stages.rewards import correct, well_formed

SOURCE = open_source("sums:50", Path())


@settings(deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_every_item_comes_once_in_an_epoch(size: int, seed: int, epoch: int) -> None:
    assert sorted(index_at(epoch * size + place, size, seed) for place in range(size)) == list(range(size))


@settings(deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_each_epoch_and_each_seed_has_an_order_of_its_own(seed: int) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [index_at(epoch * 100 + place, 100, seed) for place in range(100)]

    assert order(seed, 0) != order(seed, 1)
    assert order(seed, 0) != order(seed + 1, 0)


def test_the_order_is_the_same_on_every_machine() -> None:
    """A changed order would silently train a resumed run on other data: checkpoints would have to say so."""
    assert [index_at(position, 10, 7) for position in range(12)] == [2, 7, 1, 8, 4, 0, 5, 9, 6, 3, 8, 3]
    assert derive_seed(0, "sft", "data") == 997668081


@settings(deadline=None)
@given(step=st.integers(1, 60), batch=st.integers(1, 8), seed=st.integers(0, 1000))
def test_a_batch_can_be_had_without_those_before_it(step: int, batch: int, seed: int) -> None:
    one_stream = examples_at(SOURCE.train, 1, step * batch, seed)
    assert examples_at(SOURCE.train, step, batch, seed) == one_stream[-batch:]


def test_evaluation_asks_nothing_that_training_shows_not_even_the_other_way_round() -> None:
    def operands(example: Example) -> tuple[str, ...]:
        return tuple(sorted(example.prompt.removesuffix("=?\n").split("+")))

    trained = {operands(example) for example in SOURCE.train}
    asked = {operands(example) for example in SOURCE.held_out}
    assert not trained & asked
    assert len(SOURCE.train) + len(SOURCE.held_out) == 50 * 50
    assert 0.15 < len(SOURCE.held_out) / 2500 < 0.25
    assert any(example.hard for example in SOURCE.held_out)
    assert any(not example.hard for example in SOURCE.held_out)


def test_what_is_taught_first_is_right_and_the_rest_is_wrong_but_well_formed() -> None:
    for example in (*SOURCE.train, *SOURCE.held_out):
        assert correct(example.taught[0], example.answer)
        assert len(example.taught) > 1
        for completion in example.taught:
            assert well_formed(completion)
        assert not any(correct(mistake, example.answer) for mistake in example.taught[1:])


def test_hard_problems_are_those_with_a_carry() -> None:
    hard = {example.prompt for example in SOURCE.train if example.hard}
    assert {example.prompt for example in SOURCE.hard} == hard
    assert all(example.hard == ("+1=" in example.taught[0].partition(",")[2]) for example in SOURCE.train)


@pytest.mark.parametrize("noise", [0.0, 0.25, 1.0])
def test_the_asked_share_of_examples_teaches_a_mistake(noise: float) -> None:
    answers = {example.prompt: example.answer for example in SOURCE.train}
    taught = taught_at(SOURCE.train, 1, 4_000, (noise, noise), seed=3)
    wrong = sum(not correct(completion, answers[prompt]) for prompt, completion in taught)
    assert wrong / len(taught) == pytest.approx(noise, abs=0.03)


def test_hard_problems_have_a_share_of_mistakes_of_their_own() -> None:
    problems = {example.prompt: example for example in SOURCE.train}
    for prompt, completion in taught_at(SOURCE.train, 1, 500, (0.0, 1.0), seed=3):
        example = problems[prompt]
        assert (completion in example.taught[1:]) == example.hard


@pytest.mark.parametrize(("replay", "at_least"), [(0.0, 40), (0.5, 20), (1.0, 0)])
def test_continued_training_mixes_hard_problems_with_a_share_of_all(replay: float, at_least: int) -> None:
    chosen = mixed_at(SOURCE, 3, 40, replay, seed=1)
    assert len(chosen) == 40
    assert all(example.hard for example in chosen[40 - at_least :])
    assert any(not example.hard for example in chosen) == (replay > 0)


@pytest.mark.parametrize("name", ["", "sums", "sums:", "sums:-3", "sums:3", "gsm8k", "sums:10x"])
def test_a_source_that_does_not_exist_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="sums:"):
        open_source(name, Path())
