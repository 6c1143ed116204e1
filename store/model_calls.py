"""Calls of language models as rows, and what they have cost a session and a day, in a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date
from decimal import Decimal

from sqlalchemy import Connection, insert, select, update

from database import lock_run
from store import tables
from values.usage import ModelCall

FLOOR = ""
"""Stands for the whole floor where an account's name stands for a trader."""


def record_calls(connection: Connection, session_id: str, account: str, calls: Sequence[ModelCall]) -> None:
    """Rows of calls that no budget held, counted in their session and their day."""
    for call in calls:
        if call.cost_usd:
            day = call.wall_time.astimezone(UTC).date()
            open_days(connection, day, account)
            add_spending(connection, day, account, call.cost_usd)
    insert_calls(connection, session_id, account, calls)


def open_days(connection: Connection, day: date, account: str) -> None:
    """The day's rows of the floor and of `account`, where there are none yet. The run is locked before any row of the
    day, never after one, so that no two writers wait for each other."""
    table, whose = tables.spending, (FLOOR, account)
    query = select(table.c.account).where(table.c.day == day, table.c.account.in_(whose))
    if len(connection.execute(query).all()) == len(whose):
        return
    lock_run(connection)  # a row that is not there yet can't be locked
    known = set(connection.execute(query).scalars())
    for each in whose:
        if each not in known:
            connection.execute(insert(table).values(day=day, account=each, cost_usd=Decimal(0), is_told=False))


def add_spending(connection: Connection, day: date, account: str, usd: Decimal) -> None:
    """Whatever the caps; the floor's row first, as everywhere."""
    table = tables.spending
    for whose in (FLOOR, account):
        connection.execute(
            update(table).where(table.c.day == day, table.c.account == whose).values(cost_usd=table.c.cost_usd + usd)
        )


def insert_calls(connection: Connection, session_id: str, account: str, calls: Sequence[ModelCall]) -> None:
    """Rows of a session's model calls, counted in the session's row, with nothing added to a day."""
    whose = {"session_id": session_id, "account": account}
    connection.execute(insert(tables.model_calls), [whose | call_values(call) for call in calls])
    table = tables.sessions.c
    connection.execute(
        update(tables.sessions)
        .where(table.id == session_id)
        .values(
            input_tokens=table.input_tokens + sum(call.tokens.read for call in calls),
            output_tokens=table.output_tokens + sum(call.tokens.output for call in calls),
            cached_tokens=table.cached_tokens + sum(call.tokens.cached for call in calls),
            cost_usd=table.cost_usd + sum((call.cost_usd for call in calls), Decimal(0)),
        )
    )


def call_values(call: ModelCall) -> dict[str, object]:
    """The columns of `model_calls` that a call itself fills."""
    return {
        "model": call.model,
        "input_tokens": call.tokens.read,
        "output_tokens": call.tokens.output,
        "cached_tokens": call.tokens.cached,
        "cache_write_tokens": call.tokens.written,
        "is_estimate": call.is_estimate,
        **asdict(call.rates),
        "cost_usd": call.cost_usd,
        "latency_ms": call.latency_ms,
        "finish_reason": call.finish_reason,
        "wall_time": call.wall_time,
    }
