"""The interval of a share is Wilson's, against values worked out by others."""

import pytest

from stages.training.confidence import wilson


def test_the_interval_is_the_one_in_the_literature() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81/263, 15/148, 0/20 and 1/29."""
    for hits, tries, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(hits, tries) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_share_is_always_inside() -> None:
    for tries in (1, 2, 10, 1000):
        for hits in range(0, tries + 1, max(1, tries // 10)):
            low, high = wilson(hits, tries)
            assert 0.0 <= low <= hits / tries <= high <= 1.0
