"""Values that differ in one bit, in type or in shape have different digests, and equal ones the same in every process."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from stages.session.tracing import digest_of


@dataclass(frozen=True)
class Pair:
    one: Any
    two: Any


DIFFERENT = [
    None,
    True,
    1,
    1.0,
    "1",
    b"1",
    [],
    [[]],
    {},
    0.0,
    -0.0,
    float("nan"),
    ["ab", "c"],
    ["a", "bc"],
    [1, [2]],
    [1, 2],
    {"a": 1},
    {"a": 2},
    {"b": 1},
    Pair(1, 2),
    np.array([1, 2], np.int32),
    np.array([1, 2], np.int64),
    np.array([[1, 2]], np.int32),
    np.array([1.0, 2.0], np.float32),
    np.array([1.0, np.nextafter(np.float32(2), np.float32(3))], np.float32),
    np.array(["a", "b"]),
    np.array(["a", "c"]),
    np.array(["a", "b"], object),
    np.array(["a", "c"], object),
]


def test_whatever_differs_has_another_digest() -> None:
    assert len({digest_of(value) for value in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    "one, two",
    [
        ([1, "a"], (1, "a")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
        (np.array(["a", "b"], object), np.array(["".join(["a"]), "b"], object)),
        (b"a", bytearray(b"a")),
        (lambda: "a", "a"),
    ],
)
def test_equal_values_have_equal_digests(one: Any, two: Any) -> None:
    assert digest_of(one) == digest_of(two)


def test_a_digest_is_the_same_in_every_process() -> None:
    assert digest_of(["a", 1, 0.5]) == "12f7ac69cc6e33228b57cb18f18b046eabe8e07c0df7decf15c8059f4408f3ec"


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="a trace cannot hold a object"):
        digest_of([object()])
