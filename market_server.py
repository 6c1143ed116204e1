"""The market MCP server: prices, history, hours and the list of what trades. It reads, and changes nothing."""

from __future__ import annotations

import argparse
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from market import Market, open_market, open_store
from values.clock import iso
from values.money import plain
from values.settings import MarketSettings, load
from wire.life import serve
from wire.server import READS, RefusingServer

Symbol = Annotated[
    Any, Field(description="a symbol such as AAPL, BRK.B or BTC-USD", json_schema_extra={"type": "string"})
]


class SharePrice(BaseModel):
    symbol: str
    price: str = Field(description="USD a unit")
    as_of: str = Field(description="when the price was true, market time")
    seen_at: str = Field(description="when this run learned it, market time")
    source: str = Field(description="realtime, delayed, end_of_day, replay or simulated")
    delay_seconds: int
    stale: bool = Field(description="true: too old to trade on")
    open: bool = Field(description="whether the symbol trades now")


class PriceBar(BaseModel):
    start: str
    end: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class PriceHistory(BaseModel):
    symbol: str
    interval: str
    source: str
    bars: list[PriceBar] = Field(description="complete bars only, oldest first")


class MarketStatus(BaseModel):
    market: str = Field(description="simulated, replay or live")
    time: str = Field(description="market time")
    open: bool = Field(description="whether anything trades now")
    next_change: str | None = Field(description="when that turns; null when it never does")
    note: str
    instruments: int


class Listing(BaseModel):
    symbol: str
    name: str
    kind: str = Field(description="equity, etf or coin")
    sector: str
    step: str = Field(description="smallest quantity; every quantity is a multiple of it")
    open: bool


class Listings(BaseModel):
    symbols: list[Listing]
    next_cursor: str | None


def build(market: Market) -> RefusingServer:
    """The server over an open market."""
    server = RefusingServer(
        "market_server",
        instructions=f"Prices of the {market.name} market in USD. Every price carries its source and time; a stale one "
        "can't be traded on. An error reads `code: sentence`.",
        on_refused=lambda tool, _arguments, refusal: print(f"refused {tool}: {refusal}", file=sys.stderr),
    )
    _add_prices(server, market)
    _add_listings(server, market)
    return server


def _add_prices(server: RefusingServer, market: Market) -> None:
    @server.tool(annotations=READS)
    def lookup_share_price(symbol: Symbol) -> SharePrice:
        """The price of one unit of a symbol now, with its source and time."""
        quote = market.quote(symbol)
        return SharePrice(
            symbol=quote.symbol,
            price=plain(quote.price),
            as_of=iso(quote.as_of),
            seen_at=iso(quote.seen_at),
            source=quote.source,
            delay_seconds=int(quote.delay.total_seconds()),
            stale=quote.stale,
            open=market.session(symbol).is_open,
        )

    @server.tool(annotations=READS)
    def get_price_history(
        symbol: Symbol,
        interval: Annotated[Literal["hour", "day"], Field(description="the length of a bar")] = "day",
        count: Annotated[int, Field(description="how many bars, 1 to 500")] = 60,
    ) -> PriceHistory:
        """The last complete price bars of a symbol, oldest first; fewer where its history is short."""
        bars = market.bars(symbol, interval, count)
        return PriceHistory(
            symbol=market.instrument(symbol).symbol,
            interval=interval,
            source=market.name,
            bars=[
                PriceBar(
                    start=iso(bar.start), end=iso(bar.end), open=plain(bar.open), high=plain(bar.high),
                    low=plain(bar.low), close=plain(bar.close), volume=plain(bar.volume),
                )
                for bar in bars
            ],
        )  # fmt: skip


def _add_listings(server: RefusingServer, market: Market) -> None:
    @server.tool(annotations=READS)
    def get_market_status() -> MarketStatus:
        """Which market this is, its time, whether anything trades now, and when that changes."""
        session = market.session()
        return MarketStatus(
            market=market.name,
            time=iso(market.clock.now()),
            open=session.is_open,
            next_change=None if session.next_change is None else iso(session.next_change),
            note="; ".join(filter(None, (session.note, market.hours_note()))),
            instruments=len(market.venue.instruments()),
        )

    @server.tool(annotations=READS)
    def find_symbols(
        query: Annotated[str, Field(description="part of a symbol or name; empty for all")] = "",
        kind: Annotated[Literal["equity", "etf", "coin"] | None, Field(description="only this kind")] = None,
        sector: Annotated[str | None, Field(description="only this sector")] = None,
        limit: Annotated[int, Field(description="rows a page, 1 to 200")] = 50,
        cursor: Annotated[str | None, Field(description="next_cursor of the page before")] = None,
    ) -> Listings:
        """What trades here, in symbol order."""
        found, next_cursor = market.find(query, kind, sector, limit, cursor)
        now = market.clock.now()
        return Listings(
            symbols=[
                Listing(
                    symbol=each.symbol, name=each.name, kind=each.kind, sector=each.sector, step=plain(each.step),
                    open=market.venue.session(now, each.symbol).is_open,
                )
                for each in found
            ],
            next_cursor=next_cursor,
        )  # fmt: skip


def main() -> None:
    argparse.ArgumentParser(prog="market-server", description="Market prices as an MCP server on stdio.").parse_args()

    def make() -> RefusingServer:
        settings = load(MarketSettings)
        return build(open_market(open_store(settings), settings))

    sys.exit(serve(make))


if __name__ == "__main__":
    main()
