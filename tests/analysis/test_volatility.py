"""Annualised standard deviation of returns."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.performance import volatility

some_returns = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40)


def test_the_sample_deviation_is_scaled_by_the_root_of_the_year() -> None:
    # about the mean of 0.01: 0.01, -0.02, 0.01, squares sum to 6e-4, over n - 1 = 2 that is 3e-4
    assert volatility([0.02, -0.01, 0.02], periods_per_year=252) == pytest.approx(sqrt(3e-4) * sqrt(252))


def test_a_steady_return_has_no_volatility() -> None:
    assert volatility([0.01, 0.01, 0.01], periods_per_year=12) == 0.0


@pytest.mark.parametrize("returns", [[], [0.1]])
def test_fewer_than_two_returns_have_no_volatility_to_show(returns: list[float]) -> None:
    assert volatility(returns, periods_per_year=12) is None


@pytest.mark.parametrize("periods", [0, -1, float("nan"), float("inf")])
def test_a_year_without_periods_is_refused(periods: float) -> None:
    with pytest.raises(ValueError, match=f"periods_per_year is {periods}"):
        volatility([0.1, 0.2], periods)


def test_a_return_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="return 1 is nan"):
        volatility([0.1, float("nan")], 252)


@settings(deadline=None)
@given(some_returns, st.floats(-0.1, 0.1))
def test_a_constant_added_to_every_return_changes_no_volatility(returns: list[float], shift: float) -> None:
    shifted = volatility([value + shift for value in returns], 252)
    assert shifted == pytest.approx(volatility(returns, 252), abs=1e-9)


@settings(deadline=None)
@given(some_returns)
def test_four_times_the_periods_double_it(returns: list[float]) -> None:
    slow, fast = volatility(returns, 63), volatility(returns, 252)
    assert slow is not None
    assert fast == pytest.approx(2 * slow)
