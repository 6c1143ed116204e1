"""A floor through the days on which an exchange's hours move: both daylight-saving days and half days in New York.

The hours are written down in UTC, so that nothing here computes what the product would have to. The machine's own time
zone is New York's, which changes in the same nights. Runs on the machine's clock and on a tape of bars.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

from sqlalchemy import select

from accounts import open_account
from market import open_market, open_store
from store import tables
from tests.chaos.faketime import FakeTime, faked, run_virtually
from tests.chaos.machine import NAMES, Machine, machine, out_of_order
from tests.shelf import LISTED, ShelfVenue
from trading_floor import Floor
from values.quote import MarketSession
from values.schedule import Tape, slot_at
from values.settings import MarketSettings, load
from venues.replay import ReplayVenue

NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"
HALF_HOUR = timedelta(minutes=30)
SUMMER, WINTER, HALF = ("13:30", "20:00"), ("14:30", "21:00"), ("14:30", "18:00")
Days = Sequence[tuple[date, tuple[str, str] | None]]

CALENDARS: dict[str, Days] = {
    "clocks go back": (
        (date(2025, 10, 31), SUMMER), (date(2025, 11, 1), None), (date(2025, 11, 2), None), (date(2025, 11, 3), WINTER),
    ),
    "a holiday and a half day": (
        (date(2025, 11, 26), WINTER), (date(2025, 11, 27), None), (date(2025, 11, 28), HALF),
    ),
    "the day before Christmas": ((date(2025, 12, 24), HALF), (date(2025, 12, 25), None), (date(2025, 12, 26), WINTER)),
    "clocks go forward": (
        (date(2026, 3, 6), WINTER), (date(2026, 3, 7), None), (date(2026, 3, 8), None), (date(2026, 3, 9), SUMMER),
    ),
}  # fmt: skip


NIGHTS = {
    "clocks go back": datetime(2025, 11, 2, 6, tzinfo=UTC),
    "clocks go forward": datetime(2026, 3, 8, 7, tzinfo=UTC),
}
"""When New York's clocks jump."""


def hours(days: Days) -> list[tuple[datetime, datetime]]:
    """When the exchange opens and closes, in order."""
    return [
        (datetime.fromisoformat(f"{day}T{opens}Z"), datetime.fromisoformat(f"{day}T{closes}Z"))
        for day, times in days
        if times is not None
        for opens, closes in [times]
    ]


def slots(days: Days, every: timedelta = HALF_HOUR) -> list[datetime]:
    """The multiples of `every` at which the exchange is open."""
    halves = [
        opens + HALF_HOUR * index for opens, closes in hours(days) for index in range((closes - opens) // HALF_HOUR)
    ]
    return [half for half in halves if slot_at(half, every) == half]


class Exchange(ShelfVenue):
    """A shelf that is open in an exchange's hours alone."""

    def __init__(self, days: Days) -> None:
        super().__init__()
        self._hours = hours(days)

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        return MarketSession(any(opens <= now < closes for opens, closes in self._hours), None, "New York's hours")


@contextlib.contextmanager
def in_new_york() -> Iterator[None]:
    """The machine's local time is New York's."""
    try:
        with mock.patch.dict(os.environ, TZ=NEW_YORK):
            time.tzset()
            yield
    finally:
        time.tzset()


def by_the_clock(template: Path, folder: Path, days: Days, every: timedelta = HALF_HOUR) -> list[str]:
    """What went wrong on a floor that runs by the machine's clock from the first day to the last."""
    fake = FakeTime(datetime.combine(days[0][0], datetime.min.time(), UTC))
    until_s = len(days) * 86_400 / 3600
    with in_new_york(), faked(fake), machine(template, folder, fake, Exchange(days)) as on:
        on.factor, on.witness.every = 3600, every
        run_virtually(fake, lambda: _run_for(on, until_s))
        return [
            *on.witness.faults(),
            *_differences(on.witness.begun, slots(days, every)),
            *out_of_order(on.process()[0]),
        ]


def through_the_night(template: Path, folder: Path, jump: datetime) -> list[str]:
    """What went wrong on a floor that runs each half hour, at the pace of the wall clock, while local time jumps."""
    begins, ends = jump - timedelta(hours=2, minutes=1), jump + timedelta(hours=2, minutes=29)
    fake = FakeTime(begins)
    with (
        in_new_york(),
        faked(fake),
        mock.patch("trading_floor.TICK_S", 60.0),
        machine(template, folder, fake, ShelfVenue()) as on,
    ):
        on.factor, on.look_s, on.witness.every = 1, 60.0, HALF_HOUR
        run_virtually(fake, lambda: _run_for(on, (ends - begins).total_seconds()))
        expected = [jump + HALF_HOUR * number for number in range(-5, 5)]
        return [*on.witness.faults(), *_differences(on.witness.begun, expected), *out_of_order(on.process()[0])]


async def _run_for(on: Machine, seconds: float) -> None:
    async with on.observed():
        running = asyncio.create_task(on.floor().run())
        await asyncio.sleep(seconds)
        await on.stop(running)


def on_a_tape(folder: Path, days: Days) -> list[str]:
    """What went wrong on a replay of half-hour bars from the exchange's hours."""
    csv = folder / "prices.csv"
    rows = [f"{each.symbol},{slot:%Y-%m-%dT%H:%M:%SZ},100,101,99,100,5" for each in LISTED for slot in slots(days)]
    csv.write_text("symbol,time,open,high,low,close,volume\n" + "\n".join(rows))
    told = load(MarketSettings, database_url=f"sqlite:///{folder}/tape.db", market="replay", replay_history=csv)
    fake = FakeTime(datetime(2026, 6, 1, tzinfo=UTC))
    with in_new_york(), faked(fake), contextlib.closing(open_store(told)) as store:
        market = open_market(store, told)
        venue = market.venue
        assert isinstance(venue, ReplayVenue)
        wrong = [
            f"the session at {slot} ends at {found}, not {closes}"
            for opens, closes in hours(days)
            for slot in (opens, closes - timedelta(seconds=1))
            if (found := venue.session(slot).next_change) != closes
        ]
        wrong += [f"open at {closes}" for _, closes in hours(days) if venue.session(closes).is_open]
        for name in NAMES:
            open_account(store, market, name, kind="trader", actor="floor")
        floor = Floor(store, market, {}, HALF_HOUR, lambda _line: None, tape=Tape(venue.starts(), venue.end, 0.0))
        run_virtually(fake, floor.run)
        table = tables.portfolio_values.c
        with store.read() as connection:
            query = select(table.market_time).where(table.account == NAMES[0], table.cycle.is_not(None))
            cycles = list(connection.execute(query.order_by(table.id)).scalars())
        venue.close()
        return [*wrong, *_differences(cycles, slots(days)), *out_of_order(store)]


def _differences(begun: Sequence[datetime], expected: Sequence[datetime]) -> list[str]:
    missing = [f"no cycle at {slot}" for slot in expected if slot not in begun]
    return missing + [f"a cycle at {slot}, when the exchange was closed" for slot in begun if slot not in expected]
