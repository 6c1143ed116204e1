"""A market on paper for tests of the house model: given bars, answered as the replay venue answers.

A bar's open is the quote at its start, and only complete bars are history. `zigzag` and `days_of` make short histories
with a known drift and swing; `read_bars` reads a price file.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from values.clock import iso, parse_time
from values.errors import Refused
from values.instrument import FRACTION, WHOLE, Kind, kind_of
from values.money import plain

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2025, 10, 1, 14, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PaperBar:
    start: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    def shown(self) -> dict[str, str]:
        prices = {key: plain(getattr(self, key)) for key in ("open", "high", "low", "close")}
        return {"start": iso(self.start), "end": iso(self.end), **prices, "volume": "1000"}


@dataclass
class PaperMarket:
    """`bars` by symbol, of one length. Open where a bar starts now, as in a replay, or where there is a quote.

    `stale` symbols are open, and their quote is too old to trade on.
    """

    bars: Mapping[str, Sequence[PaperBar]]
    now: datetime
    interval: str = "hour"
    quotes: dict[str, Decimal] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    sectors: dict[str, str] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    starts: dict[str, list[datetime]] = field(init=False)
    days: dict[str, list[PaperBar]] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = {symbol: [bar.start for bar in bars] for symbol, bars in self.bars.items()}
        self.days = {symbol: _days(bars) for symbol, bars in self.bars.items()}

    def symbols(self) -> list[str]:
        return sorted(self.bars)

    def kind(self, symbol: str) -> Kind:
        return self.kinds.get(symbol) or kind_of(symbol)

    def step(self, symbol: str) -> Decimal:
        return FRACTION if self.kind(symbol) == "coin" else WHOLE

    def price(self, symbol: str) -> tuple[Decimal, bool]:
        """USD, and whether the symbol trades now."""
        if symbol in self.quotes:
            return self.quotes[symbol], True
        at = bisect_left(self.starts[symbol], self.now)
        if at < len(self.starts[symbol]) and self.starts[symbol][at] == self.now:
            return self.bars[symbol][at].open, True
        return (self.bars[symbol][at - 1].close if at else self.bars[symbol][0].open), False

    def history(self, symbol: str, interval: str, count: int) -> list[dict[str, str]]:
        if interval == "hour" and self.interval == "day":
            raise Refused("bad_interval", "this market has daily bars alone; ask for day")
        bars = self.bars[symbol] if interval == self.interval else self.days[symbol]
        known = bisect_right([bar.end for bar in bars], self.now)
        return [bar.shown() for bar in bars[max(0, known - count) : known]]


def _days(bars: Sequence[PaperBar]) -> list[PaperBar]:
    found = []
    for day, group in groupby(bars, key=lambda bar: bar.start.date()):
        of_day = list(group)
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        high, low = max(bar.high for bar in of_day), min(bar.low for bar in of_day)
        found.append(PaperBar(start, start + DAY, of_day[0].open, high, low, of_day[-1].close))
    return found


def zigzag(first: float, last: float, bars: int, swing: float) -> list[float]:
    """Closes on a straight line from `first` to `last`, alternately `swing` (a fraction) above and below it."""
    steps = max(1, bars - 1)
    line = [first + (last - first) * at / steps for at in range(bars)]
    return [level * (1 + (swing if at % 2 else -swing)) for at, level in enumerate(line[:-1])] + line[-1:]


def days_of(closes: Sequence[float], until: datetime = START, step: timedelta = DAY) -> list[PaperBar]:
    """Bars with those closes, the last of them complete at `until`."""
    bars = []
    before = closes[0]
    for at, close in enumerate(closes):
        start = until - step * (len(closes) - at)
        high, low = max(before, close) * 1.002, min(before, close) * 0.998
        prices = (Decimal(f"{price:.4f}") for price in (before, high, low, close))
        bars.append(PaperBar(start, start + step, *prices))
        before = close
    return bars


def read_bars(path: Path, step: timedelta) -> dict[str, list[PaperBar]]:
    """The bars of a price file, in symbol order, with USDT as USD."""
    found: dict[str, list[PaperBar]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            start = parse_time(row["time"])
            prices = (Decimal(row[key]) for key in ("open", "high", "low", "close"))
            found.setdefault(row["symbol"].replace("-USDT", "-USD"), []).append(PaperBar(start, start + step, *prices))
    return found
