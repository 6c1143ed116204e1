"""An account against a model that shares no code with the ledger, to the last unit, over random lives.

The model counts in whole numbers: cash in 1e-6 USD, prices and quantities in 1e-8. A buy fills at 1.002 of the quote
rounded up and a sale at 0.998 rounded down, cash is rounded against the trader, and a sale takes its part of the
average cost, half-even.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts import Account, open_account
from database import NewRun, Store
from ledger.reconcile import reconcile
from market import Market
from tests.conftest import START
from tests.shelf import ShelfVenue
from values.errors import Refused

pytestmark = pytest.mark.both_databases

SHARE = 10**8
"""Units of 1e-8 in one share, which is the step of an equity; a coin's step is one unit."""

SYMBOLS = st.sampled_from(["AAPL", "BTC-USD"])
KEYS = st.none() | st.sampled_from("abcdefgh")
Key = tuple[str, str, int]


def up(amount: Fraction) -> int:
    return -((-amount.numerator) // amount.denominator)


def down(amount: Fraction) -> int:
    return amount.numerator // amount.denominator


def nearest_even(amount: Fraction) -> int:
    whole, rest = divmod(amount.numerator, amount.denominator)
    twice = 2 * rest
    return whole + (twice > amount.denominator or (twice == amount.denominator and whole % 2 == 1))


@dataclass
class Model:
    """What the account should be."""

    cash: int = 10_000 * 10**6
    realised: int = 0
    held: dict[str, int] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=lambda: {"AAPL": 200 * 10**8, "BTC-USD": 65_000 * 10**8})
    closed: set[str] = field(default_factory=set)
    record: list[tuple[Any, ...]] = field(default_factory=lambda: [("deposit", None, None, None, 10**10, 0, 10**10)])
    keys: dict[str, Key] = field(default_factory=dict)

    def order(self, side: str, symbol: str, units: int, key: str | None) -> str:
        """Book an order; "filled", "repeated", or the code of its refusal."""
        if units <= 0 or (symbol == "AAPL" and units % SHARE):
            return "bad_quantity"
        if key in self.keys:
            return "repeated" if self.keys[key] == (side, symbol, units) else "key_reused"
        if symbol in self.closed:
            return "market_closed"
        price, held = self.prices[symbol], self.held.get(symbol, 0)
        if side == "buy":
            price = up(Fraction(price * 1002, 1000))
            amount = -up(Fraction(price * units, 10**10))
            if -amount > self.cash:
                return "insufficient_cash"
            realised = 0
            self.cost[symbol] = self.cost.get(symbol, 0) - amount
            self.held[symbol] = held + units
        else:
            if units > held:
                return "insufficient_shares"
            price = down(Fraction(price * 998, 1000))
            amount = down(Fraction(price * units, 10**10))
            sold = nearest_even(Fraction(self.cost[symbol] * units, held))
            realised = amount - sold
            self.cost[symbol] -= sold
            self.held[symbol] = held - units
            if units == held:
                assert self.cost.pop(symbol) == 0
                del self.held[symbol]
        self.cash += amount
        self.realised += realised
        self.record.append((side, symbol, units, price, amount, realised, self.cash))
        if key is not None:
            self.keys[key] = (side, symbol, units)
        return "filled"

    def value(self) -> int:
        return self.cash + sum(
            nearest_even(Fraction(self.prices[symbol] * units, 10**10)) for symbol, units in self.held.items()
        )


def micro(text: str | Decimal) -> int:
    """Units of 1e-6 in a decimal text; a fraction of one would show as a failure."""
    scaled = Fraction(text) * 10**6
    assert scaled.denominator == 1
    return scaled.numerator


def tiny(text: str | None) -> int | None:
    """Units of 1e-8 in a decimal text."""
    if text is None:
        return None
    scaled = Fraction(text) * 10**8
    assert scaled.denominator == 1
    return scaled.numerator


