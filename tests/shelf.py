"""A venue whose prices the test puts on a shelf: any instrument may be closed, stale or without a price."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from values.corporate_action import CorporateAction
from values.errors import Refused, UnknownSymbol, VenueUnavailable
from values.instrument import Instrument
from values.quote import Bar, Interval, MarketSession, Quote


def simulated_settings(folder: Path) -> dict[str, str]:
    """The environment of a simulated run whose store is in `folder`."""
    return {"DATABASE_URL": f"sqlite:///{folder}/accounts.db", "MARKET": "simulated", "MARKET_SEED": "7"}


LISTED = (
    Instrument("AAPL", "equity", "Apple", "Technology"),
    Instrument("BRK.B", "equity", "Berkshire Hathaway", "Financials"),
    Instrument("BTC-USD", "coin", "Bitcoin", "Digital assets"),
    Instrument("MSFT", "equity", "Microsoft", "Technology"),
    Instrument("NVDA", "equity", "Nvidia", "Technology"),
    Instrument("SPY", "etf", "S&P 500", "Index"),
)


def refused(code: str, text: str = "") -> pytest.RaisesExc[Refused]:
    """Expect a Refused of this code whose sentence holds `text`: `with refused("halted", "resume"): ...`."""
    return pytest.RaisesExc(Refused, match=rf"(?s)\A{code}: .*{re.escape(text)}")


class ShelfVenue:
    """Prices are what `prices` says now; a missing one makes VenueUnavailable."""

    name = "replay"

    def __init__(self) -> None:
        self.actions: list[CorporateAction] | None = []  # None: nobody can say
        self.asked: list[tuple[tuple[str, ...], date, date]] = []
        self.as_of: dict[str, datetime] = {}  # of prices that are older than now
        self.prices: dict[str, Decimal] = {
            "AAPL": Decimal("200"),
            "BRK.B": Decimal("480.25"),
            "BTC-USD": Decimal("65000"),
            "MSFT": Decimal("400"),
            "NVDA": Decimal("187.42"),
            "SPY": Decimal("600"),
        }
        self.closed: set[str] = set()
        self.stale: set[str] = set()

    def instruments(self) -> tuple[Instrument, ...]:
        return LISTED

    def instrument(self, symbol: str) -> Instrument:
        for each in LISTED:
            if each.symbol == symbol:
                return each
        raise UnknownSymbol(symbol, "the shelf")

    def quote(self, symbol: str, now: datetime) -> Quote:
        self.instrument(symbol)
        if symbol not in self.prices:
            raise VenueUnavailable(f"the shelf has no price of {symbol}")
        return Quote(
            symbol, self.prices[symbol], self.as_of.get(symbol, now), now, "replay", timedelta(0), symbol in self.stale
        )

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        self.instrument(symbol)
        return ()

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        self.asked.append((tuple(sorted(symbols)), first, last))
        if self.actions is None:
            raise VenueUnavailable("the shelf does not know what companies did")
        found = [each for each in self.actions if each.symbol in symbols and first <= each.ex_date <= last]
        return tuple(sorted(found, key=lambda each: each.ex_date))

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        if symbol is None:
            return MarketSession(len(self.closed) < len(LISTED), None, "the shelf")
        self.instrument(symbol)
        return MarketSession(symbol not in self.closed, None, "the shelf says so")
