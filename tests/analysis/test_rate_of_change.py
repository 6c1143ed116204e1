"""Momentum as a rate of change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.indicators import rate_of_change, simple_moving_average


def test_each_price_is_compared_with_the_one_a_period_earlier() -> None:
    assert rate_of_change([100.0, 80.0, 110.0, 100.0], 2) == pytest.approx([0.1, 0.25])


def test_the_last_belongs_to_the_last_price() -> None:
    assert rate_of_change([100.0, 50.0, 25.0], 2) == pytest.approx([-0.75])


def test_a_period_needs_one_price_more_than_its_length() -> None:
    with pytest.raises(ValueError, match="2 prices were given; a period of 2 needs at least 3"):
        rate_of_change([100.0, 110.0], 2)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e6), min_size=5, max_size=40), st.integers(1, 4))
def test_a_price_stands_above_the_earlier_one_where_the_average_rises(prices: list[float], period: int) -> None:
    # the simple average gains (newest - leaving) / period, so both have one sign
    averages = simple_moving_average(prices, period)
    for change, before, after in zip(rate_of_change(prices, period), averages, averages[1:], strict=False):
        if abs(change) > 1e-3 and abs(after - before) > 1e-6 * before:
            assert (change > 0) == (after > before)
