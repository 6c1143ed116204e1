"""News of shares with the time of their publication, from Polygon. What it says is what strangers wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from values.clock import iso
from venues.polygon_client import VendorFault, rows_of
from venues.vendor_answers import Request, VendorAnswers

NEWS_AGE = timedelta(minutes=10)
ROWS = 50
_CHARS_MAX = 2_000


class NewsItem(NamedTuple):
    """One article. `published` is aware UTC; `tickers` are those that the vendor says it is about."""

    title: str
    url: str
    description: str
    publisher: str
    published: datetime
    tickers: Sequence[str]


def newest_news(
    answers: VendorAnswers, ticker: str | None, since: datetime | None, now: datetime
) -> tuple[NewsItem, ...]:
    """The newest articles on a ticker, or on all, published from `since` to `now`. Raises VenueUnavailable."""

    def ask(request: Request) -> str:
        params = {"order": "desc", "sort": "published_utc", "limit": str(ROWS)}
        if ticker is not None:
            params["ticker"] = ticker
        rows = rows_of(request("/v2/reference/news", params))
        found = [item for item in map(_item, rows) if item is not None]
        if rows and not found:
            raise VendorFault("garbled", "sent news that can't be read")
        return json.dumps([[*item[:4], iso(item.published), list(item.tickers)] for item in found])

    text = answers.get(f"news {ticker or 'all'}", ask, NEWS_AGE)
    items = (
        NewsItem(title, url, said, who, datetime.fromisoformat(when), tickers)
        for title, url, said, who, when, tickers in json.loads(text)
    )
    return tuple(each for each in items if each.published <= now and (since is None or each.published >= since))


def _item(row: dict[str, object]) -> NewsItem | None:
    """None for an article without a title, an address or a time."""
    publisher = row.get("publisher")
    title, url, said = row.get("title"), row.get("article_url"), row.get("description")
    tickers = row.get("tickers")
    if not isinstance(title, str) or not isinstance(url, str):
        return None
    try:
        published = datetime.fromisoformat(str(row.get("published_utc"))[:40])
    except ValueError:
        return None
    if published.tzinfo is None:
        return None
    name = publisher.get("name") if isinstance(publisher, dict) else None
    return NewsItem(
        title[:_CHARS_MAX],
        url[:_CHARS_MAX],
        said[:_CHARS_MAX] if isinstance(said, str) else "",
        name[:200] if isinstance(name, str) else "",
        published,
        [each for each in tickers if isinstance(each, str)][:20] if isinstance(tickers, list) else [],
    )
