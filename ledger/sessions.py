"""The record of sessions: opened before a trader acts, ended with all it used, in one transaction each.

A session row that is still open when no floor runs was cut by a crash; the next floor marks it interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select, update

from database import Store
from store import tables
from store.model_calls import record_calls
from values.clock import Clock
from values.money import ZERO
from values.session import Mode
from values.usage import ModelCall


def next_mode(store: Store, account: str) -> Mode:
    """`trade` first, then in turn, whatever became of the session before.

    Counted, because by its wall time the last session is not the newest after the machine's clock was set back.
    """
    query = select(func.count()).where(tables.sessions.c.account == account)
    with store.read() as connection:
        return "rebalance" if connection.execute(query).scalar_one() % 2 else "trade"


def open_session_row(
    store: Store, session_id: str, account: str, cycle: int, mode: str, model: str, clock: Clock | None = None
) -> None:
    """`clock` is the one by which the floor has stamped its sessions so far."""
    clock = clock or store.clock()
    now, wall = clock.now(), clock.wall()
    with store.write() as connection:
        connection.execute(
            insert(tables.sessions).values(
                id=session_id, account=account, cycle=cycle, mode=mode, model=model, outcome="open", reason="",
                appraisal="", turns=0, tool_calls=0, input_tokens=0, output_tokens=0, cost_usd=ZERO, market_time=now,
                wall_time=wall,
            )
        )  # fmt: skip


def end_session_row(
    store: Store,
    session_id: str,
    *,
    outcome: str,
    reason: str,
    appraisal: str,
    turns: int,
    tool_calls: int,
    calls: Sequence[ModelCall],
    clock: Clock | None = None,
) -> None:
    """Close the row and keep its model calls, but for those that are on record and counted in it already.

    A row that is closed already stays as it is.
    """
    clock = clock or store.clock()
    table = tables.sessions
    new = [call for call in calls if not call.is_on_record]
    with store.write() as connection:
        account = connection.execute(
            update(table)
            .where(table.c.id == session_id, table.c.outcome == "open")
            .values(
                outcome=outcome,
                reason=reason,
                appraisal=appraisal,
                turns=turns,
                tool_calls=tool_calls,
                ended_market_time=clock.now(),
                ended_wall_time=clock.wall(),
            )
            .returning(table.c.account)
        ).scalar_one_or_none()
        if account is not None and new:
            record_calls(connection, session_id, account, new)


def interrupt_open_sessions(store: Store, reason: str = "the floor ended before the session did") -> int:
    """Mark what was left open; how many there were. For a floor that holds the store, while no session of it runs."""
    clock = store.clock()
    table = tables.sessions
    with store.write() as connection:
        found = connection.execute(
            update(table)
            .where(table.c.outcome == "open")
            .values(
                outcome="interrupted",
                reason=reason,
                ended_market_time=clock.now(),
                ended_wall_time=clock.wall(),
            )
        )
    return int(found.rowcount)


@dataclass(frozen=True, slots=True)
class Activity:
    """What an account did last and has cost: for the floor's table. Counts are of all time."""

    last_action: str
    last_outcome: str | None
    model: str | None
    fills: int
    refusals: int
    session_cost_usd: Decimal
    cost_usd: Decimal


def activity(connection: Connection, account: str) -> Activity:
    """Within the caller's transaction."""
    logs, sessions = tables.logs.c, tables.sessions.c
    last_log = connection.execute(
        select(logs.message).where(logs.account == account, logs.type == "account").order_by(logs.id.desc()).limit(1)
    ).scalar_one_or_none()
    last = connection.execute(
        select(sessions.outcome, sessions.model, sessions.cost_usd)
        .where(sessions.account == account)
        .order_by(sessions.market_time.desc(), sessions.wall_time.desc())
        .limit(1)
    ).one_or_none()
    trades = tables.transactions.c
    fills = connection.execute(
        select(func.count()).where(trades.account == account, trades.kind.in_(("buy", "sell")))
    ).scalar_one()
    refused = connection.execute(select(func.count()).where(tables.refusals.c.account == account)).scalar_one()
    cost = connection.execute(select(func.sum(sessions.cost_usd)).where(sessions.account == account)).scalar_one()
    return Activity(
        last_action=last_log or "",
        last_outcome=None if last is None else last.outcome,
        model=None if last is None else last.model,
        fills=fills,
        refusals=refused,
        session_cost_usd=ZERO if last is None else last.cost_usd,
        cost_usd=cost or ZERO,
    )
