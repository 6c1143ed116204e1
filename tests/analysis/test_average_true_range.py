"""Wilder's average true range."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.indicators import average_true_range

# StockCharts ChartSchool, "Average True Range": 30 days of QQQQ, published to the cent
HIGHS = [
    48.70, 48.72, 48.90, 48.87, 48.82, 49.05, 49.20, 49.35, 49.92, 50.19, 50.12, 49.66, 49.88, 50.19, 50.36,
    50.57, 50.65, 50.43, 49.63, 50.33, 50.29, 50.17, 49.32, 48.50, 48.32, 46.80, 47.80, 48.39, 48.66, 48.79,
]  # fmt: skip
LOWS = [
    47.79, 48.14, 48.39, 48.37, 48.24, 48.635, 48.94, 48.86, 49.50, 49.87, 49.20, 48.90, 49.43, 49.725, 49.26,
    50.09, 50.30, 49.21, 48.98, 49.61, 49.20, 49.43, 48.08, 47.64, 41.55, 44.283, 47.31, 47.20, 47.90, 47.73,
]  # fmt: skip
CLOSES = [
    48.16, 48.61, 48.75, 48.63, 48.74, 49.03, 49.07, 49.32, 49.91, 50.13, 49.53, 49.50, 49.75, 50.03, 50.31,
    50.52, 50.41, 49.34, 49.37, 50.23, 49.238, 49.93, 48.43, 48.18, 46.57, 45.41, 47.77, 47.72, 48.62, 47.85,
]  # fmt: skip
PUBLISHED = [
    0.56, 0.59, 0.59, 0.57, 0.62, 0.62, 0.64, 0.67, 0.69, 0.78, 0.78, 1.21, 1.30, 1.38, 1.37, 1.34, 1.32,
]  # fmt: skip

bars = st.lists(
    st.lists(st.floats(1, 1e6), min_size=3, max_size=3).map(sorted), min_size=5, max_size=30
)  # each low, close, high


def test_the_published_ranges_come_out() -> None:
    assert average_true_range(HIGHS, LOWS, CLOSES) == pytest.approx(PUBLISHED, abs=0.0051)


def test_a_gap_from_the_close_before_belongs_to_the_range() -> None:
    # first bar 12 - 10; then a gap up from 11 to 20, and a gap down from 19.5 to 9: 9, 11.5
    ranges = average_true_range([12.0, 20.0, 10.0], [10.0, 19.0, 8.0], [11.0, 19.5, 9.0], period=1)
    assert ranges == pytest.approx([2.0, 9.0, 11.5])


def test_later_averages_move_by_one_part_in_the_period() -> None:
    # true ranges 2, 4, 9: the mean of two is 3, then 3 + (9 - 3) / 2
    ranges = average_true_range([12.0, 14.0, 21.0], [10.0, 10.0, 12.0], [11.0, 12.0, 13.0], period=2)
    assert ranges == pytest.approx([3.0, 6.0])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 highs, 1 lows and 2 closes"):
        average_true_range([2.0, 2.0], [1.0], [1.5, 1.5], 1)


def test_a_high_below_its_low_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bar 1 has a high of 1\.0 and a low of 2\.0"):
        average_true_range([2.0, 1.0], [1.0, 2.0], [1.5, 1.5], 2)


def test_a_history_shorter_than_the_period_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match="1 prices were given; a period of 14 needs at least 14"):
        average_true_range([2.0], [1.0], [1.5])


@settings(deadline=None)
@given(bars, st.integers(1, 5))
def test_an_average_is_at_least_the_narrowest_bar_and_at_most_the_whole_band(
    rows: list[list[float]], period: int
) -> None:
    lows, closes, highs = (list(column) for column in zip(*rows, strict=True))
    averages = average_true_range(highs, lows, closes, period)
    assert len(averages) == len(rows) - period + 1
    narrowest = min(high - low for high, low in zip(highs, lows, strict=True))
    slack = 1e-9 * max(highs)
    assert narrowest - slack <= min(averages)
    assert max(averages) <= max(highs) - min(lows) + slack
