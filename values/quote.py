"""What a venue answers: a quote with its source and its two times, and completed bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

Source = Literal["realtime", "delayed", "end_of_day", "replay", "simulated"]
Interval = Literal["hour", "day"]


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one unit in USD. `as_of` is when it was true, `seen_at` when this run learned it (market times).

    `stale`: older than its venue's promise; it may be shown and may not be traded on.
    """

    symbol: str
    price: Decimal
    as_of: datetime
    seen_at: datetime
    source: Source
    delay: timedelta
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices in USD over [start, end). High, low, close and volume are known from `end` on."""

    symbol: str
    start: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class MarketSession:
    """Whether an instrument, or any at all, trades now; `next_change` is when that turns, None when it never does."""

    is_open: bool
    next_change: datetime | None
    note: str
