"""What the machine's clock may do to a floor: nothing. A small form of `tests/chaos/clocks.py`."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from accounts import Account
from commands.seats import FloorRecorder
from database import Store
from store import tables
from tests.chaos.calendars import CALENDARS, NIGHTS, by_the_clock, on_a_tape, through_the_night
from tests.chaos.clocks import TROUBLES, Event, disturbed, random_events
from tests.chaos.faketime import FakeTime, faked, run_virtually
from tests.chaos.machine import EVERY, NAMES, START, Machine, machine, make_template, out_of_order
from tests.shelf import ShelfVenue
from tracers import LogTracer
from values.clock import ScaledClock, SystemClock
from values.schedule import slot_at

NIGHT = timedelta(hours=8)
SLOT_S = 15.0

events = st.builds(
    Event,
    st.floats(0, 3) | st.floats(0, 20),
    st.sampled_from(TROUBLES),
    st.floats(-30, 30) | st.sampled_from([-24.0, -1.0, -0.01, 0.01, 1.0, 24.0]),
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template"))


@settings(max_examples=6, deadline=None, phases=(Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck))
@given(st.lists(events, min_size=1, max_size=3))
def test_whatever_the_clock_does_no_slot_runs_twice_and_no_record_is_out_of_order(
    template: Path, tmp_path_factory: pytest.TempPathFactory, troubles: list[Event]
) -> None:
    faults, cycles = disturbed(template, tmp_path_factory.mktemp("run"), troubles)
    assert faults == []
    assert cycles > 0


def test_one_seed_gives_the_same_troubles() -> None:
    assert random_events(random.Random(5), 9) == random_events(random.Random(5), 9)
    assert random_events(random.Random(5), 9) != random_events(random.Random(6), 9)


@pytest.mark.parametrize("monotonic_goes_on", [False, True])
def test_after_a_night_asleep_one_cycle_runs_at_once_and_the_next_on_the_grid(
    template: Path, tmp_path: Path, monotonic_goes_on: bool
) -> None:
    fake = FakeTime(START)

    async def a_night(on: Machine) -> None:
        async with on.observed():
            running = asyncio.create_task(on.floor().run())
            await asyncio.sleep(SLOT_S + 5)
            before = len(on.witness.begun)
            fake.sleep(NIGHT, monotonic_goes_on=monotonic_goes_on)
            await asyncio.sleep(5)
            woken = on.witness.begun[before:]
            assert woken == [slot_at(on.clocks[0].now(), EVERY)]
            await asyncio.sleep(SLOT_S + 10)  # the heartbeat that makes the clock fast again may come late
            later = on.witness.begun[before + 1 :]
            assert later == [woken[0] + EVERY * number for number in range(1, len(later) + 1)] != []
            await on.stop(running)

    with faked(fake), machine(template, tmp_path, fake, ShelfVenue()) as on:
        run_virtually(fake, lambda: a_night(on))
        assert on.witness.faults() == out_of_order(on.process()[0]) == []


def test_a_clock_that_is_set_back_does_not_keep_the_market_standing(template: Path, tmp_path: Path) -> None:
    """Market time stands still for a tick, not for the hours that the clock was set back."""
    fake = FakeTime(START)

    async def set_back(on: Machine) -> None:
        async with on.observed():
            running = asyncio.create_task(on.floor().run())
            await asyncio.sleep(5)
            seen = max(clock.now() for clock in on.clocks)
            fake.step(timedelta(hours=-9))
            await asyncio.sleep(3)
            fresh = on.process()[1].clock  # a process that never knew the time before
            assert fresh.now() > seen
            await on.stop(running)

    with faked(fake), machine(template, tmp_path, fake, ShelfVenue()) as on:
        run_virtually(fake, lambda: set_back(on))


def test_a_killed_floor_goes_on_after_its_records_though_the_clock_was_set_back(template: Path, tmp_path: Path) -> None:
    """Also with a cycle that was asked for by hand, which waits for no slot."""
    fake = FakeTime(START)

    async def killed(on: Machine) -> None:
        async with on.observed():
            running = asyncio.create_task(on.floor().run())
            await asyncio.sleep(SLOT_S * 3 + 4)
            await on.kill(running)
            fake.step(-NIGHT)
            await on.floor().run(cycles_max=1)
            assert on.witness.begun.pop() == on.witness.begun[-1]  # the hand's cycle stands for the slot that is
            running = asyncio.create_task(on.floor().run())
            await asyncio.sleep(SLOT_S * 3 + 10)
            await on.stop(running)

    with faked(fake), machine(template, tmp_path, fake, ShelfVenue()) as on:
        run_virtually(fake, lambda: killed(on))
        assert on.witness.faults() == out_of_order(on.process()[0]) == []
        assert len(on.witness.begun) >= 6


def test_a_fill_does_not_stand_before_another_process_s_when_the_clock_is_set_back_between(
    template: Path, tmp_path: Path
) -> None:
    fake = FakeTime(START)
    with faked(fake), machine(template, tmp_path, fake, ShelfVenue()) as on:
        fake.monotonic += 60
        for name in NAMES:
            Account(*on.process(), name, "floor").buy_shares("AAPL", 1, "a test")
            fake.step(-NIGHT)
        store = on.process()[0]
        with store.read() as connection:
            times = connection.execute(select(tables.transactions.c.market_time).order_by(tables.transactions.c.id))
            assert sorted(found := list(times.scalars())) == found
            assert found[-1] == found[-2] > START


def test_sessions_of_one_floor_stand_in_their_order_when_the_clock_is_set_back_between(
    template: Path, tmp_path: Path
) -> None:
    fake = FakeTime(START)

    async def open_two(recorder: FloorRecorder) -> None:
        for name in NAMES:
            await recorder.opened(f"trace_{name}", name, "trade", "clerk")
            fake.step(-NIGHT)

    with faked(fake), machine(template, tmp_path, fake, ShelfVenue()) as on:
        store = on.process()[0]
        fake.monotonic += 60
        run_virtually(fake, lambda: open_two(FloorRecorder(store, cast("LogTracer", None))))
        assert out_of_order(store) == []


@pytest.mark.parametrize("calendar", ["clocks go back", "a holiday and a half day", "clocks go forward"])
def test_a_floor_keeps_an_exchange_s_hours_when_they_move(template: Path, tmp_path: Path, calendar: str) -> None:
    assert by_the_clock(template, tmp_path, CALENDARS[calendar], timedelta(hours=1)) == []
    assert on_a_tape(tmp_path, CALENDARS[calendar]) == []


@pytest.mark.parametrize("night", NIGHTS)
def test_no_cycle_is_left_out_or_run_twice_in_the_night_in_which_local_time_jumps(
    template: Path, tmp_path: Path, night: str
) -> None:
    assert through_the_night(template, tmp_path, NIGHTS[night]) == []


def test_no_clock_tells_an_earlier_time_than_before(store: Store) -> None:
    fake = FakeTime(START)
    with faked(fake):
        run = store.run()
        for clock in (SystemClock(), ScaledClock(lambda: run.anchor)):
            fake.step(timedelta(days=365))
            told = clock.now()
            fake.step(timedelta(days=-365))
            assert clock.now() == told
            assert clock.wall() == fake.wall() < told  # the wall's own time is told as it is


def test_the_fake_time_is_the_product_s_time() -> None:
    fake = FakeTime(datetime.fromisoformat("2026-11-01T05:59:59Z"))

    async def later() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    with faked(fake):
        assert run_virtually(fake, later) == 3600
        assert SystemClock().now() == datetime.fromisoformat("2026-11-01T06:59:59Z")
