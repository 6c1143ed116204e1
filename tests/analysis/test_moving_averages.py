"""Simple and exponential moving averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.indicators import exponential_moving_average, simple_moving_average

# StockCharts ChartSchool, "Moving Averages": 30 closes of INTC with their 10-day averages, published to the cent
INTC_CLOSES = [
    22.2734, 22.1940, 22.0847, 22.1741, 22.1840, 22.1344, 22.2337, 22.4323, 22.2436, 22.2933, 22.1542, 22.3926,
    22.3816, 22.6109, 23.3558, 24.0519, 23.7530, 23.8324, 23.9516, 23.6338, 23.8225, 23.8722, 23.6537, 23.1870,
    23.0976, 23.3260, 22.6805, 23.0976, 22.4025, 22.1725,
]  # fmt: skip
INTC_EXPONENTIAL = [
    22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.54, 23.47,
    23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
]  # fmt: skip
INTC_SIMPLE = [22.22, 22.21, 22.23, 22.26, 22.31, 22.42, 22.61, 22.77, 22.91]

Average = Callable[[Sequence[float], int], list[float]]
both = pytest.mark.parametrize("average", [simple_moving_average, exponential_moving_average])
price_series = st.lists(st.floats(0.01, 1e6), min_size=5, max_size=40)


def test_the_published_simple_averages_come_out() -> None:
    assert simple_moving_average(INTC_CLOSES[:18], 10) == pytest.approx(INTC_SIMPLE, abs=0.0051)


def test_the_published_exponential_averages_come_out() -> None:
    assert exponential_moving_average(INTC_CLOSES, 10) == pytest.approx(INTC_EXPONENTIAL, abs=0.0051)


def test_an_exponential_average_moves_by_its_weight_towards_each_new_price() -> None:
    # period 3 weighs the newest price by a half: (1 + 2 + 3) / 3, then half way to 6, then half way to 0.5
    assert exponential_moving_average([1.0, 2.0, 3.0, 6.0, 0.5], 3) == pytest.approx([2.0, 4.0, 2.25])


def test_a_simple_average_forgets_the_price_that_left_its_window() -> None:
    assert simple_moving_average([1000.0, 1.0, 2.0, 3.0], 3) == pytest.approx([1003 / 3, 2.0])


@both
def test_a_period_of_one_is_the_prices_themselves(average: Average) -> None:
    assert average([0.1, 1e6, 0.3], 1) == [0.1, 1e6, 0.3]


@both
def test_a_history_shorter_than_the_period_is_refused_with_both(average: Average) -> None:
    with pytest.raises(ValueError, match="2 prices were given; a period of 3 needs at least 3"):
        average([1.0, 2.0], 3)


@both
@pytest.mark.parametrize("period", [0, -2])
def test_a_period_below_one_is_refused(average: Average, period: int) -> None:
    with pytest.raises(ValueError, match=f"the period is {period}"):
        average([1.0, 2.0], period)


@both
@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_what_can_be_no_price_is_refused(average: Average, price: float) -> None:
    with pytest.raises(ValueError, match=f"price 1 is {price}; expected a finite number above 0"):
        average([1.0, price], 2)


@both
@settings(deadline=None)
@given(prices=price_series, period=st.integers(1, 5))
def test_there_is_one_average_from_the_first_full_period_on_within_the_prices(
    average: Average, prices: list[float], period: int
) -> None:
    averages = average(prices, period)
    assert len(averages) == len(prices) - period + 1
    assert min(prices) * (1 - 1e-9) <= min(averages)
    assert max(averages) <= max(prices) * (1 + 1e-9)


@both
@settings(deadline=None)
@given(prices=price_series, period=st.integers(1, 5), scale=st.floats(0.01, 100))
def test_averages_are_in_the_unit_of_the_prices(
    average: Average, prices: list[float], period: int, scale: float
) -> None:
    scaled = average([price * scale for price in prices], period)
    assert scaled == pytest.approx([value * scale for value in average(prices, period)])
