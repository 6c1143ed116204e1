"""Who a ticker is and what became of it: search, names, splits, dividends, renames and delistings.

Names are what companies and the vendor wrote, and come from a trusted server to a model that trades: they are kept to a
plain set of characters and a length in which nobody is told what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import cast

from values.corporate_action import CorporateAction, Delisting, Dividend, Rename, Split
from values.errors import Refused, shown
from values.instrument import Instrument, Kind, kind_of
from values.money import plain
from venues.polygon_client import VendorFault, cursor_of, price_of, rows_of
from venues.polygon_days import is_ticker, pages
from venues.vendor_answers import Request, VendorAnswers

NAME_CHARS_MAX = 60
SEARCH_ROWS_MAX = 400
REFERENCE_AGE = timedelta(days=1)
ACTIONS_AGE = timedelta(hours=1)
DAYS_MAX = 400
SECTOR = "unclassified"
_FUND_TYPES = frozenset({"ETF", "ETN", "ETV", "ETS", "FUND"})
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,&'()/+-]+")


def plain_name(text: object, symbol: str) -> str:
    """The name in plain characters on one line, cut; the symbol where nothing is left."""
    if not isinstance(text, str):
        return symbol
    return " ".join(_NOT_PLAIN.sub(" ", text[:400]).split())[:NAME_CHARS_MAX].rstrip() or symbol


class Reference:
    """Reference questions, each answer shared by all processes. What companies did is urgent: orders wait for it."""

    def __init__(self, answers: VendorAnswers) -> None:
        self._answers = answers

    def search(self, query: str) -> tuple[Instrument, ...]:
        """Listed shares and funds whose ticker or name has `query`, in symbol order. Raises VenueUnavailable."""
        words = " ".join(query.split())[:60].casefold()

        def ask(request: Request) -> str:
            params = {"search": words, "market": "stocks", "active": "true", "limit": "200"}
            found: dict[str, list[str]] = {}
            said = request("/v3/reference/tickers", params)
            for _ in range(SEARCH_ROWS_MAX // 200):
                for row in rows_of(said):
                    ticker = row.get("ticker")
                    if isinstance(ticker, str) and is_ticker(ticker):
                        kind = "etf" if row.get("type") in _FUND_TYPES else "equity"
                        found[ticker] = [kind, plain_name(row.get("name"), ticker)]
                cursor = cursor_of(said)
                if cursor is None or len(found) >= SEARCH_ROWS_MAX:
                    break
                said = request("/v3/reference/tickers", {"cursor": cursor})
            return json.dumps(found)

        key = f"search {sha256(words.encode()).hexdigest()[:32]}"
        found: dict[str, list[str]] = json.loads(self._answers.get(key, ask, REFERENCE_AGE))
        return tuple(
            Instrument(symbol, cast(Kind, kind), name, SECTOR) for symbol, (kind, name) in sorted(found.items())
        )

    def instrument(self, symbol: str) -> Instrument:
        """What is known of a listed share without asking: enough to trade it."""
        found = self._answers.kept(f"who {symbol}")
        said = json.loads(found[0]) if found is not None else {}
        kind: Kind = "etf" if said.get("kind") == "etf" else kind_of(symbol)
        return Instrument(symbol, kind, said.get("name", symbol), SECTOR)

    def fate(self, symbol: str) -> str | None:
        """Why a ticker does not trade, for a sentence; None when it is listed. Raises VenueUnavailable."""

        def ask(request: Request) -> str:
            for active in ("true", "false"):
                params = {"ticker": symbol, "market": "stocks", "active": active, "limit": "1"}
                for row in rows_of(request("/v3/reference/tickers", params)):
                    kind = "etf" if row.get("type") in _FUND_TYPES else "equity"
                    gone = _day(row.get("delisted_utc"))
                    known = {"kind": kind, "name": plain_name(row.get("name"), symbol), "active": active == "true"}
                    return json.dumps(known | {"gone": None if gone is None else gone.isoformat()})
            return json.dumps({"active": False, "gone": None})

        said = json.loads(self._answers.get(f"who {symbol}", ask, REFERENCE_AGE))
        if said["active"]:
            return None
        if "name" not in said:
            return ""
        when = "" if said["gone"] is None else f" on {said['gone']}"
        return f" any more: {said['name']} was delisted or renamed{when}"

    def actions(
        self, symbols: Collection[str], first: date, last: date, is_listed: Callable[[str], bool]
    ) -> tuple[CorporateAction, ...]:
        """What happened to `symbols` with an ex-date in [first, last], oldest first. Raises VenueUnavailable."""
        if not first <= last <= first + timedelta(days=DAYS_MAX):
            raise Refused("bad_days", f"the days are {first} to {last}; expected at most {DAYS_MAX} days, in order")
        if not symbols:
            return ()
        wanted = frozenset(symbols)
        found = [each for each in self._splits(first, last) if each.symbol in wanted]
        found += [each for each in self._dividends(first, last) if each.symbol in wanted]
        for symbol in sorted(wanted):
            if not is_listed(symbol) and (end := self._end(symbol, first, last)) is not None:
                found.append(end)
        return tuple(sorted(found, key=lambda each: (each.ex_date, each.symbol, type(each).__name__)))

    def _splits(self, first: date, last: date) -> list[CorporateAction]:
        def ask(request: Request) -> str:
            rows: list[list[object]] = []
            for row in _in_range(request, "splits", "execution_date", first, last):
                before, after = price_of(row.get("split_from")), price_of(row.get("split_to"))
                if before is None or after is None:
                    raise VendorFault("garbled", "told of a split without its ratio")
                # a page that comes twice is no second split
                if (split := [row["ticker"], row["execution_date"], plain(before), plain(after)]) not in rows:
                    rows.append(split)
            return json.dumps(rows)

        text = self._answers.get(f"actions splits {first} {last}", ask, ACTIONS_AGE, urgent=True)
        return [
            Split(symbol, date.fromisoformat(day), Decimal(before), Decimal(after))
            for symbol, day, before, after in json.loads(text)
        ]

    def _dividends(self, first: date, last: date) -> list[CorporateAction]:
        def ask(request: Request) -> str:
            rows, seen = [], set()
            for row in _in_range(request, "dividends", "ex_dividend_date", first, last):
                amount = price_of(row.get("cash_amount"))
                # an ordinary and a special dividend may share a day; a page that comes twice is no second one
                names = ("id", "ticker", "ex_dividend_date", "cash_amount", "dividend_type", "pay_date")
                if (one := tuple(str(row.get(name)) for name in names)) in seen:
                    continue
                seen.add(one)
                if row.get("currency", "USD") == "USD" and amount is not None:
                    rows.append([row["ticker"], row["ex_dividend_date"], plain(amount)])
            return json.dumps(rows)

        text = self._answers.get(f"actions dividends {first} {last}", ask, ACTIONS_AGE, urgent=True)
        return [Dividend(symbol, date.fromisoformat(day), Decimal(amount)) for symbol, day, amount in json.loads(text)]

    def _end(self, symbol: str, first: date, last: date) -> Rename | Delisting | None:
        """How a ticker that does not trade any more ended in [first, last], as far as the vendor knows."""

        def ask(request: Request) -> str:
            before = (first - timedelta(days=1)).isoformat()
            try:
                who = request(f"/v3/reference/tickers/{symbol}", {"date": before}).get("results")
                figi = who.get("composite_figi") if isinstance(who, dict) else None
                events = _events(request, figi) if isinstance(figi, str) and re.fullmatch(r"[A-Z0-9]{12}", figi) else []
            except VendorFault as fault:
                if fault.kind != "missing":
                    raise
                events = []
            for day, ticker in events:
                if first <= day <= last and ticker != symbol:
                    return json.dumps([day.isoformat(), ticker])
            params = {"ticker": symbol, "market": "stocks", "active": "false", "limit": "1"}
            for row in rows_of(request("/v3/reference/tickers", params)):
                gone = _day(row.get("delisted_utc"))
                if gone is not None and first <= gone <= last:
                    return json.dumps([gone.isoformat(), None])
            return "null"

        key = f"actions end {symbol} {first} {last}"
        said = json.loads(self._answers.get(key, ask, ACTIONS_AGE, urgent=True))
        if said is None:
            return None
        day = date.fromisoformat(said[0])
        return Delisting(symbol, day) if said[1] is None else Rename(symbol, day, said[1])


def _in_range(request: Request, what: str, field: str, first: date, last: date) -> list[dict[str, object]]:
    """The rows of tickers that the floor can name, each with a day in [first, last]."""
    params = {f"{field}.gte": first.isoformat(), f"{field}.lte": last.isoformat(), "order": "asc", "sort": field}
    found = []
    for row in pages(request, f"/v3/reference/{what}", params):
        if not is_ticker(row.get("ticker")):
            continue
        day = _day(row.get(field))
        if day is None or not first <= day <= last:
            raise VendorFault("garbled", f"told of {what} on {shown(row.get(field))}, which was not asked for")
        found.append(row)
    return found


def _events(request: Request, figi: str) -> list[tuple[date, str]]:
    """The days on which a company took a ticker."""
    said = request(f"/vX/reference/tickers/{figi}/events", {"types": "ticker_change"}).get("results")
    events = said.get("events") if isinstance(said, dict) else None
    found = []
    for event in events if isinstance(events, list) else []:
        change = event.get("ticker_change") if isinstance(event, dict) else None
        ticker = change.get("ticker") if isinstance(change, dict) else None
        day = _day(event.get("date")) if isinstance(event, dict) else None
        if day is not None and isinstance(ticker, str) and is_ticker(ticker):
            found.append((day, ticker))
    return sorted(found)


def _day(text: object) -> date | None:
    if not isinstance(text, str) or not re.match(r"\d{4}-\d{2}-\d{2}(T|$)", text):
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
