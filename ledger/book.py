"""What an account holds, read within the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, select

from database import AccountRecord, account_record
from store import tables
from values.errors import Refused
from values.money import ZERO, notional, ratio
from values.quote import Quote


@dataclass(frozen=True, slots=True)
class Holding:
    """Units held and what they cost in USD, spread included (average cost method)."""

    symbol: str
    quantity: Decimal
    cost: Decimal

    @property
    def average_cost(self) -> Decimal:
        return ratio(self.cost, self.quantity)


@dataclass(frozen=True, slots=True)
class Book:
    """An account's state at one moment."""

    account: AccountRecord
    holdings: Mapping[str, Holding]

    def held(self, symbol: str) -> Holding:
        return self.holdings.get(symbol, Holding(symbol, ZERO, ZERO))

    def unpriced(self, quotes: Mapping[str, Quote]) -> list[str]:
        return [symbol for symbol in self.holdings if symbol not in quotes]

    def value(self, quotes: Mapping[str, Quote]) -> Decimal | None:
        """Cash and holdings at the quotes, USD; None when a holding has no quote."""
        if self.unpriced(quotes):
            return None
        return self.account.cash + sum(
            (notional(quotes[each.symbol].price, each.quantity) for each in self.holdings.values()), ZERO
        )


def read_book(connection: Connection, name: str, *, lock: bool = False) -> Book:
    """Raises Refused `unknown_account`. With `lock`, the book stays as it is until the caller's transaction ends."""
    account = account_record(connection, name, lock=lock)
    if account is None:
        raise Refused(
            "unknown_account", f"there is no account {name}; `trading-floor accounts list` shows those there are"
        )
    table = tables.holdings.c
    rows = connection.execute(
        select(table.symbol, table.quantity, table.cost).where(table.account == name).order_by(table.symbol)
    )
    return Book(account, {row.symbol: Holding(*row) for row in rows})
