"""The last price of one share: from the snapshot on a plan with delay, from the last trade on a real-time plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from values.clock import iso
from values.money import plain
from venues.polygon_client import VendorFault, price_of, time_of
from venues.vendor_answers import Request, VendorAnswers

LivePlan = Literal["paid", "realtime"]

FRESH_FOR: Mapping[LivePlan, timedelta] = {"paid": timedelta(seconds=15), "realtime": timedelta(seconds=2)}
"""How long an answer is told to everybody while the market is open: beside a delay of 15 minutes, 15 s are nothing."""
FRESH_WHEN_CLOSED = timedelta(minutes=5)
_MINUTE = timedelta(minutes=1)
_MS, _NS = 1_000, 1_000_000_000
_AHEAD = timedelta(seconds=5)
"""The vendor's clock may be ahead of this machine's by so much."""


class LastPrice(NamedTuple):
    price: Decimal
    as_of: datetime


class LastPrices:
    """Last prices, each answer shared by all processes."""

    def __init__(self, plan: LivePlan, answers: VendorAnswers) -> None:
        self._plan = plan
        self._answers = answers

    def ask(self, symbol: str, previous_close_at: datetime, *, is_open: bool) -> LastPrice | None:
        """None where the vendor knows no such share. Raises VenueUnavailable."""

        def ask(request: Request) -> str:
            try:
                if self._plan == "realtime":
                    found = _of_trade(symbol, request(f"/v2/last/trade/{symbol}", {}))
                else:
                    path = f"/v2/snapshot/locale/us/markets/stocks/tickers/{symbol}"
                    found = _of_snapshot(symbol, request(path, {}), previous_close_at)
            except VendorFault as fault:
                if fault.kind == "missing":
                    return "null"
                raise
            return json.dumps([plain(found.price), iso(found.as_of)])

        age = FRESH_FOR[self._plan] if is_open else FRESH_WHEN_CLOSED
        return _read(self._answers.get(self._key(symbol), ask, age, urgent=True))

    def kept(self, symbol: str) -> LastPrice | None:
        """The last that anybody was told, however old."""
        found = self._answers.kept(self._key(symbol))
        return None if found is None else _read(found[0])

    def _key(self, symbol: str) -> str:
        return f"last {self._plan} {symbol}"


def not_ahead(as_of: datetime, now: datetime) -> datetime:
    """`as_of`, or `now` where the vendor's clock is a little ahead. Raises VendorFault for a price of the future."""
    if as_of > now + _AHEAD:
        raise VendorFault("garbled", f"sent a price of {iso(as_of)}, which is not yet; is this machine's clock right?")
    return min(as_of, now)


def _read(text: str) -> LastPrice | None:
    said = json.loads(text)
    return None if said is None else LastPrice(Decimal(said[0]), datetime.fromisoformat(said[1]))


def _of_trade(symbol: str, said: Mapping[str, object]) -> LastPrice:
    trade = said.get("results")
    if not isinstance(trade, dict) or trade.get("T") != symbol:
        raise VendorFault("garbled", f"answered with something other than {symbol}'s last trade")
    price, as_of = price_of(trade.get("p")), time_of(trade.get("t"), _NS)
    if price is None or as_of is None:
        raise VendorFault("garbled", f"sent a trade of {symbol} that can't be read")
    return LastPrice(price, as_of)


def _of_snapshot(symbol: str, said: Mapping[str, object], previous_close_at: datetime) -> LastPrice:
    """The newest of the last trade and the last minute's close; before the day's first, the previous day's close."""
    share = said.get("ticker")
    if not isinstance(share, dict) or share.get("ticker") != symbol:
        raise VendorFault("garbled", f"answered with something other than {symbol}'s snapshot")
    trade, minute, before = (_part(share, name) for name in ("lastTrade", "min", "prevDay"))
    candidates = []
    if (price := price_of(trade.get("p"))) is not None and (at := time_of(trade.get("t"), _NS)) is not None:
        candidates.append(LastPrice(price, at))
    if (price := price_of(minute.get("c"))) is not None and (at := time_of(minute.get("t"), _MS)) is not None:
        # the minute may still run: then its last price is of when the snapshot was made
        updated = time_of(share.get("updated"), _NS)
        candidates.append(LastPrice(price, min(at + _MINUTE, updated) if updated is not None else at))
    if not candidates and (price := price_of(before.get("c"))) is not None:
        candidates.append(LastPrice(price, previous_close_at))
    if not candidates:
        raise VendorFault("garbled", f"sent a snapshot of {symbol} without a price that can be read")
    return max(candidates, key=lambda each: each.as_of)


def _part(share: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = share.get(name)
    return part if isinstance(part, dict) else {}
