"""What companies do to their shares reaches every account on its day, once, and nothing is traded on wrong units."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update

import ledger.corporate_actions
from accounts import Account, open_account
from commands.accounts import _write_csv
from dashboard.column import render_trades
from dashboard.record import Record
from dashboard.story import story
from dashboard.symbol import symbol_chart
from database import Store
from ledger.baselines import EQUAL_WEIGHT, open_baselines, run_baselines
from ledger.corporate_actions import look, look_and_tell
from ledger.reconcile import reconcile
from ledger.sessions import activity
from ledger.valuation import record_values, valuate
from market import Market
from store import tables
from store.migrate import upgrade
from tests.bookkeeping import books, rows
from tests.conftest import START, TAPE
from tests.shelf import ShelfVenue, refused
from tests.test_dashboard_story import words
from trading_floor import Floor
from values.address import StoreAddress
from values.clock import exchange_day
from values.corporate_action import CorporateAction, Delisting, Dividend, Rename, Split
from values.errors import Refused, UnknownSymbol, VenueUnavailable
from values.instrument import Instrument
from values.quote import Bar
from values.schedule import Tape

MONDAY = date(2026, 3, 2)
TUESDAY, WEDNESDAY = date(2026, 3, 3), date(2026, 3, 4)


class LiveShelf(ShelfVenue):
    """A shelf of a live market; what is in `gone` is no longer listed."""

    name = "live"

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[str] = set()

    def instrument(self, symbol: str) -> Instrument:
        if symbol in self.gone:
            raise UnknownSymbol(symbol, "the shelf")
        return super().instrument(symbol)


@pytest.fixture
def venue() -> LiveShelf:
    return LiveShelf()


@pytest.fixture
def warren(store: Store, market: Market) -> Account:
    return open_account(store, market, "warren", actor="client")


def go_to(store: Store, day: date, hour: int = 15) -> None:
    store.anchor(datetime(day.year, day.month, day.day, hour, tzinfo=UTC), 1, timedelta(0))


def split(after: str, before: str = "1", day: date = TUESDAY, symbol: str = "AAPL") -> Split:
    return Split(symbol, day, Decimal(before), Decimal(after))


def dividend(amount: str, day: date = TUESDAY, symbol: str = "AAPL") -> Dividend:
    return Dividend(symbol, day, Decimal(amount))


def held(account: Account) -> dict[str, tuple[str, str]]:
    return {each.symbol: (each.quantity, each.cost) for each in account.report().positions}


def differences(store: Store) -> list[str]:
    with store.read() as connection:
        return [str(each) for each in reconcile(connection)]


# What 10 AAPL at 200 and what is done to them come to: cash 7996 and a cost of 2004 before it, the price after it 50.
LEDGER = [
    # action                                          cash          AAPL held and their cost
    ([split("4")],                                    "7996",       ("40", "2004")),
    ([split("3", "2")],                               "7996",       ("15", "2004")),
    ([split("1", "10")],                              "7996",       ("1", "2004")),
    ([split("1", "4")],                               "8021",       ("2", "1603.2")),  # 0.5 unit at 50, a fifth of cost
    ([split("1", "3")],                               "8012.666666", ("3", "1803.6")),  # a third of 50, rounded down
    ([split("1", "20")],                              "8021",       None),  # half a unit, paid out
    ([dividend("0.25")],                              "7998.5",     ("10", "2004")),
    ([dividend("0.00000019")],                        "7996.000001", ("10", "2004")),  # 0.0000019, rounded down
    ([dividend("0.25"), dividend("1")],               "8008.5",     ("10", "2004")),  # of one day: added up
    ([split("4"), dividend("0.25")],                  "7998.5",     ("40", "2004")),  # for the 10 of the day before
    ([split("4"), dividend("0.25", WEDNESDAY)],       "8006",       ("40", "2004")),  # for 40
    ([split("4"), split("1", "2", WEDNESDAY)],        "7996",       ("20", "2004")),
    ([Delisting("AAPL", TUESDAY)],                    "7996",       ("10", "2004")),
    ([dividend("0.25", MONDAY)],                      "7996",       ("10", "2004")),  # bought on the ex-date
]  # fmt: skip


@pytest.mark.parametrize(("actions", "cash", "holding"), LEDGER)
def test_the_books_after_an_action(
    store: Store, market: Market, venue: LiveShelf, warren: Account, actions: list[CorporateAction], cash: str,
    holding: tuple[str, str] | None,
) -> None:  # fmt: skip
    warren.buy_shares("AAPL", 10, "")
    venue.actions = actions
    venue.prices["AAPL"] = Decimal(50)
    go_to(store, WEDNESDAY)
    venue.as_of["AAPL"] = datetime(2026, 3, 3, 15, tzinfo=UTC)
    look(store, market)
    assert warren.report().balance == cash
    assert held(warren).get("AAPL") == holding
    assert differences(store) == []
    report = warren.report()
    assert Decimal(cash) + Decimal(holding[1] if holding else 0) == 10_000 + Decimal(report.realised_profit)


@pytest.mark.both_databases
class TestOnce:
    def test_each_is_applied_once_however_often_it_is_looked(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [split("4"), dividend("0.25")]
        go_to(store, TUESDAY)
        sentences = look(store, market)
        assert sentences == [
            "AAPL paid 0.25 USD a unit: warren got 2.50 USD for 10",
            "AAPL split 4 for 1: warren now holds 40",
        ]
        after = books(store)
        asked = len(venue.asked)
        assert look(store, market) == []
        assert len(venue.asked) == asked  # nobody is asked twice a day
        go_to(store, WEDNESDAY)
        assert look(store, market) == []
        assert venue.asked[-1] == (("AAPL",), TUESDAY, WEDNESDAY)
        assert books(store) == after

    def test_two_processes_that_look_at_once_apply_it_once(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [split("4"), dividend("0.25")]
        go_to(store, TUESDAY)
        both = threading.Barrier(2, timeout=20)
        told: list[list[str]] = []

        class Together(LiveShelf):
            def corporate_actions(self, *args: object) -> tuple[CorporateAction, ...]:
                both.wait()  # each has seen that nobody looked today
                return tuple(venue.actions or ())

        def one() -> None:
            with closing(Store(store.address)) as own:
                told.append(look(own, Market(Together(), own.clock())))

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(map(len, told)) == [0, 2]
        assert (warren.report().balance, held(warren)["AAPL"][0]) == ("7998.5", "40")
        assert differences(store) == []

    def test_one_that_is_cut_off_half_way_leaves_nothing_and_is_applied_whole_later(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        before = books(store)
        venue.actions = [split("4"), dividend("0.25")]
        go_to(store, TUESDAY)

        class Killed(BaseException):
            pass

        def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(ledger.corporate_actions, "_note_days", die)
            look(store, market)
        assert books(store) == before
        assert rows(store, tables.corporate_actions) == []
        assert len(look(store, market)) == 2

    def test_a_week_without_the_floor_is_made_up_for(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [dividend("0.5", date(2026, 3, 9)), split("4", day=WEDNESDAY), dividend("1", TUESDAY)]
        go_to(store, date(2026, 3, 10))
        look(store, market)
        assert venue.asked[-1] == (("AAPL",), MONDAY, date(2026, 3, 10))
        assert warren.report().balance == "8026"  # 10 x 1, then 40 x 0.5
        assert differences(store) == []

    def test_every_kind_of_account_gets_it(self, store: Store, market: Market, venue: LiveShelf) -> None:
        trader = open_account(store, market, "ray", kind="trader")
        baseline = open_account(store, market, "baseline-x", kind="baseline", actor="baseline")
        open_account(store, market, "cash-only")
        trader.buy_shares("AAPL", 1, "")
        baseline.buy_shares("AAPL", "0.5", "")
        venue.actions = [split("1", "3"), dividend("0.1")]
        venue.prices["AAPL"] = Decimal(600)
        go_to(store, TUESDAY)
        look(store, market)
        assert held(baseline)["AAPL"][0] == "0.16666666"  # a baseline holds fractions
        assert "AAPL" not in held(trader)
        assert {row.account for row in rows(store, tables.transactions) if row.actor == "market"} == {
            "ray", "baseline-x",
        }  # fmt: skip
        assert differences(store) == []


class TestOfRecord:
    def test_who_sells_on_the_ex_date_gets_the_dividend_though_it_is_told_a_day_late(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        go_to(store, TUESDAY)
        warren.sell_shares("AAPL", 10, "")  # looked, and nobody knew
        cash = Decimal(warren.report().balance)
        venue.actions = [dividend("0.25")]
        go_to(store, WEDNESDAY)
        look(store, market)
        assert Decimal(warren.report().balance) - cash == Decimal("2.5")
        assert differences(store) == []

    def test_a_dividend_told_after_the_split_of_its_day_is_for_the_units_before_it(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [split("4")]
        go_to(store, TUESDAY)
        look(store, market)
        venue.actions.append(dividend("0.25"))
        go_to(store, WEDNESDAY)
        look(store, market)
        assert warren.report().balance == "7998.5"
        assert differences(store) == []

    def test_who_buys_on_the_ex_date_gets_none(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        go_to(store, TUESDAY)
        venue.actions = [dividend("0.25"), split("4")]
        warren.buy_shares("AAPL", 10, "")
        go_to(store, WEDNESDAY)
        assert look(store, market) == []
        assert held(warren)["AAPL"][0] == "10"

    def test_the_day_turns_at_five_utc_when_new_york_neither_trades_late_nor_early(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        venue.actions = [dividend("0.25")]
        go_to(store, TUESDAY, hour=4)
        warren.buy_shares("AAPL", 10, "")
        assert (look(store, market), exchange_day(market.clock.now())) == ([], MONDAY)
        go_to(store, TUESDAY, hour=5)
        assert len(look(store, market)) == 1

    def test_units_sold_that_a_split_told_late_takes_away_halt_the_account(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        go_to(store, TUESDAY)
        warren.sell_shares("AAPL", 10, "")
        venue.actions = [split("1", "10")]
        go_to(store, WEDNESDAY)
        look(store, market)
        report = warren.report()
        assert (report.state, held(warren)) == ("halted", {})
        assert "sold 9 AAPL more than a split on 2026-03-03" in report.state_reason
        assert differences(store) == []


class TestOrders:
    def test_an_order_without_a_floor_comes_after_the_split(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [split("4")]
        venue.prices["AAPL"] = Decimal(50)
        go_to(store, TUESDAY)
        assert warren.sell_shares("AAPL", 40, "").holding == 0
        assert [row.kind for row in rows(store, tables.transactions)] == ["deposit", "buy", "split", "sell"]

    @pytest.mark.parametrize("side", ["buy", "sell"])
    def test_nothing_is_traded_while_nobody_can_say_what_was_split(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account, side: str
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        go_to(store, TUESDAY)
        venue.actions = None
        before = books(store)
        trade = warren.buy_shares if side == "buy" else warren.sell_shares
        with refused("no_price", "whether AAPL or a holding was split today is not known"):
            trade("AAPL", 1, "")
        assert look_and_tell(store, market)[0].startswith("what companies did to what is held is not known")
        assert books(store) == before
        venue.actions = []
        trade("AAPL", 1, "")

    def test_a_day_that_turns_under_an_order_is_looked_at_first(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [split("4")]
        quote = venue.quote
        turned: list[bool] = []

        def slow_quote(symbol: str, now: datetime) -> object:
            found = quote(symbol, now)
            if not turned:
                turned.append(True)
                go_to(store, TUESDAY, hour=5)
            return found

        venue.quote = slow_quote  # type: ignore[method-assign, assignment]
        assert warren.sell_shares("AAPL", 1, "").holding == 39

    def test_a_price_from_before_the_split_values_and_does_not_trade(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        value = warren.calculate_portfolio_value()
        venue.as_of["AAPL"] = market.clock.now()  # Monday's close is all that there is on Tuesday
        venue.actions = [split("4")]
        go_to(store, TUESDAY)
        with refused("stale_price", "before its split on 2026-03-03"):
            warren.buy_shares("AAPL", 1, "")
        assert warren.calculate_portfolio_value() == value
        assert record_values(store, market, 1)["warren"].value == value
        warren.buy_shares("MSFT", 1, "another holding is no obstacle")
        with refused("stale_price"):  # nor may another buy at it, who held none
            open_account(store, market, "george").buy_shares("AAPL", 1, "")
        del venue.as_of["AAPL"]
        venue.prices["AAPL"] = Decimal(50)
        assert warren.sell_shares("AAPL", 40, "").amount == Decimal("1996")

    def test_an_account_whose_units_are_not_sure_has_no_value_on_record_and_no_halt(
        self, store: Store, market: Market, venue: LiveShelf
    ) -> None:
        warren = open_account(store, market, "warren", limits={"max_daily_loss_share": "0.05"})
        warren.buy_shares("AAPL", 10, "")
        record_values(store, market, 1)
        venue.actions, venue.prices["AAPL"] = None, Decimal(50)  # split, and nobody knows yet
        go_to(store, TUESDAY)
        record_values(store, market, 2)
        assert warren.record().state == "active"
        assert len(rows(store, tables.portfolio_values)) == 1
        assert valuate(store, market, "warren").is_stale
        venue.actions = [split("4")]
        look(store, market)
        record_values(store, market, 3)
        assert warren.record().state == "active"
        assert len(rows(store, tables.portfolio_values)) == 2

    def test_the_baselines_trade_what_nobody_has_asked_about_yet_and_ask_once_for_all(
        self, store: Store, market: Market, venue: LiveShelf
    ) -> None:
        assert open_baselines(store, market) == []
        assert run_baselines(store, market) == []
        assert {row.symbol for row in rows(store, tables.holdings)} == set(venue.prices)
        assert [symbols for symbols, _, _ in venue.asked] == [("SPY",), ("AAPL", "BRK.B", "MSFT", "NVDA")]
        april = date(2026, 4, 1)
        venue.actions = [dividend("0.5", april, "MSFT"), split("4", day=april)]
        go_to(store, april)
        look(store, market)
        assert run_baselines(store, market) == []  # a dividend is no trade: the month's rebalancing takes place
        assert [row.kind for row in rows(store, tables.transactions) if row.account == EQUAL_WEIGHT][-1] == "buy"

    def test_coins_are_not_asked_about(self, store: Store, market: Market, venue: LiveShelf, warren: Account) -> None:
        venue.actions = None
        warren.buy_shares("BTC-USD", "0.01", "")
        assert (look(store, market), venue.asked) == ([], [])

    def test_a_replay_is_never_asked(self, store: Store, market: Market, venue: LiveShelf) -> None:
        venue.name = "replay"
        venue.actions = None
        account = open_account(store, market, "warren")
        account.buy_shares("AAPL", 1, "")
        assert (look(store, market), venue.asked) == ([], [])

    @pytest.mark.parametrize(
        "answer",
        [
            [dividend("1", symbol="MSFT")],
            [dividend("1", day=date(2026, 2, 1))],
            [split("4"), split("5")],
            [split("90000000000")],
            [Rename("AAPL", TUESDAY, "AAA"), Rename("AAA", TUESDAY, "BBB"), Rename("BBB", TUESDAY, "AAPL")],
        ],
    )
    def test_an_answer_that_can_not_be_is_not_booked(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account, answer: list[CorporateAction]
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        go_to(store, TUESDAY)
        before = books(store)
        venue.corporate_actions = lambda *_: tuple(answer)  # type: ignore[method-assign]
        with pytest.raises(VenueUnavailable):
            look(store, market)
        assert books(store) == before


class TestRenamed:
    def test_the_holding_moves_and_joins_what_is_there(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        warren.buy_shares("MSFT", 1, "")
        venue.actions = [Rename("AAPL", TUESDAY, "MSFT")]
        go_to(store, TUESDAY)
        assert look(store, market) == ["AAPL is now MSFT: warren's 10 moved there"]
        assert held(warren) == {"MSFT": ("11", "2404.8")}
        assert differences(store) == []
        venue.gone.add("AAPL")
        for trade in (warren.buy_shares, warren.sell_shares):
            with refused("renamed", "AAPL trades as MSFT since 2026-03-03; order MSFT"):
                trade("AAPL", 1, "")
        warren.sell_shares("MSFT", 11, "")

    def test_what_the_new_name_paid_while_the_floor_was_away_is_paid(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [
            Rename("AAPL", TUESDAY, "NVDA"), dividend("1", TUESDAY, "NVDA"), dividend("2", WEDNESDAY, "NVDA"),
        ]  # fmt: skip
        go_to(store, date(2026, 3, 6))
        assert len(look(store, market)) == 3
        assert warren.report().balance == "8026"
        assert differences(store) == []

    @pytest.mark.parametrize("end", [Rename("AAPL", TUESDAY, "NVDA"), Delisting("AAPL", TUESDAY)])
    def test_what_has_a_symbol_that_another_company_gave_up_stays(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account, end: CorporateAction
    ) -> None:
        go_to(store, TUESDAY)
        warren.buy_shares("AAPL", 10, "")
        venue.actions = [end]
        go_to(store, WEDNESDAY)
        assert look(store, market) == []
        assert held(warren) == {"AAPL": ("10", "2004")}

    def test_a_symbol_that_was_renamed_is_told_at_the_first_order_of_an_account_that_still_has_it(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        venue.actions, venue.gone = [Rename("AAPL", TUESDAY, "NVDA")], {"AAPL"}
        go_to(store, TUESDAY)
        with refused("renamed", "order NVDA"):
            warren.sell_shares("AAPL", 10, "")
        assert warren.sell_shares("NVDA", 10, "").holding == 0


class TestDelisted:
    @pytest.mark.parametrize("is_priced", [True, False])
    def test_the_holding_stays_at_the_last_price_known_and_can_not_be_traded(
        self, store: Store, market: Market, venue: LiveShelf, warren: Account, is_priced: bool
    ) -> None:
        warren.buy_shares("AAPL", 10, "")
        go_to(store, TUESDAY)
        venue.actions = [Delisting("AAPL", TUESDAY)]
        venue.prices["AAPL"] = Decimal(3)
        if not is_priced:
            venue.gone.add("AAPL")
        last = "3" if is_priced else "200"
        assert look(store, market) == [
            f"AAPL was delisted: warren's 10 stay, valued at {last} USD, and can't be traded"
        ]
        venue.gone.add("AAPL")
        for trade in (warren.buy_shares, warren.sell_shares):
            with refused("delisted", "AAPL was delisted on 2026-03-03 and can be neither bought nor sold; the 10 held"):
                trade("AAPL", 1, "")
        [position] = warren.report().positions
        assert (position.price, position.stale) == (last, True)
        assert record_values(store, market, 1)["warren"].value == 7996 + 10 * Decimal(last)
        warren.buy_shares("MSFT", 1, "the rest of the account goes on")
        assert differences(store) == []


ONE = Decimal(1)
TAMPERED = [
    (tables.transactions, "quantity", 9 * ONE), (tables.transactions, "units_change", 31 * ONE),
    (tables.transactions, "amount", ONE), (tables.transactions, "realised", ONE),
    (tables.transactions, "price", 7 * ONE), (tables.transactions, "symbol", "MSFT"),
    (tables.transactions, "ex_date", WEDNESDAY), (tables.transactions, "to_symbol", "MSFT"),
    (tables.corporate_actions, "units_after", 5 * ONE), (tables.corporate_actions, "usd_per_unit", 9 * ONE),
    (tables.holdings, "quantity", 41 * ONE), (tables.holdings, "cost", ONE),
]  # fmt: skip


def test_whatever_figure_of_an_action_is_changed_is_named(
    store: Store, market: Market, venue: LiveShelf, warren: Account
) -> None:
    warren.buy_shares("AAPL", 10, "")
    venue.actions = [split("4"), dividend("0.25")]
    go_to(store, TUESDAY)
    look(store, market)
    for kind in ("split", "dividend"):
        for table, column, value in TAMPERED:
            if (column in ("usd_per_unit", "units_after")) and (column == "units_after") != (kind == "split"):
                continue
            own = table.c.kind == kind if "kind" in table.c else table.c.symbol == "AAPL"
            with pytest.raises(AssertionError), store.write() as connection:  # and all is rolled back
                connection.execute(update(table).where(own).values(**{column: value}))
                assert not [each.account for each in reconcile(connection) if each.account == "warren"], (kind, column)
    assert differences(store) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("buy"), st.sampled_from(["AAPL", "MSFT"]), st.integers(1, 9)),
        st.tuples(st.just("sell"), st.sampled_from(["AAPL", "MSFT"]), st.integers(1, 9)),
        st.tuples(st.just("split"), st.sampled_from(["AAPL", "MSFT"]), st.sampled_from(["4/1", "1/3", "3/2", "1/10"])),
        st.tuples(st.just("dividend"), st.sampled_from(["AAPL", "MSFT"]), st.integers(1, 10**7)),
        st.tuples(st.just("rename"), st.just("MSFT"), st.just("SPY")),
        st.tuples(st.just("days"), st.just(""), st.integers(1, 9)),
        st.tuples(st.just("look"), st.just(""), st.just(0)),
    ),
    min_size=4,
    max_size=14,
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would make thousands of stores
)
@given(steps=STEPS)
def test_any_interleaving_reconciles_and_to_look_twice_is_to_look_once(
    new_store: Path, tmp_path: Path, steps: list[tuple[str, str, object]]
) -> None:
    path = tmp_path / "accounts.db"
    for file in tmp_path.glob("accounts.db*"):
        file.unlink()
    shutil.copy(new_store, path)
    with closing(Store(path)) as store:
        venue = LiveShelf()
        market = Market(venue, store.clock())
        accounts = [
            open_account(store, market, "warren", balance=Decimal(10**6)),
            open_account(store, market, "baseline-x", kind="baseline", balance=Decimal(10**6)),
        ]
        day = MONDAY
        venue.actions = []
        for what, symbol, value in steps:
            if what == "days":
                assert isinstance(value, int)
                day += timedelta(days=value)
                go_to(store, day)
            elif what == "look":
                look(store, market)
            elif what in ("buy", "sell"):
                for account in accounts:
                    trade = account.buy_shares if what == "buy" else account.sell_shares
                    with contextlib.suppress(Refused):
                        trade(symbol, value, "")
            else:
                action = made(what, symbol, value, day)
                if not any((a.symbol, a.ex_date, type(a)) == (symbol, day, type(action)) for a in venue.actions):
                    venue.actions.append(action)
        go_to(store, day + timedelta(days=1))
        look(store, market)
        after = books(store)
        with store.write() as connection:
            connection.execute(update(tables.action_days).values(day=MONDAY))  # as if nobody had looked since
        look(store, market)
        assert books(store) == after
        assert differences(store) == []
        for account in accounts:
            cost = sum((Decimal(cost) for _, cost in held(account).values()), Decimal(0))
            record = account.record()
            assert record.cash + cost == record.deposited + record.realised


def made(what: str, symbol: str, value: object, day: date) -> CorporateAction:
    if what == "split":
        after, _, before = str(value).partition("/")
        return split(after, before, day, symbol)
    if what == "dividend":
        return Dividend(symbol, day, Decimal(str(value)).scaleb(-6))
    return Rename(symbol, day, str(value))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Split("aapl", MONDAY, Decimal(1), Decimal(2)),
        lambda: Split("AAPL", datetime(2026, 3, 2, tzinfo=UTC), Decimal(1), Decimal(2)),
        lambda: Split("AAPL", MONDAY, Decimal(0), Decimal(2)),
        lambda: Split("AAPL", MONDAY, Decimal(1), Decimal("NaN")),
        lambda: Split("AAPL", MONDAY, 1.0, Decimal(2)),  # type: ignore[arg-type]
        lambda: Dividend("AAPL", MONDAY, Decimal("-0.1")),
        lambda: Dividend("AAPL", MONDAY, Decimal("0.000000001")),
        lambda: Rename("AAPL", MONDAY, "AAPL"),
        lambda: Delisting("what?", MONDAY),
    ],
)
def test_an_action_that_can_not_be_is_refused_with_a_sentence(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"expected|at most"):
        make()


def test_the_page_tells_actions_apart_from_trades(
    store: Store, market: Market, venue: LiveShelf, warren: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    warren.buy_shares("AAPL", 10, "")
    seen = Record(store)  # a page that was open before
    venue.actions = [split("4"), dividend("0.25"), Rename("AAPL", TUESDAY, "NVDA")]
    go_to(store, TUESDAY)
    look(store, market)
    seen.refresh_values()
    for record in (seen, Record(store)):
        tally = record.tallies["warren"]
        assert (tally.trades, tally.sales, len(tally.transactions.rows)) == (1, 0, 5)
    columns = render_trades(record.tallies["warren"].transactions.rows, "warren")
    by_kind = {row.kind: row.id for row in rows(store, tables.transactions)}
    for kind, texts in {
        "split": (
            "split of 10 AAPL",
            "Units changed by 30",
            "AAPL split 4 for 1: warren now holds 40",
            "the company did",
        ),
        "dividend": ("dividend of 10 AAPL", "A unit 0.25 USD", "Cash +2.50 USD", "Ex-date 2026-03-03"),
        "rename": ("rename of 40 AAPL", "New symbol NVDA"),
    }.items():
        told = words(story(store, by_kind[kind]))
        assert [each for each in texts if each not in told] == []
        assert f"{kind} AAPL" in words(columns)
    bar = Bar("AAPL", START, START + timedelta(hours=30), *[Decimal(200)] * 5)
    monkeypatch.setattr(Market, "bars", lambda *_: (bar,))
    chart = symbol_chart(store, market, "AAPL", "day", {})
    assert chart is not None
    marks = sorted(each.text for each in chart.layout.annotations)
    assert marks == ["AAPL is now NVDA", "dividend 0.25", "split 4 for 1"]
    assert [len(trace.x) for trace in chart.data[1:]] == [1]


def test_what_a_client_reads_and_counts_knows_the_kinds(store: Store, market: Market, venue: LiveShelf) -> None:
    warren = open_account(store, market, "warren", limits={"max_trades_per_day": "1"})
    warren.buy_shares("AAPL", 10, "")
    venue.actions = [split("4"), dividend("0.25")]
    go_to(store, TUESDAY)
    look(store, market)
    page = warren.list_transactions().transactions
    assert [each.kind for each in page] == ["split", "dividend", "buy", "deposit"]
    assert page[0].rationale == "AAPL split 4 for 1: warren now holds 40 (ex-date 2026-03-03)"
    warren.sell_shares("AAPL", 1, "the day's one trade: what companies do is none")
    with store.read() as connection:
        assert activity(connection, "warren").fills == 2
    out = io.StringIO()
    _write_csv(store, "warren", out)
    split_row = next(row for row in csv.DictReader(io.StringIO(out.getvalue())) if row["kind"] == "split")
    assert (split_row["ex_date"], split_row["units_change"], split_row["actor"]) == ("2026-03-03", "30", "market")


async def test_the_floor_says_what_companies_did_before_its_cycle(
    store: Store, market: Market, venue: LiveShelf, warren: Account
) -> None:
    warren.buy_shares("AAPL", 10, "")
    venue.actions = [split("4")]
    said: list[str] = []
    tomorrow = START + timedelta(days=1)
    floor = Floor(store, market, {}, timedelta(hours=1), said.append, tape=Tape([tomorrow], tomorrow, 0.0))
    await floor.run()
    assert said.index("AAPL split 4 for 1: warren now holds 40") < next(
        index for index, each in enumerate(said) if each.startswith("cycle 1")
    )
    assert len(rows(store, tables.corporate_actions)) == 1


@pytest.mark.both_databases
def test_a_store_of_the_first_schema_keeps_all_it_held_and_takes_actions(
    address: StoreAddress, venue: LiveShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("database.upgrade", partial(upgrade, target="0001"))
        Store(address, TAPE).close()
    moment = "'2026-03-02 15:00:00'" if address.is_file else "'2026-03-02 15:00:00+00'"
    with monkeypatch.context() as older:
        older.setattr("database.is_current", lambda _: True)
        with closing(Store(address)) as store, store.write() as connection:
            connection.execute(text(
                "INSERT INTO accounts (name, kind, state, state_reason, paused, cash, realised, deposited, strategy, "
                f"opened_at) "
                f"VALUES ('warren', 'trader', 'active', '', false, 7996000000, 0, 10000000000, 's', {moment})"
            ))  # fmt: skip
            connection.execute(text(
                "INSERT INTO transactions (account, kind, amount, realised, cash_after, rationale, actor, market_time, "
                f"wall_time) VALUES ('warren', 'deposit', 10000000000, 0, 10000000000, '', 'floor', {moment}, {moment})"
            ))  # fmt: skip
            connection.execute(text(
                "INSERT INTO transactions (account, kind, symbol, quantity, price, amount, realised, cash_after, "
                "quote_price, quote_as_of, quote_seen_at, source, rationale, order_key, actor, market_time, wall_time) "
                "VALUES ('warren', 'buy', 'AAPL', 1000000000, 20040000000, -2004000000, 0, 7996000000, 20000000000, "
                f"{moment}, {moment}, 'replay', '', 'key:1', 'client', {moment}, {moment})"
            ))  # fmt: skip
            connection.execute(text("INSERT INTO holdings VALUES ('warren', 'AAPL', 1000000000, 2004000000)"))
    with closing(Store(address)) as store:
        assert (store.migrated_copy is not None) == address.is_file
        assert differences(store) == []
        market = Market(venue, store.clock())
        warren = Account(store, market, "warren", "client")
        venue.actions = [split("4", day=WEDNESDAY)]
        go_to(store, TUESDAY)
        assert warren.buy_shares("AAPL", 10, "", "key:1").is_repeat
        go_to(store, WEDNESDAY)
        assert look(store, market) == ["AAPL split 4 for 1: warren now holds 40"]
        assert [row.id for row in rows(store, tables.transactions)] == [1, 2, 3]
        assert differences(store) == []
