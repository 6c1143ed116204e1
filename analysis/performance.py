"""What a series of an account's values says about it: returns, drawdowns and the ratios made of them.

Values are floats in any one currency, oldest first, none negative and the first above zero; returns are simple
fractions a period (0.01 = up 1 %). A statistic that a record is too short or too flat to have is None, never 0;
input that can't be a record raises ValueError with what was given. The caller says how many periods a year has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum, isfinite, sqrt
from statistics import fmean, stdev

NO_VARIATION = 1e-12
"""A deviation of returns up to this is rounding: a steady 1 % a period leaves about 1e-17 of it."""


def returns(values: Sequence[float]) -> list[float]:
    """Simple return of each period, one fewer than `values` (none for one value).

    Raises ValueError for no value, and where a value to divide by is 0: a lost account has no further returns.
    """
    _check_values(values)
    for index, value in enumerate(values[:-1]):
        if value == 0:
            raise ValueError(f"value {index} is 0 and is not the last; a return from 0 is not defined")
    return [after / before - 1 for before, after in pairwise(values)]


def total_return(values: Sequence[float]) -> float:
    """Last value against the first, as a fraction of the first (0.25 = up 25 %). Raises ValueError for no value."""
    _check_values(values)
    return values[-1] / values[0] - 1


def drawdowns(values: Sequence[float]) -> list[float]:
    """Fall of each value from the highest so far, as a fraction of that peak; as many as `values`, 0 at a peak.

    Raises ValueError for no value. Source: Magdon-Ismail & Atiya (2004).
    """
    _check_values(values)
    peak = values[0]
    falls = []
    for value in values:
        peak = max(peak, value)
        falls.append(1 - value / peak)
    return falls


def max_drawdown(values: Sequence[float]) -> float:
    """Largest fall from a running peak, as a fraction of that peak (0.25 = down 25 %).

    The first value counts as a peak, so a loss from the start is seen.
    Raises ValueError for fewer than one value. Source: Magdon-Ismail & Atiya (2004), "Maximum drawdown", Risk 17(10).
    """
    return max(drawdowns(values))


def volatility(returns: Sequence[float], periods_per_year: float) -> float | None:
    """Sample standard deviation of returns times the root of `periods_per_year`: a fraction a year (0.2 = 20 %).

    None for fewer than two returns. Scaling by the root takes returns to be uncorrelated over time.
    Raises ValueError for a return that is not finite or a year without periods.
    Source: Hull, "Options, Futures, and Other Derivatives", estimating volatility from historical data.
    """
    _check_returns(returns, periods_per_year)
    if len(returns) < 2:
        return None
    return stdev(returns) * sqrt(periods_per_year)


def sharpe_ratio(returns: Sequence[float], periods_per_year: float, risk_free: float = 0.0) -> float | None:
    """Mean of the returns above `risk_free` over their sample standard deviation, a year's; a number without unit.

    `risk_free` is a fraction a period, as the returns are. None for fewer than two returns, and for returns without
    variation (`NO_VARIATION`), whose ratio is not defined.
    Raises ValueError for input that is not finite or a year without periods.
    Source: Sharpe (1994), "The Sharpe Ratio", Journal of Portfolio Management 21(1), the ex post ratio.
    """
    _check_returns(returns, periods_per_year)
    _check_finite("risk_free", risk_free)
    if len(returns) < 2:
        return None
    deviation = stdev(returns)
    if deviation <= NO_VARIATION:
        return None
    return (fmean(returns) - risk_free) / deviation * sqrt(periods_per_year)


def sortino_ratio(returns: Sequence[float], periods_per_year: float, target: float = 0.0) -> float | None:
    """Mean of the returns above `target` over their downside deviation, a year's; a number without unit.

    `target` is a fraction a period. Downside deviation is the root of the mean, over ALL periods, of the squared
    shortfalls below `target`, with 0 for a period that reached it. None for fewer than two returns, and where no
    return fell short, whose ratio is not defined.
    Raises ValueError for input that is not finite or a year without periods.
    Source: Sortino & van der Meer (1991), "Downside Risk", Journal of Portfolio Management 17(4).
    """
    _check_returns(returns, periods_per_year)
    _check_finite("target", target)
    if len(returns) < 2:
        return None
    downside = sqrt(fsum(min(0.0, value - target) ** 2 for value in returns) / len(returns))
    if downside <= NO_VARIATION:
        return None
    return (fmean(returns) - target) / downside * sqrt(periods_per_year)


def _check_values(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("no values were given; expected at least one")
    for index, value in enumerate(values):
        if not isfinite(value) or value < 0:
            raise ValueError(f"value {index} is {value}; expected a finite number from 0 on")
    if values[0] == 0:
        raise ValueError("value 0 is 0; a record starts with a value above 0")


def _check_returns(returns: Sequence[float], periods_per_year: float) -> None:
    for index, value in enumerate(returns):
        _check_finite(f"return {index}", value)
    if not isfinite(periods_per_year) or periods_per_year <= 0:
        raise ValueError(f"periods_per_year is {periods_per_year}; expected a finite number above 0")


def _check_finite(what: str, value: float) -> None:
    if not isfinite(value):
        raise ValueError(f"{what} is {value}; expected a finite number")
