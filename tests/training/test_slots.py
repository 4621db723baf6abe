"""The sampler's shapes are few, hold what they have to, and are not much larger."""

from itertools import pairwise

import pytest

from stages.training.slots import SIZES_MAX, SlotPlan


@pytest.mark.parametrize(
    ("slots", "fsdp", "sizes"),
    [(64, 1, (8, 16, 32, 64)), (32, 8, (8, 16, 32)), (1, 1, (1,)), (1, 4, (4,)), (6, 4, (4, 8))],
)
def test_rows_can_be_divided_among_the_devices_and_have_few_sizes(
    slots: int, fsdp: int, sizes: tuple[int, ...]
) -> None:
    assert SlotPlan.of(slots, 256, 768, fsdp).sizes == sizes
    assert len(sizes) <= SIZES_MAX


@pytest.mark.parametrize("rows", range(1, 70, 3))
def test_at_least_half_of_the_slots_have_rows_or_they_are_the_fewest(rows: int) -> None:
    plan = SlotPlan.of(64, 256, 768)
    assert min(rows, 64) <= plan.size_for(rows) <= max(2 * rows, 8)


def test_the_cache_has_room_for_the_next_steps_or_all_that_there_may_be() -> None:
    plan = SlotPlan.of(8, 256, 768)
    assert plan.cache_widths == (224, 320, 480, 704, 1024)
    for place in range(0, 1024, 17):
        width = plan.width_for([3, place], 32)
        assert width >= min(place + 32, 1024)
        assert width <= max(1.6 * (place + 32), plan.cache_widths[0])
    assert plan.prompt_widths[-1] == 256
    assert all(above <= 1.6 * below for below, above in pairwise(plan.prompt_widths))
