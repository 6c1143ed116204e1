"""Technical indicators and co-movement: what a history of prices says by fixed formulas.

Floats, oldest first. A rolling indicator gives one number for each price from the first that has a full period on,
so the last always belongs to the last price. Prices are finite and above zero; a history that is shorter than the
period raises ValueError with both, as the caller chose the period. A relation that flat series lack is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum, isfinite, log, sqrt
from statistics import fmean, stdev

WILDER_PERIOD = 14
"""The period of Wilder's own examples."""


def simple_moving_average(prices: Sequence[float], period: int) -> list[float]:
    """Mean of each `period` prices in a row, `len(prices) - period + 1` of them.

    Raises ValueError for fewer than `period` prices.
    Source: Murphy (1999), "Technical Analysis of the Financial Markets", chapter 9.
    """
    _check_prices(prices, period, period)
    return [fmean(prices[end - period : end]) for end in range(period, len(prices) + 1)]


def exponential_moving_average(prices: Sequence[float], period: int) -> list[float]:
    """Average in which the newest price weighs 2 / (period + 1); `len(prices) - period + 1` of them.

    The first is the simple mean of the first `period` prices. Raises ValueError for fewer than `period` prices.
    Source: Murphy (1999), chapter 9; the start is that of StockCharts' ChartSchool.
    """
    _check_prices(prices, period, period)
    return _smoothed(prices, period, 2 / (period + 1))


def rate_of_change(prices: Sequence[float], period: int) -> list[float]:
    """Momentum: each price against the one `period` earlier, as a fraction (0.05 = up 5 %); `len - period` of them.

    Raises ValueError for fewer than `period + 1` prices. Source: Murphy (1999), chapter 10.
    """
    _check_prices(prices, period, period + 1)
    return [after / before - 1 for before, after in zip(prices, prices[period:], strict=False)]


def realised_volatility(prices: Sequence[float]) -> float:
    """Sample standard deviation of the log returns of all `prices` given, a fraction a period, not annualised.

    Raises ValueError for fewer than 3 prices.
    Source: Hull, "Options, Futures, and Other Derivatives", estimating volatility from historical data.
    """
    _check_prices(prices, 2, 3)
    return stdev(log(after / before) for before, after in pairwise(prices))


def average_true_range(
    highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], period: int = WILDER_PERIOD
) -> list[float]:
    """Wilder's mean of true ranges, in the price's currency; `len(closes) - period + 1` of them.

    A true range is the largest of high - low and the distances of high and low from the close before; the first bar's
    is high - low. The first average is the simple one, each later one moves by 1 / period towards the newest range.
    Raises ValueError for fewer than `period` bars, for columns of different lengths and for a high below its low.
    Source: Wilder (1978), "New Concepts in Technical Trading Systems".
    """
    if not len(highs) == len(lows) == len(closes):
        raise ValueError(
            f"{len(highs)} highs, {len(lows)} lows and {len(closes)} closes were given; expected as many of each"
        )
    for column in (highs, lows, closes):
        _check_prices(column, period, period)
    for index, (high, low) in enumerate(zip(highs, lows, strict=True)):
        if high < low:
            raise ValueError(f"bar {index} has a high of {high} and a low of {low}; expected the high at or above it")
    ranges = [highs[0] - lows[0]]
    for high, low, before in zip(highs[1:], lows[1:], closes, strict=False):
        ranges.append(max(high - low, abs(high - before), abs(low - before)))
    return _smoothed(ranges, period, 1 / period)


def relative_strength_index(prices: Sequence[float], period: int = WILDER_PERIOD) -> list[float]:
    """Wilder's index, 0 to 100: the share of gains in gains and losses; `len(prices) - period` of them.

    Gains and losses are averaged as in `average_true_range`. 100 without losses, 0 without gains, and 50 where the
    price has not moved at all, for which Wilder gives no value.
    Raises ValueError for fewer than `period + 1` prices.
    Source: Wilder (1978), "New Concepts in Technical Trading Systems".
    """
    _check_prices(prices, period, period + 1)
    changes = [after - before for before, after in pairwise(prices)]
    gains = _smoothed([max(change, 0.0) for change in changes], period, 1 / period)
    losses = _smoothed([max(-change, 0.0) for change in changes], period, 1 / period)
    # gain / (gain + loss) is Wilder's 1 - 1 / (1 + gain / loss) without its division by a loss of 0; it is taken before
    # the 100 so that no rounding passes 100
    return [100 * (gain / (gain + loss)) if gain + loss > 0 else 50.0 for gain, loss in zip(gains, losses, strict=True)]


def beta(returns: Sequence[float], benchmark: Sequence[float]) -> float | None:
    """Covariance with the benchmark's returns over their variance; 1.2 = moves 1.2 % where it moves 1 %.

    None for fewer than two periods or a benchmark that does not vary. Raises ValueError for different lengths or a
    return that is not finite.
    Source: Sharpe (1964), "Capital Asset Prices", Journal of Finance 19(3); the ordinary least squares slope.
    """
    moments = _moments(returns, benchmark)
    if moments is None or moments[2] == 0:
        return None
    covariance, _, variance = moments
    return covariance / variance


def correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's coefficient of two series of returns, -1 to 1.

    None for fewer than two periods or where either does not vary. Raises ValueError for different lengths or a
    return that is not finite.
    Source: Pearson (1895), "Note on regression and inheritance", Proceedings of the Royal Society 58.
    """
    moments = _moments(left, right)
    if moments is None or moments[1] == 0 or moments[2] == 0:
        return None
    covariance, left_variance, right_variance = moments
    # roots before the product, so that two tiny variances can't multiply to 0; rounding may pass 1 by a hair
    return max(-1.0, min(1.0, covariance / (sqrt(left_variance) * sqrt(right_variance))))


def _smoothed(values: Sequence[float], period: int, weight: float) -> list[float]:
    """The mean of the first `period` values, then each next moved by `weight` towards the newest value."""
    average = fmean(values[:period])
    averages = [average]
    for value in values[period:]:
        # exact for a weight of 1, where average + weight * (value - average) is not
        average = average * (1 - weight) + value * weight
        averages.append(average)
    return averages


def _moments(left: Sequence[float], right: Sequence[float]) -> tuple[float, float, float] | None:
    """Sums of products about the means: left with right, left with itself, right with itself; None for under two."""
    if len(left) != len(right):
        raise ValueError(f"{len(left)} returns and {len(right)} of the other series; expected as many of each")
    for name, series in (("left", left), ("right", right)):
        for index, value in enumerate(series):
            if not isfinite(value):
                raise ValueError(f"return {index} of the {name} series is {value}; expected a finite number")
    if len(left) < 2:
        return None
    left_apart = _apart(left)
    right_apart = _apart(right)
    return (
        fsum(a * b for a, b in zip(left_apart, right_apart, strict=True)),
        fsum(a * a for a in left_apart),
        fsum(b * b for b in right_apart),
    )


def _apart(series: Sequence[float]) -> list[float]:
    """Each value's distance from the mean, all 0 for a constant series, whose mean may miss it by rounding."""
    if min(series) == max(series):
        return [0.0] * len(series)
    mean = fmean(series)
    return [value - mean for value in series]


def _check_prices(prices: Sequence[float], period: int, needed: int) -> None:
    if period < 1:
        raise ValueError(f"the period is {period}; expected 1 or more")
    if len(prices) < needed:
        raise ValueError(f"{len(prices)} prices were given; a period of {period} needs at least {needed}")
    for index, price in enumerate(prices):
        if not isfinite(price) or price <= 0:
            raise ValueError(f"price {index} is {price}; expected a finite number above 0")
