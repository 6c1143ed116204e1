"""The live market: United States shares and funds, from Polygon (now Massive), as fresh as the key's plan.

    free        the whole market's closes, one request a trading day; `end_of_day`
    paid        the snapshot, 15 minutes delayed; `delayed`
    realtime    the last trade; `realtime`

A price is stale, shown and not traded on, when it is older than its plan promises: a close that is not the last trading
day's; else a price more than PROMISE before now, or before the close while the exchange is closed. What was known
stands in, stale, for an upstream that fails; nothing else does. A price is in the units of its own time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

from database import Store, write_log
from values.clock import wall_now
from values.corporate_action import CorporateAction
from values.errors import Refused, VenueUnavailable, shown
from values.instrument import Instrument
from values.log import LogRow
from values.market_settings import MarketSettings, PolygonPlan
from values.quote import Bar, Interval, MarketSession, Quote, Source
from venues.exchange_hours import NEW_YORK, ExchangeHours, exchange_hours
from venues.listing import LISTINGS
from venues.polygon_bars import Bars
from venues.polygon_client import PolygonClient, VendorFault
from venues.polygon_days import DayPrices, EndOfDay, is_ticker, unknown
from venues.polygon_last import LastPrices, not_ahead
from venues.polygon_reference import Reference
from venues.vendor_answers import Request, VendorAnswers
from venues.vendor_queue import VendorQueue

logger = logging.getLogger("floor.market")

LIMITS: Mapping[PolygonPlan, tuple[int, int, float]] = {
    "free": (5, 1, 60.0),
    "paid": (600, 200, 60.0),
    "realtime": (600, 200, 60.0),
}
"""Requests in a window of so many seconds, and how many of them only prices may take. Paid plans have no limit of their
own; this one keeps a fault of ours from becoming the vendor's."""
SOURCES: Mapping[PolygonPlan, Source] = {"free": "end_of_day", "paid": "delayed", "realtime": "realtime"}
DELAY: Mapping[PolygonPlan, timedelta] = {
    "free": timedelta(days=1),
    "paid": timedelta(minutes=15),
    "realtime": timedelta(0),
}
PROMISE: Mapping[PolygonPlan, timedelta] = {"paid": timedelta(minutes=20), "realtime": timedelta(minutes=5)}
"""Five minutes beside the plan's delay: what nobody has traded at for that long is no price to fill at."""
STATUS_AGE = timedelta(minutes=15)
_CORE = {symbol: each.instrument for symbol, each in LISTINGS.items() if each.instrument.kind != "coin"}
"""What the floor lists by itself: well-known shares and funds with their sectors. Every other listed one trades too."""


