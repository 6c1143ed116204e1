"""A steady stream of orders for the proofs that kill what serves it, and the tally of what came of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from pathlib import Path

import psutil
from autogen_core.tools import ToolResult
from opentelemetry.trace import NoOpTracer
from sqlalchemy import func, select

from accounts import open_account
from database import Store
from desks.connection import ServerConnection
from desks.nursery import Nursery
from desks.servers import SERVERS, launch_of
from desks.workbench import CALL_S, SessionWorkbench, Shelf
from ledger.sessions import end_session_row, open_session_row
from market import open_market, open_store
from store import tables
from tests.fills import faults, keys_by_id, open_sessions
from tests.processes import still_running
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load

TRADERS = ("cathie", "george", "ray", "warren")
SYMBOLS = ("AAPL", "BTC-USD", "ETH-USD", "JPM", "MSFT", "NVDA", "QQQ", "SPY")
DEEP_POCKETS = Decimal(10**8)
LOOK_EVERY_S = 0.01
ACCOUNTS = next(row for row in SERVERS if row.name == "accounts")


@dataclass
class Tally:
    """What was done to a store, and what came of it. `acknowledged` are ids of trades, `broken` sentences."""

    kills: int = 0
    stopped: int = 0
    """Floors of which a server hung when they were killed."""
    under_way: int = 0
    """Orders that were unanswered when a server was killed."""
    sent_again: int = 0
    """Orders that a killed server had filled without a word, and the next one told of."""
    interrupted: int = 0
    acknowledged: list[int] = field(default_factory=list)
    unacknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    unanswered: int = 0
    broken: list[str] = field(default_factory=list)
    left_open: int = 0
    processes_left: int = 0

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def judge(self, store: Store) -> None:
        """Compare what was acknowledged with what is on record."""
        booked = keys_by_id(store)
        self.lost += len(set(self.acknowledged) - set(booked))
        self.doubled += len(self.acknowledged) - len(set(self.acknowledged))
        self.unacknowledged += len(set(booked) - set(self.acknowledged))
        self.broken += faults(store)
        self.left_open += open_sessions(store)
        with store.read() as connection:
            outcome = tables.sessions.c.outcome
            query = select(func.count()).select_from(tables.sessions).where(outcome == "interrupted")
            self.interrupted += int(connection.execute(query).scalar_one())


def opened(folder: Path, names: Sequence[str] = TRADERS) -> Store:
    """A simulated run's store in `folder`, with an account for each name that no limit holds back."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load(MarketSettings, **{key.lower(): value for key, value in simulated_settings(folder).items()})
    store = open_store(settings)
    market = open_market(store, settings)
    for name in names:
        open_account(store, market, name, kind="trader", actor="floor", balance=DEEP_POCKETS)
    return store


class Stream:
    """Orders without end through one workbench, one of each symbol at a time; every answer is kept."""

    def __init__(self, workbench: SessionWorkbench, tally: Tally) -> None:
        self._workbench = workbench
        self._tally = tally
        self._over = False
        self.under_way: dict[asyncio.Task[ToolResult], float] = {}
        """The orders that have no answer yet, and when each began."""
        self._churning: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Hold one of each symbol first: orders side by side are told `busy` while holdings come and go under them."""
        for symbol in SYMBOLS:
            await self._order("buy_shares", symbol)
        self._churning = [asyncio.create_task(self._churn(symbol)) for symbol in SYMBOLS]

    async def wait(self, seconds: float) -> None:
        """Let the orders stream."""
        ended, _ = await asyncio.wait(self._churning, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            each.result()

    async def end(self) -> None:
        """Begin no further order, and hear the answers of those under way."""
        self._over = True
        await asyncio.gather(*self._churning)

    def abandon(self) -> None:
        for each in self._churning:
            each.cancel()

    async def _churn(self, symbol: str) -> None:
        for tool in cycle(("buy_shares", "sell_shares")):
            if self._over:
                return
            await self._order(tool, symbol)

    async def _order(self, tool: str, symbol: str) -> None:
        order = {"name": "warren", "symbol": symbol, "quantity": "1", "rationale": "a test"}
        call = asyncio.create_task(self._workbench.call_tool(tool, order))
        self.under_way[call] = time.monotonic()
        answer = await call
        del self.under_way[call]
        if answer.is_error:
            self._tally.unanswered += 1
            raise AssertionError(answer.to_text())
        fill = json.loads(answer.to_text())
        self._tally.acknowledged.append(fill["transaction_id"])
        self._tally.sent_again += fill["repeated"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A server that was killed or stopped: when the oldest order under way had begun, and when the process ended."""

    server: psutil.Process
    oldest_order_at: float | None
    ended_at: float | None


class Served:
    """An accounts server from a nursery, and a stream of orders through it in a session of its own."""

    def __init__(self, connection: ServerConnection, stream: Stream, tally: Tally) -> None:
        self.connection = connection
        self.stream = stream
        self._tally = tally

    async def hit(self, fault: signal.Signals) -> Hit:
        """Let `fault` happen to the server, and wait until every order that it may have cost has its answer."""
        assert self.connection.pid is not None
        server, restarts = psutil.Process(self.connection.pid), self.connection.restarts
        orders = dict(self.stream.under_way)
        ending = asyncio.create_task(asyncio.to_thread(_ended_at, server))
        os.killpg(server.pid, fault)
        self._tally.kills += 1
        self._tally.under_way += len(orders)
        while self.connection.restarts == restarts:
            await self.stream.wait(LOOK_EVERY_S)
        if self.stream.under_way:  # an order is sent again once, so the next fault waits for these
            await asyncio.wait(dict(self.stream.under_way))
        return Hit(server, min(orders.values(), default=None), await ending)


def _ended_at(process: psutil.Process) -> float | None:
    return None if still_running([process]) else time.monotonic()


@asynccontextmanager
async def served(
    store: Store, folder: Path, nursery: Nursery, session_id: str, tally: Tally, call_s: float = CALL_S
) -> AsyncIterator[Served]:
    """Orders of warren's, streaming; at the end those under way have been answered."""
    connection = ServerConnection(launch_of(ACCOUNTS, "warren", simulated_settings(folder)), nursery)
    await connection.start()
    stream = Stream(SessionWorkbench({"accounts": Shelf(connection)}, session_id, NoOpTracer(), call_s), tally)
    try:
        open_session_row(store, session_id, "warren", 1, "trade", "none")
        await stream.begin()
        yield Served(connection, stream, tally)
        await stream.end()
        end_session_row(
            store, session_id, outcome="completed", reason="", appraisal="", turns=0, tool_calls=0, calls=()
        )
    finally:
        stream.abandon()
        await connection.stop()


def nursery_of_accounts() -> Nursery:
    return Nursery([ACCOUNTS.module], PROJECT)
