"""The floor: runs every trader's session on the market's schedule, all at once, and keeps the books' values.

Cycles stand on multiples of N market minutes, without drift or overlap; a missed one happens once, not many times. In
a replay a cycle stands on each bar's start. One floor runs on a store. Its command line is in `commands/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from values.schedule import Tape, due_at, slot_at

if TYPE_CHECKING:  # the command line's help must not wait for the agents' and the store's imports
    from database import Store
    from market import Market
    from traders import SessionEnd
    from values.session import Mode, Outcome

P = ParamSpec("P")
T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK_S = 1.0
HEARTBEAT_S = 10.0
RETRY_S = 5.0
FAST_FOR = timedelta(seconds=30)
FAST_FACTOR = 60
TOLD_CHARS = 160


def settle() -> None:
    """Take all that a floor's process holds, now that it is ready, out of the garbage collector's sight.

    A full collection would walk it, most of all what was imported, and stop the event loop for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


class RunsSessions(Protocol):
    """What the floor needs of a trader."""

    name: str

    async def run(self, mode: Mode) -> SessionEnd: ...

    def stop(self, outcome: Outcome, reason: str) -> None: ...


@dataclass(slots=True)
class _Missed:
    """A trader's sessions since its last completed one that failed or ran out of time, and why the last of them did."""

    since_cycle: int
    sessions: int = 0
    reason: str = ""


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
    passage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()  # of the run's recording
    next_at: datetime | None = None
    running: set[str] = field(default_factory=set)
    cycles_run: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _run_now: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: set[str | None] = field(default_factory=set)  # who is to run now; None is every trader
    _seen_control: int = 0
    _missed: dict[str, _Missed] = field(default_factory=dict)
    _reached: datetime = _EPOCH
    _last_slot: datetime | None = None
    _has_unclosed: bool = False
    _is_by_hand: bool = False

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

        self._is_by_hand = cycles_max is not None
        cut = await self._insist(interrupt_open_sessions, self.store)
        if cut:
            self.say(f"{cut} session{'s' if cut > 1 else ''} that an earlier floor left open: marked interrupted")
        self._seen_control = await self._insist(newest_control, self.store)
        self._last_slot = (await self._insist(self.store.run)).cycle_slot
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
        from ledger.moments import newest

        self._reached = await self._insist(newest, self.store)
        await self._insist(self._hold_time, self.factor, FAST_FOR)
        try:
            while not self._stopping.is_set() and (cycles_max is None or self.cycles_run < cycles_max):
                async with self._outlasting():
                    now = self.market.clock.now()
                    # a single cycle was asked for by hand, so it is due now
                    self.next_at = now if cycles_max is not None else due_at(self._last_slot, now, self.every)
                    if not await self._wait_until(self.next_at):
                        continue
                    slot = slot_at(self.market.clock.now(), self.every)
                    session = self.market.session()
                    if self.market.minds_closed and not session.is_open:
                        self.say(f"the market is closed, so nobody trades: {session.note}")
                        self._last_slot = slot
                        if cycles_max is not None:
                            return
                        continue
                    await self._cycle(slot)
        finally:
            self._hold_time(1, timedelta(0))

    def _hold_time(self, factor: int, fast_for: timedelta) -> None:
        """Anchor the clock at the market time that it has reached, wherever the machine's clock stands by now."""
        self._reached = max(self._reached, self.market.clock.now())
        self.store.anchor(self._reached, factor, fast_for)

    @asynccontextmanager
    async def _outlasting(self) -> AsyncIterator[None]:
        """A store that fails costs the floor a moment or a cycle, and not its life; unless cycles were asked for by
        hand, and somebody waits for them."""
        from values.errors import StoreUnusable

        try:
            yield
        except StoreUnusable as error:
            if self._is_by_hand:
                raise
            self.say(f"the store did not answer, the floor goes on: {error}")
            await self._pause(TICK_S)

    async def _play(self, tape: Tape, cycles_max: int | None) -> None:
        """Cycles on a tape: the floor moves the clock, bar by bar, and to the last bar's end when all are played."""
        for start in tape.starts:
            while self._last_slot is None or start > self._last_slot:
                if self._stopping.is_set() or (cycles_max is not None and self.cycles_run >= cycles_max):
                    return
                async with self._outlasting():
                    if self.cycles_run and not await self._rest(tape.pause_s, start):
                        return
                    await self._insist(self.store.anchor, start, 1, timedelta(0))
                    await self._cycle(start)
        if not self._stopping.is_set() and tape.has_end:
            from ledger.valuation import record_values

            await self._insist(self.store.anchor, max(tape.end, self.market.clock.now()), 1, timedelta(0))
            with self.passage("the end"):
                await self._insist(record_values, self.store, self.market, None)
            self.say(f"the replay is at its end, {tape.end:%Y-%m-%d %H:%M} UTC")

    async def _cycle(self, slot: datetime) -> None:
        """One session of each trader that may act, all at once; then what every account is worth."""
        from ledger.baselines import run_baselines
        from ledger.corporate_actions import look_and_tell
        from ledger.valuation import record_values

        await self._close_sessions()
        number = await self._insist(self.store.begin_cycle, slot)
        self._last_slot = slot
        with self.passage(f"cycle {number} begins"):
            self.market.clock.now()
        for work in (look_and_tell, run_baselines):
            with self.passage(f"cycle {number} {work.__name__}"):
                for sentence in await self._insist(work, self.store, self.market):
                    self.say(sentence)
        able = await self._able(self.traders.values(), "this cycle")
        if not self._stopping.is_set():
            self.say(f"cycle {number}, {slot:%Y-%m-%d %H:%M} UTC: {', '.join(each.name for each in able) or 'nobody'}")
            await asyncio.gather(*(self._session(trader, number) for trader in able))
        await self._close_sessions()
        with self.passage(f"cycle {number} values"):
            await self._insist(record_values, self.store, self.market, number)
        self.cycles_run += 1

    async def _able(self, traders: Iterable[RunsSessions], what: str) -> list[RunsSessions]:
        """Those that are neither paused nor halted; of the others it is said that they skip `what`."""
        from accounts import list_accounts

        records = {each.name: each for each in await self._insist(list_accounts, self.store)}
        able = []
        for trader in traders:
            record = records[trader.name]
            if record.paused:
                self.say(f"{trader.name} is paused and skips {what}")
            elif record.state == "halted":
                self.say(f"{trader.name} is halted and skips {what}: {record.state_reason}")
            else:
                able.append(trader)
        return able

    async def _heard_run(self) -> bool:
        """Whether the owner asked for a cycle now. Traders asked for by name run a session now, between two cycles.

        Such a session counts to the newest cycle, as its row says, and moves neither the schedule nor a replay's clock.
        """
        from ledger.valuation import record_values

        asked, self._asked = self._asked, set()
        self._run_now.clear()
        if not asked or None in asked or self._stopping.is_set():
            return None in asked
        for name in sorted(name for name in asked if name is not None and name not in self.traders):
            self.say(f"{name} has no trader on this floor, so it does not run")
        session = self.market.session()
        if self.market.minds_closed and not session.is_open:
            self.say(f"the market is closed, so nobody trades: {session.note}")
            return False
        able = await self._able([each for each in self.traders.values() if each.name in asked], "what was asked")
        if able:
            cycle = (await self._insist(self.store.run)).cycle
            with self.passage(f"asked after cycle {cycle}"):
                self.market.clock.now()
            await asyncio.gather(*(self._session(trader, cycle) for trader in able))
            await self._close_sessions()
            await self._insist(record_values, self.store, self.market, None)
        return False

    async def _session(self, trader: RunsSessions, cycle: int) -> None:
        from ledger.sessions import next_mode
        from values.errors import StoreUnusable

        self.running.add(trader.name)
        try:
            mode = await self._insist(next_mode, self.store, trader.name)
            end = await trader.run(mode)
        except StoreUnusable as error:  # the other traders' sessions go on
            self._has_unclosed = True
            self.say(f"{trader.name}'s session is not on record as it was: {error}")
            return
        finally:
            self.running.discard(trader.name)
        told = end.appraisal.splitlines()[0] if end.appraisal else " ".join(end.reason.split())
        self.say(
            f"{trader.name} {end.outcome} ({mode}, {end.turns} turns, {end.tool_calls} calls): {told[:TOLD_CHARS]}"
        )
        self._tell_what_was_missed(end, cycle)

    async def _insist(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which the store may refuse for a while (a full disk, a locked file): the floor waits, said once.

        A floor that is told to stop, or whose cycles somebody waits for, waits no longer: raises StoreUnusable.
        """
        from values.errors import StoreUnusable

        is_waiting = False
        while True:
            try:
                done = await asyncio.to_thread(work, *args, **kwargs)
            except StoreUnusable as error:
                if self._stopping.is_set() or self._is_by_hand:
                    raise
                if not is_waiting:
                    self.say(f"the floor waits for its store: {error}")
                    is_waiting = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._stopping.wait()
            else:
                if is_waiting:
                    self.say("the store answers again, the floor goes on")
                return done

    def _tell_what_was_missed(self, end: SessionEnd, cycle: int) -> None:
        """Once a trader completes a session again."""
        if end.outcome in ("failed", "timed_out"):
            missed = self._missed.setdefault(end.account, _Missed(cycle))
            missed.sessions += 1
            missed.reason = " ".join(end.reason.split())
        elif end.outcome == "completed" and (before := self._missed.pop(end.account, None)) is not None:
            count = f"{before.sessions} session{'s' if before.sessions > 1 else ''}"
            self.say(
                f"{end.account} is back after {count} not completed since cycle {before.since_cycle}, "
                f"the last because: {before.reason[:TOLD_CHARS]}"
            )

    async def _close_sessions(self) -> None:
        """Rows of sessions whose end could not be written when they ended."""
        from ledger.sessions import interrupt_open_sessions

        if self._has_unclosed:
            await self._insist(interrupt_open_sessions, self.store, "the store did not take the session's end")
            self._has_unclosed = False

    async def _tick(self) -> None:
        """Each second: keep the clock fast, and hear what the owner asks for.

        A machine's clock that was set back is noticed here: until then market time stands still.
        """
        from ledger.controls import controls_after
        from values.errors import StoreUnusable

        beaten, told = time.monotonic(), self.market.clock.wall()
        while True:
            await asyncio.sleep(TICK_S)
            try:
                before, told = told, self.market.clock.wall()
                if self.tape is None and (told < before or time.monotonic() - beaten >= HEARTBEAT_S):
                    beaten = time.monotonic()
                    await asyncio.to_thread(self._hold_time, self.factor, FAST_FOR)
                for control in await asyncio.to_thread(controls_after, self.store, self._seen_control):
                    self._seen_control = control.id
                    self._hear(control.action, control.account)
            except StoreUnusable as error:
                self.say(f"the store did not answer, the floor goes on: {error}")

    def _hear(self, action: str, account: str | None) -> None:
        self.say(f"the owner asked for {action} of {account or 'the floor'}")
        if action == "run":
            self._asked.add(account)
            self._run_now.set()
        if action == "halt":
            for name, trader in self.traders.items():
                if account in (None, name):
                    trader.stop("halted", "the owner halted it")

    async def _wait_until(self, moment: datetime) -> bool:
        """Wait for a market time, or for the owner's `run`; False when the floor is stopped first."""
        while not self._stopping.is_set():
            left_s = (moment - self.market.clock.now()).total_seconds() / self.factor
            if await self._heard_run() or left_s <= 0:
                return not self._stopping.is_set()
            await self._pause(min(left_s, TICK_S))
        return False

    async def _rest(self, seconds: float, next_at: datetime) -> bool:
        """Wall seconds between two bars of a tape, cut short by the owner's `run`; False when the floor is stopped."""
        if seconds:
            self.next_at = next_at
        until = time.monotonic() + seconds
        while not self._stopping.is_set():
            left_s = until - time.monotonic()
            if await self._heard_run() or left_s <= 0:
                break
            await self._pause(left_s)
        return not self._stopping.is_set()

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
