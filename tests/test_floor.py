"""The floor's schedule and what the owner's word does, with traders that only say that they ran."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from accounts import open_account
from commands.summary import summary_lines
from database import NewRun, Store, read_account
from ledger.baselines import EQUAL_WEIGHT, INDEX, open_baselines
from ledger.controls import ask
from ledger.reconcile import reconcile
from ledger.sessions import end_session_row, next_mode, open_session_row
from market import Market
from store import tables
from tests.conftest import START
from tests.shelf import ShelfVenue
from traders import SessionEnd
from trading_floor import Floor
from values.schedule import Tape, due_at, next_run_at, slot_at
from values.session import Mode, Outcome

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


class SlowTrader:
    """Runs a session that writes its row and, when told to, waits until it is stopped."""

    def __init__(self, name: str, store: Store, waits: bool = False) -> None:
        self.name = name
        self._store = store
        self._waits = waits
        self.modes: list[str] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self._stop: asyncio.Future[tuple[Outcome, str]] | None = None

    async def run(self, mode: Mode) -> SessionEnd:
        self.modes.append(mode)
        session_id = f"trace_{self.name}{len(self.modes)}-{self._store.run().cycle}"
        open_session_row(self._store, session_id, self.name, self._store.run().cycle, mode, "slow")
        outcome: tuple[Outcome, str] = ("completed", "")
        if self._waits:
            self._stop = asyncio.get_running_loop().create_future()
            self.began.set()
            outcome = await self._stop
        end_session_row(
            self._store,
            session_id,
            outcome=outcome[0],
            reason=outcome[1],
            appraisal="",
            turns=0,
            tool_calls=0,
            calls=(),
        )
        self.ended.set()
        return SessionEnd(session_id, self.name, outcome[0], outcome[1], "", 0, 0, ())

    def stop(self, outcome: Outcome, reason: str) -> None:
        if self._stop is not None and not self._stop.done():
            self._stop.set_result((outcome, reason))


def seated(store: Store, market: Market, *names: str, waits: bool = False) -> dict[str, SlowTrader]:
    for name in names:
        if read_account(store, name) is None:
            open_account(store, market, name, kind="trader", actor="floor")
    return {name: SlowTrader(name, store, waits) for name in names}


def floor_of(store: Store, market: Market, traders: dict[str, SlowTrader], bars: int = 3) -> tuple[Floor, list[str]]:
    said: list[str] = []
    starts = [START + HOUR * index for index in range(bars)]
    tape = Tape(starts, starts[-1] + HOUR, 0.0)
    return Floor(store, market, dict(traders), HOUR, said.append, tape=tape), said


def outcomes(store: Store) -> list[str]:
    with store.read() as connection:
        return list(
            connection.execute(select(tables.sessions.c.outcome).order_by(tables.sessions.c.wall_time)).scalars()
        )


@given(moments, st.integers(1, 1440))
def test_slots_are_multiples_of_n_minutes_and_do_not_drift(now: datetime, minutes: int) -> None:
    every = timedelta(minutes=minutes)
    slot = slot_at(now, every)
    assert slot <= now < slot + every
    assert slot_at(slot, every) == slot
    assert due_at(slot, now, every) == slot + every


def test_a_new_store_runs_at_once_and_an_old_one_at_its_next_multiple() -> None:
    now = datetime(2026, 3, 2, 15, 20, tzinfo=UTC)
    assert due_at(None, now, HOUR) == now
    assert due_at(now - timedelta(minutes=20), now, HOUR) == datetime(2026, 3, 2, 16, tzinfo=UTC)


def test_many_missed_runs_are_due_once() -> None:
    last, now = START, START + timedelta(days=3, minutes=5)
    assert due_at(last, now, HOUR) <= now
    assert due_at(slot_at(now, HOUR), now, HOUR) > now


def test_a_floor_that_is_watched_goes_on_at_the_next_multiple_after_the_market_was_closed() -> None:
    evening, morning = datetime(2026, 3, 2, 20, tzinfo=UTC), datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
    three = datetime(2026, 3, 3, 15, tzinfo=UTC)
    assert next_run_at(evening, evening + timedelta(minutes=1), HOUR, None) == evening + HOUR
    assert next_run_at(evening, evening + timedelta(hours=9), HOUR, morning) == three
    assert next_run_at(evening, morning + timedelta(minutes=1), HOUR, None) == three
    assert next_run_at(evening, evening + timedelta(hours=9), HOUR, three) == three
    assert next_run_at(evening, evening + timedelta(minutes=65), HOUR, None) == evening + HOUR  # about to begin
    assert next_run_at(None, morning, HOUR, None) == morning


async def test_a_replay_runs_a_cycle_on_each_bar_moves_the_clock_and_ends_by_itself(
    store: Store, market: Market
) -> None:
    traders = seated(store, market, "warren", "george")
    floor, said = floor_of(store, market, traders)
    await floor.run()
    assert traders["warren"].modes == traders["george"].modes == ["trade", "rebalance", "trade"]
    assert market.clock.now() == START + 3 * HOUR
    assert any("at its end" in line for line in said)
    with store.read() as connection:
        values = connection.execute(
            select(tables.portfolio_values).where(tables.portfolio_values.c.account == "warren")
        )
        assert len(values.all()) == 4  # after each cycle, and at the end


async def test_a_floor_that_starts_again_goes_on_where_it_was_and_keeps_the_order_of_modes(
    store: Store, market: Market
) -> None:
    first = seated(store, market, "warren")
    await floor_of(store, market, first)[0].run(cycles_max=2)
    second = seated(store, market, "warren")
    await floor_of(store, market, second)[0].run()
    assert (first["warren"].modes, second["warren"].modes) == (["trade", "rebalance"], ["trade"])


async def test_paused_and_halted_traders_skip_the_cycle_and_reducing_ones_do_not(store: Store, market: Market) -> None:
    traders = seated(store, market, "cathie", "george", "ray", "warren")
    ask(store, market, "pause", "cathie")
    ask(store, market, "halt", "george")
    ask(store, market, "reduce", "ray")
    floor, said = floor_of(store, market, traders, bars=1)
    await floor.run()
    assert [len(traders[name].modes) for name in ("cathie", "george", "ray", "warren")] == [0, 0, 1, 1]
    assert any("cathie is paused" in line for line in said)
    assert any("george is halted" in line for line in said)


async def test_a_halt_ends_the_running_session_of_that_trader_alone(store: Store, market: Market) -> None:
    traders = seated(store, market, "george", "warren", waits=True)
    floor, _ = floor_of(store, market, traders, bars=1)
    running = asyncio.create_task(floor.run())
    await traders["george"].began.wait()
    await traders["warren"].began.wait()
    ask(store, market, "halt", "george")
    await traders["george"].ended.wait()  # the floor hears it within its tick
    assert sorted(outcomes(store)) == ["halted", "open"]
    floor.stop()
    await running
    assert sorted(outcomes(store)) == ["halted", "interrupted"]


async def test_a_stopped_floor_records_its_sessions_as_interrupted_and_begins_no_cycle(
    store: Store, market: Market
) -> None:
    traders = seated(store, market, "warren", waits=True)
    floor, _ = floor_of(store, market, traders)
    running = asyncio.create_task(floor.run())
    await traders["warren"].began.wait()
    floor.stop()
    await running
    assert outcomes(store) == ["interrupted"]
    assert store.run().cycle == 1


async def test_what_a_crash_left_open_is_interrupted_at_the_next_start(store: Store, market: Market) -> None:
    traders = seated(store, market, "warren")
    open_session_row(store, "trace_warren_cut", "warren", 1, "trade", "slow")
    floor, said = floor_of(store, market, traders, bars=1)
    await floor.run()
    assert outcomes(store) == ["interrupted", "completed"]
    assert traders["warren"].modes == ["rebalance"]
    assert any("marked interrupted" in line for line in said)


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Store]:
    """A simulated run's store, whose clock goes by itself."""
    opened = Store(tmp_path / "simulated.db", NewRun("simulated", 1, started_at=START))
    yield opened
    opened.close()


