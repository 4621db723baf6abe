"""Fields are read as the formats of copies write them, and what cannot be read is missing, never an error."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.fields import Unfit, items_of, number_of, read_list, text_or_none


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", []),
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b' \"it's\"]", ["a", "b", "it's"]),
        (
            "[{'a': 1} {'a': nan}\n {'a': array(['x', 'y'], dtype=object)}]",
            [{"a": 1}, {"a": None}, {"a": (["x", "y"],)}],
        ),
        ("[{'a': -2.5, 'b': None}]", [{"a": -2.5, "b": None}]),
        ("{'a': 1}", None),
        ("a, b", None),
        ("[1, 2", None),
        ("[f(1)]", None),
        ("[" * 100_000, None),
        ("(" * 100_000, None),
        ("", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_list_in_a_text_is_read_as_json_python_or_what_numpy_prints(text: str, found: list[Any] | None) -> None:
    assert read_list(text) == found


@pytest.mark.slow
@given(st.lists(st.text()))
def test_a_list_of_texts_comes_back_from_each_notation(texts: list[str]) -> None:
    for written in (
        json.dumps(texts),
        repr(texts),
        f"[{' '.join(map(repr, texts))}]",
        "\n ".join(map(repr, texts)).join("[]"),
    ):
        assert read_list(written) == texts


@pytest.mark.slow
@given(st.text())
def test_no_text_makes_reading_a_list_fail(text: str) -> None:
    assert isinstance(read_list(text), list | None)
    assert isinstance(read_list(f"[{text}"), list | None)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (8, 8.0),
        (8.5, 8.5),
        ("8.5", 8.5),
        (" 7 ", 7.0),
        *((value, math.nan) for value in ("N/A", "", None, math.nan, math.inf, "inf", True, 10**400, b"8", [8], {})),
    ],
)
def test_a_number_is_finite_or_it_is_none(value: object, number: float) -> None:
    assert number_of(value) == pytest.approx(number, nan_ok=True)


@pytest.mark.parametrize("value", [None, math.nan, "", " "])
def test_a_list_that_is_missing_is_empty(value: object) -> None:
    assert items_of({"test_list": value}, "test_list") == []
    assert items_of({}, "test_list") == []


@pytest.mark.parametrize("value", ["a", 7, {"a": 1}, b"[]"])
def test_what_is_no_list_makes_the_row_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="malformed: test_list is no list"):
        items_of({"test_list": value}, "test_list")


@pytest.mark.parametrize("value", [None, math.nan, 3, b"a", ["a"]])
def test_a_text_that_may_be_missing_is_empty_where_it_is_no_text(value: object) -> None:
    assert text_or_none({"language": value}, "language") == ""
