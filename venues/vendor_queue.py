"""A vendor's request limit, kept in the store for all processes: turns in order, no question asked twice at once.

A turn is one request. It counts from before the request until a whole window after its answer, so that the vendor can't
see more requests in any window than it allows, however long each was on its way. Waiting is a row that its process
keeps alive: one that died is passed over after LEASE_S. The store is never locked while somebody waits or asks.

Where the wall clock jumps back, no row outlives a window by it; where it jumps ahead, turns may come that much early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from database import Store, lock_run
from store import tables
from values.clock import wall_now
from values.errors import VenueUnavailable

LEASE_S = 5.0
POLL_S = 0.25
PAUSE_MAX_S = 120.0
"""The longest that a vendor's word (Retry-After) stops everybody."""

_FLIGHTS, _SLOTS = tables.market_flights, tables.market_slots


class VendorQueue:
    """At most `limit` requests in any `window_s`; those that are not urgent leave `reserved` of them free.

    `answer_s` is the longest that a request may take. `sleep` and the two clocks are for tests.
    """

    def __init__(
        self,
        store: Store,
        limit: int,
        window_s: float,
        *,
        reserved: int = 0,
        answer_s: float = 10.0,
        wall: Callable[[], datetime] = wall_now,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = store
        self.limit = limit
        self.reserved = reserved
        self.wall = wall
        self.monotonic = monotonic
        self._sleep = sleep
        self.window = timedelta(seconds=window_s)
        self._answer = timedelta(seconds=answer_s)
        self._lease = timedelta(seconds=LEASE_S)
        self._poll_s = min(POLL_S, window_s / 10)

    @contextmanager
    def flight(self, what: str, urgent: bool, ends: float) -> Iterator[Flight | None]:
        """The right to ask for `what` until the context ends; None while another process has it. `ends`: monotonic."""
        with self.store.write() as connection:
            lock_run(connection)
            now = self.wall()
            self._tidy(connection, now)
            taken = connection.execute(select(_FLIGHTS.c.id).where(_FLIGHTS.c.what == what)).scalar_one_or_none()
            number = None if taken is not None else self._insert(connection, what, urgent, now)
        if number is None:
            yield None
            return
        flight = Flight(self, number, what, urgent, ends)
        try:
            yield flight
        finally:
            flight.land()

    def wait(self) -> None:
        """A moment's wait for what another process is asking."""
        self._sleep(self._poll_s)

    def _insert(self, connection: Connection, what: str, urgent: bool, now: datetime) -> int:
        row = insert(_FLIGHTS).values(what=what, urgent=urgent, waiting=False, alive_until=now + self._lease)
        return int(connection.execute(row.returning(_FLIGHTS.c.id)).scalar_one())

    def _tidy(self, connection: Connection, now: datetime) -> None:
        """Drop what is over, and what a clock that was set back would keep for ever ends in good time."""
        longest = self._answer + self.window + timedelta(seconds=PAUSE_MAX_S)
        connection.execute(delete(_FLIGHTS).where(_FLIGHTS.c.alive_until <= now))
        connection.execute(delete(_SLOTS).where(_SLOTS.c.free_at <= now))
        connection.execute(update(_SLOTS).where(_SLOTS.c.free_at > now + longest).values(free_at=now + self.window))
        far = now + self._answer + 2 * self._lease
        connection.execute(update(_FLIGHTS).where(_FLIGHTS.c.alive_until > far).values(alive_until=now + self._lease))

    def _ahead(self, connection: Connection, flight: Flight, now: datetime) -> int:
        """How many wait before `flight`: urgent ones before the others, each kind in the order of their coming."""
        earlier = _FLIGHTS.c.id < flight.number
        if flight.urgent:
            earlier &= _FLIGHTS.c.urgent
        else:
            earlier |= _FLIGHTS.c.urgent
        alive = _FLIGHTS.c.waiting & (_FLIGHTS.c.alive_until > now) & (_FLIGHTS.c.id != flight.number)
        return int(connection.execute(select(func.count()).select_from(_FLIGHTS).where(alive & earlier)).scalar_one())

    def _free_at(self, connection: Connection, flight: Flight, now: datetime) -> datetime:
        """When there is a turn for one more request of the flight's kind, if nobody else takes it."""
        allowed = self.limit if flight.urgent else self.limit - self.reserved
        taken = connection.execute(
            select(_SLOTS.c.free_at, _SLOTS.c.weight).where(_SLOTS.c.free_at > now).order_by(_SLOTS.c.free_at)
        ).all()
        used = sum(weight for _, weight in taken)
        for free_at, weight in taken:
            if used < allowed:
                break
            used -= weight
            if used < allowed:
                return free_at  # type: ignore[no-any-return]
        return now


class Flight:
    """One process asking for one thing, perhaps with several requests."""

    def __init__(self, queue: VendorQueue, number: int, what: str, urgent: bool, ends: float) -> None:
        self.number = number
        self.urgent = urgent
        self._queue = queue
        self._what = what
        self._ends = ends
        self._slot: int | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn of one request, which is made inside. Raises VenueUnavailable when none comes in time."""
        queue = self._queue
        refreshed = queue.wall() - queue._lease
        while not self._take():
            with queue.store.read() as connection:
                now = queue.wall()
                ahead, free_at = queue._ahead(connection, self, now), queue._free_at(connection, self, now)
            if queue.monotonic() >= self._ends:
                raise VenueUnavailable(self._why(ahead, free_at - now))
            if now - refreshed > queue._lease / 3:
                self._say(waiting=True)
                refreshed = now
            # nobody comes before it: it may sleep until its turn, but for a sign of life
            wait = min(free_at - now, queue._lease / 3).total_seconds()
            left = self._ends - queue.monotonic()
            queue._sleep(max(0.01, min(queue._poll_s if ahead else wait, left)))
        try:
            yield
        finally:
            self._answered()

    def pause(self, seconds: float | None) -> None:
        """The vendor asks all of us to wait: `seconds`, or a window where it does not say how long."""
        queue = self._queue
        with queue.store.write() as connection:
            length = queue.window if seconds is None else timedelta(seconds=min(max(seconds, 0.0), PAUSE_MAX_S))
            connection.execute(insert(_SLOTS).values(free_at=queue.wall() + length, weight=queue.limit))

    def land(self) -> None:
        """Leave the queue."""
        with self._queue.store.write() as connection:
            connection.execute(delete(_FLIGHTS).where(_FLIGHTS.c.id == self.number))

    def _say(self, *, waiting: bool) -> None:
        """Still here. Who was taken for dead, because this process stood still, queues up anew."""
        queue = self._queue
        with queue.store.write() as connection:
            lock_run(connection)
            now = queue.wall()
            mine = _FLIGHTS.c.id == self.number
            alive = update(_FLIGHTS).where(mine).values(waiting=waiting, alive_until=now + queue._lease)
            if connection.execute(alive).rowcount:
                return
            if connection.execute(select(_FLIGHTS.c.id).where(_FLIGHTS.c.what == self._what)).first() is not None:
                raise VenueUnavailable("another process has asked the same in the meantime; ask again")
            self.number = queue._insert(connection, self._what, self.urgent, now)
            connection.execute(update(_FLIGHTS).where(_FLIGHTS.c.id == self.number).values(waiting=waiting))

    def _take(self) -> bool:
        """Take the turn if it is ours; a look first, because every write is one more wait for the others."""
        queue = self._queue
        with queue.store.read() as connection:
            now = queue.wall()
            if queue._ahead(connection, self, now) or queue._free_at(connection, self, now) > now:
                return False
        with queue.store.write() as connection:
            lock_run(connection)
            now = queue.wall()
            queue._tidy(connection, now)
            if queue._ahead(connection, self, now) or queue._free_at(connection, self, now) > now:
                return False
            until = now + queue._answer + queue._lease
            mine = update(_FLIGHTS).where(_FLIGHTS.c.id == self.number).values(waiting=False, alive_until=until)
            if connection.execute(mine).rowcount == 0:
                return False  # taken for dead: `turn` queues up anew
            slot = insert(_SLOTS).values(free_at=now + queue._answer + queue.window, weight=1)
            self._slot = int(connection.execute(slot.returning(_SLOTS.c.id)).scalar_one())
        return True

    def _answered(self) -> None:
        queue = self._queue
        with queue.store.write() as connection:
            now = queue.wall()
            connection.execute(update(_SLOTS).where(_SLOTS.c.id == self._slot).values(free_at=now + queue.window))

    def _why(self, ahead: int, wait: timedelta) -> str:
        queue = self._queue
        others = f" and {ahead} other{'' if ahead == 1 else 's'} wait" if ahead else ""
        kept = f", of which {queue.reserved} {'is' if queue.reserved == 1 else 'are'} for prices"
        return (
            f"the plan allows {queue.limit} requests in {queue.window.total_seconds():g} s"
            f"{'' if self.urgent or not queue.reserved else kept}; all are used{others}; "
            f"try again in {max(1.0, wait.total_seconds()):.0f} s"
        )
