"""End-of-day prices of the whole market: one request a trading day, kept in the store.

Closes are as they were traded, not adjusted for what split since: the books know on which day units change, and value
and refuse by it (`ledger/units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from values.errors import UnknownSymbol, VenueUnavailable
from values.money import plain
from venues.exchange_hours import ExchangeHours, TradingDay
from venues.polygon_client import VendorFault, cursor_of, price_of, rows_of
from venues.vendor_answers import Request, VendorAnswers

DAYS_KEPT = 10
NOT_YET_AGE = timedelta(minutes=15)
PAGES_MAX = 10
_TICKER = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,2})?")
_NOT_YET = ""


def is_ticker(text: object) -> bool:
    """Whether the vendor's ticker is one that the floor can name; units, warrants and preferred shares are not."""
    return isinstance(text, str) and _TICKER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class DayPrices:
    """The closes of one trading day, USD. One text and not a table: every process that prices things holds one."""

    day: TradingDay
    text: str

    def close(self, symbol: str) -> Decimal | None:
        """As it was traded on that day; None for what did not trade."""
        at = self.text.find(f"\n{symbol} ")
        if at < 0:
            return None
        begin = at + len(symbol) + 2
        return Decimal(self.text[begin : self.text.index("\n", begin)])

    def all(self) -> Iterator[tuple[str, Decimal]]:
        """Every symbol with its close, in symbol order."""
        for line in filter(None, self.text.split("\n")):
            symbol, _, close = line.partition(" ")
            yield symbol, Decimal(close)


class EndOfDay:
    """Closes, asked for once by whichever process needs them first."""

    def __init__(self, answers: VendorAnswers, hours: ExchangeHours) -> None:
        self._answers = answers
        self._hours = hours
        self._held: DayPrices | None = None

    def newest(self, now: datetime) -> DayPrices:
        """The newest day that was over at `now` and that the vendor has. Raises VenueUnavailable.

        A plan gets a day's prices only some time after its close: until then the day before is the newest.
        """
        before, last = self._hours.completed(now, 2)
        found = self._day(last, may_be_early=now < self._hours.next_open(last.closes))
        return found or self._day(before, may_be_early=False) or self._missing(before)

    def kept(self, now: datetime) -> Iterator[DayPrices]:
        """The days in the store, newest first, without asking anybody."""
        for day in reversed(self._hours.completed(now, DAYS_KEPT)):
            if self._held is not None and self._held.day == day:
                yield self._held
                continue
            found = self._answers.kept(_key(day))
            if found is not None and found[0] != _NOT_YET:
                yield DayPrices(day, found[0])

    def _day(self, day: TradingDay, *, may_be_early: bool) -> DayPrices | None:
        """None while the vendor does not have it yet, which only a day before the next open may be."""
        if self._held is not None and self._held.day == day:
            return self._held

        def ask(request: Request) -> str:
            path = f"/v2/aggs/grouped/locale/us/market/stocks/{day.day.isoformat()}"
            try:
                said = request(path, {"adjusted": "false", "include_otc": "false"})
                text = _closes(said)
            except VendorFault as fault:
                if fault.kind == "plan" and may_be_early:
                    return _NOT_YET
                raise
            if text == _NOT_YET and not may_be_early:
                raise VendorFault("garbled", f"has no prices of {day.day}, which was a trading day")
            return text

        kept = self._answers.kept(_key(day))
        is_there = kept is not None and kept[0] != _NOT_YET
        age = None if is_there else NOT_YET_AGE if may_be_early else timedelta(0)
        text = self._answers.get(_key(day), ask, age, urgent=True)
        if text == _NOT_YET:
            return None
        if not is_there:
            self._answers.forget("day ", _key(self._hours.completed(day.closes, DAYS_KEPT)[0]))
        self._held = DayPrices(day, text)
        return self._held

    def _missing(self, day: TradingDay) -> DayPrices:
        raise VenueUnavailable(f"Polygon has no prices of {day.day}, which was a trading day")


def pages(request: Request, path: str, params: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """The rows of every page, each page a request. Raises VendorFault, also for more than PAGES_MAX pages."""
    said = request(path, {**params, "limit": "1000"})
    for _ in range(PAGES_MAX):
        yield from rows_of(said)
        cursor = cursor_of(said)
        if cursor is None:
            return
        said = request(path, {"cursor": cursor})
    raise VendorFault("garbled", f"has more than {PAGES_MAX} pages of what was asked")


def unknown(symbol: str, why: str = "") -> UnknownSymbol:
    return UnknownSymbol(symbol, f"the live market{why}")


def _key(day: TradingDay) -> str:
    return f"day {day.day.isoformat()}"


def _closes(said: Mapping[str, object]) -> str:
    """The day's closes as text; empty for a day without any. Raises VendorFault."""
    rows = rows_of(said)
    count = said.get("resultsCount")
    if isinstance(count, int) and count != len(rows):
        raise VendorFault("garbled", f"announced {count} prices and sent {len(rows)}")
    closes = {}
    for row in rows:
        ticker, close = row.get("T"), price_of(row.get("c"))
        if close is not None and is_ticker(ticker):
            closes[str(ticker)] = close
    if rows and not closes:
        raise VendorFault("garbled", "sent prices that can't be read")
    return "".join(f"\n{symbol} {plain(closes[symbol])}" for symbol in sorted(closes)) + ("\n" if closes else "")
