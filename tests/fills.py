"""What a store says of the trades that a test has had acknowledged: which there are, and what a cut one would leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import func, or_, select

from database import Store
from ledger.reconcile import reconcile
from store import tables


def keys_by_id(store: Store) -> dict[int, str]:
    """The traders' fills: each transaction's id and its order's key."""
    table = tables.transactions.c
    with store.read() as connection:
        rows = connection.execute(
            select(table.id, table.order_key).where(table.actor == "floor", table.kind != "deposit")
        )
        return {row.id: row.order_key for row in rows}


def faults(store: Store) -> list[str]:
    """Everything that is half done or done twice: empty when each trade is whole, in its session and there once.

    A whole trade has its transaction, its part of cash and holding (`reconcile`), one log row of the same moment, and,
    when a floor's server made it, belongs to the session that its key names.
    """
    return [*_differences(store), *_logs(store), *_keys(store)]


def open_sessions(store: Store) -> int:
    with store.read() as connection:
        query = select(func.count()).select_from(tables.sessions).where(tables.sessions.c.outcome == "open")
        return int(connection.execute(query).scalar_one())


def _differences(store: Store) -> Iterator[str]:
    with store.read() as connection:
        yield from (str(each) for each in reconcile(connection))


def _logs(store: Store) -> Iterator[str]:
    trades, logs = tables.transactions.c, tables.logs.c
    is_of_a_trade = or_(logs.message.like("bought %"), logs.message.like("sold %"))
    with store.read() as connection:
        made = connection.execute(
            select(trades.account, trades.session_id, trades.wall_time).where(trades.kind != "deposit")
        )
        told = connection.execute(
            select(logs.account, logs.session_id, logs.wall_time).where(logs.type == "account", is_of_a_trade)
        )
        made_once, told_once = Counter(map(tuple, made)), Counter(map(tuple, told))
    yield from (f"a trade without its log row: {each}" for each in made_once - told_once)
    yield from (f"a log row without its trade: {each}" for each in told_once - made_once)


def _keys(store: Store) -> Iterator[str]:
    table = tables.transactions.c
    with store.read() as connection:
        sessions = set(map(tuple, connection.execute(select(tables.sessions.c.id, tables.sessions.c.account))))
        rows = connection.execute(
            select(table.id, table.account, table.order_key, table.session_id).where(
                table.actor == "floor", table.kind != "deposit"
            )
        ).all()
    times = Counter((row.account, row.order_key) for row in rows)
    yield from (f"filled {many} times: {key} of {account}" for (account, key), many in times.items() if many > 1)
    for row in rows:
        if row.session_id != row.order_key.partition(":")[0] or (row.session_id, row.account) not in sessions:
            yield f"transaction {row.id} of {row.order_key} stands in the session {row.session_id}"
