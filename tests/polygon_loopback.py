"""Polygon's REST API on this machine: its wire format, its plans, and every fault of `faulty_http.py`.

Fixtures are the answers of the vendor's own client's tests (github.com/polygon-io/client-python, `tests/mocks` and
`test_rest/mocks`, the path beside each) with prices and dates that a test can ask for; errors are those that users of
the API quote (maybe-finance/maybe#152, polygon-io/issues#313 and #339). `test_polygon_wire.py` reads each answer with
the vendor's client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode
from zlib import crc32

from tests.faulty_http import Asked, Loopback, Reply, answer
from venues.exchange_hours import NEW_YORK, exchange_hours
from venues.listing import LISTINGS

KEY = "polygon-loopback-canary-41c7"
"""The one key that the service accepts."""

CORE = tuple(symbol for symbol, each in LISTINGS.items() if each.instrument.kind != "coin")
NOT_ENTITLED = "You are not entitled to this data. Please upgrade your plan at https://polygon.io/pricing"
NOT_YET = "Attempted to request today's data before end of day. Please upgrade your plan at https://polygon.io/pricing"
ID = {"status": "OK", "request_id": "eae3ded2d6d43f978125b7a8a609fad9"}

# tests/mocks/v1/marketstatus/now.json
STATUS = {
    "market": "open",
    "earlyHours": False,
    "afterHours": False,
    "serverTime": "2022-04-28T16:48:08-04:00",
    "exchanges": {"nyse": "open", "nasdaq": "open", "otc": "open"},
    "currencies": {"fx": "open", "crypto": "open"},
}
# test_rest/mocks/v2/reference/news&ticker=NFLX.json
NEWS: dict[str, Any] = {
    "results": [
        {
            "id": "JeJEhAVoKaqJ2zF9nzQYMg07UlEeWlis6Dsop33TPQY",
            "publisher": {
                "name": "MarketWatch",
                "homepage_url": "https://www.marketwatch.com/",
                "logo_url": "https://s3.massive.com/public/assets/news/logos/marketwatch.svg",
                "favicon_url": "https://s3.massive.com/public/assets/news/favicons/marketwatch.ico",
            },
            "title": "Theres a big hole in the Feds theory of inflation\u2014incomes are falling at a record 10.9 rate",
            "author": "MarketWatch",
            "published_utc": "2022-04-28T17:08:00Z",
            "article_url": "https://www.marketwatch.com/story/theres-a-big-hole-11651165705",
            "tickers": ["MSFT", "TSN", "NFLX", "AMZN"],
            "description": "If inflation is all due to an overly generous government, our problem is about to go.",
        }
    ],
    **ID,
    "count": 1,
}
# test_rest/mocks/v3/reference/tickers.json
TICKERS: tuple[dict[str, Any], ...] = (
    {
        "ticker": "A",
        "name": "Agilent Technologies Inc.",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNYS",
        "type": "CS",
        "active": True,
        "currency_name": "usd",
        "cik": "0001090872",
        "composite_figi": "BBG000C2V3D6",
        "share_class_figi": "BBG001SCTQY4",
        "last_updated_utc": "2022-04-27T00:00:00Z",
    },
    {
        "ticker": "AA",
        "name": "Alcoa Corporation",
        "market": "stocks",
        "locale": "us",
        "primary_exchange": "XNYS",
        "type": "CS",
        "active": True,
        "currency_name": "usd",
        "last_updated_utc": "2022-04-27T00:00:00Z",
    },
)
# tests/mocks/v3/reference/splits.json, test_rest/mocks/v3/reference/dividends.json
SPLITS: tuple[dict[str, Any], ...] = (
    {"execution_date": "2022-06-10", "split_from": 1, "split_to": 4, "ticker": "DXCM"},
    {"execution_date": "2022-07-18", "split_from": 1, "split_to": 20, "ticker": "GOOGL"},
    {"execution_date": "2022-05-20", "split_from": 2, "split_to": 1, "ticker": "BRW"},
)
DIVIDENDS: tuple[dict[str, Any], ...] = (
    {
        "cash_amount": 0.59375,
        "declaration_date": "2020-09-09",
        "dividend_type": "CD",
        "ex_dividend_date": "2022-06-13",
        "frequency": 4,
        "pay_date": "2022-06-30",
        "record_date": "2022-06-15",
        "ticker": "CSSEN",
    },
)
# test_rest/mocks/vX/reference/tickers/META/events&types=ticker_change.json
EVENTS: dict[str, Any] = {
    "results": {
        "name": "Meta Platforms, Inc. Class A Common Stock",
        "figi": "BBG000MM2P62",
        "cik": "0001326801",
        "events": [
            {"ticker_change": {"ticker": "META"}, "type": "ticker_change", "date": "2022-06-11"},
            {"ticker_change": {"ticker": "FB"}, "type": "ticker_change", "date": "2012-05-18"},
        ],
    },
    **ID,
}

Plan = Literal["free", "paid", "realtime"]


def close_of(symbol: str, day: date) -> float:
    """USD, to the cent."""
    return 50 + crc32(symbol.encode()) % 400 + crc32(f"{symbol} {day}".encode()) % 300 / 100


def refusal(status: int, word: str, message: str, field: str = "message") -> Reply:
    """An error in the vendor's form."""
    return answer({"status": word, "request_id": ID["request_id"], field: message}, status)


