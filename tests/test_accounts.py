"""The account: what trades cost, what is refused and why, what limits allow, and what stays on record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, func, select

from accounts import Account, account_limits, change_limit, list_accounts, open_account, set_state
from database import NewRun, Store, read_log
from ledger.baselines import run_baselines
from ledger.controls import ask
from ledger.reconcile import reconcile
from ledger.sessions import end_session_row, open_session_row
from ledger.valuation import record_values
from market import Market
from store import tables
from store.turns import try_turn
from tests.conftest import START
from tests.shelf import ShelfVenue, refused
from values.errors import Refused, StoreBusy, VenueUnavailable
from values.instrument import FRACTION, WHOLE
from values.money import fill_price, notional
from values.quote import Quote

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LIMITS = (
    "max_position_share", "max_order_usd", "min_cash_usd", "max_trades_per_session", "max_trades_per_day",
    "max_daily_loss_share",
)  # fmt: skip


@pytest.fixture
def warren(store: Store, market: Market) -> Account:
    return open_account(store, market, "warren", strategy="Wait.")


def books(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Cash, holdings, transactions, strategies and limits of every account, whole."""
    own = tables.accounts.c
    queries = {
        "accounts": select(own.name, own.kind, own.cash, own.realised, own.deposited, own.strategy, own.opened_at),
        "holdings": select(tables.holdings),
        "transactions": select(tables.transactions),
        "strategies": select(tables.strategies),
        "limits": select(tables.limits),
    }
    with store.read() as connection:
        return {name: sorted(map(tuple, connection.execute(query)), key=str) for name, query in queries.items()}


def rows(store: Store, table: Any) -> list[Row[Any]]:
    with store.read() as connection:
        return list(connection.execute(select(table)).all())


def differences(store: Store) -> list[str]:
    with store.read() as connection:
        return [str(each) for each in reconcile(connection)]


@contextmanager
def turned_down(store: Store, code: str, text: str = "") -> Iterator[pytest.ExceptionInfo[Refused]]:
    """What happens inside is refused with `code`, leaves one row that says so, and changes nothing in the books."""
    before, known = books(store), len(rows(store, tables.refusals))
    with refused(code, text) as caught:
        yield caught
    assert books(store) == before
    new = rows(store, tables.refusals)[known:]
    assert [(row.code, row.sentence) for row in new] == [(code, caught.value.sentence)]


def would_fit(refusal: Refused) -> Decimal:
    """The quantity that a refusal offers."""
    found = re.search(r"; (\S+) would fit$", refusal.sentence)
    assert found is not None, refusal.sentence
    return Decimal(0) if found[1] == "none" else Decimal(found[1])


def at(store: Store, moment: datetime) -> None:
    """Move the run's market time."""
    store.anchor(moment, 1, timedelta(0))


