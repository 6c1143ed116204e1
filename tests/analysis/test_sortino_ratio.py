"""Reward for downside risk (Sortino & van der Meer 1991)."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.performance import sharpe_ratio, sortino_ratio

some_returns = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=40)

# Rollinger & Hoffman (2013), "Sortino: A 'Sharper' Ratio": eight years, target 0 %, published ratio 4.417
PUBLISHED_YEARS = [0.17, 0.15, 0.23, -0.05, 0.12, 0.09, 0.13, -0.04]


def test_the_published_example_comes_out() -> None:
    assert sortino_ratio(PUBLISHED_YEARS, periods_per_year=1) == pytest.approx(4.417, abs=5e-4)


def test_years_that_reached_the_target_count_in_the_deviation() -> None:
    # leaving them out would divide by 2 instead of 8 and halve the ratio
    assert sortino_ratio(PUBLISHED_YEARS, 1) == pytest.approx(0.1 / sqrt((0.05**2 + 0.04**2) / 8))


def test_shortfalls_are_measured_from_the_target() -> None:
    # target 0.02: shortfalls 0.03 and 0.01, mean excess 0.01 - 0.02
    assert sortino_ratio([0.03, -0.01, 0.01], 1, target=0.02) == pytest.approx(-0.01 / sqrt((0.03**2 + 0.01**2) / 3))


def test_the_ratio_of_a_year_is_the_periods_ratio_times_the_root_of_their_number() -> None:
    period = sortino_ratio([0.03, -0.01, 0.01], 1)
    assert period is not None
    assert sortino_ratio([0.03, -0.01, 0.01], 252) == pytest.approx(period * sqrt(252))


@pytest.mark.parametrize("record", [[], [-0.1], [0.0, 0.0], [0.01, 0.5, 0.0]])
def test_too_short_a_record_or_one_that_never_fell_short_has_no_ratio(record: list[float]) -> None:
    assert sortino_ratio(record, 252) is None


@pytest.mark.parametrize(
    ("record", "periods", "target", "sentence"),
    [
        ([0.1, float("nan")], 252, 0.0, "return 1 is nan"),
        ([0.1, 0.2], -4, 0.0, "periods_per_year is -4"),
        ([0.1, 0.2], 252, float("inf"), "target is inf"),
    ],
)
def test_input_that_is_no_number_is_refused(record: list[float], periods: float, target: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sortino_ratio(record, periods, target)


@settings(deadline=None)
@given(some_returns, st.integers(-3, 3))
def test_leverage_changes_no_ratio_against_a_target_of_zero(record: list[float], doublings: int) -> None:
    assume(min(record) < -1e-6)
    levered = sortino_ratio([value * 2.0**doublings for value in record], 252)
    assert levered == pytest.approx(sortino_ratio(record, 252))


@settings(deadline=None)
@given(some_returns)
def test_it_has_the_sign_of_the_sharpe_ratio(record: list[float]) -> None:
    sortino, sharpe = sortino_ratio(record, 252), sharpe_ratio(record, 252)
    assume(sortino is not None and sharpe is not None)
    assert sortino is not None
    assert sharpe is not None
    assert (sortino > 0) == (sharpe > 0)