def _bar(symbol: str, day: date, start: datetime, step: int = 0) -> dict[str, Any]:
    close = close_of(symbol, day) + step / 100
    return {
        "v": 642646396.0, "vw": close, "o": close - 0.5, "c": close, "h": close + 1, "l": close - 1,
        "t": int(start.timestamp() * 1000), "n": 82132,
    }  # fmt: skip


@dataclass
class Told:
    """What a test changes of the world: `last_day` is the newest day that the service has prices of."""

    now: datetime
    plan: Plan = "free"
    last_day: date | None = None
    symbols: tuple[str, ...] = CORE
    tickers: tuple[dict[str, Any], ...] = TICKERS
    splits: tuple[dict[str, Any], ...] = ()
    dividends: tuple[dict[str, Any], ...] = ()
    events: Mapping[str, Any] | None = None
    page_rows: int = 1000


class PolygonLoopback(Loopback):
    """The service, as a context. `told` is its world."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    def usual(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "ERROR", "Unknown API Key", "error")
        for pattern, reply in self._routes():
            if found := re.fullmatch(pattern, asked.path):
                return reply(asked, *found.groups())
        return refusal(404, "NOT_FOUND", "Not found.")

    def _routes(self) -> Iterable[tuple[str, Callable[..., Reply]]]:
        return (
            (r"/v2/aggs/grouped/locale/us/market/stocks/([\d-]+)", self._grouped),
            (r"/v2/aggs/ticker/([A-Z.]+)/range/1/(day|hour)/([\d-]+)/([\d-]+)", self._aggregates),
            (r"/v2/last/trade/([A-Z.]+)", self._trade),
            (r"/v2/snapshot/locale/us/markets/stocks/tickers/([A-Z.]+)", self._snapshot),
            (r"/v1/marketstatus/now", lambda _: answer(STATUS)),
            (r"/v2/reference/news", lambda _: answer(NEWS)),
            (r"/v3/reference/tickers", self._tickers),
            (r"/v3/reference/tickers/([A-Z.]+)", self._ticker),
            (r"/v3/reference/(splits)", self._dated),
            (r"/v3/reference/(dividends)", self._dated),
            (r"/vX/reference/tickers/(\w+)/events", self._events),
        )

    def _grouped(self, _: Asked, text: str) -> Reply:
        """tests/mocks/v2/aggs/grouped/locale/us/market/stocks/2005-04-04."""
        day, last = date.fromisoformat(text), self._last_day()
        if day > last:
            return refusal(403, "NOT_AUTHORIZED", NOT_YET)
        found = exchange_hours().day(day)
        symbols = self.told.symbols if found is not None else ()
        rows = [{"T": each, **_bar(each, day, datetime.combine(day, time(16), NEW_YORK))} for each in symbols]
        counts = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": False, "count": len(rows)}
        return answer({**counts, **({"results": rows} if rows else {}), **ID})

    def _aggregates(self, _: Asked, symbol: str, unit: str, first_text: str, last_text: str) -> Reply:
        """tests/mocks/v2/aggs/ticker/AAPL/range/1/day/2005-04-01/2005-04-04.json."""
        first, last = date.fromisoformat(first_text), date.fromisoformat(last_text)
        if (last > self._last_day() and self.told.plan == "free") or first < last - timedelta(days=731):
            return refusal(403, "NOT_AUTHORIZED", "Your plan doesn't include this data timeframe. Please upgrade.")
        rows = []
        day = max(first, last - timedelta(days=12 if unit == "hour" else 60))
        while day <= last and symbol in self.told.symbols:
            hours = exchange_hours().day(day)
            if hours is not None and unit == "day":
                rows.append(_bar(symbol, day, datetime.combine(day, time(0), NEW_YORK)))
            elif hours is not None:
                starts = (datetime.combine(day, time(hour), NEW_YORK) for hour in range(9, 16))
                rows += [_bar(symbol, day, start, step) for step, start in enumerate(starts) if start < self.told.now]
            day += timedelta(days=1)
        counts = {"queryCount": len(rows), "resultsCount": len(rows), "count": len(rows)}
        return answer({"ticker": symbol, "adjusted": True, **counts, **({"results": rows} if rows else {}), **ID})

    def _trade(self, _: Asked, symbol: str) -> Reply:
        """test_rest/mocks/v2/last/trade/AAPL.json."""
        if self.told.plan != "realtime":
            return refusal(403, "NOT_AUTHORIZED", NOT_ENTITLED)
        if symbol not in self.told.symbols:
            return refusal(404, "NOT_FOUND", "No trade found.")
        at = int(self.told.now.timestamp() * 1_000_000_000)
        trade = {
            "c": [12, 37], "i": "237688", "p": close_of(symbol, self.told.now.date()), "s": 2, "x": 4, "r": 202,
            "z": 3, "T": symbol, "t": at, "y": at, "f": at, "q": 7084210,
        }  # fmt: skip
        return answer({"results": trade, **ID})

    def _snapshot(self, _: Asked, symbol: str) -> Reply:
        """test_rest/mocks/v2/snapshot/locale/us/markets/stocks/tickers/AAPL.json."""
        if self.told.plan == "free":
            return refusal(403, "NOT_AUTHORIZED", NOT_ENTITLED)
        if symbol not in self.told.symbols:
            return refusal(404, "NotFound", "Ticker not found.")
        price = close_of(symbol, self.told.now.date())
        at = int((self.told.now - timedelta(minutes=15)).timestamp() * 1_000_000_000)
        day = {"c": price, "h": price + 1, "l": price - 1, "o": price, "v": 68840127, "vw": price}
        share = {
            "day": day,
            "lastQuote": {"P": price, "S": 5, "p": price, "s": 3, "t": at},
            "lastTrade": {"c": None, "i": "121351", "p": price, "s": 200, "t": at, "x": 12},
            "min": {**day, "av": 68834255, "t": at // 1_000_000 // 60_000 * 60_000 - 60_000, "n": 5},
            "prevDay": day,
            "ticker": symbol,
            "todaysChange": -3.65,
            "todaysChangePerc": -2.231,
            "updated": at,
        }
        return answer({"ticker": share, **ID, "status": "DELAYED"})

    def _tickers(self, asked: Asked) -> Reply:
        wanted = {**dict(parse_qsl(asked.params.get("cursor", ""))), **asked.params}
        rows = [
            row
            for row in self.told.tickers
            if wanted.get("ticker", row["ticker"]) == row["ticker"]
            and str(row["active"]).lower() == wanted.get("active", "true")
            and wanted.get("search", "").casefold() in f"{row['ticker']} {row['name']}".casefold()
        ]
        return self._page(asked, rows)

    def _ticker(self, _: Asked, symbol: str) -> Reply:
        """test_rest/mocks/v3/reference/tickers/AAPL.json."""
        found = next((row for row in self.told.tickers if row["ticker"] == symbol), None)
        return refusal(404, "NOT_FOUND", "Ticker not found.") if found is None else answer({"results": found, **ID})

    def _dated(self, asked: Asked, what: str) -> Reply:
        rows = list(self.told.splits if what == "splits" else self.told.dividends)
        field = "execution_date" if what == "splits" else "ex_dividend_date"
        params = {**dict(parse_qsl(asked.params.get("cursor", ""))), **asked.params}
        bounds = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
        for name, value in params.items():
            if name.startswith(f"{field}."):
                compare = bounds[name.rpartition(".")[2]]
                rows = [row for row in rows if getattr(row[field], compare)(value)]
        return self._page(asked, sorted(rows, key=lambda row: str(row[field])))

    def _page(self, asked: Asked, rows: list[dict[str, Any]]) -> Reply:
        cursor = dict(parse_qsl(asked.params.get("cursor", "")))
        begin = int(cursor.pop("begin", "0"))
        end = begin + self.told.page_rows
        said: dict[str, Any] = {"results": rows[begin:end], **ID, "count": len(rows[begin:end])}
        if end < len(rows):
            # the vendor's cursor holds the question too, and is opaque
            rest = {**cursor, **{name: value for name, value in asked.params.items() if name != "cursor"}, "begin": end}
            said["next_url"] = f"https://api.massive.com{asked.path}?cursor={quote(urlencode(rest))}"
        return answer(said)

    def _events(self, _: Asked, figi: str) -> Reply:
        events = self.told.events
        if events is None or events["results"]["figi"] != figi:
            return refusal(404, "NOT_FOUND", "No events.")
        return answer(dict(events))

    def _last_day(self) -> date:
        return self.told.last_day or exchange_hours().last_completed(self.told.now).day


def aware(text: str) -> datetime:
    """`2026-03-02 10:00` in New York's time, as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)
