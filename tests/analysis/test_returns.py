"""Simple returns of a series of values, and the return over the whole of it."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.performance import returns, total_return

records = st.lists(st.floats(0.01, 1e9), min_size=1, max_size=40)


def test_each_period_has_one_simple_return() -> None:
    assert returns([100.0, 110.0, 99.0, 99.0]) == pytest.approx([0.1, -0.1, 0.0])


def test_a_single_value_has_no_returns_and_a_total_of_nothing() -> None:
    assert returns([100.0]) == []
    assert total_return([100.0]) == 0.0


def test_the_total_return_compares_the_last_value_with_the_first() -> None:
    assert total_return([80.0, 400.0, 100.0]) == pytest.approx(0.25)


def test_a_lost_account_returned_minus_everything() -> None:
    assert returns([100.0, 0.0]) == [-1.0]
    assert total_return([100.0, 0.0]) == -1.0


def test_nothing_returns_from_a_value_of_zero() -> None:
    with pytest.raises(ValueError, match=r"value 1 is 0 and is not the last"):
        returns([100.0, 0.0, 50.0])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], "no values were given"),
        ([0.0, 1.0], "value 0 is 0"),
        ([1.0, -2.0], r"value 1 is -2\.0; expected a finite number from 0 on"),
        ([1.0, float("nan")], "value 1 is nan"),
        ([float("inf")], "value 0 is inf"),
    ],
)
def test_what_can_be_no_record_is_refused_with_what_was_given(values: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        returns(values)
    with pytest.raises(ValueError, match=sentence):
        total_return(values)


@settings(deadline=None)
@given(records)
def test_the_returns_compound_to_the_total(values: list[float]) -> None:
    assert prod(1 + one for one in returns(values)) == pytest.approx(1 + total_return(values), rel=1e-4)


@settings(deadline=None)
@given(records, st.floats(0.001, 1000))
def test_returns_do_not_depend_on_the_size_of_the_account(values: list[float], scale: float) -> None:
    assert returns([value * scale for value in values]) == pytest.approx(returns(values), rel=1e-9, abs=1e-9)
