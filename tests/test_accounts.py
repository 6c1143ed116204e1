"""The account: what trades cost, what is refused and why, and what an order's key promises."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts import Account, account_limits, change_limit, list_accounts, open_account, set_state
from database import Store, read_log
from ledger.sessions import open_session_row
from ledger.valuation import record_values
from market import Market
from store import tables
from store.turns import try_turn
from tests.bookkeeping import books, differences, rows, turned_down
from tests.conftest import START
from tests.shelf import ShelfVenue, refused
from values.errors import Refused, StoreBusy, VenueUnavailable
from values.quote import Quote

pytestmark = pytest.mark.both_databases


@pytest.fixture
def warren(store: Store, market: Market) -> Account:
    return open_account(store, market, "warren", strategy="Wait.")


class TestTrades:
    def test_a_small_ledger(self, warren: Account, venue: ShelfVenue) -> None:
        # what is done, at which quote, and what that leaves: cash, units held, cost of them, profit realised so far
        table = """
            buy   10   200       7996           10   2004      0
            buy   5    100       7495           15   2505      0
            sell  6    300       9291.4         9    1503      794.4
            sell  9    50        9740.5         0    0         -259.5
            buy   3    0.33333   9739.49801     3    1.00199   -259.5
            sell  1    0.33333   9739.830673    2    0.667993  -259.501334
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
            assert [fill.cash, fill.holding] == left[:2]
        assert differences(warren.store) == []

    def test_a_fill_tells_its_price_and_where_that_came_from(self, warren: Account, store: Store) -> None:
        fill = warren.buy_shares(" nvda ", "2", "ships more")
        assert (fill.account, fill.side, fill.symbol, fill.quantity) == ("warren", "buy", "NVDA", Decimal(2))
        assert (fill.quote_price, fill.price) == (Decimal("187.42"), Decimal("187.79484"))
        assert (fill.amount, fill.realised) == (Decimal("-375.58968"), Decimal(0))
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
        assert row.wall_time.tzinfo is not None
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
            Account(store, market, "warren", actor).buy_shares("AAPL", 1, actor)
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

    def test_a_sale_for_more_than_the_books_can_hold_is_refused(
        self, warren: Account, venue: ShelfVenue, store: Store
    ) -> None:
        venue.prices["BTC-USD"] = Decimal("0.00000002")
        warren.buy_shares("BTC-USD", 5_000_000_000, "")
        venue.prices["BTC-USD"] = Decimal(99_999)
        with turned_down(store, "out_of_range", "too large to keep"):
            warren.sell_shares("BTC-USD", 5_000_000_000, "")

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
        assert (record.cash, record.deposited) == (Decimal(10_000), Decimal(10_000))
        assert (record.kind, record.state, record.paused) == ("client", "active", False)
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
        ["", " ", "1st", "-x", "a b", "wärren", "warren\n", "warren\x00", "ｗarren", "w" * 33, "../x", None, 1,
         ["warren"], "\ud800"],
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
            ("buy", "BTC-USD", 1, "insufficient_cash", "; 0.15353907 would fit"),
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

    @pytest.mark.parametrize("rationale", ["x" * 4_001, "\ud800", "\0"], ids=["long", "no text", "NUL"])
    def test_a_rationale_that_can_t_be_kept_is_refused(self, rationale: str, warren: Account, store: Store) -> None:
        with turned_down(store, "rationale_too_long" if len(rationale) > 1 else "bad_rationale"):
            warren.buy_shares("AAPL", 1, rationale)

    @pytest.mark.parametrize(
        "rationale", ["", "x" * 4_000, "a\x01b", "line\nline", "🚀 'quoted' \"twice\"; DROP TABLE accounts"]
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
        assert (again.transaction_id, again.holding) == (first.transaction_id, Decimal(0))