class PolygonVenue:
    """One plan over a store's answers. Safe to use from several threads and processes; keeps no connection."""

    name = "live"

    def __init__(self, answers: VendorAnswers, plan: PolygonPlan, *, wall: Callable[[], datetime] = wall_now) -> None:
        self.plan: PolygonPlan = plan
        self.answers = answers
        self._wall = wall
        self.hours: ExchangeHours = exchange_hours()
        self.reference = Reference(answers)
        self._days = EndOfDay(answers, self.hours)
        self._last = None if plan == "free" else LastPrices(plan, answers)
        self._bars = Bars(answers, self.hours, None if plan == "free" else DELAY[plan])

    def instruments(self) -> tuple[Instrument, ...]:
        """The shares and funds that the floor lists by itself; `search` finds the others."""
        return tuple(_CORE.values())

    def search(self, query: str) -> tuple[Instrument, ...]:
        """Every listed share or fund whose ticker or name has `query`. Raises VenueUnavailable."""
        return self.reference.search(query)

    def instrument(self, symbol: str) -> Instrument:
        """Raises UnknownSymbol. A ticker that can't be looked up now is taken for a share: its quote will say why."""
        self._check(symbol, self._wall())
        return _CORE.get(symbol) or self.reference.instrument(symbol)

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        """New York's hours, from the table. Raises UnknownSymbol, and VenueUnavailable beyond the table."""
        if symbol is not None:
            self._check(symbol, now)
        day = self.hours.at(now)
        if day is None:
            return MarketSession(False, self.hours.next_open(now), f"New York is closed; {self._freshness()}")
        early = f" (early, at {day.closes.astimezone(NEW_YORK):%H:%M})" if day.is_early else ""
        return MarketSession(True, day.closes, f"New York is open and closes today{early}; {self._freshness()}")

    def quote(self, symbol: str, now: datetime) -> Quote:
        """The last price that the plan gives. Raises UnknownSymbol, and VenueUnavailable when none was ever known."""
        self._check(symbol, now)
        return self._close(symbol, now) if self._last is None else self._live(self._last, symbol, now)

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        """Raises UnknownSymbol, Refused `bad_interval`, VenueUnavailable."""
        if interval not in ("hour", "day"):
            raise Refused("bad_interval", f"the interval is {shown(interval)}; the live market has hour and day")
        self._check(symbol, now)
        return self._bars.ask(symbol, interval, count, now)

    def closes(self, now: datetime) -> DayPrices:
        """The whole market's prices of the newest day that the plan has. Raises VenueUnavailable."""
        return self._days.newest(now)

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        """What happened to `symbols` with an ex-date in [first, last], oldest first.

        Raises VenueUnavailable, and Refused `bad_days` for more than 400 days.
        """
        newest = self._days.newest(self._wall()) if symbols else None
        return self.reference.actions(
            symbols, first, last, lambda symbol: newest is not None and newest.close(symbol) is not None
        )

    def hours_note(self, now: datetime) -> str:
        """What the vendor says of the hours where it differs from the table, or empty; a difference goes to the log.

        Empty too where the vendor can't be asked now: the table is what the floor goes by.
        """

        def ask(request: Request) -> str:
            said = request("/v1/marketstatus/now", {})
            exchanges = said.get("exchanges")
            state = exchanges.get("nyse") if isinstance(exchanges, dict) else None
            if state not in ("open", "closed", "extended-hours"):
                raise VendorFault("garbled", "answered with something other than the market's status")
            is_open = self.hours.at(now) is not None
            note = ""
            if (state == "open") is not is_open:
                note = f"the vendor says that New York is {state}, the table says {'open' if is_open else 'closed'}"
                write_log(self.answers.store, [LogRow("response", "market", f"hours differ: {note}", self._wall())])
            return json.dumps([is_open, note])

        try:
            was_open, note = json.loads(self.answers.get("status", ask, STATUS_AGE, patience_s=1.0))
        except VenueUnavailable as error:
            logger.warning("the market's status was not compared: %s", error)
            return ""
        return str(note) if was_open is (self.hours.at(now) is not None) else ""

    def _freshness(self) -> str:
        return {
            "free": "prices are the last trading day's closes (POLYGON_PLAN=free)",
            "paid": "prices are 15 minutes old (POLYGON_PLAN=paid)",
            "realtime": "prices are real-time (POLYGON_PLAN=realtime)",
        }[self.plan]

    def _check(self, symbol: str, now: datetime) -> None:
        """Raises UnknownSymbol for what is known not to trade; what can't be looked up now passes."""
        if symbol in _CORE:
            return
        if not is_ticker(symbol):
            raise unknown(symbol, ", which has shares and funds and no coins" if "-" in symbol else "")
        try:
            if self._days.newest(now).close(symbol) is not None:
                return
            fate = self.reference.fate(symbol)
        except VenueUnavailable:
            return
        if fate is not None:
            raise unknown(symbol, fate)

    def _close(self, symbol: str, now: datetime) -> Quote:
        last = self.hours.last_completed(now).day
        try:
            newest = self._days.newest(now)
            price = newest.close(symbol)
            if price is None:
                raise VenueUnavailable(f"{symbol} did not trade on {newest.day.day}")
            return self._quote(symbol, price, newest.day.closes, now, stale=newest.day.day != last)
        except VenueUnavailable:
            for day in self._days.kept(now):
                if (price := day.close(symbol)) is not None:
                    return self._quote(symbol, price, day.day.closes, now, stale=True)
            raise

    def _live(self, last: LastPrices, symbol: str, now: datetime) -> Quote:
        today = self.hours.at(now)
        closed_at = self.hours.last_completed(now).closes
        try:
            found = last.ask(symbol, closed_at, is_open=today is not None)
            if found is None:
                raise VenueUnavailable(f"Polygon has no price of {symbol}")
            as_of = not_ahead(found.as_of, now)
            due = (closed_at if today is None else now) - PROMISE[self.plan]
            return self._quote(symbol, found.price, as_of, now, stale=as_of < due)
        except VenueUnavailable as error:
            fault = self._told_plan(error)
            kept = last.kept(symbol)
            if kept is None or kept.as_of > now:
                raise fault from None
            return self._quote(symbol, kept.price, kept.as_of, now, stale=True)

    def _quote(self, symbol: str, price: Decimal, as_of: datetime, now: datetime, *, stale: bool) -> Quote:
        if price <= 0:
            raise VenueUnavailable(f"{symbol} is worth less than a price can say")
        return Quote(symbol, price, as_of, now, SOURCES[self.plan], DELAY[self.plan], stale)

    def _told_plan(self, error: VenueUnavailable) -> VenueUnavailable:
        """A refusal of the plan, with the plan that works for this key."""
        if not isinstance(error, VendorFault) or error.kind != "plan":
            return error
        works = next((plan for plan in _cheaper(self.plan) if self._works(plan)), None)
        mend = f"POLYGON_PLAN={works} works with this key" if works else "no plan works with this key"
        return VenueUnavailable(f"the key does not have the plan {self.plan}, which POLYGON_PLAN says; {mend}")

    def _works(self, plan: PolygonPlan) -> bool:
        def ask(request: Request) -> str:
            try:
                request(*plan_question(plan, self._wall()))
            except VendorFault as fault:
                if fault.kind != "plan":
                    raise
                return "no"
            return "yes"

        try:
            return self.answers.get(f"plan {plan}", ask, STATUS_AGE) == "yes"
        except VenueUnavailable:
            return False


