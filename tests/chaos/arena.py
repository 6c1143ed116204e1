"""A floor for many short sessions: one nursery, one market that stands still, fresh accounts with servers of their own.

Prices are a replay's whose time nobody moves, so that every fill can be foreseen to the cent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select

from commands.seats import FloorRecorder
from database import Store, write_log
from desks.connection import ServerConnection
from desks.nursery import Nursery
from desks.servers import SERVERS, ServerRow, launch_of
from market import Market, open_market, open_store
from model_clients.routing import Route
from store import tables
from tests.chaos.stranger import Stranger
from tracers import LogTracer
from traders import SessionBounds, Trader
from values.settings import PROJECT, MarketSettings, load

PRICES = {
    "AAPL": Decimal("200"),
    "F": Decimal("10"),
    "MSFT": Decimal("400.10"),
    "NVDA": Decimal("187.42"),
    "TSLA": Decimal("250.55"),
}
SECRETS = {
    "BRAVE_API_KEY": "BSA-canary-of-search-5c1f",
    "PUSHOVER_TOKEN": "canaryofpushovertoken000000001",
    "PUSHOVER_USER": "canaryofpushoveruser0000000002",
}
RENAMED_MARKET = "tests.chaos.renamed_market"
ROWS: Mapping[str, ServerRow] = {row.name: row for row in SERVERS}


@dataclass
class Arena:
    """`session` seats a model at the desk of an account, with all its servers up, and takes them down after it."""

    store: Store
    path: Path
    market: Market
    tracer: LogTracer
    _settings: Mapping[str, str]
    _nursery: Nursery
    _shared: Mapping[str, ServerConnection]

    @contextlib.asynccontextmanager
    async def seat(
        self,
        name: str,
        model: Route,
        bounds: SessionBounds,
        stranger: Stranger,
        *,
        searches: bool,
        listed_name: str,
    ) -> AsyncIterator[Trader]:
        """A trader of `name`; push and search are the stranger's, and so is AAPL's name where `listed_name` is set."""
        told = {
            **self._settings,
            **SECRETS,
            "PUSHOVER_BASE_URL": f"http://{stranger.address}",
            "BRAVE_BASE_URL": f"http://{stranger.address}",
            "LISTED_NAME": listed_name,
        }
        rows = [ROWS["accounts"], ROWS["push"], ROWS["memory"]] + [ROWS["search"]] * searches
        if listed_name:
            seen = ROWS["market"].environment | {"LISTED_NAME"}
            rows.append(replace(ROWS["market"], module=RENAMED_MARKET, environment=seen))
        own = {
            row.name: ServerConnection(launch_of(row, name if row.scope == "trader" else None, told), self._nursery)
            for row in rows
        }
        try:
            await asyncio.gather(*(connection.start() for connection in own.values()))
            yield Trader(
                name,
                "Obedient",
                model,
                prompt="You do as you are told.",
                servers={**self._shared, **own},
                recorder=FloorRecorder(self.store, self.tracer),
                tracer=self.tracer.tracer,
                bounds=bounds,
            )
        finally:
            await asyncio.gather(*(connection.stop() for connection in own.values()))

    def rows(self, table: Table, **where: object) -> Sequence[Row[Any]]:
        with self.store.read() as connection:
            return connection.execute(select(table).filter_by(**where)).all()

    def balance(self, name: str) -> tuple[Decimal, dict[str, Decimal]]:
        """The account's cash and what it holds."""
        [account] = self.rows(tables.accounts, name=name)
        return account.cash, {row.symbol: row.quantity for row in self.rows(tables.holdings, account=name)}


@contextlib.asynccontextmanager
async def arena(folder: Path) -> AsyncIterator[Arena]:
    path, history = folder / "accounts.db", folder / "still.csv"
    bars = [
        f"{symbol},2026-03-0{day}T15:00:00Z,{price},{price},{price},{price},1000"
        for day in (2, 3)
        for symbol, price in PRICES.items()
    ]
    history.write_text("\n".join(["symbol,time,open,high,low,close,volume", *bars]) + "\n")
    settings = {
        "DATABASE_URL": f"sqlite:///{path}",
        "MARKET": "replay",
        "REPLAY_HISTORY": str(history),
        "SEARCH_PROVIDER": "brave",
        "ALLOW_LIVE_RESEARCH": "true",
    }
    told = load(MarketSettings, database_url=settings["DATABASE_URL"], market="replay", replay_history=history)
    store = open_store(told)
    market = open_market(store, told)
    nursery = Nursery([row.module for row in SERVERS if row.is_ours] + [RENAMED_MARKET], PROJECT)
    # pages come from this machine, which the public server refuses to fetch from unless it is told that it may
    fetch = replace(launch_of(ROWS["fetch"], None, settings), arguments=("--allow-private-ips",))
    shared = {
        "market": ServerConnection(launch_of(ROWS["market"], None, settings), nursery),
        "fetch": ServerConnection(fetch),
    }
    with contextlib.closing(store), LogTracer(lambda rows: write_log(store, rows)) as tracer:
        try:
            await asyncio.gather(*(connection.start() for connection in shared.values()))
            yield Arena(store, path, market, tracer, settings, nursery, shared)
        finally:
            await asyncio.gather(*(connection.stop() for connection in shared.values()))
            await nursery.stop()
