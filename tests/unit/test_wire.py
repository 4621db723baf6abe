"""Values between a Python answer and its tests: plain ones arrive as they were, and nothing that is sent makes anything else."""

import datetime
import decimal
import fractions
import json
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards.judging.wire import decode, encode

KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False)
    | st.fractions()
    | st.dates()
)
PLAIN = st.recursive(
    KEYS
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.timedeltas()
    | st.just(range(3, 9, 2)),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(deque)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(OrderedDict)
        | st.dictionaries(KEYS, st.integers()).map(Counter)
        | st.dictionaries(KEYS, inner).map(lambda pairs: defaultdict(list, pairs))
    ),
)
MADE_HERE = (
    type(None), bool, int, float, str, bytes, bytearray, complex, list, tuple, set, frozenset, deque, range, dict, OrderedDict,
    Counter, defaultdict, fractions.Fraction, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, type,
)  # fmt: skip


class NotPlain(Exception):
    """What neither side could read."""


def refused(*_: Any) -> Any:
    raise NotPlain


def kinds(value: Any) -> Any:
    """The types of a value and of all that is in it; equal values may differ in them, as 1 and True do."""
    if isinstance(value, dict):
        return type(value), [(kinds(key), kinds(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), {(item, kinds(item)) for item in value}
    if isinstance(value, (list, tuple, deque)):
        return type(value), [kinds(item) for item in value]
    return type(value)


@pytest.mark.slow
@given(PLAIN)
def test_a_plain_value_arrives_as_it_was(value: Any) -> None:
    arrived = decode(json.loads(json.dumps(encode(value, refused))), refused)
    assert arrived == value
    assert kinds(arrived) == kinds(value)


TAGS = st.sampled_from([*"iblBtsfedCODnqmrwyTc", "object", "code", "made", "module", "x"])
SENT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["int", "type", "date", "0x1f", "9"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.builds(lambda tag, items: [tag, *items], TAGS, st.lists(inner, max_size=4))
    ),
)


@pytest.mark.slow
@given(SENT)
def test_whatever_is_sent_becomes_data_or_is_refused(sent: Any) -> None:
    try:
        made = decode(sent, refused)
    except Exception:  # noqa: BLE001 the line breaks, whatever it is
        return
    assert isinstance(made, MADE_HERE)


@pytest.mark.parametrize("lies", [int, list])
def test_an_object_that_lies_about_its_class_is_not_plain(lies: type) -> None:
    class Liar:
        __class__ = lies  # type: ignore[assignment]

    with pytest.raises(NotPlain):
        encode(Liar(), refused)
