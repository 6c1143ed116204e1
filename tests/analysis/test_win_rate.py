"""How often closing a position paid."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trades import Trade, win_rate

amounts = st.decimals(0, 1_000_000, places=6)
profits = st.none() | st.decimals(-1_000_000, 1_000_000, places=6)
records = st.lists(st.builds(Trade, amounts, profits), max_size=20)


def closed(*profits: str) -> list[Trade]:
    return [Trade(Decimal(100), Decimal(profit)) for profit in profits]


def opened() -> Trade:
    return Trade(Decimal(100), None)


def test_closing_trades_with_a_profit_count_against_all_closing_trades() -> None:
    assert win_rate(closed("12.50", "-3", "0.000001")) == Decimal("0.66666667")


def test_breaking_even_is_no_win() -> None:
    assert win_rate(closed("0", "5")) == Decimal("0.5")


def test_trades_that_open_are_left_out() -> None:
    assert win_rate([opened(), opened(), *closed("5")]) == 1


def test_a_record_without_a_closing_trade_has_no_win_rate() -> None:
    assert win_rate([]) is None
    assert win_rate([opened()]) is None


@pytest.mark.parametrize(("notional", "profit"), [("-1", None), ("NaN", None), ("Infinity", None), ("1", "NaN")])
def test_a_trade_of_an_impossible_amount_is_refused(notional: str, profit: str | None) -> None:
    with pytest.raises(ValueError, match="of a trade is"):
        Trade(Decimal(notional), None if profit is None else Decimal(profit))


@settings(deadline=None)
@given(records)
def test_a_win_rate_is_a_fraction_and_no_size_of_profit_changes_it(record: list[Trade]) -> None:
    rate = win_rate(record)
    tenfold = [
        Trade(trade.notional, None if trade.realised_profit is None else trade.realised_profit * 10) for trade in record
    ]
    assert rate is None or 0 <= rate <= 1
    assert win_rate(tenfold) == rate
