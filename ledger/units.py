"""Which units a price is in: those of its own time, while a book holds the units of today.

After a split the price of a day before is worth another number of today's units; of what was delisted the last price
known stays; of a symbol that nobody has asked about today the units are not known. Only a live market has any of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, Row, select

from market import Market
from store import tables
from values.clock import exchange_day, exchange_day_begins
from values.corporate_action import Split
from values.errors import Refused
from values.instrument import kind_of
from values.money import EXACT, PRICE_DECIMALS, plain
from values.quote import Quote

_ACTIONS = tables.corporate_actions.c
_STEP = Decimal(1).scaleb(-PRICE_DECIMALS)


def concerned(symbols: Iterable[str]) -> set[str]:
    """Those of `symbols` to which a company may do something: no coin."""
    return {symbol for symbol in symbols if kind_of(symbol) != "coin"}


def looked_days(connection: Connection, symbols: Collection[str]) -> dict[str, date]:
    """Up to which day the corporate actions of each symbol are known and applied."""
    table = tables.action_days.c
    rows = connection.execute(select(table.symbol, table.day).where(table.symbol.in_(sorted(symbols))))
    return {row.symbol: row.day for row in rows}


def not_looked_at(connection: Connection, market: Market, symbols: Iterable[str], now: datetime) -> set[str]:
    """Those whose units today are not known yet."""
    if not market.has_corporate_actions:
        return set()
    wanted, today = concerned(symbols), exchange_day(now)
    days = looked_days(connection, wanted) if wanted else {}
    return {symbol for symbol in wanted if symbol not in days or days[symbol] < today}


def splits_of(connection: Connection, symbols: Collection[str]) -> list[Split]:
    query = select(_ACTIONS.symbol, _ACTIONS.ex_date, _ACTIONS.units_before, _ACTIONS.units_after)
    rows = connection.execute(query.where(_ACTIONS.kind == "split", _ACTIONS.symbol.in_(sorted(symbols))))
    return [Split(*row) for row in rows]


def price_at(price: Decimal, as_of: datetime, moment: datetime, splits: Iterable[Split], rounding: str) -> Decimal:
    """A price of `as_of` for one of the units that there are at `moment`, rounded to 1e-8 as `rounding` says."""
    with localcontext(EXACT):
        for split in splits:
            begins = exchange_day_begins(split.ex_date)
            if as_of < begins <= moment:
                price = price * split.units_before / split.units_after
            elif moment < begins <= as_of:
                price = price * split.units_after / split.units_before
        return price.quantize(_STEP, rounding=rounding)


def in_todays_units(
    connection: Connection, market: Market, quotes: Mapping[str, Quote], symbols: Collection[str], now: datetime
) -> dict[str, Quote]:
    """The quotes of `symbols` for valuing a book of `now`, prices rounded half-even to 1e-8; with those of what was
    delisted, and stale where something is held whose units today are not known."""
    if not market.has_corporate_actions or not symbols:
        return dict(quotes)
    splits = splits_of(connection, symbols)
    table = tables.holdings.c
    held = connection.execute(select(table.symbol).where(table.symbol.in_(sorted(symbols))).distinct()).scalars()
    unsure = not_looked_at(connection, market, held, now)
    found = {}
    for symbol, quote in quotes.items():
        own = [each for each in splits if each.symbol == symbol]
        price = price_at(quote.price, quote.as_of, now, own, ROUND_HALF_EVEN)
        found[symbol] = replace(quote, price=price, stale=quote.stale or symbol in unsure)
    return found | delisted_quotes(connection, market, symbols)


def delisted_quotes(connection: Connection, market: Market, symbols: Collection[str]) -> dict[str, Quote]:
    """The last price known, stale, of each of `symbols` that was delisted."""
    if not market.has_corporate_actions:
        return {}
    return {
        row.symbol: Quote(
            row.symbol, row.price, row.price_as_of, row.market_time, row.price_source, timedelta(0), stale=True
        )
        for row in _endings(connection, symbols).values()
        if row.kind == "delisting" and row.price is not None
    }


def check_tradable(connection: Connection, market: Market, symbol: str, held: Decimal) -> None:
    """Raises Refused `renamed` or `delisted` with what became of the symbol."""
    row = _endings(connection, {symbol}).get(symbol) if market.has_corporate_actions else None
    if row is None:
        return
    if row.kind == "rename":
        raise Refused("renamed", f"{symbol} trades as {row.to_symbol} since {row.ex_date}; order {row.to_symbol}")
    stays = f"; the {plain(held)} held stay in the account at the last price known" if held else ""
    raise Refused("delisted", f"{symbol} was delisted on {row.ex_date} and can be neither bought nor sold{stays}")


def check_units(connection: Connection, market: Market, quote: Quote) -> None:
    """Raises Refused `stale_price` for a price from before a split."""
    if not market.has_corporate_actions:
        return
    for split in splits_of(connection, [quote.symbol]):
        if quote.as_of < exchange_day_begins(split.ex_date):
            raise Refused(
                "stale_price",
                f"the price of {quote.symbol} is of {quote.as_of:%Y-%m-%d %H:%M} UTC, before its split on "
                f"{split.ex_date}; wait for a new one",
            )


def _endings(connection: Connection, symbols: Collection[str]) -> dict[str, Row[Any]]:
    """By symbol the rename or delisting by which it came to its end, unless something was renamed to it since."""
    table = tables.corporate_actions
    named = sorted(symbols)
    query = select(table).where(
        table.c.kind.in_(("rename", "delisting")), table.c.symbol.in_(named) | table.c.to_symbol.in_(named)
    )
    found: dict[str, Row[Any]] = {}
    for row in connection.execute(query.order_by(table.c.ex_date, table.c.id)):
        found[row.symbol] = row
        found.pop(row.to_symbol, None)
    return {symbol: row for symbol, row in found.items() if symbol in symbols}
