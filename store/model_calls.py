"""Calls of language models as rows, within a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal

from sqlalchemy import Connection, insert, update

from store import tables
from values.usage import ModelCall


def record_calls(connection: Connection, session_id: str, account: str, calls: Sequence[ModelCall]) -> None:
    """Rows of a session's model calls, counted in the session's row, within the caller's transaction."""
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
