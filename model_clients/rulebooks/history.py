"""One symbol's complete bars, and the measures that rules take of them.

Every measure uses at most the bars there are, so that a short history gives a rougher number rather than none.
Lengths are in bars, so the same rule works on hours and on days; `stretch` is free of the bar's length altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite, sqrt

from analysis import indicators
from model_clients.rulebooks.task import json_object, rows

HISTORIES_KEPT = 128
_BARS_MIN = 3


@dataclass(frozen=True)
class History:
    """Closes, highs and lows in USD, oldest first, at least one; `starts` are the bars' start times as text."""

    symbol: str
    interval: str
    starts: tuple[str, ...]
    closes: tuple[float, ...]
    highs: tuple[float, ...]
    lows: tuple[float, ...]

    @property
    def bars(self) -> int:
        return len(self.closes)

    @property
    def last(self) -> float:
        return self.closes[-1]

    @cached_property
    def _volatilities(self) -> dict[int, float]:
        """What `volatility` has worked out, by the number of closes: most rules ask for it several times."""
        return {}

    @cached_property
    def bars_per_day(self) -> float:
        """Mean number of bars on a date that has any."""
        return self.bars / len({start[:10] for start in self.starts})

    def average(self, bars: int) -> float:
        """Simple mean of the last closes, USD."""
        used = min(bars, self.bars)
        return indicators.simple_moving_average(self.closes[-used:], used)[-1]

    def smoothed(self, bars: int) -> float:
        """Exponential moving average of the closes, USD."""
        return indicators.exponential_moving_average(self.closes, min(bars, self.bars))[-1]

    def momentum(self, bars: int) -> float:
        """Change over the last bars as a fraction; 0 for a single bar."""
        used = min(bars, self.bars - 1)
        return indicators.rate_of_change(self.closes[-used - 1 :], used)[-1] if used else 0.0

    def volatility(self, bars: int) -> float:
        """Standard deviation of the log returns of the last bars, a fraction per bar; 0 for fewer than three bars."""
        used = min(bars + 1, self.bars)
        if used not in self._volatilities:
            enough = used >= _BARS_MIN
            self._volatilities[used] = indicators.realised_volatility(self.closes[-used:]) if enough else 0.0
        return self._volatilities[used]

    def daily_volatility(self, bars: int) -> float:
        """`volatility` scaled to a day of this symbol by the square root of time."""
        return self.volatility(bars) * sqrt(self.bars_per_day)

    def strength(self, bars: int) -> float:
        """Wilder's relative strength index, 0 to 100; 50 for a single bar."""
        used = min(bars, self.bars - 1)
        return indicators.relative_strength_index(self.closes, used)[-1] if used else 50.0

    def stretch(self, bars: int) -> float:
        """How far the last close is above its own average, in the standard deviations of a driftless walk.

        A walk with a volatility of s per bar is, after n bars, s * sqrt((n - 1)(2n - 1) / 6n) from the mean of these n
        closes (the sum of its weighted steps), so -1 is an unusual discount whatever the bar's length. 0 if flat.
        """
        used = min(bars, self.bars)
        usual = self.volatility(bars) * sqrt((used - 1) * (2 * used - 1) / (6 * used))
        return (self.last / self.average(bars) - 1) / usual if usual > 0 else 0.0

    def from_high(self, bars: int) -> float:
        """The last close against the highest high of the last bars, as a fraction, 0 or below."""
        return min(0.0, self.last / max(self.highs[-bars:]) - 1)

    def channel(self, bars: int) -> tuple[float, float]:
        """Lowest low and highest high of the bars before the last one, USD; the last bar's own for a single bar."""
        lows, highs = self.lows[-bars - 1 : -1] or self.lows, self.highs[-bars - 1 : -1] or self.highs
        return min(lows), max(highs)

    def beta_to(self, reference: History) -> float | None:
        """Beta of the returns over the bars that both have; None for fewer than five of them."""
        closes = dict(zip(reference.starts, reference.closes, strict=True))
        pairs = [(own, closes[start]) for start, own in zip(self.starts, self.closes, strict=True) if start in closes]
        if len(pairs) < 6:
            return None
        own, other = zip(*pairs, strict=True)
        return indicators.beta(indicators.rate_of_change(own, 1), indicators.rate_of_change(other, 1))


@lru_cache(maxsize=HISTORIES_KEPT)
def read_history(text: str, symbol: str, interval: str) -> History | None:
    """The history in the text of an answer of `get_price_history`; None where it holds no bar that makes sense.

    Bars are dropped from the oldest up to the last one that makes no sense, so that no gap is taken for a return.
    Kept by its text, because each turn of a session reads the same answers again.
    """
    kept: list[tuple[str, float, float, float]] = []
    for row in rows(json_object(text).get("bars")):
        close, high, low = (_price(row.get(key)) for key in ("close", "high", "low"))
        if close is None or high is None or low is None or not low <= close <= high:
            kept.clear()
        else:
            kept.append((str(row.get("start", "")), close, high, low))
    if not kept:
        return None
    starts, closes, highs, lows = zip(*kept, strict=True)
    return History(symbol, interval, starts, closes, highs, lows)


def _price(value: object) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        price = float(value)
    except (ValueError, OverflowError):
        return None
    return price if isfinite(price) and price > 0 else None
