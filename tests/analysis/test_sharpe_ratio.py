"""Reward for variability (Sharpe 1994)."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.performance import returns, sharpe_ratio

some_returns = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40)


def test_the_mean_is_divided_by_the_sample_deviation() -> None:
    # mean 0.02; about it 0.01, -0.03, 0.02: squares sum to 1.4e-3, over 2 that is 7e-4
    assert sharpe_ratio([0.03, -0.01, 0.04], periods_per_year=1) == pytest.approx(0.02 / sqrt(7e-4))


def test_the_ratio_of_a_year_is_the_periods_ratio_times_the_root_of_their_number() -> None:
    assert sharpe_ratio([0.03, -0.01, 0.04], periods_per_year=252) == pytest.approx(0.02 / sqrt(7e-4) * sqrt(252))


def test_the_riskless_return_of_a_period_is_taken_off_each_return() -> None:
    assert sharpe_ratio([0.03, -0.01, 0.04], 1, risk_free=0.005) == pytest.approx(0.015 / sqrt(7e-4))


def test_losses_have_a_negative_ratio() -> None:
    ratio = sharpe_ratio([-0.03, 0.01, -0.04], 252)
    assert ratio is not None
    assert ratio < 0


@pytest.mark.parametrize("record", [[], [0.1], [0.0, 0.0, 0.0], [0.01, 0.01, 0.01]])
def test_too_short_or_too_steady_a_record_has_no_ratio(record: list[float]) -> None:
    assert sharpe_ratio(record, 252) is None


def test_the_rounding_of_a_steady_growth_is_not_taken_for_variation() -> None:
    growth = returns([10_000 * 1.01**period for period in range(30)])
    assert len(set(growth)) > 1
    assert sharpe_ratio(growth, 252) is None


@pytest.mark.parametrize(
    ("record", "periods", "risk_free", "sentence"),
    [
        ([0.1, float("inf")], 252, 0.0, "return 1 is inf"),
        ([0.1, 0.2], 0, 0.0, "periods_per_year is 0"),
        ([0.1, 0.2], 252, float("nan"), "risk_free is nan"),
    ],
)
def test_input_that_is_no_number_is_refused(
    record: list[float], periods: float, risk_free: float, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        sharpe_ratio(record, periods, risk_free)


@settings(deadline=None)
@given(some_returns, st.floats(0.1, 10))
def test_leverage_changes_no_ratio(record: list[float], leverage: float) -> None:
    assume(max(record) - min(record) > 1e-6)
    levered = sharpe_ratio([value * leverage for value in record], 252)
    assert levered == pytest.approx(sharpe_ratio(record, 252), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(some_returns)
def test_the_same_bets_the_other_way_round_have_the_opposite_ratio(record: list[float]) -> None:
    assume(max(record) - min(record) > 1e-6)
    ratio = sharpe_ratio(record, 252)
    assert ratio is not None
    assert sharpe_ratio([-value for value in record], 252) == pytest.approx(-ratio)
