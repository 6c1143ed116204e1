"""What an account may not do: limits on size and number, the day's loss, and the operator's word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accounts import Account, change_limit, list_accounts, open_account
from database import NewRun, Store
from ledger.controls import ask
from ledger.sessions import end_session_row, open_session_row
from ledger.valuation import record_values
from market import Market
from store import tables
from tests.bookkeeping import at, books, rows, turned_down, would_fit
from tests.conftest import START
from tests.shelf import ShelfVenue, refused
from values.errors import Refused
from values.instrument import FRACTION, WHOLE
from values.money import fill_price, notional

pytestmark = pytest.mark.both_databases

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NUMBERS = count()
LIMITS = (
    "max_position_share", "max_order_usd", "min_cash_usd", "max_trades_per_session", "max_trades_per_day",
    "max_daily_loss_share",
)  # fmt: skip


@pytest.fixture
def warren(store: Store, market: Market) -> Account:
    return open_account(store, market, "warren", strategy="Wait.")


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


def offered(account: Account, symbol: str, quantity: Decimal) -> Decimal | None:
    """What the refusal of a buy offers instead; None when it is not refused."""
    try:
        account.buy_shares(symbol, quantity, "")
    except Refused as refusal:
        return would_fit(refusal)
    return None


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
        account = open_account(store, market, f"fit-{next(NUMBERS)}", balance=balance)
        first = (balance * held_share / 100 / (price * Decimal("1.01")) // step) * step
        if 0 < first <= 10_000_000_000 and notional(fill_price(price, "buy"), first, "buy") <= balance:
            account.buy_shares(symbol, first, "")
        venue.prices[symbol] = quote = max((price * moved / 100).quantize(FRACTION), FRACTION)
        for key, value in (("max_order_usd", largest), ("min_cash_usd", least_cash), ("max_position_share", share)):
            if value is not None:
                change_limit(store, account.name, key, str(value))
        cash = account.record().cash
        fits = offered(account, symbol, Decimal(10_000_000_000))
        assume(fits is not None)
        assert fits is not None
        assert offered(account, symbol, fits + step) == fits
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
        with closing(Store(store.address)) as reopened:
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

    def test_resume_forgives_the_loss_also_while_a_holding_has_no_price(
        self, george: Account, store: Store, venue: ShelfVenue, market: Market
    ) -> None:
        record_values(store, market, 1)
        venue.prices["AAPL"] = Decimal(100)
        record_values(store, market, 2)
        assert self.halted(george)
        del venue.prices["AAPL"]
        ask(store, market, "resume", "george")
        venue.prices["AAPL"] = Decimal(100)
        george.sell_shares("AAPL", 1, "")
        assert not self.halted(george)

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
            ask(store, market, action, "warren")
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
