"""One symbol: its bars as the market has them, what the company did, and every account's fills among them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
from sqlalchemy import Connection, Row, select

from dashboard import charts
from dashboard.queries import FILLS, TRADES, of
from dashboard.view import Trade
from database import Store
from market import Market
from store import tables
from values.clock import exchange_day_begins
from values.errors import Refused, StoreUnusable, VenueUnavailable
from values.instrument import normalise_symbol
from values.money import plain
from values.quote import Bar, Interval

BARS_SHOWN = 300
FILLS_SHOWN = 2_000
MARKS_SHOWN = 50
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
            marks = _marks(connection, name, bars)
    except (Refused, VenueUnavailable, StoreUnusable):
        return None
    return charts.symbol(name, bars, trades, titles, marks)


def _marks(connection: Connection, symbol: str, bars: tuple[Bar, ...]) -> list[tuple[datetime, str]]:
    """What the company did among the bars: fills before a split were of other units, as their price says."""
    table = tables.corporate_actions
    told = connection.execute(
        select(table)
        .where((table.c.symbol == symbol) | (table.c.to_symbol == symbol), table.c.ex_date >= bars[0].start.date())
        .order_by(table.c.ex_date)
        .limit(MARKS_SHOWN)
    )
    return [(exchange_day_begins(row.ex_date), _word(row)) for row in told]


def _word(row: Row[Any]) -> str:
    if row.kind == "split":
        return f"split {plain(row.units_after)} for {plain(row.units_before)}"
    if row.kind == "dividend":
        return f"dividend {plain(row.usd_per_unit)}"
    return f"{row.symbol} is now {row.to_symbol}" if row.kind == "rename" else "delisted"


def _fills(connection: Connection, symbol: str, bars: tuple[Bar, ...]) -> list[Trade]:
    """Account by account, along an index, so that their cost is of the time shown and not of all history."""
    table = tables.transactions.c
    accounts = connection.execute(select(tables.accounts.c.name)).scalars().all()
    found: list[Trade] = []
    for account in accounts:
        query = (
            TRADES.where(
                table.account == account,
                table.market_time >= bars[0].start,
                table.symbol == symbol,
                table.kind.in_(FILLS),
            )
            .order_by(table.market_time.desc())
            .limit(FILLS_SHOWN)
        )
        found += (of(Trade, row) for row in connection.execute(query))
    found.sort(key=lambda trade: trade.id)
    return found[-FILLS_SHOWN:]
