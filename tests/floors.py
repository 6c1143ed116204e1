"""A small floor for tests: real stdio servers over a store of the test, a tracer and a recorder, scripted traders."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient
from sqlalchemy import Row, select

from accounts import open_account
from commands.seats import FloorRecorder
from database import Store, read_account, write_log
from desks.servers import Servers
from ledger.reconcile import reconcile
from market import Market, open_market, open_store
from model_clients.meter import Budget
from model_clients.routing import Route
from store import tables
from tests.shelf import simulated_settings
from tracers import LogTracer
from traders import SessionBounds, Trader
from values.settings import MarketSettings, load

BOUNDS = SessionBounds()
LIMITS = {"max_position_share": "0.25", "max_trades_per_session": "8"}


@dataclass
class SmallFloor:
    """`trader` seats a scripted model at the desk of an account that this floor serves."""

    store: Store
    market: Market
    servers: Servers
    tracer: LogTracer

    def trader(
        self,
        name: str,
        client: ChatCompletionClient | Route,
        bounds: SessionBounds = BOUNDS,
        budget: Budget | None = None,
    ) -> Trader:
        return Trader(
            name,
            "Scripted",
            client if isinstance(client, Route) else Route.to("scripted/test", client),
            prompt="You are a test.",
            servers=self.servers.of(name),
            recorder=FloorRecorder(self.store, self.tracer),
            tracer=self.tracer.tracer,
            bounds=bounds,
            budget=budget,
        )

    def rows(self, table: str, **where: object) -> Sequence[Row[Any]]:
        found = tables.metadata.tables[table]
        query = select(found)
        for column, value in where.items():
            query = query.where(found.c[column] == value)
        with self.store.read() as connection:
            return connection.execute(query).all()

    def differences(self) -> list[str]:
        with self.store.read() as connection:
            return [str(each) for each in reconcile(connection)]


@contextlib.asynccontextmanager
async def small_floor(folder: Path, accounts: Sequence[str] = ("warren",)) -> AsyncIterator[SmallFloor]:
    told = simulated_settings(folder)
    settings = load(MarketSettings, **{key.lower(): value for key, value in told.items()})
    store = open_store(settings)
    market = open_market(store, settings)
    for name in accounts:
        if read_account(store, name) is None:
            open_account(store, market, name, kind="trader", limits=LIMITS, actor="floor")
    with LogTracer(lambda rows: write_log(store, rows)) as tracer:
        async with Servers(accounts, told) as servers:
            yield SmallFloor(store, market, servers, tracer)
    store.close()
