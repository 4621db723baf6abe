"""Few widths, close to what rows need, and always the same ones."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.widths import best_widths, ladder, narrowest, rounded_up


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