class TestTrades:
    def test_a_small_ledger(self, warren: Account, venue: ShelfVenue) -> None:
        # what is done, at which quote, and what that leaves: cash, units held, cost of them, profit realised so far
        table = """
            buy   10   200       7996           10   2004      0
            buy   5    100       7495           15   2505      0
            sell  6    300       9291.4         9    1503      794.4
            sell  9    50        9740.5         0    0         -259.5
            buy   3    0.33333   9739.497998    3    1.002002  -259.5
            sell  1    0.33333   9739.830661    2    0.668001  -259.501338
        """
        for line in table.strip().splitlines():
            side, quantity, quote, *expected = line.split()
            venue.prices["AAPL"] = Decimal(quote)
            trade = warren.buy_shares if side == "buy" else warren.sell_shares
            fill = trade("AAPL", quantity, line.strip())
            held = {row.symbol: row for row in rows(warren.store, tables.holdings)}.get("AAPL")
            account = warren.record()
            left = [account.cash, *((held.quantity, held.cost) if held else (Decimal(0), Decimal(0))), account.realised]
            assert left == [Decimal(each) for each in expected], line
            assert (fill.cash, fill.holding) == (account.cash, left[1])
        assert differences(warren.store) == []

    def test_a_fill_tells_its_price_and_where_that_came_from(self, warren: Account, store: Store) -> None:
        fill = warren.buy_shares(" nvda ", "2", "ships more")
        assert (fill.account, fill.side, fill.symbol, fill.quantity) == ("warren", "buy", "NVDA", Decimal(2))
        assert (fill.quote_price, fill.price) == (Decimal("187.42"), Decimal("187.79484"))
        assert (fill.amount, fill.realised) == (Decimal("-375.58968"), 0)
        assert (fill.source, fill.quote_as_of, fill.market_time, fill.is_repeat) == ("replay", START, START, False)

    def test_the_record_of_a_trade_holds_all_that_is_known_of_it(self, warren: Account, store: Store) -> None:
        fill = warren.buy_shares("NVDA", "2", "ships more", "order:1")
        deposit, row = rows(store, tables.transactions)
        assert row.id == fill.transaction_id
        assert (row.kind, row.symbol, row.quantity, row.price) == ("buy", "NVDA", 2, Decimal("187.79484"))
        assert (row.amount, row.cash_after) == (Decimal("-375.58968"), Decimal("9624.41032"))
        assert (row.quote_price, row.quote_as_of, row.quote_seen_at) == (Decimal("187.42"), START, START)
        assert (row.source, row.rationale, row.order_key, row.actor) == ("replay", "ships more", "order:1", "operator")
        assert row.market_time == START
        assert row.wall_time > START or row.wall_time.tzinfo is not None
        assert (deposit.kind, deposit.amount, deposit.cash_after) == ("deposit", 10_000, 10_000)

    def test_a_trade_and_its_log_row_are_one_transaction(
        self, warren: Account, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warren.buy_shares("AAPL", 1, "")
        (row,) = [row for _, row in read_log(store)]
        assert (row.type, row.account) == ("account", "warren")
        assert row.message == "bought 1 AAPL at 200.4 (replay) for 200.40 USD; cash 9,799.60 USD"
        before = books(store)

        def fails(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("ledger.orders.insert_log", fails)
        with pytest.raises(ZeroDivisionError):
            warren.buy_shares("AAPL", 1, "")
        assert books(store) == before

    def test_only_the_floor_acts_in_a_session(self, store: Store, market: Market, warren: Account) -> None:
        open_session_row(store, "trace_1", "warren", 1, "trade", "house")
        for actor in ("floor", "client", "operator"):
            Account(store, market, "warren", actor).buy_shares("AAPL", 1, actor)  # type: ignore[arg-type]
        assert [(row.actor, row.session_id) for row in rows(store, tables.transactions)[1:]] == [
            ("floor", "trace_1"), ("client", None), ("operator", None),
        ]  # fmt: skip

    def test_a_coin_trades_in_hundred_millionths(self, warren: Account, venue: ShelfVenue) -> None:
        fill = warren.buy_shares("BTC-USD", "0.00000001", "")
        assert fill.amount == Decimal("-0.000652")  # 65130 x 1e-8 is 0.0006513, rounded up
        assert warren.sell_shares("BTC-USD", Decimal("0.00000001"), "").amount == Decimal("0.000648")

    def test_a_price_too_small_to_be_sold_at_is_refused_and_not_a_fault(
        self, warren: Account, venue: ShelfVenue, store: Store
    ) -> None:
        venue.prices["BTC-USD"] = Decimal("0.00000001")
        warren.buy_shares("BTC-USD", 1000, "")
        before = books(store)
        with pytest.raises(Refused):
            warren.sell_shares("BTC-USD", 1000, "")
        assert books(store) == before

    def test_everything_that_is_held_can_be_sold_and_leaves_no_holding(self, warren: Account, store: Store) -> None:
        warren.buy_shares("BTC-USD", "0.12345678", "")
        warren.sell_shares("BTC-USD", "0.12345678", "")
        assert rows(store, tables.holdings) == []

    def test_all_the_cash_can_be_spent_to_the_last_unit(self, store: Store, market: Market, venue: ShelfVenue) -> None:
        rich = open_account(store, market, "rich", balance=Decimal("200.4"))
        rich.buy_shares("AAPL", 1, "")
        assert rich.record().cash == 0
        assert rich.calculate_portfolio_value() == 200

    def test_value_and_profit_are_at_the_quote_without_spread(self, warren: Account, venue: ShelfVenue) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.prices["AAPL"] = Decimal("210")
        assert warren.calculate_portfolio_value() == Decimal(7996 + 2100)
        assert warren.calculate_profit_loss() == Decimal(96)

    def test_a_value_that_hangs_on_a_missing_price_is_not_made_up(self, warren: Account, venue: ShelfVenue) -> None:
        warren.buy_shares("AAPL", 10, "")
        del venue.prices["AAPL"]
        with pytest.raises(VenueUnavailable, match="AAPL can't be priced"):
            warren.calculate_portfolio_value()
        report = warren.report()
        assert (report.total_portfolio_value, report.total_profit_loss, report.unrealised_profit) == (None, None, None)
        assert (report.positions[0].price, report.positions[0].value, report.positions[0].source) == (None, None, None)
        assert report.balance == "7996"

    def test_a_stale_price_values_a_holding_and_is_marked(
        self, warren: Account, venue: ShelfVenue, store: Store, market: Market
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.stale.add("AAPL")
        assert warren.report().positions[0].stale is True
        assert warren.report().total_portfolio_value == "9996"
        record_values(store, market, 1)
        assert [row.stale for row in rows(store, tables.portfolio_values)] == [True]


class TestOpening:
    def test_an_account_opens_with_its_deposit_strategy_and_limits_on_record(
        self, store: Store, market: Market
    ) -> None:
        opened = open_account(
            store, market, " Warren ", strategy="Wait.", limits={"max_order_usd": "500", "min_cash_usd": None}
        )
        assert opened.name == "warren"
        record = opened.record()
        assert (record.cash, record.deposited, record.kind, record.state) == (10_000, 10_000, "client", "active")
        assert [row.strategy for row in rows(store, tables.strategies)] == ["Wait."]
        assert account_limits(store, "warren").max_order_usd == 500
        assert account_limits(store, "warren").min_cash_usd is None
        assert [each.name for each in list_accounts(store)] == ["warren"]

    def test_a_second_account_of_the_name_is_refused_and_the_first_stays(self, warren: Account, store: Store) -> None:
        before = books(store)
        with refused("account_exists", "choose another name"):
            open_account(store, warren.market, "WARREN", strategy="Mine now.")
        assert books(store) == before

    @pytest.mark.parametrize(
        "name",
        ["", " ", "1st", "-x", "a b", "wärren", "warren\n", "warren\x00", "ｗarren", "w" * 33, "../x", None, 1, ["warren"],
         "\ud800"],
    )  # fmt: skip
    def test_a_name_is_a_letter_and_then_letters_digits_and_dashes(
        self, name: Any, store: Store, market: Market
    ) -> None:
        with refused("bad_name", "expected a letter"):
            open_account(store, market, name)
        assert list_accounts(store) == []

    @pytest.mark.parametrize("balance", [-1, "-0.01", "0.0000001", "1e13", "NaN", True, None])
    def test_a_balance_that_can_t_be_booked_is_refused_and_no_account_opens(
        self, balance: Any, store: Store, market: Market
    ) -> None:
        with pytest.raises(Refused):
            open_account(store, market, "warren", balance=balance)
        assert list_accounts(store) == []

    def test_a_bad_limit_opens_no_account(self, store: Store, market: Market) -> None:
        with refused("bad_limit"):
            open_account(store, market, "warren", limits={"max_position_share": "2"})
        assert list_accounts(store) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("side", "symbol", "quantity", "code", "text"),
        [
            ("buy", "TSLA", 1, "unknown_symbol", "TSLA is not listed"),
            ("sell", "TSLA", 1, "unknown_symbol", "find_symbols lists what is"),
            ("buy", "A$PL", 1, "bad_symbol", "expected one such as AAPL"),
            ("buy", "ААPL", 1, "bad_symbol", "expected"),
            ("buy", None, 1, "bad_symbol", "None"),
            ("buy", 7, 1, "bad_symbol", "7"),
            ("buy", ["AAPL"], 1, "bad_symbol", "['AAPL']"),
            ("buy", "'AAPL'", 1, "bad_symbol", "expected"),
            ("buy", "AAPL", 0, "bad_quantity", "expected more than 0"),
            ("sell", "AAPL", -1, "bad_quantity", "'-1'"),
            ("buy", "AAPL", "0.5", "bad_quantity", "whole shares"),
            ("buy", "BTC-USD", "0.000000001", "bad_quantity", "steps of 8 decimals"),
            ("buy", "AAPL", "NaN", "bad_quantity", "finite"),
            ("buy", "AAPL", float("inf"), "bad_quantity", "finite"),
            ("buy", "AAPL", "1e400", "bad_quantity", "at most 10000000000"),
            ("buy", "BTC-USD", "1e-400", "bad_quantity", "steps of 8 decimals"),
            ("buy", "AAPL", "9" * 60, "bad_quantity", "at most 10000000000"),
            ("buy", "AAPL", 10**5000, "bad_quantity", "finite"),
            ("buy", "AAPL", True, "bad_quantity", "True"),
            ("buy", "AAPL", None, "bad_quantity", "None"),
            ("buy", "AAPL", [1], "bad_quantity", "[1]"),
            ("buy", "AAPL", {"n": 1}, "bad_quantity", "{'n': 1}"),
            ("buy", "AAPL", "x" * 10_000, "bad_quantity", "…"),
            ("buy", "AAPL", 50, "insufficient_cash", "costs 10,020.00 USD and warren has 10,000.00 USD; 49 would fit"),
            ("buy", "BTC-USD", 1, "insufficient_cash", "; 0.15353908 would fit"),
            ("buy", "AAPL", 10_000_000_000, "insufficient_cash", "; 49 would fit"),
            ("sell", "AAPL", 1, "insufficient_shares", "warren holds 0, and can not sell short"),
        ],
        ids=lambda value: "long" if isinstance(value, int) and value > 10**20 else ascii(value)[:20],
    )  # fmt: skip
    def test_a_refused_order_says_why_leaves_one_row_and_changes_nothing(
        self, side: str, symbol: Any, quantity: Any, code: str, text: str, warren: Account
    ) -> None:
        trade = warren.buy_shares if side == "buy" else warren.sell_shares
        with turned_down(warren.store, code, text):
            trade(symbol, quantity, "because", "my:key")
        (row,) = rows(warren.store, tables.refusals)
        assert (row.account, row.tool, row.actor, row.session_id) == ("warren", f"{side}_shares", "operator", None)
        assert row.market_time == START
        assert len(row.sentence) < 400
        assert len(row.arguments) < 2_000
        kept = json.loads(row.arguments)
        assert (kept["rationale"], kept["client_order_id"]) == ("because", "my:key")
        assert set(kept) <= {"symbol", "quantity", "rationale", "client_order_id"}

    def test_an_account_that_is_not_there_is_never_opened_by_an_order(self, store: Store, market: Market) -> None:
        nobody = Account(store, market, "nobody", "client")
        for act in (
            lambda: nobody.buy_shares("AAPL", 1, ""),
            lambda: nobody.sell_shares("AAPL", 1, ""),
            lambda: nobody.change_strategy("Trade."),
            lambda: nobody.record_decision("AAPL", "hold", 0.5, 1, ""),
        ):
            with turned_down(store, "unknown_account", "there is no account nobody"):
                act()
        for look in (nobody.report, nobody.record, nobody.list_transactions, nobody.calculate_portfolio_value):
            with refused("unknown_account"):
                look()
        assert list_accounts(store) == []
        assert {row.account for row in rows(store, tables.refusals)} == {"nobody"}

    def test_more_than_is_held_can_t_be_sold(self, warren: Account, store: Store) -> None:
        warren.buy_shares("AAPL", 3, "")
        with turned_down(store, "insufficient_shares", "selling 4 AAPL but warren holds 3"):
            warren.sell_shares("AAPL", 4, "")

    def test_a_closed_instrument_does_not_trade_and_the_open_ones_do(
        self, warren: Account, venue: ShelfVenue, store: Store, market: Market
    ) -> None:
        venue.closed.add("AAPL")
        with turned_down(store, "market_closed", "AAPL does not trade now"):
            warren.buy_shares("AAPL", 1, "")
        warren.buy_shares("MSFT", 1, "")
        heedless = Market(market.venue, market.clock, minds_closed=False)
        Account(store, heedless, "warren").buy_shares("AAPL", 1, "")

    def test_a_stale_price_is_not_traded_on(self, warren: Account, venue: ShelfVenue, store: Store) -> None:
        warren.buy_shares("AAPL", 1, "")
        venue.stale.add("AAPL")
        for trade in (warren.buy_shares, warren.sell_shares):
            with turned_down(store, "stale_price", "is of 2026-03-02 15:00 UTC, too old to trade on"):
                trade("AAPL", 1, "")

    def test_without_a_price_nothing_is_traded(self, warren: Account, venue: ShelfVenue, store: Store) -> None:
        del venue.prices["AAPL"]
        with turned_down(store, "no_price", "there is no price for AAPL now"):
            warren.buy_shares("AAPL", 1, "")

    def test_a_holding_that_can_t_be_priced_refuses_buys_and_allows_sales(
        self, warren: Account, venue: ShelfVenue, store: Store
    ) -> None:
        warren.buy_shares("AAPL", 1, "")
        warren.buy_shares("MSFT", 2, "")
        del venue.prices["AAPL"]
        with turned_down(store, "unpriced_holding", "AAPL can't be priced now"):
            warren.buy_shares("NVDA", 1, "")
        warren.sell_shares("MSFT", 1, "")
        with turned_down(store, "no_price"):
            warren.sell_shares("AAPL", 1, "")

    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 81, "ключ", "a\n", "\x00", "\ud800"])
    def test_a_key_is_one_to_eighty_printable_characters(self, key: str, warren: Account, store: Store) -> None:
        with turned_down(store, "bad_order_key", "expected 1 to 80 printable characters"):
            warren.buy_shares("AAPL", 1, "", key)

    @pytest.mark.parametrize("rationale", ["x" * 4_001, "\ud800"], ids=["long", "no text"])
    def test_a_rationale_that_can_t_be_kept_is_refused(self, rationale: str, warren: Account, store: Store) -> None:
        with turned_down(store, "rationale_too_long" if len(rationale) > 1 else "bad_rationale"):
            warren.buy_shares("AAPL", 1, rationale)

    @pytest.mark.parametrize(
        "rationale", ["", "x" * 4_000, "a\x00b", "line\nline", "🚀 'quoted' \"twice\"; DROP TABLE accounts"]
    )
    def test_any_other_rationale_is_kept_as_it_is(self, rationale: str, warren: Account) -> None:
        warren.buy_shares("AAPL", 1, rationale)
        assert warren.report().transactions[0].rationale == rationale

    @pytest.mark.parametrize("part", ["write", "clock"])
    def test_a_refusal_that_can_t_be_recorded_still_reaches_its_caller(
        self,
        part: str,
        warren: Account,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fails(*_: object, **__: object) -> None:
            raise StoreBusy("held by the test")

        monkeypatch.setattr(Store, part, fails)
        with refused("unknown_symbol"):
            warren.buy_shares("TSLA", 1, "")
        assert "a refusal of buy_shares is not on record: held by the test" in caplog.text

    def test_a_store_that_stays_busy_is_no_refusal_and_trades_nothing(
        self, warren: Account, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = books(store)

        @contextmanager
        def busy(*_: object, **__: object) -> Iterator[None]:
            raise StoreBusy("held by the test")
            yield

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", busy)
            with pytest.raises(StoreBusy):
                warren.buy_shares("AAPL", 1, "")
        assert books(store) == before

    def test_what_a_halt_or_a_session_refuses_names_the_session(
        self, store: Store, market: Market, warren: Account
    ) -> None:
        open_session_row(store, "trace_1", "warren", 1, "trade", "house")
        with refused("unknown_symbol"):
            Account(store, market, "warren", "floor").buy_shares("TSLA", 1, "")
        assert [row.session_id for row in rows(store, tables.refusals)] == ["trace_1"]


class MeddlingVenue(ShelfVenue):
    """Does something each time that a price of AAPL is asked for: what other processes may do meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle: Callable[[], object] = lambda: None

    def quote(self, symbol: str, now: datetime) -> Quote:
        if symbol == "AAPL":
            self.meddle()
        return super().quote(symbol, now)


class TestMeanwhile:
    @pytest.fixture
    def venue(self) -> MeddlingVenue:
        return MeddlingVenue()

    def test_no_price_is_asked_for_while_the_store_is_locked(self, venue: MeddlingVenue, warren: Account) -> None:
        free = []

        def look() -> None:
            held = try_turn(warren.store.path.with_name("accounts.db.lock"))
            free.append(held is not None)
            if held is not None:
                import os

                os.close(held)

        venue.meddle = look
        warren.buy_shares("AAPL", 1, "")
        warren.sell_shares("AAPL", 1, "")
        assert free == [True, True]

    def test_cash_that_was_spent_meanwhile_is_not_spent_twice(self, venue: MeddlingVenue, warren: Account) -> None:
        def spend() -> None:
            venue.meddle = lambda: None
            warren.buy_shares("MSFT", 20, "meanwhile")

        venue.meddle = spend
        with refused("insufficient_cash", "warren has 1,984.00 USD; 9 would fit"):
            warren.buy_shares("AAPL", 40, "")
        assert differences(warren.store) == []

    def test_shares_that_were_sold_meanwhile_are_not_sold_twice(self, venue: MeddlingVenue, warren: Account) -> None:
        warren.buy_shares("AAPL", 10, "")

        def sell() -> None:
            venue.meddle = lambda: None
            warren.sell_shares("AAPL", 10, "meanwhile")

        venue.meddle = sell
        with refused("insufficient_shares", "holds 0"):
            warren.sell_shares("AAPL", 10, "")

    def test_a_symbol_bought_meanwhile_is_priced_in_another_round(self, venue: MeddlingVenue, warren: Account) -> None:
        change_limit(warren.store, "warren", "max_position_share", "0.5")

        def buy() -> None:
            venue.meddle = lambda: None
            warren.buy_shares("MSFT", 1, "meanwhile")

        venue.meddle = buy
        fill = warren.buy_shares("AAPL", 1, "")
        assert fill.cash == Decimal("10000") - Decimal("400.8") - Decimal("200.4")

    def test_an_order_whose_account_keeps_changing_gives_up_and_says_so(
        self, venue: MeddlingVenue, warren: Account
    ) -> None:
        others = iter(["BRK.B", "BTC-USD", "MSFT", "NVDA", "SPY"])
        asked = []

        def buy() -> None:
            asked.append(next(others))
            warren.buy_shares(asked[-1], "1" if asked[-1] != "BTC-USD" else "0.01", "meanwhile")

        venue.meddle = buy
        with refused("busy", "nothing was traded, try again"):
            warren.buy_shares("AAPL", 1, "")
        assert len(asked) == 5
        assert "AAPL" not in {row.symbol for row in rows(warren.store, tables.holdings)}

    def test_the_same_key_filled_meanwhile_fills_once(self, venue: MeddlingVenue, warren: Account) -> None:
        first = []

        def same() -> None:
            venue.meddle = lambda: None
            first.append(warren.buy_shares("AAPL", 1, "", "k"))

        venue.meddle = same
        second = warren.buy_shares("AAPL", 1, "", "k")
        assert second.is_repeat
        assert second.transaction_id == first[0].transaction_id
        assert warren.record().cash == Decimal("9799.6")


class TestKeys:
    def test_the_same_order_under_its_key_returns_the_first_fill(
        self, warren: Account, venue: ShelfVenue, store: Store
    ) -> None:
        first = warren.buy_shares("BTC-USD", "0.10", "first", "k")
        warren.buy_shares("AAPL", 1, "")
        venue.prices["BTC-USD"] = Decimal(99_000)
        before = books(store)
        again = warren.buy_shares(" btc-usd ", Decimal("0.1"), "second", "k")
        assert books(store) == before
        assert again.is_repeat
        assert (again.transaction_id, again.price, again.amount) == (first.transaction_id, first.price, first.amount)
        assert again.cash == warren.record().cash
        assert again.holding == Decimal("0.1")
        assert rows(store, tables.refusals) == []

    @pytest.mark.parametrize(
        ("side", "symbol", "quantity"), [("buy", "AAPL", 2), ("buy", "MSFT", 1), ("sell", "AAPL", 1)]
    )
    def test_another_order_under_a_used_key_is_refused(
        self, side: str, symbol: str, quantity: int, warren: Account, store: Store
    ) -> None:
        warren.buy_shares("AAPL", 1, "", "k")
        trade = warren.buy_shares if side == "buy" else warren.sell_shares
        with turned_down(store, "key_reused", "the order key k was used to buy 1 AAPL; a new order needs a new key"):
            trade(symbol, quantity, "", "k")

    def test_a_refused_order_leaves_its_key_free(self, warren: Account, store: Store) -> None:
        with turned_down(store, "insufficient_cash"):
            warren.buy_shares("AAPL", 50, "", "k")
        assert warren.buy_shares("AAPL", 1, "", "k").is_repeat is False

    def test_a_key_belongs_to_its_account(self, warren: Account, store: Store, market: Market) -> None:
        george = open_account(store, market, "george")
        assert not warren.buy_shares("AAPL", 1, "", "k").is_repeat
        assert not george.buy_shares("MSFT", 1, "", "k").is_repeat

    def test_a_fill_is_told_again_whatever_has_become_of_the_market_or_the_account(
        self, warren: Account, store: Store, market: Market, venue: ShelfVenue
    ) -> None:
        first = warren.buy_shares("AAPL", 1, "", "k")
        warren.sell_shares("AAPL", 1, "", "l")
        del venue.prices["AAPL"]
        venue.closed.add("AAPL")
        set_state(store, market, "warren", "halted", "by the test")
        again = warren.buy_shares("AAPL", 1, "", "k")
        assert (again.transaction_id, again.holding) == (first.transaction_id, 0)


def limited(store: Store, market: Market, name: str = "warren", **limits: str) -> Account:
    return open_account(store, market, name, limits=limits)


class TestLimits:
    @pytest.mark.parametrize(
        ("key", "value", "quantity", "text"),
        [
            (
                "max_order_usd",
                "1002",
                6,
                "costs 1,202.40 USD, over warren's largest order of 1,002.00 USD; 5 would fit",
            ),
            (
                "min_cash_usd",
                "9000",
                5,
                "costs 1,002.00 USD, less than 9,000.00 USD, warren's minimum, would be left; 4 would fit",
            ),
            ("max_position_share", "0.1", 5, "would put more than 10 % of warren's 10,000.00 USD into it; 4 would fit"),
        ],
    )
    def test_a_purchase_over_a_limit_says_which_and_what_would_fit(
        self, key: str, value: str, quantity: int, text: str, store: Store, market: Market
    ) -> None:
        account = limited(store, market, **{key: value})
        with turned_down(store, "over_limit", text) as caught:
            account.buy_shares("AAPL", quantity, "")
        account.buy_shares("AAPL", would_fit(caught.value), "")

    def test_when_not_one_step_fits_it_says_so(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_order_usd="200")
        with turned_down(store, "over_limit", "none would fit"):
            account.buy_shares("AAPL", 1, "")

    def test_what_would_fit_keeps_every_limit_at_once(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_order_usd="3000", min_cash_usd="8000", max_position_share="0.15")
        with turned_down(store, "insufficient_cash", "; 7 would fit"):
            account.buy_shares("AAPL", 100, "")
        account.buy_shares("AAPL", 7, "")

    def test_the_share_counts_what_is_held_already_and_at_today_s_price(
        self, store: Store, market: Market, venue: ShelfVenue
    ) -> None:
        account = limited(store, market, max_position_share="0.1")
        account.buy_shares("AAPL", 4, "")
        venue.prices["AAPL"] = Decimal(300)
        with turned_down(store, "over_limit", "none would fit"):
            account.buy_shares("AAPL", 1, "")
        account.buy_shares("MSFT", 1, "")

    def test_limits_on_size_never_keep_an_account_from_selling(
        self, store: Store, market: Market, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 40, "")
        for key, value in (("max_order_usd", "1"), ("min_cash_usd", "1000000"), ("max_position_share", "0.01")):
            change_limit(store, "warren", key, value)
        warren.sell_shares("AAPL", 40, "")

    def test_trades_in_a_session_are_counted_buys_and_sales_and_only_that_session_s(
        self, store: Store, market: Market
    ) -> None:
        limited(store, market, max_trades_per_session="2")
        floor, client = (Account(store, market, "warren", actor) for actor in ("floor", "client"))
        floor.buy_shares("AAPL", 1, "no session is open")
        open_session_row(store, "trace_1", "warren", 1, "trade", "house")
        client.buy_shares("AAPL", 1, "a client is in no session")
        floor.buy_shares("AAPL", 1, "")
        floor.sell_shares("AAPL", 1, "")
        for trade in (floor.buy_shares, floor.sell_shares):
            with turned_down(store, "over_limit", "warren has made 2 trades this session, and may make no more in it"):
                trade("AAPL", 1, "")
        client.buy_shares("AAPL", 1, "")
        end_session_row(store, "trace_1", outcome="completed", reason="", appraisal="", turns=1, tool_calls=1, calls=[])
        open_session_row(store, "trace_2", "warren", 2, "rebalance", "house")
        floor.buy_shares("AAPL", 1, "")

    def test_a_refused_or_repeated_order_does_not_count_as_a_trade(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_trades_per_day="2")
        account.buy_shares("AAPL", 1, "", "k")
        account.buy_shares("AAPL", 1, "", "k")
        with refused("insufficient_shares"):
            account.sell_shares("MSFT", 1, "")
        account.buy_shares("AAPL", 1, "")
        with turned_down(store, "over_limit", "warren has made 2 trades today (UTC)"):
            account.buy_shares("AAPL", 1, "")

    def test_trades_in_a_day_count_anew_at_midnight_utc(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_trades_per_day="1")
        account.buy_shares("AAPL", 1, "")
        at(store, datetime(2026, 3, 2, 23, 59, 59, tzinfo=START.tzinfo))
        with turned_down(store, "over_limit"):
            account.sell_shares("AAPL", 1, "")
        at(store, datetime(2026, 3, 3, tzinfo=START.tzinfo))
        account.sell_shares("AAPL", 1, "")

    def test_a_limit_of_no_trades_allows_none(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_trades_per_day="0")
        with turned_down(store, "over_limit"):
            account.buy_shares("AAPL", 1, "")

    def test_baselines_have_no_limits_and_trade_fractions(self, store: Store, market: Market) -> None:
        limits = {"max_trades_per_day": "0", "max_order_usd": "1"}
        baseline = open_account(store, market, "baseline-x", kind="baseline", actor="baseline", limits=limits)
        baseline.buy_shares("AAPL", "0.12345678", "")

    def test_each_change_of_a_limit_is_a_row_and_the_last_one_holds(self, store: Store, market: Market) -> None:
        account = limited(store, market, max_order_usd="100")
        change_limit(store, "warren", "max_order_usd", "off")
        account.buy_shares("AAPL", 1, "")
        change_limit(store, "warren", "max_order_usd", "0.5")
        with refused("over_limit"):
            account.buy_shares("AAPL", 1, "")
        kept = [(row.key, row.value, row.actor) for row in rows(store, tables.limits)]
        assert kept == [
            ("max_order_usd", 100, "operator"),
            ("max_order_usd", None, "operator"),
            ("max_order_usd", Decimal("0.5"), "operator"),
        ]
        assert account.report().limits == {**dict.fromkeys(LIMITS), "max_order_usd": "0.5"}

    @pytest.mark.parametrize(
        ("key", "value", "text"),
        [
            ("max_everything", "1", "there are max_position_share"),
            ("max_position_share", "0", "above 0, up to 1, or off"),
            ("max_position_share", "1.01", "above 0, up to 1, or off"),
            ("max_daily_loss_share", "-0.1", "above 0, up to 1, or off"),
            ("max_trades_per_day", "1.5", "whole number from 0"),
            ("max_trades_per_session", "-1", "whole number from 0"),
            ("max_trades_per_session", "1e7", "whole number from 0"),
            ("max_order_usd", "-1", "0 or more USD"),
            ("max_order_usd", "lots", "finite"),
            ("max_order_usd", "NaN", "finite"),
            ("max_order_usd", "0.000000001", ""),
            ("max_order_usd", "1e30", ""),
            ("min_cash_usd", "1e-400", ""),
            ("max_position_share", "0.123456789", ""),
        ],
    )
    def test_a_limit_that_makes_no_sense_is_refused_and_none_changes(
        self, key: str, value: str, text: str, warren: Account, store: Store
    ) -> None:
        before = books(store)
        with refused("bad_limit", text):
            change_limit(store, "warren", key, value)
        assert books(store) == before

    def test_a_limit_of_no_account_is_refused(self, store: Store) -> None:
        with refused("unknown_account"):
            change_limit(store, "nobody", "max_order_usd", "1")

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("limit", ["max_order_usd", "min_cash_usd"])
    def test_a_limit_of_many_decimals_and_a_penny_coin_are_worked_out_at_once(
        self, limit: str, store: Store, market: Market, venue: ShelfVenue
    ) -> None:
        venue.prices["BTC-USD"] = Decimal("0.00000002")
        account = limited(store, market, **{limit: "100.0000005" if limit == "max_order_usd" else "9899.9999995"})
        with refused("over_limit") as caught:
            account.buy_shares("BTC-USD", 9_000_000_000, "")
        account.buy_shares("BTC-USD", would_fit(caught.value), "")
        assert account.record().cash >= Decimal("9899.9999995")


class TestWhatWouldFit:
    """The quantity that a refusal offers really fits, and one step more does not."""

    @pytest.fixture(scope="class")
    @classmethod
    def floor(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, ShelfVenue, Market]]:
        path = tmp_path_factory.mktemp("fits") / "accounts.db"
        with closing(Store(path, NewRun("replay", 1, "0" * 64, "a tape of the test", START))) as store:
            venue = ShelfVenue()
            yield store, venue, Market(venue, store.clock())

    @settings(max_examples=60, deadline=None)
    @given(
        symbol=st.sampled_from(["AAPL", "BTC-USD"]),
        price=st.integers(1, 10**13).map(lambda units: Decimal(units).scaleb(-8)),
        balance=st.integers(1, 10**12).map(lambda units: Decimal(units).scaleb(-6)),
        held_share=st.integers(0, 90),
        largest=st.none() | st.integers(0, 10**14).map(lambda units: Decimal(units).scaleb(-8)),
        least_cash=st.none() | st.integers(0, 10**14).map(lambda units: Decimal(units).scaleb(-8)),
        share=st.none() | st.integers(1, 10**8).map(lambda units: Decimal(units).scaleb(-8)),
        moved=st.integers(50, 200),
    )
    def test_for_any_price_balance_holding_and_limits(
        self,
        floor: tuple[Store, ShelfVenue, Market],
        symbol: str,
        price: Decimal,
        balance: Decimal,
        held_share: int,
        largest: Decimal | None,
        least_cash: Decimal | None,
        share: Decimal | None,
        moved: int,
    ) -> None:
        store, venue, market = floor
        step = FRACTION if symbol == "BTC-USD" else WHOLE
        venue.prices[symbol] = price
        account = open_account(store, market, f"fit-{len(list_accounts(store))}", balance=balance)
        first = (balance * held_share / 100 / (price * Decimal("1.01")) // step) * step
        if 0 < first <= 10_000_000_000 and notional(fill_price(price, "buy"), first, "buy") <= balance:
            account.buy_shares(symbol, first, "")
        venue.prices[symbol] = quote = max((price * moved / 100).quantize(FRACTION), FRACTION)
        for key, value in (("max_order_usd", largest), ("min_cash_usd", least_cash), ("max_position_share", share)):
            if value is not None:
                change_limit(store, account.name, key, str(value))
        cash = account.record().cash
        try:
            account.buy_shares(symbol, 10_000_000_000, "")
            assume(False)
        except Refused as refusal:
            assert refusal.code in ("insufficient_cash", "over_limit")
            fits = would_fit(refusal)
        with pytest.raises(Refused) as caught:
            account.buy_shares(symbol, fits + step, "one step more")
        assert would_fit(caught.value) == fits
        if fits == 0:
            return
        fill = account.buy_shares(symbol, fits, "what would fit")
        assert -fill.amount <= min(cash, cash if largest is None else largest)
        assert fill.cash >= (least_cash or 0)
        if share is not None:
            position = notional(quote, fill.holding)
            assert position <= share * account.calculate_portfolio_value() + Decimal("0.000002")


class TestDailyLoss:
    """5 % down from the day's opening halts the account until the operator's `resume`."""

    @pytest.fixture
    def george(self, store: Store, market: Market) -> Account:
        george = limited(store, market, "george", max_daily_loss_share="0.05")
        george.buy_shares("AAPL", 40, "")  # 8016.00 of 10000
        return george

    def halted(self, account: Account) -> bool:
        return account.record().state == "halted"

    def test_an_order_at_a_loss_of_the_share_halts_and_trades_nothing(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        record_values(store, market, 1)  # 9984
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal("187.53")  # 1984 + 7501.2 = 9485.2, and 95 % of 9984 is 9484.8
        george.sell_shares("AAPL", 1, "")
        venue.prices["AAPL"] = Decimal("187.5")
        for trade in (george.buy_shares, george.sell_shares):
            with turned_down(store, "halted", "trading-floor resume george"):
                trade("AAPL", 1, "")
        assert "5 % or more in a day" in george.record().state_reason
        assert self.halted(george)

    def test_recording_values_halts_too(self, george: Account, store: Store, venue: ShelfVenue, market: Market) -> None:
        record_values(store, market, 1)
        venue.prices["AAPL"] = Decimal(180)
        assert not self.halted(george)
        record_values(store, market, 2)
        assert self.halted(george)

    def test_a_loss_of_exactly_the_share_halts(self, store: Store, market: Market, venue: ShelfVenue) -> None:
        account = limited(store, market, max_daily_loss_share="0.05")
        account.buy_shares("AAPL", 10, "")
        at(store, START + HOUR)
        record_values(store, market, 1)
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal("150.02")  # 9996 x 0.95 = 9496.2 = 7996 + 1500.2
        record_values(store, market, 2)
        assert self.halted(account)

    def test_the_day_opens_at_the_last_value_recorded_before_it(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        venue.prices["AAPL"] = Decimal(100)
        at(store, START + HOUR)
        change_limit(store, "george", "max_daily_loss_share", "off")
        record_values(store, market, 1)  # 5984
        venue.prices["AAPL"] = Decimal(98)
        at(store, START + 2 * HOUR)
        record_values(store, market, 2)  # 5904
        change_limit(store, "george", "max_daily_loss_share", "0.05")
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal(300)
        record_values(store, market, 3)  # on the day itself, so it opens nothing
        venue.prices["AAPL"] = Decimal(91)  # 5624: more than 95 % of 5904
        george.sell_shares("AAPL", 1, "")
        venue.prices["AAPL"] = Decimal("90.5")
        with turned_down(store, "halted", "down from 5,904.00"):
            george.sell_shares("AAPL", 1, "")

    def test_of_two_values_recorded_at_one_time_the_later_opens_the_day(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        record_values(store, market, 1)
        venue.prices["AAPL"] = Decimal(199)
        record_values(store, market, None)  # 9944
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal(100)
        with turned_down(store, "halted", "down from 9,944.00"):
            george.sell_shares("AAPL", 1, "")

    def test_without_a_recorded_value_the_day_opens_at_the_first_one_seen(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal(100)
        george.sell_shares("AAPL", 1, "opens the day at 5984.00")
        venue.prices["AAPL"] = Decimal(92)
        with turned_down(store, "halted", "down from 5,984.00"):
            george.sell_shares("AAPL", 1, "")

    def test_a_halt_outlives_a_better_price_a_new_day_and_a_restart(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        venue.prices["AAPL"] = Decimal(100)
        with refused("halted"):
            george.sell_shares("AAPL", 1, "")
        venue.prices["AAPL"] = Decimal(300)
        at(store, START + 3 * DAY)
        with closing(Store(store.path)) as reopened:
            again = Account(reopened, Market(venue, reopened.clock()), "george")
            with turned_down(reopened, "halted", "george is halted and trades nothing"):
                again.buy_shares("MSFT", 1, "")

    def test_resume_lifts_it_for_the_same_day_and_the_loss_counts_from_there(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        record_values(store, market, 1)
        at(store, START + DAY)
        venue.prices["AAPL"] = Decimal(100)
        record_values(store, market, 2)
        assert self.halted(george)
        assert ask(store, market, "resume", "George") == ["george"]
        george.sell_shares("AAPL", 1, "")
        record_values(store, market, 3)
        assert not self.halted(george)
        venue.prices["AAPL"] = Decimal(92)
        record_values(store, market, 4)
        assert self.halted(george)

    def test_an_account_without_the_limit_and_a_baseline_are_never_halted(
        self, store: Store, venue: ShelfVenue, market: Market, warren: Account
    ) -> None:
        baseline = open_account(
            store, market, "baseline-y", kind="baseline", actor="baseline", limits={"max_daily_loss_share": "0.01"}
        )
        for account in (warren, baseline):
            account.buy_shares("AAPL", 40, "")
        record_values(store, market, 1)
        venue.prices["AAPL"] = Decimal(1)
        record_values(store, market, 2)
        for account in (warren, baseline):
            account.sell_shares("AAPL", 1, "")
            assert not self.halted(account)

    def test_an_account_that_has_lost_nothing_is_not_halted_even_when_it_has_nothing(
        self, store: Store, market: Market
    ) -> None:
        open_account(store, market, "poor", balance=Decimal(0), limits={"max_daily_loss_share": "0.05"})
        record_values(store, market, 1)
        assert {each.name: each.state for each in list_accounts(store)} == {"poor": "active"}


class TestStates:
    def test_reducing_sells_and_does_not_buy(self, warren: Account, store: Store, market: Market) -> None:
        warren.buy_shares("AAPL", 2, "")
        ask(store, market, "reduce", "warren")
        with turned_down(store, "reducing", "warren may only sell: the operator asked for sales only"):
            warren.buy_shares("AAPL", 1, "")
        warren.sell_shares("AAPL", 1, "")

    def test_halted_does_neither_until_resumed(self, warren: Account, store: Store, market: Market) -> None:
        warren.buy_shares("AAPL", 2, "")
        ask(store, market, "halt", "warren")
        for trade in (warren.buy_shares, warren.sell_shares):
            with turned_down(store, "halted", "warren is halted and trades nothing: the operator halted it"):
                trade("AAPL", 1, "")
        ask(store, market, "resume", "warren")
        warren.buy_shares("AAPL", 1, "")

    def test_resume_clears_pause_reduce_and_halt(self, warren: Account, store: Store, market: Market) -> None:
        for action in ("pause", "reduce", "halt", "resume"):
            ask(store, market, action, "warren")  # type: ignore[arg-type]
        record = warren.record()
        assert (record.state, record.state_reason, record.paused) == ("active", "", False)
        assert [(row.action, row.account) for row in rows(store, tables.controls)] == [
            (action, "warren") for action in ("pause", "reduce", "halt", "resume")
        ]

    def test_what_the_owner_asks_of_the_whole_floor_concerns_its_traders_alone(
        self, store: Store, market: Market
    ) -> None:
        open_account(store, market, "warren", kind="trader")
        open_account(store, market, "mine")
        open_account(store, market, "baseline-z", kind="baseline")
        assert ask(store, market, "halt", None) == ["warren"]
        assert {each.name: each.state for each in list_accounts(store)} == {
            "warren": "halted", "mine": "active", "baseline-z": "active",
        }  # fmt: skip

    @pytest.mark.parametrize("name", ["nobody", "baseline-z"])
    def test_an_unknown_account_and_a_baseline_can_t_be_asked_anything(
        self, name: str, store: Store, market: Market
    ) -> None:
        open_account(store, market, "baseline-z", kind="baseline")
        with refused("unknown_account"):
            ask(store, market, "halt", name)
        assert rows(store, tables.controls) == []


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
