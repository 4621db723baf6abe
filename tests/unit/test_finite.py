"""Arrays with a number in them that is not finite are found, wherever it is and whatever the type."""

from typing import Any

import numpy as np
import pytest

from stages.training import finite
from stages.training.finite import not_finite


def odd_at(place: int, value: float, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Ones, with one other value, longer than what is looked at in one go."""
    array = np.ones(2 * finite.CHUNK + 7, dtype)
    array[place] = value
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, finite.CHUNK - 1, finite.CHUNK, -1])
def test_one_number_among_many_is_found(place: int, value: float) -> None:
    assert not_finite({"sound": np.ones(3), "odd": odd_at(place, value), "later": odd_at(0, np.nan)}) == "odd"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.float32(3.4e38),
        np.array([5e-324, -0.0, 1.7e308]),
        np.array([2**63 - 1]),
        np.array([True]),
        np.array(["nan"]),
        np.array([np.datetime64("NaT")]),
        np.zeros(2, "V4"),
        np.zeros(2, [("x", "f4")]),
    ],
)
def test_what_is_finite_or_no_number_is_not_named(array: Any) -> None:
    assert not_finite({"array": array}) == ""


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.complex64])
def test_every_type_of_numbers_is_looked_at(dtype: Any) -> None:
    assert not_finite({"array": odd_at(5, np.nan, dtype)}) == "array"


def test_an_array_that_does_not_lie_in_order_is_looked_at_whole() -> None:
    array = np.ones((4, 6))
    array[3, 1] = np.inf
    assert not_finite({"whole": array.T}) == "whole"
    assert not_finite({"every second": array[:, ::2]}) == ""
