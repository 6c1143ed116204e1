"""One symbol: its bars as the market has them, and every account's fills among them."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
from sqlalchemy import Connection, select

from dashboard import charts
from dashboard.queries import TRADES, of
from dashboard.view import Trade
from database import Store
from market import Market
from store import tables
from values.errors import Refused, StoreUnusable, VenueUnavailable
from values.instrument import normalise_symbol
from values.quote import Bar, Interval

BARS_SHOWN = 300
FILLS_SHOWN = 2_000
SYMBOLS_OFFERED = 2_000


def offered(market: Market) -> list[str]:
    """The symbols that the market lists, in order."""
    return sorted(each.symbol for each in market.venue.instruments())[:SYMBOLS_OFFERED]


def symbol_chart(
    store: Store, market: Market, symbol: str, interval: str, titles: Mapping[str, str]
) -> go.Figure | None:
    """The newest bars with the fills since the first of them; None for what can't be shown now."""
    try:
        name = normalise_symbol(symbol)
        shown_interval: Interval = "day" if interval == "day" else "hour"
        bars = market.bars(name, shown_interval, BARS_SHOWN)
        if not bars:
            return None
        with store.read() as connection:
            trades = _fills(connection, name, bars)
    except (Refused, VenueUnavailable, StoreUnusable):
        return None
    return charts.symbol(name, bars, trades, titles)


def _fills(connection: Connection, symbol: str, bars: tuple[Bar, ...]) -> list[Trade]:
    """Account by account, along an index, so that their cost is of the time shown and not of all history."""
    table = tables.transactions.c
    accounts = connection.execute(select(tables.accounts.c.name)).scalars().all()
    found: list[Trade] = []
    for account in accounts:
        query = (
            TRADES.where(table.account == account, table.market_time >= bars[0].start, table.symbol == symbol)
            .order_by(table.market_time.desc())
            .limit(FILLS_SHOWN)
        )
        found += (of(Trade, row) for row in connection.execute(query))
    found.sort(key=lambda trade: trade.id)
    return found[-FILLS_SHOWN:]
