"""A machine whose clock a test moves, and the processes on it: a floor, a server for each trader, a witness.

A process is a store and a clock of its own. The witness sees every cycle begin and what time it is in every process,
and says which promise was broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import cast
from unittest import mock

from sqlalchemy import text

from accounts import Account, open_account
from commands.seats import FloorRecorder
from database import NewRun, Store
from ledger.reconcile import reconcile
from market import Market
from tests.chaos.faketime import FakeTime, faked
from tracers import LogTracer
from traders import SessionEnd
from trading_floor import Floor
from values.clock import Clock
from values.schedule import slot_at
from values.session import Mode, Outcome
from venues.venue import Venue

START = datetime(2025, 10, 1, 15, 0, tzinfo=UTC)
EVERY = timedelta(minutes=15)
FACTOR = 60
NAMES = ("george", "warren")


class Died(BaseException):
    """The process is gone: nothing in it may go on, or write."""


class Clerk:
    """A trader that opens its session, trades twice through a process of its own, and closes it."""

    def __init__(self, name: str, store: Store, recorder: FloorRecorder, server: Account, think_s: float) -> None:
        self.name = name
        self._think_s = think_s
        self._store = store
        self._recorder = recorder
        self._server = server
        self._stopped = asyncio.Event()

    async def run(self, mode: Mode) -> SessionEnd:
        session_id = f"trace_{self.name}{self._store.run().cycle}"
        await self._recorder.opened(session_id, self.name, mode, "clerk")
        self._stopped.clear()
        for side in ("buy", "sell"):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._think_s)
            trade = self._server.buy_shares if side == "buy" else self._server.sell_shares
            trade("AAPL", 1, "a test")
        outcome: Outcome = "interrupted" if self._stopped.is_set() else "completed"
        end = SessionEnd(session_id, self.name, outcome, "", "", 0, 0, ())
        await self._recorder.ended(end)
        return end

    def stop(self, outcome: Outcome, reason: str) -> None:
        self._stopped.set()


@dataclass
class Witness:
    """What was seen of a run: the cycles that began, and how often a process saw its market time go back."""

    begun: list[datetime] = field(default_factory=list)
    every: timedelta = EVERY
    off_grid: list[str] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    seen: dict[int, datetime] = field(default_factory=dict)

    def look(self, clocks: Sequence[Clock]) -> None:
        for clock in clocks:
            now = clock.now()
            if now < (before := self.seen.get(id(clock), now)):
                self.went_back.append(f"market time went back from {before} to {now}")
            self.seen[id(clock)] = now

    def cycle(self, slot: datetime, now: datetime) -> None:
        if slot != slot_at(slot, self.every) or not slot <= now < slot + self.every:
            self.off_grid.append(f"at {now} a cycle began for {slot}")
        self.begun.append(slot)

    def faults(self) -> list[str]:
        """A sentence for each promise that was broken."""
        twice = [f"the slot {after} began after {before}" for before, after in pairwise(self.begun) if after <= before]
        return [*twice, *self.off_grid, *self.went_back, *self.late]


@dataclass
class Machine:
    """A store and a venue, and the processes that a floor starts: itself, and a server for each account."""

    fake: FakeTime
    path: Path
    venue: Venue
    stack: contextlib.ExitStack
    factor: int = FACTOR
    look_s: float = 0.45
    witness: Witness = field(default_factory=Witness)
    clocks: list[Clock] = field(default_factory=list)
    running: Floor | None = None
    watching: asyncio.Task[None] | None = None

    def process(self) -> tuple[Store, Market]:
        """A store and a clock of its own."""
        store = self.stack.enter_context(contextlib.closing(Store(self.path)))
        market = Market(self.venue, store.clock())
        self.clocks.append(market.clock)
        return store, market

    def floor(self) -> Floor:
        """A new floor and its servers."""
        self.clocks.clear()  # of processes that are gone
        store, market = self.process()
        recorder = FloorRecorder(store, cast("LogTracer", mock.Mock(flush=lambda: True)))
        think_s = 60 / self.factor  # a market minute
        clerks = {
            name: Clerk(name, store, recorder, Account(*self.process(), name, "floor"), think_s) for name in NAMES
        }
        self.running = Floor(store, market, clerks, self.witness.every, lambda _line: None, factor=self.factor)
        return self.running

    @contextlib.asynccontextmanager
    async def observed(self) -> AsyncIterator[None]:
        """The witness sees every cycle that begins, and what time it is in every process."""
        begin_cycle = Store.begin_cycle

        def begun(store: Store, slot: datetime) -> int:
            assert self.running is not None
            self.witness.cycle(slot, self.running.market.clock.now())
            return begin_cycle(store, slot)

        async def watch() -> None:
            while True:
                self.witness.look(self.clocks)
                await asyncio.sleep(self.look_s)

        with mock.patch.object(Store, "begin_cycle", begun):
            self.watching = asyncio.create_task(watch())
            yield
            self.watching.cancel()

    async def stop(self, task: asyncio.Task[None]) -> None:
        assert self.running is not None
        self.running.stop()
        await task

    async def kill(self, task: asyncio.Task[None]) -> None:
        """The floor's process and its servers are gone at once: nothing more is written."""

        def dead(*_: object, **__: object) -> None:
            raise Died

        rest = asyncio.all_tasks() - {self.watching, asyncio.current_task()}
        with mock.patch.object(Store, "write", dead):
            for each in rest:
                each.cancel()
            await asyncio.wait(rest)
        for each in rest:
            if not each.cancelled():
                each.exception()  # Died is what was meant
        assert task.done()


@contextlib.contextmanager
def machine(template: Path, folder: Path, fake: FakeTime, venue: Venue) -> Iterator[Machine]:
    """A new store of a simulated run with an account for each clerk."""
    path = folder / "accounts.db"
    shutil.copy(template, path)
    with contextlib.ExitStack() as stack:
        made = Machine(fake, path, venue, stack)
        for name in NAMES:
            open_account(*made.process(), name, kind="trader", actor="floor")
        yield made


def make_template(folder: Path) -> Path:
    """A store made at START; to be copied, which takes a tenth of the time."""
    path = folder / "template.db"
    with faked(FakeTime(START)):
        Store(path, NewRun("simulated", 1, started_at=START)).close()
    return path


def out_of_order(store: Store) -> list[str]:
    """A sentence for each row that stands behind a later one, and for each session whose mode is not its turn."""
    found = []
    with store.read() as connection:
        for table in ("transactions", "portfolio_values", "sessions"):
            rows = connection.execute(text(f"SELECT market_time FROM {table} ORDER BY rowid")).scalars().all()
            found += [f"{table}: {after} stands after {before}" for before, after in pairwise(rows) if after < before]
        for name in NAMES:
            query = text("SELECT mode FROM sessions WHERE account = :name ORDER BY rowid")
            modes = list(connection.execute(query, {"name": name}).scalars())
            if modes != [("trade", "rebalance")[index % 2] for index in range(len(modes))]:
                found.append(f"{name}'s modes do not alternate: {modes}")
        found += [str(each) for each in reconcile(connection)]
    return found