async def test_a_floor_on_a_running_clock_runs_a_new_stores_first_cycle_at_once_and_waits_for_the_second(
    clocked: Store, venue: ShelfVenue
) -> None:
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "warren", waits=True)
    said: list[str] = []
    floor = Floor(clocked, market, dict(traders), HOUR, said.append, factor=60)
    running = asyncio.create_task(floor.run())
    await traders["warren"].began.wait()
    assert clocked.run().anchor.factor == 60
    traders["warren"].stop("completed", "")
    await traders["warren"].ended.wait()
    while floor.cycles_run == 0:
        await asyncio.sleep(0.01)
    floor.stop()
    await running
    run = clocked.run()
    assert (run.cycle, run.cycle_slot) == (1, START)
    assert run.anchor.factor == 1  # no floor, no hurry


async def test_a_closed_market_is_skipped_unless_told_otherwise(clocked: Store, venue: ShelfVenue) -> None:
    venue.closed |= {each.symbol for each in venue.instruments()}
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "warren")
    said: list[str] = []
    await Floor(clocked, market, dict(traders), HOUR, said.append).run(cycles_max=1)
    assert traders["warren"].modes == []
    assert any("closed" in line for line in said)
    told = Market(venue, clocked.clock(), minds_closed=False)
    await Floor(clocked, told, dict(traders), HOUR, said.append).run(cycles_max=1)
    assert traders["warren"].modes == ["trade"]


