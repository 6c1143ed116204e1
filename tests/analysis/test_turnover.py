"""Notional traded against the size of the account."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trades import Trade, turnover

notionals = st.lists(st.decimals(0, 1_000_000, places=6), max_size=20)
account_values = st.lists(st.decimals(1, 1_000_000, places=6), min_size=1, max_size=20)


def traded(*notionals: str | Decimal) -> list[Trade]:
    return [Trade(Decimal(notional), None) for notional in notionals]


def test_bought_and_sold_notional_is_divided_by_the_mean_value() -> None:
    assert turnover(traded("6000", "3000"), [Decimal(8000), Decimal(10000)]) == 1


def test_an_account_that_is_sold_and_bought_again_once_turns_over_twice() -> None:
    assert turnover(traded("10000", "10000"), [Decimal(10000)]) == 2


def test_amounts_are_added_exactly() -> None:
    assert turnover(traded("0.1", "0.2"), [Decimal("0.3")]) == 1


def test_an_account_that_never_traded_has_a_turnover_of_zero() -> None:
    assert turnover([], [Decimal(10000)]) == 0


def test_a_record_without_a_value_has_no_turnover() -> None:
    assert turnover(traded("100"), []) is None


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_a_value_that_is_not_above_zero_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"value 1 is {value}; expected a finite amount above 0"):
        turnover(traded("100"), [Decimal(100), Decimal(value)])


@settings(deadline=None)
@given(notionals, account_values)
def test_turnover_does_not_depend_on_the_size_of_the_account(amounts: list[Decimal], values: list[Decimal]) -> None:
    thousandfold = turnover(traded(*(amount * 1000 for amount in amounts)), [value * 1000 for value in values])
    assert thousandfold == turnover(traded(*amounts), values)
