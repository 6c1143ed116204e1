"""The market server over a listing in which a stranger named one instrument: `LISTED_NAME` is the name of AAPL."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from datetime import date, datetime

from market import Market, open_market, open_store
from market_server import build
from values.corporate_action import CorporateAction
from values.instrument import Instrument
from values.quote import Bar, Interval, MarketSession, Quote
from values.settings import MarketSettings, load
from venues.venue import Venue
from wire.life import serve
from wire.server import RefusingServer

RENAMED = "AAPL"


class RenamedVenue:
    """Another venue, in which one instrument has another name."""

    def __init__(self, venue: Venue, listed_name: str) -> None:
        self.name = venue.name
        self._venue = venue
        self._listed_name = listed_name

    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(self.instrument(each.symbol) for each in self._venue.instruments())

    def instrument(self, symbol: str) -> Instrument:
        found = self._venue.instrument(symbol)
        return replace(found, name=self._listed_name) if symbol == RENAMED else found

    def quote(self, symbol: str, now: datetime) -> Quote:
        return self._venue.quote(symbol, now)

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        return self._venue.bars(symbol, interval, count, now)

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        return self._venue.corporate_actions(symbols, first, last)

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        return self._venue.session(now, symbol)


def main() -> None:
    def make() -> RefusingServer:
        settings = load(MarketSettings)
        market = open_market(open_store(settings), settings)
        return build(Market(RenamedVenue(market.venue, os.environ["LISTED_NAME"]), market.clock))

    sys.exit(serve(make))


if __name__ == "__main__":
    main()
