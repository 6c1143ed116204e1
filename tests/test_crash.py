"""Servers that die or hang in mid-call, and floors that are killed: an order is filled once, and no trade is lost.

The small forms of `tests/chaos`: kills, hangs, recovery and outage.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from opentelemetry.trace import NoOpTracer
from sqlalchemy import select

from accounts import open_account
from database import Store
from desks.connection import RESTARTS_MAX, ServerConnection
from desks.launch import Launch
from desks.nursery import Nursery
from desks.workbench import CALL_S, SessionWorkbench, Shelf
from ledger.sessions import interrupt_open_sessions, open_session_row
from market import Market
from store import tables
from tests.bookkeeping import turned_down
from tests.chaos.hangs import MODULE, at_points
from tests.chaos.kills import kill_floors, kill_servers
from tests.chaos.outage import AFTER, BEFORE, DEAD, LAST_WORDS, dead_for_an_hour
from tests.chaos.recovery import recover
from tests.chaos.streams import ACCOUNTS, Tally, opened
from tests.crashing_server import FAULTS, POINTS
from tests.fills import faults
from tests.shelf import simulated_settings
from values.settings import PROJECT

IN_ONE_LOOP = pytest.mark.asyncio(loop_scope="module")

ORDER = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "a test"}
DECISION = {
    "name": "warren", "symbol": "AAPL", "action": "hold", "confidence": 1, "horizon_days": 1, "rationale": "a test",
}  # fmt: skip
CASES = [
    *(("insert", point, "killed" if at % 4 in (0, 3) else "hung") for at, point in enumerate(POINTS)),
    ("update", "before_holdings", "killed"),
    ("delete", "after_holdings", "killed"),
]
"""Every point of a first buy: of what stands on both sides of each, one dies and one hangs, in turn; and the other ways
to change a holding. The large form has all of them: `tests/chaos/hangs.py`."""
DEAD_FROM_THE_START = Launch("accounts", (sys.executable, "-c", "raise SystemExit('no disk')"), {}, PROJECT)
MUTE_FROM_THE_START = Launch("accounts", (sys.executable, "-c", "input()\ninput()"), {}, PROJECT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nursery() -> AsyncIterator[Nursery]:
    """One for all: it has no part in what fails here, and its start is most of a test's time."""
    nursery = Nursery([MODULE, ACCOUNTS.module], PROJECT)
    yield nursery
    await nursery.stop()


@asynccontextmanager
async def bench(
    folder: Path, nursery: Nursery, point: str = "never", call_s: float = CALL_S
) -> AsyncIterator[tuple[SessionWorkbench, ServerConnection]]:
    """A workbench over an accounts server that dies once, at `point`."""
    opened(folder, ["warren"]).close()
    marker = folder / "once"
    marker.touch()
    arguments = (point, "killed", str(marker), "--account", "warren", "--floor")
    connection = ServerConnection(Launch("accounts", arguments, simulated_settings(folder), PROJECT, MODULE), nursery)
    await connection.start()
    try:
        yield SessionWorkbench({"accounts": Shelf(connection)}, "trace_test", NoOpTracer(), call_s), connection
        assert marker.exists() is (point == "never")
    finally:
        await connection.stop()


def kill(connection: ServerConnection) -> None:
    assert connection.pid is not None
    os.killpg(connection.pid, signal.SIGKILL)


@IN_ONE_LOOP
async def test_an_order_whose_server_dies_or_hangs_at_any_named_point_is_filled_once_and_whole(
    tmp_path: Path, nursery: Nursery
) -> None:
    assert {point for _, point, _ in CASES} == set(POINTS)
    assert {fault for _, _, fault in CASES} == set(FAULTS)
    broken = await at_points(tmp_path, CASES, nursery)
    assert {case: sentences for case, sentences in broken.items() if sentences} == {}


@IN_ONE_LOOP
async def test_a_decision_whose_server_dies_is_reported_as_uncertain_and_not_sent_again(
    tmp_path: Path, nursery: Nursery
) -> None:
    async with bench(tmp_path, nursery, "before_begin") as (workbench, _):
        answer = await workbench.call_tool("record_decision", DECISION)
        assert answer.is_error
        assert answer.to_text().startswith("uncertain: ")
        again = await workbench.call_tool("record_decision", DECISION)
        assert not again.is_error
    store = Store(tmp_path / "accounts.db")
    with store.read() as connection:
        assert len(connection.execute(select(tables.decisions)).all()) == 1
    store.close()