def _cheaper(plan: PolygonPlan) -> tuple[PolygonPlan, ...]:
    plans: tuple[PolygonPlan, ...] = ("realtime", "paid", "free")
    return plans[plans.index(plan) + 1 :]


def plan_question(plan: PolygonPlan, now: datetime) -> tuple[str, dict[str, str]]:
    """Path and parameters of the smallest request that a key without the plan is refused."""
    day = exchange_hours().completed(now, 2)[0].day
    path: Mapping[PolygonPlan, str] = {
        "free": f"/v2/aggs/ticker/SPY/range/1/day/{day}/{day}",
        "paid": "/v2/snapshot/locale/us/markets/stocks/tickers/SPY",
        "realtime": "/v2/last/trade/SPY",
    }
    return path[plan], {}


def open_answers(store: Store, settings: MarketSettings) -> VendorAnswers:
    """The vendor's answers by the settings' key, which has to be there, within its plan's limit."""
    assert settings.polygon_api_key is not None
    client = PolygonClient(settings.polygon_api_key, settings.polygon_base_url)
    limit, reserved, window_s = LIMITS[settings.polygon_plan]
    return VendorAnswers(
        "polygon", client, VendorQueue(store, limit, window_s, reserved=reserved, answer_s=client.deadline_s + 1)
    )


def open_polygon(store: Store, settings: MarketSettings) -> PolygonVenue:
    return PolygonVenue(open_answers(store, settings), settings.polygon_plan)
