"""Price bars of one share, adjusted for splits, one request for as many as anybody may ask for.

A day's bar spans the exchange's hours; an hour's is as the vendor has it, before and after hours included. Only what is
over, and what the plan's delay has let through, is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from values.money import plain
from values.quote import Bar, Interval
from venues.exchange_hours import NEW_YORK, ExchangeHours
from venues.polygon_client import VendorFault, price_of, rows_of, time_of
from venues.vendor_answers import Request, VendorAnswers

REACH: Mapping[Interval, timedelta] = {"day": timedelta(days=728), "hour": timedelta(days=60)}
"""How far back is asked: the free plan has two years, and more than 500 bars are never told."""
_HOUR = timedelta(hours=1)
_VOLUME_MAX = Decimal("1e15")


class Bars:
    """`delay` is the plan's; None on a plan that has a day's bars only after its close."""

    def __init__(self, answers: VendorAnswers, hours: ExchangeHours, delay: timedelta | None) -> None:
        self._answers = answers
        self._hours = hours
        self._delay = delay

    def ask(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        """The last `count` that were over at `now`. Raises VenueUnavailable."""
        if count <= 0:
            return ()
        last = self._hours.last_completed(now).day
        stamp = last.isoformat()
        if self._delay is not None and interval == "hour":
            last = now.astimezone(NEW_YORK).date()
            stamp = f"{now - self._delay:%Y-%m-%d %H}"
        first = last - REACH[interval]

        def ask(request: Request) -> str:
            path = f"/v2/aggs/ticker/{symbol}/range/1/{interval}/{first.isoformat()}/{last.isoformat()}"
            said = request(path, {"adjusted": "true", "sort": "asc", "limit": "50000"})
            if said.get("ticker", symbol) != symbol:
                raise VendorFault("garbled", f"answered with something other than {symbol}'s bars")
            lines = [_line(row) for row in rows_of(said)]
            starts = [json.loads(line)[0] for line in lines]
            if starts != sorted(set(starts)):
                raise VendorFault("garbled", "sent price bars that are not in order")
            return "\n".join([stamp, *lines])

        key = f"bars {interval} {symbol}"
        kept = self._answers.kept(key)
        is_newest = kept is not None and kept[0].partition("\n")[0] == stamp
        text = self._answers.get(key, ask, None if is_newest else timedelta(0))
        complete_by = now - (self._delay or timedelta(0))
        bars = (self._bar(symbol, interval, line) for line in text.split("\n")[1:])
        return tuple(bar for bar in bars if bar is not None and bar.end <= complete_by)[-count:]

    def _bar(self, symbol: str, interval: Interval, line: str) -> Bar | None:
        """None for a day on which the exchange was closed."""
        second, *prices = json.loads(line)
        start = time_of(second, 1)
        assert start is not None
        end = start + _HOUR
        if interval == "day":
            day = self._hours.day(start.astimezone(NEW_YORK).date())
            if day is None:
                return None
            start, end = day.opens, day.closes
        opening, high, low, close, volume = (Decimal(each) for each in prices)
        return Bar(symbol, start, end, opening, high, low, close, volume)


def _line(row: Mapping[str, object]) -> str:
    """One bar as text. Raises VendorFault for a row that is none, or that contradicts itself."""
    start = time_of(row.get("t"), 1_000)
    opening, high, low, close = (price_of(row.get(name)) for name in "ohlc")
    volume = row.get("v")
    if (
        start is None or opening is None or high is None or low is None or close is None
        or isinstance(volume, bool) or not isinstance(volume, int | Decimal) or not 0 <= volume <= _VOLUME_MAX
        or not low <= min(opening, close) <= max(opening, close) <= high
    ):  # fmt: skip
        raise VendorFault("garbled", "sent a price bar that can't be read")
    shown = [plain(each) for each in (opening, high, low, close)]
    return json.dumps([int(start.timestamp()), *shown, plain(Decimal(volume))])