@IN_ONE_LOOP
async def test_a_server_that_will_not_start_is_left_alone_after_some_tries_until_a_session_begins(
    tmp_path: Path, nursery: Nursery
) -> None:
    async with bench(tmp_path, nursery) as (workbench, connection):
        sound, connection.launch = connection.launch, DEAD_FROM_THE_START
        kill(connection)
        answers = [(await workbench.call_tool("get_balance", {"name": "warren"})).to_text() for _ in range(4)]
        assert all(answer.startswith("unavailable: ") for answer in answers)
        assert answers[-1].count("no disk") == 1
        assert "left alone" in answers[-1]

        told = await workbench.call_tool("record_decision", DECISION)
        assert told.to_text().startswith("unavailable: "), "what was never sent is not uncertain"

        await connection.revive()  # as a session does when it begins
        assert "left alone" in (await workbench.call_tool("get_balance", {"name": "warren"})).to_text()
        connection.launch = sound
        await asyncio.gather(*(connection.revive() for _ in range(3)))
        assert not (await workbench.call_tool("get_balance", {"name": "warren"})).is_error
        assert connection.restarts == RESTARTS_MAX + 2


@IN_ONE_LOOP
async def test_a_call_whose_server_hangs_in_its_new_start_ends_at_the_calls_deadline(
    tmp_path: Path, nursery: Nursery
) -> None:
    async with bench(tmp_path, nursery, call_s=0.5) as (workbench, connection):
        connection.launch = MUTE_FROM_THE_START
        kill(connection)
        answer = await workbench.call_tool("buy_shares", ORDER)
        assert answer.to_text() == "unavailable: the accounts server did not start within 0.5 s; nothing more was tried"


def check(tally: Tally) -> None:
    """The trouble did happen, and no promise was broken by it."""
    assert tally.acknowledged
    assert tally.broken == []
    assert (tally.lost, tally.doubled, tally.unanswered) == (0, 0, 0)
    assert (tally.left_open, tally.processes_left) == (0, 0)


@IN_ONE_LOOP
async def test_a_server_killed_under_a_stream_of_orders_costs_none_of_them(tmp_path: Path, nursery: Nursery) -> None:
    tally = await kill_servers(tmp_path, 2, Random(20), nursery)
    check(tally)
    assert tally.kills == 2
    assert tally.under_way > 0
    assert tally.unacknowledged == 0


@IN_ONE_LOOP
async def test_a_killed_floor_loses_no_acknowledged_trade_and_leaves_no_process(tmp_path: Path) -> None:
    tally = await kill_floors(tmp_path, 1, Random(60))
    check(tally)
    assert tally.kills == 1
    assert tally.stopped > 0, "none was killed while a server hung: choose another seed"
    assert tally.interrupted > 0


def test_an_order_of_a_session_that_has_ended_is_refused_and_its_fills_are_still_told(
    store: Store, market: Market
) -> None:
    """The server of a killed floor may have an order in hand when the next floor has closed its session."""
    warren = open_account(store, market, "warren", kind="trader", actor="floor")
    open_session_row(store, "trace_first", "warren", 1, "trade", "none")
    fill = warren.buy_shares("AAPL", 1, "in time", "trace_first:1")
    assert interrupt_open_sessions(store) == 1
    with turned_down(store, "session_over", "trace_first has ended"):
        warren.buy_shares("AAPL", 1, "too late", "trace_first:2")
    open_session_row(store, "trace_next", "warren", 2, "trade", "none")
    with turned_down(store, "session_over", "trace_first has ended"):
        warren.sell_shares("AAPL", 1, "too late", "trace_first:3")
    assert warren.buy_shares("AAPL", 1, "in time", "trace_first:1").transaction_id == fill.transaction_id
    warren.sell_shares("AAPL", 1, "in time", "trace_next:1")
    assert faults(store) == []


@IN_ONE_LOOP
async def test_a_batch_whose_writer_was_killed_is_there_whole_or_not_at_all(tmp_path: Path, nursery: Nursery) -> None:
    found = await recover(tmp_path, 2_000, 2_000, 1, Random(20), nursery)
    assert found.batches_on_record.is_integer()
    assert found.batches_on_record >= found.batches_told > 0
    assert found.differences == []


@IN_ONE_LOOP
async def test_a_floor_whose_market_server_is_dead_for_an_hour_says_what_it_missed_and_goes_on(tmp_path: Path) -> None:
    names = ("george", "warren")
    outage = await dead_for_an_hour(tmp_path, names)
    outcomes = {cycle: [outcome for outcome, _ in ends] for cycle, ends in outage.outcomes.items()}
    expected = ["completed"] * BEFORE + ["failed"] * DEAD + ["completed"] * AFTER
    assert outcomes == {cycle: [outcome] * len(names) for cycle, outcome in enumerate(expected, 1)}
    for cycle in range(BEFORE + 1, BEFORE + DEAD + 1):
        for _, reason in outage.outcomes[cycle]:
            assert reason.startswith("unavailable: the market server ")
            assert LAST_WORDS in reason
    for name in names:
        assert sum(line.startswith(f"{name} failed ") and LAST_WORDS in line for line in outage.said) == DEAD
        (back,) = [line for line in outage.said if line.startswith(f"{name} is back")]
        assert f"after {DEAD} sessions not completed since cycle {BEFORE + 1}" in back
        assert LAST_WORDS in back
    assert outage.differences == []
