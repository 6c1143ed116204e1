"""Servers that die or hang in mid-call, and floors that are killed: an order is filled once, and no trade is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from opentelemetry.trace import NoOpTracer
from sqlalchemy import select

from accounts import open_account
from database import Store
from desks.connection import ServerConnection
from desks.launch import Launch
from desks.workbench import SessionWorkbench, Shelf
from ledger.reconcile import reconcile
from market import open_market, open_store
from store import tables
from tests.crashing_server import POINTS
from tests.processes import still_running
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load

ORDER = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "a test"}
KILLS = 20


def opened(folder: Path) -> Store:
    settings = load(MarketSettings, **{key.lower(): value for key, value in simulated_settings(folder).items()})
    store = open_store(settings)
    open_account(store, open_market(store, settings), "warren", kind="trader", actor="floor", balance=10**9)  # type: ignore[arg-type]
    return store


def fills(store: Store) -> dict[int, str]:
    table = tables.transactions.c
    with store.read() as connection:
        rows = connection.execute(select(table.id, table.order_key).where(table.kind == "buy")).all()
        assert list(reconcile(connection)) == []
    return {row.id: row.order_key for row in rows}


@asynccontextmanager
async def bench(folder: Path, point: str, call_s: float) -> AsyncIterator[tuple[SessionWorkbench, ServerConnection]]:
    marker = folder / "once"
    marker.touch()
    command = (sys.executable, "-m", "tests.crashing_server", point, str(marker), "--account", "warren", "--floor")
    connection = ServerConnection(Launch("accounts", command, simulated_settings(folder), PROJECT))
    await connection.start()
    try:
        yield SessionWorkbench({"accounts": Shelf(connection)}, "trace_test", NoOpTracer(), call_s), connection
        assert not marker.exists(), "the server never reached the point where it should have died"
    finally:
        await connection.stop()


@pytest.mark.parametrize("point", POINTS)
async def test_an_order_whose_server_dies_or_hangs_in_mid_call_is_filled_once(tmp_path: Path, point: str) -> None:
    store = opened(tmp_path)
    async with bench(tmp_path, point, call_s=3.0 if point.startswith("hang") else 20.0) as (workbench, connection):
        answer = await workbench.call_tool("buy_shares", ORDER)
        assert not answer.is_error, answer.to_text()
        fill = json.loads(answer.to_text())
        assert connection.restarts == 1
    assert fills(store) == {fill["transaction_id"]: "trace_test:1"}
    assert fill["repeated"] is point.endswith("after_commit")


async def test_a_decision_whose_server_dies_is_reported_as_uncertain_and_not_sent_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    decision = {"name": "warren", "symbol": "AAPL", "action": "hold", "confidence": 1, "horizon_days": 1}
    async with bench(tmp_path, "before_begin", call_s=20.0) as (workbench, _):
        answer = await workbench.call_tool("record_decision", {**decision, "rationale": "a test"})
        assert answer.is_error
        assert answer.to_text().startswith("uncertain: ")
        again = await workbench.call_tool("record_decision", {**decision, "rationale": "a test"})
        assert not again.is_error
    with store.read() as connection:
        assert len(connection.execute(select(tables.decisions)).all()) == 1


async def test_a_server_that_will_not_start_is_left_alone_after_some_tries_with_its_last_words(tmp_path: Path) -> None:
    opened(tmp_path).close()
    async with bench(tmp_path, "before_begin", call_s=20.0) as (workbench, connection):
        await workbench.call_tool("buy_shares", ORDER)
        connection.launch = Launch("accounts", (sys.executable, "-c", "raise SystemExit('no disk')"), {}, PROJECT)
        assert connection.pid is not None
        os.killpg(connection.pid, signal.SIGKILL)
        answers = [(await workbench.call_tool("get_balance", {"name": "warren"})).to_text() for _ in range(4)]
        assert all(answer.startswith("unavailable: ") for answer in answers)
        assert "no disk" in answers[-1]
        assert "left alone" in answers[-1]


def test_a_killed_floor_loses_no_acknowledged_trade_and_leaves_no_process(tmp_path: Path) -> None:
    store = opened(tmp_path)
    chance = random.Random(20)
    acknowledged: list[int] = []
    for kill in range(KILLS):
        command = [sys.executable, "-m", "tests.order_stream", str(tmp_path), f"trace_{kill}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as stream:
            assert stream.stdout is not None
            children: list[psutil.Process] = []
            for _ in range(chance.randint(1, 12)):
                acknowledged.append(int(stream.stdout.readline()))
                children = children or psutil.Process(stream.pid).children(recursive=True)
            stream.kill()
            # what had been acknowledged when the kill came may still be in the pipe
            acknowledged += [int(line) for line in stream.stdout.read().splitlines() if line.isdigit()]
        assert children
        assert still_running(children) == []
    booked = fills(store)
    assert set(acknowledged) <= set(booked)
    assert len(acknowledged) == len(set(acknowledged))
    assert len(booked) <= len(acknowledged) + 8 * KILLS  # each kill may have cut the eight orders under way
    assert len(set(booked.values())) == len(booked)
