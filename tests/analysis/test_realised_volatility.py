"""Standard deviation of log returns, a period's."""

from __future__ import annotations

from math import exp, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.indicators import realised_volatility

# Hull, "Options, Futures, and Other Derivatives": 21 daily closes, published deviation 0.01216
HULL_CLOSES = [
    20.00, 20.10, 19.90, 20.00, 20.50, 20.25, 20.90, 20.90, 20.90, 20.75, 20.75, 21.00, 21.10, 20.90, 20.90,
    21.25, 21.40, 21.40, 21.25, 21.75, 22.00,
]  # fmt: skip
# an examination question on the same method: six monthly prices, published deviation 0.0942
MONTHLY_CLOSES = [35.0, 38.0, 41.0, 37.0, 33.0, 32.0]


@pytest.mark.parametrize(("prices", "published"), [(HULL_CLOSES, 0.01216), (MONTHLY_CLOSES, 0.0942)])
def test_published_examples_come_out(prices: list[float], published: float) -> None:
    assert realised_volatility(prices) == pytest.approx(published, abs=5e-5 if published > 0.05 else 5e-6)


def test_log_returns_up_and_down_by_the_same_amount_deviate_by_it() -> None:
    # log returns 0.1 and -0.1 about 0: the sample deviation is sqrt(0.02 / 1)
    assert realised_volatility([1.0, exp(0.1), 1.0]) == pytest.approx(sqrt(0.02))


def test_steady_growth_has_none() -> None:
    assert realised_volatility([1.0, 2.0, 4.0, 8.0]) == pytest.approx(0.0)


@pytest.mark.parametrize("prices", [[], [1.0], [1.0, 2.0]])
def test_two_returns_are_needed(prices: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(prices)} prices were given; .* needs at least 3"):
        realised_volatility(prices)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e6), min_size=3, max_size=40))
def test_it_is_the_same_read_backwards(prices: list[float]) -> None:
    assert realised_volatility(prices[::-1]) == pytest.approx(realised_volatility(prices), abs=1e-9)
