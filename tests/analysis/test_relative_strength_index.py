"""Wilder's relative strength index."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.indicators import relative_strength_index

# StockCharts ChartSchool, "Relative Strength Index": 33 closes of QQQQ with the 14-day index, published to 0.01
CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
PUBLISHED = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87,
    45.46, 37.30, 33.08, 37.77,
]  # fmt: skip

price_series = st.lists(st.floats(0.01, 1e6), min_size=6, max_size=40)


def test_the_published_index_comes_out() -> None:
    assert relative_strength_index(CLOSES) == pytest.approx(PUBLISHED, abs=0.0051)


def test_gains_are_weighed_against_gains_and_losses() -> None:
    # changes +3, -1: mean gain 1.5, mean loss 0.5; then +2: gains 1.75, losses 0.25
    assert relative_strength_index([10.0, 13.0, 12.0, 14.0], 2) == pytest.approx([75.0, 87.5])


def test_a_price_that_only_rises_shows_100_and_one_that_only_falls_0() -> None:
    assert relative_strength_index([1.0, 2.0, 3.0, 4.0], 3) == [100.0]
    assert relative_strength_index([4.0, 3.0, 2.0, 1.0], 3) == [0.0]


def test_a_price_that_has_not_moved_shows_50() -> None:
    assert relative_strength_index([5.0] * 15) == [50.0]


def test_a_period_needs_one_price_more_than_its_length() -> None:
    with pytest.raises(ValueError, match="14 prices were given; a period of 14 needs at least 15"):
        relative_strength_index([1.0] * 14)


@settings(deadline=None)
@given(price_series, st.integers(1, 5))
@example(prices=[1.0, 1.01, 22.0, 1.0, 1.0, 1.0], period=1)  # 100 * gain / (gain + 0) rounds above 100 here
def test_the_index_lies_between_0_and_100_with_one_for_each_full_period(prices: list[float], period: int) -> None:
    index = relative_strength_index(prices, period)
    assert len(index) == len(prices) - period
    assert all(0 <= value <= 100 for value in index)


@settings(deadline=None)
@given(price_series, st.integers(1, 5), st.integers(-6, 6))
def test_the_index_does_not_depend_on_the_unit_of_the_price(prices: list[float], period: int, doublings: int) -> None:
    scaled = relative_strength_index([price * 2.0**doublings for price in prices], period)
    assert scaled == pytest.approx(relative_strength_index(prices, period))


@settings(deadline=None)
@given(price_series, st.integers(1, 5))
def test_a_mirrored_price_shows_the_mirrored_index(prices: list[float], period: int) -> None:
    # 2 ** 21 is above every price, and rounding of the mirrored ones is far below a price that moves
    prices = [round(price, 2) for price in prices]
    mirrored = relative_strength_index([2.0**21 - price for price in prices], period)
    assert mirrored == pytest.approx([100 - value for value in relative_strength_index(prices, period)], abs=1e-4)
