"""Proof: no number of calls at once, in one process or in four, passes a cap; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path

from sqlalchemy import select

from benchmarks.figure import Figure
from database import NewRun, Store
from ledger.reconcile import reconcile
from model_clients.budget import Budget
from store import tables
from store.model_calls import FLOOR
from tests.postgresql import schema
from tests.side_by_side import at_once, one_call
from values.address import StoreAddress

CAP = Decimal("0.10")
"""Of ten calls."""
CALLS = 50
PROCESSES = 4
ROUNDS = 10


def prove(scale: int, seed: int) -> list[Figure]:
    """The most that was ever settled, in cents of a cap of ten, over rounds of fifty calls at once."""
    figures = []
    for kind in ("SQLite", "PostgreSQL"):
        alone = max(_alone(kind) for _ in range(ROUNDS * scale))
        together = max(_together(kind) for _ in range(2 * scale))
        figures.append(Figure(f"{CALLS} calls at once, 1 process, {kind}: most settled", alone, "cents", goal=10.0))
        name = f"{CALLS} calls at once, {PROCESSES} processes, {kind}: most settled"
        figures.append(Figure(name, together, "cents", goal=10.0))
    return figures


@contextmanager
def _new(kind: str) -> Iterator[StoreAddress]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = StoreAddress.of_file(folder / "accounts.db")
        if kind == "PostgreSQL":
            address = stack.enter_context(schema(f"floor_spending_{os.getpid()}", folder))
        Store(address, NewRun()).close()
        yield address


def _alone(kind: str) -> float:
    async def spend(store: Store) -> None:
        budget = Budget(store, CAP, CAP)
        calls = (one_call(budget, f"trader{at % 4}", f"trace_{at}") for at in range(CALLS))
        await asyncio.gather(*calls, return_exceptions=True)

    with _new(kind) as address, closing(Store(address)) as store:
        asyncio.run(spend(store))
        return _settled(store)


def _together(kind: str) -> float:
    names = [f"trader{at}" for at in range(PROCESSES)]
    with _new(kind) as address, closing(Store(address)) as store:
        at_once("spend", [(address.url, name, str(CAP), str(CALLS // PROCESSES + 1)) for name in names])
        return _settled(store)


def _settled(store: Store) -> float:
    """Cents; the record, the day and what is recomputed agree, and the whole cap was there to be used."""
    with store.read() as connection:
        cents = sum(connection.execute(select(tables.model_calls.c.cost_usd)).scalars(), Decimal(0)) * 100
        day = tables.spending.c
        assert connection.execute(select(day.cost_usd).where(day.account == FLOOR)).scalar_one() * 100 == cents
        assert connection.execute(select(tables.reservations)).all() == []
        assert [str(each) for each in reconcile(connection)] == []
    assert cents == 10, f"{cents} cents were settled, and ten calls fit the cap"
    return float(cents)
