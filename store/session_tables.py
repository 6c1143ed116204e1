"""The tables of sessions, of the language models' calls in them, and of what those cost; part of `store/tables.py`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    false,
)

from store.columns import Moment, RowId, Words, cash, metadata, name, price


def _rates(*, nullable: bool) -> list[Column[Any]]:
    return [
        Column(each, price(), nullable=nullable)
        for each in ("input_usd", "cached_usd", "cache_write_usd", "output_usd")
    ]


sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("mode", String(16), nullable=False),  # trade, rebalance
    Column("model", Words, nullable=False),
    Column("outcome", String(16), nullable=False),  # open, then how it ended
    Column("reason", Words, nullable=False),
    Column("appraisal", Words, nullable=False),
    Column("turns", BigInteger, nullable=False),
    Column("tool_calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),  # of the input tokens
    Column("cost_usd", cash(), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("ended_market_time", Moment),
    Column("wall_time", Moment, nullable=False),
    Column("ended_wall_time", Moment),
    CheckConstraint(
        "outcome in ('open', 'completed', 'failed', 'timed_out', 'over_budget', 'halted', 'interrupted')",
        name="outcome",
    ),
    Index(None, "account", "wall_time"),
    Index(None, "outcome"),
)

# Rates are USD for a million tokens; rows from before they were kept have none.
model_calls = Table(
    "model_calls",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("session_id", String(64), nullable=False),
    Column("account", name(32), nullable=False),
    Column("model", Words, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),  # cached and written ones too
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("is_estimate", Boolean, nullable=False, server_default=false()),  # the provider's count never came
    *_rates(nullable=True),
    Column("cost_usd", cash(), nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("finish_reason", Words, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "session_id"),
    sqlite_autoincrement=True,
)

# Calls under way, each with the most that it can cost; settled, a row goes and one of model_calls comes.
reservations = Table(
    "reservations",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("session_id", String(64), nullable=False),
    Column("account", name(32), nullable=False),
    Column("model", Words, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    *_rates(nullable=False),
    Column("cost_usd", cash(), nullable=False),
    Column("owner", String(64), nullable=False),  # the process that asked
    Column("wall_time", Moment, nullable=False),
    sqlite_autoincrement=True,
)

# What language models have cost on a wall day (UTC), reservations too; account "" is the whole floor.
spending = Table(
    "spending",
    metadata,
    Column("day", Date, primary_key=True),
    Column("account", name(32), primary_key=True),
    Column("cost_usd", cash(), nullable=False),
    Column("is_told", Boolean, nullable=False),  # that the day's cap is near
)
