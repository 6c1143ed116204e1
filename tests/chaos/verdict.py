"""What must be true of a store after everything that happened to it: each broken promise as a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from sqlalchemy import Connection, func, select, text

from database import Store
from ledger.reconcile import reconcile
from store import tables
from tests.chaos.seeded_model import ORDER, SeededModel
from values.money import plain


def verdict(store: Store, models: Mapping[str, SeededModel], happened: Counter[str]) -> list[str]:
    with store.read() as connection:
        broken = [
            *(str(each) for each in reconcile(connection)),
            *_sessions(connection, happened),
            *_order_keys(connection, happened),
            *_acknowledged(connection, models, happened),
            *_out_of_order(connection),
            *_faults_of_ours(connection),
        ]
        happened["rows of logs that were lost, and said so"] += connection.execute(
            select(func.count()).where(tables.logs.c.message.contains("log rows lost"))
        ).scalar_one()
    return broken


def _sessions(connection: Connection, happened: Counter[str]) -> Iterator[str]:
    table = tables.sessions.c
    for row in connection.execute(select(tables.sessions)):
        happened["sessions"] += 1
        happened[f"sessions {row.outcome}"] += 1
        if row.outcome == "open" or row.ended_wall_time is None:
            yield f"the session {row.id} of cycle {row.cycle} has no outcome"
    twice = select(table.account, table.cycle).group_by(table.account, table.cycle).having(func.count() > 1)
    for row in connection.execute(twice):
        yield f"{row.account} had two sessions in cycle {row.cycle}"


def _order_keys(connection: Connection, happened: Counter[str]) -> Iterator[str]:
    table = tables.transactions.c
    seen: set[tuple[str, str]] = set()
    filled: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(select(tables.transactions).where(table.actor == "floor", table.kind != "deposit")):
        happened["fills"] += 1
        if row.order_key is None or row.order_key.partition(":")[0] != row.session_id:
            yield f"transaction {row.id} has the key {row.order_key} and the session {row.session_id}"
        if (row.account, row.order_key) in seen:
            yield f"the key {row.order_key} of {row.account} was filled twice"
        seen.add((row.account, row.order_key))
        filled[row.account, row.rationale] += row.rationale.startswith(ORDER)
    yield from (f"{name} had {count} fills of one order: {why}" for (name, why), count in filled.items() if count > 1)


def _acknowledged(connection: Connection, models: Mapping[str, SeededModel], happened: Counter[str]) -> Iterator[str]:
    for model in models.values():
        for fill in model.told:
            happened["fills that a model was told of"] += 1
            happened["fills that were sent again"] += bool(fill["repeated"])
            row = connection.execute(
                select(tables.transactions).where(tables.transactions.c.id == fill["transaction_id"])
            ).one_or_none()
            told = (fill["name"], fill["side"], fill["symbol"], fill["quantity"], fill["price"])
            if row is None or (row.account, row.kind, row.symbol, plain(row.quantity), plain(row.price)) != told:
                yield f"the books do not have the fill {fill}"


def _out_of_order(connection: Connection) -> Iterator[str]:
    for table in ("transactions", "portfolio_values", "sessions"):
        times = connection.execute(text(f"SELECT market_time FROM {table} ORDER BY rowid")).scalars().all()
        yield from (f"{table}: {after} stands after {before}" for before, after in pairwise(times) if after < before)


def _faults_of_ours(connection: Connection) -> Iterator[str]:
    """What a tool answers when its own code failed."""
    table = tables.logs.c
    for row in connection.execute(select(table.tool, table.result).where(table.result.startswith("internal"))):
        yield f"{row.tool} answered {row.result}"
