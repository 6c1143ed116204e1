"""News of shares from the live market's vendor, with the market's own key and within its own limit of requests.

It has news and no pages. A query's tickers, or the companies that it names, choose the articles; without any, the
newest articles that have one of its words.
"""

from __future__ import annotations

import re
from datetime import datetime

import anyio.to_thread

from research.provider import WINDOWS, Freshness, Hit, SearchUnavailable, host_of
from values.errors import StoreUnusable, VenueUnavailable
from values.instrument import Instrument
from venues.polygon_news import NewsItem, newest_news
from venues.vendor_answers import VendorAnswers

TICKERS_MAX = 3
"""Of one query: each is a request, and the free plan has five a minute for everybody."""
_TICKER = re.compile(r"\b[A-Z]{1,5}(?:\.[A-Z])?\b")
_NO_TICKERS = frozenset(
    {"A", "I", "AI", "CEO", "CFO", "IPO", "ETF", "EPS", "GDP", "CPI", "FED", "US", "USA", "USD", "UK"}
)
_WORD = re.compile(r"[a-z0-9]{3,}")


class PolygonNews:
    """`listed` are the instruments whose names a query may have."""

    name = "polygon"
    is_live = True
    note = "news of the live market's vendor, which has no other pages"

    def __init__(self, answers: VendorAnswers, listed: tuple[Instrument, ...]) -> None:
        self._answers = answers
        self._listed = {each.symbol: each for each in listed}

    async def web(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """Raises SearchUnavailable: there are no pages here."""
        raise SearchUnavailable(
            "Polygon has news and no pages: use news_search, or the owner sets BRAVE_API_KEY or SEARCH_PROVIDER=ddgs"
        )

    async def news(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """The newest first. Raises SearchUnavailable."""
        since = None if freshness is None else now - WINDOWS[freshness]
        words = set(_WORD.findall(query.casefold()))
        found: dict[str, NewsItem] = {}
        asked: list[str | None] = [*self._tickers(query)] or [None]
        for ticker in asked:
            try:
                items = await anyio.to_thread.run_sync(newest_news, self._answers, ticker, since, now)
            except (VenueUnavailable, StoreUnusable) as error:
                raise SearchUnavailable(f"{error}") from error
            for item in items:
                fits = ticker is not None or words & set(_WORD.findall(f"{item.title} {item.description}".casefold()))
                if fits and host_of(item.url) is not None:
                    found.setdefault(item.url, item)
        newest = sorted(found.values(), key=lambda each: each.published, reverse=True)[:count]
        return tuple(
            Hit(each.title, each.url, each.description, each.publisher or host_of(each.url) or "", each.published)
            for each in newest
        )

    def _tickers(self, query: str) -> list[str]:
        """Those that the query writes as tickers, then those of the companies that it names."""
        written = [each for each in _TICKER.findall(query) if each in self._listed or each not in _NO_TICKERS]
        folded = set(_WORD.findall(query.casefold()))
        named = [
            symbol
            for symbol, each in self._listed.items()
            if each.kind == "equity" and (first := _WORD.findall(each.name.casefold())[:1]) and first[0] in folded
        ]
        return list(dict.fromkeys([*written, *named]))[:TICKERS_MAX]
