"""What accounts are worth now: positions at the run's quotes, and the rows that remember it.

A stale price values a holding and is marked; a holding without any price leaves the total unknown rather than wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import insert, select

from database import Store
from ledger.book import Book, read_book
from ledger.day import halt_reason
from ledger.limits import read_limits
from ledger.units import in_todays_units, not_looked_at
from market import Market
from store import tables
from values.errors import Refused, VenueUnavailable
from values.quote import Quote


@dataclass(frozen=True, slots=True)
class Valuation:
    """An account's worth in USD at market time; `value` is None when a holding has no price."""

    book: Book
    quotes: Mapping[str, Quote]

    @property
    def value(self) -> Decimal | None:
        return self.book.value(self.quotes)

    @property
    def is_stale(self) -> bool:
        return any(self.quotes[symbol].stale for symbol in self.book.holdings if symbol in self.quotes)


def quotes_for(store: Store, market: Market, symbols: Sequence[str]) -> dict[str, Quote]:
    """The quotes that there are for `symbols`, all of one moment, for a unit of today; one without a price is left out.

    A price whose units are not known yet is stale.
    """
    quotes = {}
    now = market.clock.now()
    for symbol in symbols:
        try:
            quotes[symbol] = market.venue.quote(symbol, now)
        except (VenueUnavailable, Refused):
            continue
    if not market.has_corporate_actions:
        return quotes
    with store.read() as connection:
        return in_todays_units(connection, market, quotes, symbols, now)


def valuate(store: Store, market: Market, name: str) -> Valuation:
    """Raises Refused `unknown_account`."""
    with store.read() as connection:
        book = read_book(connection, name)
    return Valuation(book, quotes_for(store, market, tuple(book.holdings)))


def record_values(store: Store, market: Market, cycle: int | None) -> dict[str, Valuation]:
    """Write down what every account is worth now, and halt those whose day's loss asks for it.

    Of an account that holds what may have been split since the books last knew, nothing is written.
    """
    with store.read() as connection:
        names = connection.execute(select(tables.accounts.c.name).order_by(tables.accounts.c.name)).scalars().all()
        books = {name: read_book(connection, name) for name in names}
    held = sorted({symbol for book in books.values() for symbol in book.holdings})
    quotes = quotes_for(store, market, held)
    now, wall = market.clock.now(), market.clock.wall()
    valuations: dict[str, Valuation] = {}
    with store.write() as connection:
        unsure = not_looked_at(connection, market, held, now)
        for name in names:
            book = read_book(connection, name, lock=True)
            valuations[name] = valuation = Valuation(book, quotes)
            if (value := valuation.value) is None or not unsure.isdisjoint(book.holdings):
                continue
            if book.account.state != "halted" and book.account.kind != "baseline":
                halt_reason(connection, book, read_limits(connection, name), value, now)
            connection.execute(
                insert(tables.portfolio_values).values(
                    account=name,
                    value=value,
                    cash=book.account.cash,
                    stale=valuation.is_stale,
                    cycle=cycle,
                    market_time=now,
                    wall_time=wall,
                )
            )
    return valuations