class AccountLife(RuleBasedStateMachine):
    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="floor-model-")
        self.path = Path(self.folder.name) / "accounts.db"
        shutil.copy(self.template, self.path)
        self.venue = ShelfVenue()
        self.model = Model()
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        self.account = Account(self.store, Market(self.venue, self.store.clock()), "warren", "client")

    def teardown(self) -> None:
        cursor, rows = None, []
        while True:
            page = self.account.list_transactions(cursor)
            rows += page.transactions
            cursor = page.next_cursor
            if cursor is None:
                break
        self.store.close()
        self.folder.cleanup()
        assert [as_model(row) for row in reversed(rows)] == self.model.record

    def do(self, side: str, symbol: str, units: int, key: str | None) -> None:
        expected = self.model.order(side, symbol, units, key)
        assert self.ask(side, symbol, Decimal(units).scaleb(-8), key) == expected

    def ask(self, side: str, symbol: str, quantity: Decimal, key: str | None) -> str:
        """Order of the account itself; "filled", "repeated", or the code of the refusal."""
        trade = self.account.buy_shares if side == "buy" else self.account.sell_shares
        try:
            fill = trade(symbol, quantity, "", key)
        except Refused as refusal:
            return refusal.code
        assert micro(fill.cash) == self.model.cash
        assert tiny(str(fill.holding)) == self.model.held.get(symbol, 0)
        return "repeated" if fill.is_repeat else "filled"

    @initialize(shares=st.integers(2, 20), units=st.integers(2, 10**7), odd=st.integers(1, 10**6))
    def begin_with_some_of_each(self, shares: int, units: int, odd: int) -> None:
        self.price("BTC-USD", self.model.prices["BTC-USD"] + odd)
        self.do("buy", "AAPL", shares * SHARE, None)
        self.do("buy", "BTC-USD", units, None)

    @rule(symbol=SYMBOLS, percent=st.integers(30, 300), odd=st.integers(0, 10**6))
    def price_moves(self, symbol: str, percent: int, odd: int) -> None:
        self.price(symbol, self.model.prices[symbol] * percent // 100 + odd)

    @rule(symbol=SYMBOLS, price=st.integers(2, 10**13))
    def price_jumps_anywhere(self, symbol: str, price: int) -> None:
        self.price(symbol, price)

    def price(self, symbol: str, units: int) -> None:
        held = self.model.held.get(symbol, 0)
        most = 10**25 // held if held else 10**14  # a thousand million USD: more could not be booked
        self.model.prices[symbol] = max(2, min(units, most, 10**14))
        self.venue.prices[symbol] = Decimal(self.model.prices[symbol]).scaleb(-8)

    def fitting(self, symbol: str) -> int:
        """The most units that the cash buys, as far as one order may ask for."""
        step = SHARE if symbol == "AAPL" else 1
        price = up(Fraction(self.model.prices[symbol] * 1002, 1000))
        return min(self.model.cash * 10**10 // price // step, 10**17 // step) * step

    @rule(symbol=SYMBOLS, percent=st.integers(1, 60), key=KEYS)
    def buy_a_part(self, symbol: str, percent: int, key: str | None) -> None:
        step = SHARE if symbol == "AAPL" else 1
        self.do("buy", symbol, max(self.fitting(symbol) * percent // 100 // step, 1) * step, key)

    @rule(symbol=SYMBOLS)
    def spend_all_that_fits(self, symbol: str) -> None:
        units, step = self.fitting(symbol), SHARE if symbol == "AAPL" else 1
        for each in (units + step, units):
            if each > 0:
                self.do("buy", symbol, each, None)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), percent=st.integers(1, 100), key=KEYS)
    def sell_a_part(self, data: st.DataObject, percent: int, key: str | None) -> None:
        symbol = data.draw(st.sampled_from(sorted(self.model.held)))
        step = SHARE if symbol == "AAPL" else 1
        self.do("sell", symbol, max(self.model.held[symbol] * percent // 100 // step, 1) * step, key)

    @rule(symbol=SYMBOLS, more=st.integers(1, 3))
    def sell_more_than_is_held(self, symbol: str, more: int) -> None:
        self.do("sell", symbol, self.model.held.get(symbol, 0) + more * (SHARE if symbol == "AAPL" else 1), None)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def sell_all(self, data: st.DataObject) -> None:
        symbol = data.draw(st.sampled_from(sorted(self.model.held)))
        self.do("sell", symbol, self.model.held[symbol], None)

    @rule(side=st.sampled_from(["buy", "sell"]), units=st.sampled_from([0, -SHARE, 1, SHARE - 1, SHARE + 1]))
    def ask_for_no_whole_share(self, side: str, units: int) -> None:
        self.do(side, "AAPL", units, None)

    @rule(data=st.data())
    def send_an_order_again(self, data: st.DataObject) -> None:
        if self.model.keys:
            key = data.draw(st.sampled_from(sorted(self.model.keys)))
            self.do(*self.model.keys[key], key)

    @precondition(lambda self: not self.model.closed)
    @rule(symbol=SYMBOLS)
    def market_closes(self, symbol: str) -> None:
        self.model.closed.add(symbol)
        self.venue.closed.add(symbol)

    @precondition(lambda self: self.model.closed)
    @rule()
    def market_opens(self) -> None:
        self.model.closed.clear()
        self.venue.closed.clear()

    @rule()
    def process_starts_anew(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def account_is_what_the_model_says(self) -> None:
        report, model = self.account.report(), self.model
        assert micro(report.balance) == model.cash
        assert micro(report.realised_profit) == model.realised
        assert {each.symbol: tiny(each.quantity) for each in report.positions} == model.held
        assert {each.symbol: micro(each.cost) for each in report.positions} == model.cost
        assert micro(report.total_portfolio_value or "0") == model.value()
        assert micro(report.total_profit_loss or "0") == model.value() - 10_000 * 10**6
        assert as_model(report.transactions[0]) == model.record[-1]
        with self.store.read() as connection:
            assert list(reconcile(connection)) == []


def as_model(row: Any) -> tuple[Any, ...]:
    return (
        row.kind, row.symbol, tiny(row.quantity), tiny(row.price), micro(row.amount), micro(row.realised_profit),
        micro(row.cash_after),
    )  # fmt: skip


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A closed store with warren's account in it, which every life begins as a copy of."""
    path = tmp_path / "template.db"
    with closing(Store(path, NewRun("replay", 1, "0" * 64, "a tape of the test", START))) as store:
        open_account(store, Market(ShelfVenue(), store.clock()), "warren")
    return path


def test_an_account_lives_as_the_model_says(template: Path) -> None:
    AccountLife.template = template
    run_state_machine_as_test(AccountLife, settings=settings(max_examples=12, stateful_step_count=40, deadline=None))


def test_the_model_s_own_rounding() -> None:
    assert (up(Fraction(1, 3)), down(Fraction(2, 3)), up(Fraction(2)), down(Fraction(-1, 3))) == (1, 0, 2, -1)
    assert [nearest_even(Fraction(n, 2)) for n in range(6)] == [0, 0, 1, 2, 2, 2]
