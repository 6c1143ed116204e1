"""Falls from a running peak, and the largest of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.performance import drawdowns, max_drawdown, total_return

records = st.lists(st.floats(0, 1e9), min_size=0, max_size=40).flatmap(
    lambda rest: st.floats(0.01, 1e9).map(lambda first: [first, *rest])
)


def test_the_largest_fall_counts_from_the_peak_before_it() -> None:
    # 120 -> 90 loses 30 of 120; the later 150 -> 120 loses as many dollars and only a fifth
    assert max_drawdown([100.0, 120.0, 90.0, 110.0, 150.0, 120.0]) == pytest.approx(0.25)


def test_a_low_before_the_peak_is_no_fall_from_it() -> None:
    assert max_drawdown([100.0, 50.0, 200.0, 180.0]) == pytest.approx(0.5)


def test_a_loss_from_the_start_is_seen() -> None:
    assert max_drawdown([100.0, 75.0]) == pytest.approx(0.25)


def test_a_record_that_only_rises_or_holds_has_no_drawdown() -> None:
    assert max_drawdown([100.0, 100.0, 101.0]) == 0.0
    assert max_drawdown([100.0]) == 0.0


def test_a_lost_account_is_down_by_everything() -> None:
    assert max_drawdown([100.0, 0.0, 10.0]) == 1.0


def test_the_series_has_one_fall_for_each_value_and_zero_at_a_peak() -> None:
    assert drawdowns([100.0, 120.0, 90.0, 120.0, 132.0, 99.0]) == pytest.approx([0.0, 0.0, 0.25, 0.0, 0.0, 0.25])


@pytest.mark.parametrize("values", [[], [0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_what_can_be_no_record_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected|starts with"):
        max_drawdown(values)


@settings(deadline=None)
@given(records)
def test_a_drawdown_is_a_fraction_of_the_peak(values: list[float]) -> None:
    assert all(0 <= fall <= 1 for fall in drawdowns(values))


@settings(deadline=None)
@given(records)
def test_no_two_values_in_order_show_a_larger_fall(values: list[float]) -> None:
    falls = [1 - later / earlier for index, earlier in enumerate(values) if earlier > 0 for later in values[index:]]
    assert max_drawdown(values) == max(falls)


@settings(deadline=None)
@given(records)
def test_a_record_can_not_end_lower_than_its_drawdown_allows(values: list[float]) -> None:
    assert -total_return(values) <= max_drawdown(values) + 1e-12


@settings(deadline=None)
@given(records, st.integers(-6, 6))
def test_a_drawdown_does_not_depend_on_the_size_of_the_account(values: list[float], doublings: int) -> None:
    # powers of two scale floats without rounding; a subnormal is all that could lose digits by it
    values = [value if value > 1e-200 else 0.0 for value in values]
    assert max_drawdown([value * 2.0**doublings for value in values]) == max_drawdown(values)
