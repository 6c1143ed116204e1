"""How a series of returns moves with another."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.indicators import beta, correlation

pairs = st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), min_size=2, max_size=40)


def apart(series: list[float]) -> bool:
    return max(series) - min(series) > 1e-3


def test_beta_is_the_slope_against_the_benchmark() -> None:
    # benchmark about its mean 0.02: -0.01, 0, 0.01; own about 0.03: -0.02, 0.01, 0.01; 3e-4 / 2e-4
    assert beta([0.01, 0.04, 0.04], [0.01, 0.02, 0.03]) == pytest.approx(1.5)


def test_correlation_is_the_covariance_over_both_deviations() -> None:
    # the same figures: 3e-4 / sqrt(6e-4 * 2e-4)
    assert correlation([0.01, 0.04, 0.04], [0.01, 0.02, 0.03]) == pytest.approx(0.8660254)


def test_anscombes_first_set_has_its_published_slope_and_correlation() -> None:
    # Anscombe (1973), "Graphs in Statistical Analysis": slope 0.500, correlation 0.816
    x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    assert beta(y, x) == pytest.approx(0.500, abs=5e-4)
    assert correlation(y, x) == pytest.approx(0.816, abs=5e-4)


def test_a_series_moves_wholly_with_itself_and_wholly_against_its_opposite() -> None:
    series = [0.01, -0.02, 0.015, 0.0]
    opposite = [-value for value in series]
    assert beta(series, series) == 1.0
    assert correlation(series, series) == pytest.approx(1.0)
    assert correlation(series, opposite) == pytest.approx(-1.0)


def test_a_flat_benchmark_gives_no_beta() -> None:
    assert beta([0.1, 0.2, 0.3], [0.1, 0.1, 0.1]) is None


def test_a_flat_series_has_a_beta_of_zero_and_no_correlation() -> None:
    assert beta([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) == 0.0
    assert correlation([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]) is None
    assert correlation([0.1, 0.2, 0.3], [0.1, 0.1, 0.1]) is None


@pytest.mark.parametrize("series", [[], [0.1]])
def test_fewer_than_two_periods_give_neither(series: list[float]) -> None:
    assert beta(series, series) is None
    assert correlation(series, series) is None


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 returns and 1 of the other"):
        beta([0.1, 0.2], [0.1])


def test_a_return_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="return 1 of the right series is nan"):
        correlation([0.1, 0.2], [0.1, float("nan")])


@settings(deadline=None)
@given(pairs)
def test_a_correlation_lies_between_minus_one_and_one_and_has_no_direction(rows: list[tuple[float, float]]) -> None:
    left, right = [row[0] for row in rows], [row[1] for row in rows]
    coefficient = correlation(left, right)
    assert coefficient == correlation(right, left)
    assert coefficient is None or -1 <= coefficient <= 1


@settings(deadline=None)
@given(pairs, st.floats(0.1, 10), st.floats(-0.1, 0.1))
def test_leverage_multiplies_beta_and_leaves_correlation(
    rows: list[tuple[float, float]], leverage: float, shift: float
) -> None:
    left, right = [row[0] for row in rows], [row[1] for row in rows]
    assume(apart(left) and apart(right))
    levered = [leverage * value + shift for value in left]
    slope, coefficient = beta(left, right), correlation(left, right)
    assert slope is not None
    assert beta(levered, right) == pytest.approx(leverage * slope, rel=1e-6, abs=1e-6)
    assert correlation(levered, right) == pytest.approx(coefficient, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(pairs)
def test_both_slopes_multiply_to_the_square_of_the_correlation(rows: list[tuple[float, float]]) -> None:
    left, right = [row[0] for row in rows], [row[1] for row in rows]
    assume(apart(left) and apart(right))
    up, down, coefficient = beta(left, right), beta(right, left), correlation(left, right)
    assert up is not None
    assert down is not None
    assert coefficient is not None
    assert up * down == pytest.approx(coefficient**2, abs=1e-9)