async def test_run_now_starts_a_cycle_before_it_is_due(clocked: Store, venue: ShelfVenue) -> None:
    market = Market(venue, clocked.clock())
    traders = seated(clocked, market, "warren")
    clocked.begin_cycle(slot_at(market.clock.now(), HOUR))  # the hour's cycle has been
    said: list[str] = []
    floor = Floor(clocked, market, dict(traders), HOUR, said.append)
    running = asyncio.create_task(floor.run())
    while floor.next_at is None:
        await asyncio.sleep(0.01)
    ask(clocked, market, "run", None)
    await traders["warren"].ended.wait()
    floor.stop()
    await running
    assert traders["warren"].modes == ["trade"]


def test_resume_lifts_pause_reduce_and_halt_and_every_request_is_on_record(store: Store, market: Market) -> None:
    seated(store, market, "george", "warren")
    for action in ("pause", "reduce", "halt"):
        ask(store, market, action, None)
    record = read_account(store, "warren")
    assert record is not None
    assert (record.state, record.paused) == ("halted", True)
    ask(store, market, "resume", "warren")
    record, other = read_account(store, "warren"), read_account(store, "george")
    assert record is not None
    assert other is not None
    assert (record.state, record.paused, other.state) == ("active", False, "halted")
    with store.read() as connection:
        rows = connection.execute(select(tables.controls.c.action, tables.controls.c.account)).all()
    assert [tuple(row) for row in rows] == [("pause", None), ("reduce", None), ("halt", None), ("resume", "warren")]


def test_modes_alternate_from_the_record(store: Store, market: Market) -> None:
    seated(store, market, "warren")
    assert next_mode(store, "warren") == "trade"
    open_session_row(store, "trace_1", "warren", 1, "trade", "slow")
    assert next_mode(store, "warren") == "rebalance"


def test_one_store_has_one_floor_and_the_second_hears_who_holds_it(store: Store) -> None:
    import os

    assert not store.is_floor_held()
    held = store.hold_floor()
    assert held is not None
    assert store.is_floor_held()
    assert store.hold_floor() is None
    assert f"process {os.getpid()}" in store.floor_holder()
    held.release()
    assert not store.is_floor_held(), "what is left in a lock file holds nothing"
    again = store.hold_floor()
    assert again is not None
    again.release()


async def test_baselines_buy_at_the_first_cycle_through_the_same_fills_and_rebalance_each_month(
    store: Store, market: Market, venue: ShelfVenue
) -> None:
    assert open_baselines(store, market) == []
    floor, _ = floor_of(store, market, {}, bars=2)
    await floor.run()
    with store.read() as connection:
        table = tables.transactions.c
        rows = connection.execute(select(table.account, table.kind, table.symbol, table.actor)).all()
        assert list(reconcile(connection)) == []
    assert [row.symbol for row in rows if row.account == INDEX and row.kind == "buy"] == ["SPY"]
    bought = [row.symbol for row in rows if row.account == EQUAL_WEIGHT and row.kind == "buy"]
    assert sorted(bought) == sorted(each.symbol for each in venue.instruments())
    assert {row.actor for row in rows} == {"baseline"}

    venue.prices["NVDA"] *= 2
    april = datetime(2026, 4, 1, 15, tzinfo=UTC)
    floor.tape = Tape([april], april + HOUR, 0.0)
    await floor.run()
    with store.read() as connection:
        sold = connection.execute(select(table.symbol).where(table.account == EQUAL_WEIGHT, table.kind == "sell")).all()
        assert list(reconcile(connection)) == []
    assert [row.symbol for row in sold] == ["NVDA"]


def test_without_an_index_its_baseline_is_left_out_with_a_sentence(
    store: Store, market: Market, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [each for each in venue.instruments() if each.symbol in ("AAPL", "NVDA")]
    monkeypatch.setattr(venue, "instruments", lambda: tuple(listed))
    (sentence,) = open_baselines(store, market)
    assert "left out" in sentence
    assert read_account(store, INDEX) is None


async def test_the_closing_table_says_what_each_account_came_to(store: Store, market: Market, tmp_path: Path) -> None:
    floor, _ = floor_of(store, market, seated(store, market, "warren"), bars=1)
    await floor.run()
    lines = list(summary_lines(store))
    assert lines[0].split()[:1] == ["account"]
    assert lines[1].split() == ["warren", "10,000.00", "+0.00%", "0", "0", "0.00%"]
