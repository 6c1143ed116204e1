"""The floor: runs every trader's session on the market's schedule, all at once, and keeps the books' values.

Cycles stand on multiples of N market minutes, without drift or overlap; a missed one happens once, not many times. In
a replay a cycle stands on each bar's start. One floor runs on a store. Its command line is in `commands/`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the command line's help must not wait for the agents' and the store's imports
    from database import Store
    from market import Market
    from traders import SessionEnd
    from values.session import Mode, Outcome

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK_S = 1.0
HEARTBEAT_S = 10.0
FAST_FOR = timedelta(seconds=30)
FAST_FACTOR = 60


def slot_at(moment: datetime, every: timedelta) -> datetime:
    """The newest multiple of `every` (counted from 1970) that is not after `moment`."""
    return moment - (moment - _EPOCH) % every


def due_at(last_slot: datetime | None, now: datetime, every: timedelta) -> datetime:
    """When the next cycle is due: at once on a new store, else at the first multiple after the last cycle's."""
    return now if last_slot is None else slot_at(last_slot, every) + every


class RunsSessions(Protocol):
    """What the floor needs of a trader."""

    name: str

    async def run(self, mode: Mode) -> SessionEnd: ...

    def stop(self, outcome: Outcome, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Tape:
    """A replay's times: the bars' starts in order and the last bar's end; `pause_s` wall seconds between cycles."""

    starts: Sequence[datetime]
    end: datetime
    pause_s: float


@dataclass(slots=True)
class Floor:
    """One store's floor. `say` gets a line for everything that an owner would want to know."""

    store: Store
    market: Market
    traders: Mapping[str, RunsSessions]
    every: timedelta
    say: Callable[[str], None]
    factor: int = 1
    tape: Tape | None = None
    next_at: datetime | None = None
    running: set[str] = field(default_factory=set)
    cycles_run: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _run_now: asyncio.Event = field(default_factory=asyncio.Event)
    _seen_control: int = 0

    def stop(self) -> None:
        """End the floor: running sessions are recorded as interrupted, no further cycle begins."""
        self._stopping.set()
        for trader in self.traders.values():
            trader.stop("interrupted", "the floor was stopped")

    async def stopped(self) -> None:
        """Return once the floor was told to stop."""
        await self._stopping.wait()

    async def run(self, cycles_max: int | None = None) -> None:
        """Run cycles until stopped, until the tape ends, or until `cycles_max` have run."""
        from ledger.controls import newest_control
        from ledger.sessions import interrupt_open_sessions

        cut = await asyncio.to_thread(interrupt_open_sessions, self.store)
        if cut:
            self.say(f"{cut} session{'s' if cut > 1 else ''} that an earlier floor left open: marked interrupted")
        self._seen_control = await asyncio.to_thread(newest_control, self.store)
        ticking = asyncio.create_task(self._tick())
        try:
            if self.tape is not None:
                await self._play(self.tape, cycles_max)
            else:
                await self._keep_time(cycles_max)
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})

    async def _keep_time(self, cycles_max: int | None) -> None:
        """Cycles on a clock that runs by itself."""
        self.store.anchor(self.market.clock.now(), self.factor, FAST_FOR)
        last_slot = self.store.run().cycle_slot
        try:
            while not self._stopping.is_set() and (cycles_max is None or self.cycles_run < cycles_max):
                now = self.market.clock.now()
                # a single cycle was asked for by hand, so it is due now
                self.next_at = now if cycles_max is not None else due_at(last_slot, now, self.every)
                if not await self._wait_until(self.next_at):
                    continue
                now = self.market.clock.now()
                last_slot = slot_at(now, self.every)
                session = self.market.session()
                if self.market.minds_closed and not session.is_open:
                    self.say(f"the market is closed, so nobody trades: {session.note}")
                    if cycles_max is not None:
                        return
                    continue
                await self._cycle(last_slot)
        finally:
            self.store.anchor(self.market.clock.now(), 1, timedelta(0))

    async def _play(self, tape: Tape, cycles_max: int | None) -> None:
        """Cycles on a tape: the floor moves the clock, bar by bar, and to the last bar's end when all are played."""
        done = self.store.run().cycle_slot
        for start in tape.starts:
            if done is not None and start <= done:
                continue
            if self._stopping.is_set() or (cycles_max is not None and self.cycles_run >= cycles_max):
                return
            if self.cycles_run and tape.pause_s:
                self.next_at = start
                await self._pause(tape.pause_s)
                if self._stopping.is_set():
                    return
            self.store.anchor(start, 1, timedelta(0))
            await self._cycle(start)
        if not self._stopping.is_set():
            from ledger.valuation import record_values

            self.store.anchor(max(tape.end, self.market.clock.now()), 1, timedelta(0))
            await asyncio.to_thread(record_values, self.store, self.market, None)
            self.say(f"the replay is at its end, {tape.end:%Y-%m-%d %H:%M} UTC")

    async def _cycle(self, slot: datetime) -> None:
        """One session of each trader that may act, all at once; then what every account is worth."""
        from accounts import list_accounts
        from ledger.baselines import run_baselines
        from ledger.valuation import record_values

        number = await asyncio.to_thread(self.store.begin_cycle, slot)
        for sentence in await asyncio.to_thread(run_baselines, self.store, self.market):
            self.say(sentence)
        records = {each.name: each for each in await asyncio.to_thread(list_accounts, self.store)}
        able = []
        for name, trader in self.traders.items():
            record = records[name]
            if record.paused:
                self.say(f"{name} is paused and skips this cycle")
            elif record.state == "halted":
                self.say(f"{name} is halted and skips this cycle: {record.state_reason}")
            else:
                able.append(trader)
        if not self._stopping.is_set():
            self.say(f"cycle {number}, {slot:%Y-%m-%d %H:%M} UTC: {', '.join(each.name for each in able) or 'nobody'}")
            await asyncio.gather(*(self._session(trader) for trader in able))
        await asyncio.to_thread(record_values, self.store, self.market, number)
        self.cycles_run += 1

    async def _session(self, trader: RunsSessions) -> None:
        from ledger.sessions import next_mode

        mode = await asyncio.to_thread(next_mode, self.store, trader.name)
        self.running.add(trader.name)
        try:
            end = await trader.run(mode)
        finally:
            self.running.discard(trader.name)
        told = end.appraisal.splitlines()[0] if end.appraisal else end.reason
        self.say(f"{trader.name} {end.outcome} ({mode}, {end.turns} turns, {end.tool_calls} calls): {told[:160]}")

    async def _tick(self) -> None:
        """Each second: keep the clock fast, and hear what the owner asks for."""
        from ledger.controls import controls_after
        from values.errors import StoreUnusable

        beaten = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            try:
                if self.tape is None and time.monotonic() - beaten >= HEARTBEAT_S:
                    beaten = time.monotonic()
                    await asyncio.to_thread(self.store.keep_fast, FAST_FOR)
                for control in await asyncio.to_thread(controls_after, self.store, self._seen_control):
                    self._seen_control = control.id
                    self._hear(control.action, control.account)
            except StoreUnusable as error:
                self.say(f"the store did not answer, the floor goes on: {error}")

    def _hear(self, action: str, account: str | None) -> None:
        self.say(f"the owner asked for {action} of {account or 'the floor'}")
        if action == "run":
            self._run_now.set()
        if action == "halt":
            for name, trader in self.traders.items():
                if account in (None, name):
                    trader.stop("halted", "the owner halted it")

    async def _wait_until(self, moment: datetime) -> bool:
        """Wait for a market time, or for the owner's `run`; False when the floor is stopped first."""
        while not self._stopping.is_set():
            left_s = (moment - self.market.clock.now()).total_seconds() / self.factor
            if left_s <= 0 or self._run_now.is_set():
                self._run_now.clear()
                return True
            await self._pause(min(left_s, TICK_S))
        return False

    async def _pause(self, seconds: float) -> None:
        """Wall seconds, cut short when the floor is stopped or asked to run."""
        waits = [asyncio.create_task(self._stopping.wait()), asyncio.create_task(self._run_now.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()


def main() -> None:
    """The command line, as `trading-floor` and as `python trading_floor.py`."""
    from commands.main import app

    app(prog_name="trading-floor")


if __name__ == "__main__":
    main()
