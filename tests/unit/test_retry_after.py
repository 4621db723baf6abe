"""What a Retry-After header asks for is bounded to minutes, and no header that there can be raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kaggle.transport import RETRY_AFTER_S_MAX, retry_after_s

HERE = "Mon, 07 Jan 2030 10:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        ("17", 17.0),
        ("0.5", 0.5),
        ("86400", RETRY_AFTER_S_MAX),
        ("9" * 400, RETRY_AFTER_S_MAX),
        ("Mon, 07 Jan 2030 10:00:25 GMT", 25.0),
        ("Tue, 07 Jan 2031 10:00:00 GMT", RETRY_AFTER_S_MAX),
        ("Fri, 31 Dec 9999 23:59:59 -2300", RETRY_AFTER_S_MAX),
        ("Sat, 01 Jan 10000 00:00:00 GMT", None),
        ("Sat, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 99 Jan 2030 10:00:25 +99999999999999", None),
        ("-5", None),
        ("nan", None),
        ("\u0663\u0663", None),
        ("soon", None),
    ],
)
def test_no_header_makes_anything_wait_longer_than_minutes(asked: str, wait_s: float | None) -> None:
    assert retry_after_s({"Retry-After": asked, "Date": HERE}) == wait_s


@pytest.mark.slow
@given(
    asked=st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,30} Jan [0-9]{1,30} [0-9:]{1,12} [+-]?[0-9]{0,20}"),
    date=st.text(),
)
def test_whatever_the_headers_are_the_answer_is_a_time_of_minutes_or_none(asked: str, date: str) -> None:
    for headers in ({"Retry-After": asked, "Date": date}, {"Retry-After": asked, "Date": HERE}):
        wait_s = retry_after_s(headers)
        assert wait_s is None or 0.0 <= wait_s <= RETRY_AFTER_S_MAX
