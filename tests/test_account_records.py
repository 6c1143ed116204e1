"""What stays on record of an account: strategies, decisions, values, pages of transactions, its report."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from accounts import Account, open_account
from database import Store, read_log
from ledger.baselines import run_baselines
from ledger.sessions import open_session_row
from ledger.valuation import record_values
from market import Market
from store import tables
from tests.bookkeeping import at, differences, rows, turned_down
from tests.conftest import START
from tests.shelf import ShelfVenue, refused

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)


@pytest.fixture
def warren(store: Store, market: Market) -> Account:
    return open_account(store, market, "warren", strategy="Wait.")


class TestRecords:
    def test_a_strategy_is_replaced_and_the_ones_before_stay_on_record(self, warren: Account, store: Store) -> None:
        warren.change_strategy("Act.")
        assert warren.record().strategy == warren.report().strategy == "Act."
        assert [row.strategy for row in rows(store, tables.strategies)] == ["Wait.", "Act."]

    @pytest.mark.parametrize("strategy", ["", " \n", "x" * 10_001])
    def test_an_empty_or_endless_strategy_is_refused(self, strategy: str, warren: Account, store: Store) -> None:
        with turned_down(store, "bad_strategy", "expected 1 to 10000"):
            warren.change_strategy(strategy)

    def test_a_decision_is_kept_with_how_sure_and_how_long(self, warren: Account, store: Store, market: Market) -> None:
        open_session_row(store, "trace_1", "warren", 1, "trade", "house")
        floor = Account(store, market, "warren", "floor")
        first = floor.record_decision("aapl", "hold", 0.25, 30, "nothing to do")
        assert floor.record_decision("BTC-USD", "sell", 1, 0, "") == first + 1
        one, two = rows(store, tables.decisions)
        assert (one.symbol, one.action, one.confidence, one.horizon_days) == ("AAPL", "hold", 0.25, 30)
        assert (one.rationale, one.session_id, one.actor, one.market_time) == (
            "nothing to do",
            "trace_1",
            "floor",
            START,
        )
        assert two.symbol == "BTC-USD"
        assert "decided to hold AAPL" in read_log(store)[0][1].message

    @pytest.mark.parametrize(
        ("symbol", "action", "confidence", "horizon_days", "rationale", "code"),
        [
            ("AAPL", "hold", float("nan"), 1, "", "bad_decision"),
            ("AAPL", "hold", float("inf"), 1, "", "bad_decision"),
            ("AAPL", "hold", -0.01, 1, "", "bad_decision"),
            ("AAPL", "hold", 1.01, 1, "", "bad_decision"),
            ("AAPL", "short", 0.5, 1, "", "bad_decision"),
            ("AAPL", "hold", 0.5, -1, "", "bad_decision"),
            ("AAPL", "hold", 0.5, 36_501, "", "bad_decision"),
            ("AAPL", "hold", 0.5, 10**30, "", "bad_decision"),
            ("AAPL", "hold", 0.5, 1, "x" * 4_001, "rationale_too_long"),
            ("TSLA", "hold", 0.5, 1, "", "unknown_symbol"),
            ("", "hold", 0.5, 1, "", "bad_symbol"),
        ],
    )
    def test_a_decision_that_can_t_be_judged_later_is_refused(
        self, symbol: str, action: Any, confidence: float, horizon_days: int, rationale: str, code: str, warren: Account
    ) -> None:
        with turned_down(warren.store, code):
            warren.record_decision(symbol, action, confidence, horizon_days, rationale)
        assert rows(warren.store, tables.decisions) == []

    def test_values_are_recorded_for_every_account_that_can_be_priced(
        self, warren: Account, store: Store, market: Market, venue: ShelfVenue
    ) -> None:
        george = open_account(store, market, "george")
        warren.buy_shares("AAPL", 10, "")
        george.buy_shares("MSFT", 1, "")
        del venue.prices["MSFT"]
        valuations = record_values(store, market, 7)
        assert valuations["george"].value is None
        (row,) = rows(store, tables.portfolio_values)
        assert (row.account, row.value, row.cash, row.cycle, row.market_time) == ("warren", 9996, 7996, 7, START)

    def test_the_record_is_read_in_pages_that_new_trades_do_not_shift(self, warren: Account, store: Store) -> None:
        for _ in range(119):
            warren.buy_shares("BTC-USD", "0.0001", "")
        everything = [row.id for row in rows(store, tables.transactions)][::-1]
        first = warren.list_transactions()
        for _ in range(5):
            warren.buy_shares("BTC-USD", "0.0001", "while reading")
        second = warren.list_transactions(first.next_cursor)
        third = warren.list_transactions(second.next_cursor)
        assert [len(page.transactions) for page in (first, second, third)] == [50, 50, 20]
        assert third.next_cursor is None
        assert [each.id for page in (first, second, third) for each in page.transactions] == everything
        assert third.transactions[-1].kind == "deposit"
        report = warren.report()
        assert len(report.transactions) == 50
        assert report.transactions[0].rationale == "while reading"

    def test_a_page_of_exactly_fifty_is_the_last_one(self, warren: Account) -> None:
        for _ in range(49):
            warren.buy_shares("BTC-USD", "0.0001", "")
        page = warren.list_transactions()
        assert (len(page.transactions), page.next_cursor) == (50, None)

    @pytest.mark.parametrize(
        "cursor", ["", "x", "-1", "1.5", "٣", "1" * 19, "1; DROP TABLE transactions", " 1", "1\x00"]
    )
    def test_a_cursor_that_no_page_gave_is_refused(self, cursor: str, warren: Account) -> None:
        with refused("bad_cursor", "expected a next_cursor"):
            warren.list_transactions(cursor)

    def test_a_page_shows_one_account_s_transactions_alone(self, warren: Account, store: Store, market: Market) -> None:
        open_account(store, market, "george").buy_shares("AAPL", 1, "of george")
        assert [each.rationale for each in warren.list_transactions().transactions] == ["opening deposit"]

    def test_a_report_stays_small_whatever_the_history(self, warren: Account, store: Store, market: Market) -> None:
        for number in range(120):
            at(store, START + number * HOUR)
            record_values(store, market, number)
        report = warren.report()
        assert len(report.portfolio_value_time_series) == 100
        assert report.portfolio_value_time_series[-1].time == "2026-03-07T14:00:00Z"
        assert report.portfolio_value_time_series[0].time < report.portfolio_value_time_series[1].time

    def test_a_report_adds_up(self, warren: Account, venue: ShelfVenue) -> None:
        warren.buy_shares("AAPL", 10, "")
        warren.buy_shares("BTC-USD", "0.05", "")
        venue.prices["AAPL"] = Decimal(220)
        warren.sell_shares("AAPL", 4, "")
        report = warren.report()
        worth = Decimal(report.balance) + sum(Decimal(each.value or "NaN") for each in report.positions)
        assert Decimal(report.total_portfolio_value or "NaN") == worth
        assert report.realised_profit == "76.64"  # 4 x (219.56 - 200.4)
        assert Decimal(report.total_profit_loss or "NaN") == Decimal(report.realised_profit) + Decimal(
            report.unrealised_profit or "NaN"
        )
        assert [each.symbol for each in report.positions] == ["AAPL", "BTC-USD"]
        assert report.holdings == {"AAPL": "6", "BTC-USD": "0.05"}
        apple = report.positions[0]
        assert (apple.average_cost, apple.cost, apple.value, apple.unrealised_profit) == (
            "200.4",
            "1202.4",
            "1320",
            "117.6",
        )
        assert sum(Decimal(each.weight or "NaN") for each in report.positions) < 1


def test_the_baselines_trade_through_the_same_books(store: Store, market: Market) -> None:
    from ledger.baselines import open_baselines

    assert open_baselines(store, market) == []
    assert run_baselines(store, market) == []
    assert differences(store) == []
    assert {row.actor for row in rows(store, tables.transactions)} == {"baseline"}
    with store.read() as connection:
        fills = connection.execute(select(func.count()).where(tables.transactions.c.kind == "buy")).scalar_one()
    assert fills == 1 + len(market.venue.instruments())
    assert run_baselines(store, market) == []
    assert rows(store, tables.refusals) == []
