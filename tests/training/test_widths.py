"""Few widths, close to what rows need, and always the same ones."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.widths import RowShape, best_widths, ladder, narrowest, rounded_up, row_shapes, smallest


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(1024, (448, 544, 672, 832, 1024)), (96, (64, 96)), (100, (64, 96, 100)), (20, (20,)), (1, (1,))],
)
def test_a_ladder_climbs_by_a_quarter_to_the_longest(longest: int, expected: tuple[int, ...]) -> None:
    assert ladder(longest) == expected


@pytest.mark.parametrize(
    ("lengths", "longest", "count", "expected"),
    [
        ([], 512, 5, (512,)),
        ([10], 512, 5, (32,)),
        ([10, 500], 500, 5, (32, 500)),
        ([10] * 9 + [40] * 1 + [200] * 9, 512, 2, (32, 224)),
        ([10] * 1 + [40] * 9 + [200] * 9, 512, 2, (64, 224)),
        ([10] * 9 + [40] * 9 + [200] * 1, 512, 2, (64, 224)),
        ([10] * 99 + [40] * 9 + [200] * 1, 512, 2, (32, 224)),
        ([33, 65, 97, 129, 161, 193], 512, 5, (64, 96, 128, 192, 224)),
    ],
)
def test_the_best_widths_of_known_lengths(
    lengths: list[int], longest: int, count: int, expected: tuple[int, ...]
) -> None:
    found = best_widths(lengths, longest, count)
    assert padded(lengths, found) == padded(lengths, expected)
    assert len(found) <= count


def padded(lengths: list[int], widths: tuple[int, ...]) -> int:
    return sum(narrowest(length, widths) for length in lengths)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 3))
def test_no_other_widths_pad_less(lengths: list[int], count: int) -> None:
    longest = 300
    found = best_widths(lengths, longest, count)
    assert len(found) <= count
    places = sorted({rounded_up(length, longest) for length in lengths})
    others = [
        widths
        for number in range(1, count + 1)
        for widths in itertools.combinations(places, number)
        if widths[-1] == places[-1]
    ]
    assert padded(lengths, found) == min(padded(lengths, widths) for widths in others)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([100, 100, 100, 196], [(352, 224), (416, 288), (544, 416), (704, 576), (992, 768)]),  # usually 124
        ([], [(608, 224), (672, 288), (800, 416), (960, 576), (1152, 768)]),  # nothing is known
    ],
)
def test_shapes_for_answers_hold_usual_prompts_and_at_last_every_one(
    prompts: list[int], expected: list[tuple[int, int]]
) -> None:
    assert row_shapes(prompts, 384, 768) == tuple(RowShape(*shape) for shape in expected)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.integers(1, 400), st.data())
def test_whatever_may_be_drawn_fits_into_few_shapes(prompts: list[int], longest: int, data: st.DataObject) -> None:
    shapes = row_shapes(prompts, 300, longest)
    assert len(shapes) <= 5
    assert list(shapes) == sorted(shapes)
    assert shapes[-1].tokens <= 300 + longest
    prompt, answer = data.draw(st.sampled_from(prompts)), data.draw(st.integers(1, longest))
    found = smallest(shapes, prompt + answer, answer)
    assert found.tokens >= prompt + answer
    assert found.answers >= answer
    assert all(before.tokens < prompt + answer or before.answers < answer for before in shapes[: shapes.index(found)])


def test_a_row_that_no_shape_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="rows of 9 tokens with answers of 5 do not fit"):
        smallest((RowShape(8, 4),), 9, 5)
