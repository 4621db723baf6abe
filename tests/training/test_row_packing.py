"""Rows of a batch: every example once, none split, in few shapes that follow from the data alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training.row_packing import (
    SHAPE_GAIN_MIN,
    ExampleSize,
    PackedLayout,
    PackedShape,
    chosen,
    full_width,
    packed,
    summary,
)
from stages.training.widths import WIDTHS_MAX

LONGEST = 200
SIZES = st.builds(lambda prompt, learnt: ExampleSize(prompt + learnt, learnt), st.integers(1, 120), st.integers(1, 80))
BATCHES = st.integers(1, 9).flatmap(
    lambda count: st.lists(st.lists(SIZES, min_size=count, max_size=count), min_size=1, max_size=6)
)


def layout_of(batches: list[list[ExampleSize]], multiple: int = 1, *, packing: bool = True) -> PackedLayout:
    every = [size for batch in batches for size in batch]
    longest = ExampleSize(max(size.length for size in every), max(size.learnt for size in every))
    return chosen(batches, longest, LONGEST, multiple=multiple, packing=packing)


@given(st.lists(SIZES, min_size=1, max_size=20), st.integers(1, 20))
def test_every_example_is_in_one_row_and_the_fullest_row_is_told(sizes: list[ExampleSize], rows: int) -> None:
    found = packed(sizes, rows)
    assert len(found.rows) == rows
    assert sorted(number for row in found.rows for number in row) == list(range(len(sizes)))
    assert found.need.length == max(sum(sizes[number].length for number in row) for row in found.rows)
    assert found.need.learnt == max(sum(sizes[number].learnt for number in row) for row in found.rows)
    mean = sum(size.length for size in sizes) / rows
    assert found.need.length <= mean + max(size.length for size in sizes)
    assert packed(sizes, rows) == found


@settings(max_examples=30)
@given(BATCHES, st.sampled_from([1, 2, 4]), st.booleans())
def test_every_batch_has_a_shape_that_holds_its_rows(
    batches: list[list[ExampleSize]], multiple: int, packing: bool
) -> None:
    layout = layout_of(batches, multiple, packing=packing)
    assert 1 <= len(layout.shapes) <= WIDTHS_MAX
    assert layout == layout_of(batches, multiple, packing=packing)
    for batch in batches:
        shape, rows = layout.laid_out(batch)
        assert len(rows.rows) == shape.rows
        assert shape.rows % multiple == 0
        assert shape.selected <= shape.width <= LONGEST
        assert all(sum(batch[number].length for number in row) <= shape.width for row in rows.rows)
        assert all(sum(batch[number].learnt for number in row) <= shape.selected for row in rows.rows)
        assert packing or not rows.shared


@settings(max_examples=30)
@given(BATCHES)
def test_no_batch_costs_more_than_a_row_for_each_example(batches: list[list[ExampleSize]]) -> None:
    widest = full_width(len(batches[0]), LONGEST)
    for batch in batches:
        shape, _ = layout_of(batches).laid_out(batch)
        assert shape.cost <= widest.shapes[0].cost + 1  # logits of the first token count there too little


@settings(max_examples=30)
@given(BATCHES, st.lists(SIZES, min_size=9, max_size=9))
def test_a_batch_that_was_not_sampled_fits_too(batches: list[list[ExampleSize]], other: list[ExampleSize]) -> None:
    later = other[: len(batches[0])]
    every = [size for batch in (*batches, later) for size in batch]
    longest = ExampleSize(max(size.length for size in every), max(size.learnt for size in every))
    shape, rows = chosen(batches, longest, LONGEST).laid_out(later)
    assert shape.holds(rows.need)


@pytest.mark.parametrize(
    ("lengths", "multiple", "shapes"),
    [
        ([200] * 4, 1, [(4, 200)]),  # nothing to save
        ([96] * 4, 1, [(4, 96)]),  # two to a row are as many positions, and more attention
        ([96, 64, 32, 32], 1, [(2, 128), (4, 96)]),  # 96 + 32, 64 + 32
        ([96, 64, 32, 32], 4, [(4, 96)]),  # four devices have a row each
        ([96, 64, 32], 2, [(2, 96), (4, 96)]),
    ],
)
def test_shapes_follow_from_what_batches_need(lengths: list[int], multiple: int, shapes: list[tuple[int, int]]) -> None:
    batch = [ExampleSize(length, 32) for length in lengths]
    assert [(shape.rows, shape.width) for shape in layout_of([batch], multiple).shapes] == shapes


def test_a_shape_has_to_save_what_compiling_it_is_worth() -> None:
    rarely, mostly = [ExampleSize(64, 10)] * 4, [ExampleSize(200, 10)] * 4
    often = round(1 / SHAPE_GAIN_MIN)
    assert len(layout_of([*[mostly] * 2, *[rarely] * 2]).shapes) == 2
    assert len(layout_of([*[mostly] * often * 2, rarely]).shapes) == 1


def test_the_log_names_the_shapes_and_what_they_save() -> None:
    batches = [[ExampleSize(50, 20), ExampleSize(50, 20)], [ExampleSize(90, 30), ExampleSize(80, 40)]]
    layout = PackedLayout((PackedShape(1, 100, 40), PackedShape(2, 100, 40)))
    assert summary(layout, batches, 200) == (
        "rows × positions of the first 2 batches: 1 × 100 1, 2 × 100 1; 10% are padding, in place of 66% in rows of 200; "
        "logits of 15%"
    )
