"""The tables, in the words of the field. `store/migrations/` makes them; a test holds the two equal.

Cash is USD in 1e-6, prices and quantities in 1e-8 (`store/columns.py`); `market_time` is the run's clock,
`wall_time` the machine's. Rows of the append-only tables are never changed.
"""

from __future__ import annotations

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
    UniqueConstraint,
)

from store.columns import Moment, RowId, Words, cash, metadata, name, price, quantity
from store.session_tables import model_calls, reservations, sessions, spending

SCHEMA_REVISION = "0005"

__all__ = ["metadata", "model_calls", "reservations", "sessions", "spending"]

# One row: what this store was made for, and its clock.
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("market", String(16), nullable=False),
    Column("seed", RowId, nullable=False),
    Column("history_hash", String(64)),
    Column("history_name", Words),
    Column("made_at", Moment, nullable=False),
    Column("started_at", Moment, nullable=False),  # market time of the run's first moment
    Column("anchor_wall", Moment, nullable=False),
    Column("anchor_market", Moment, nullable=False),
    Column("factor", Integer, nullable=False),
    Column("fast_until", Moment, nullable=False),
    Column("cycle", Integer, nullable=False),  # cycles begun so far
    Column("cycle_slot", Moment),  # market time that the last cycle stands for
    CheckConstraint("id = 1", name="one_row"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", name(32), primary_key=True),
    Column("kind", String(16), nullable=False),  # trader, client, baseline
    Column("state", String(16), nullable=False),  # active, reducing, halted
    Column("state_reason", Words, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("cash", cash(), nullable=False),
    Column("realised", cash(), nullable=False),
    Column("deposited", cash(), nullable=False),
    Column("strategy", Words, nullable=False),
    Column("day", Date),  # the trading day that day_open_value opens
    Column("day_open_value", cash()),
    Column("opened_at", Moment, nullable=False),
    CheckConstraint("cash >= 0", name="cash_not_negative"),
    CheckConstraint("kind in ('trader', 'client', 'baseline')", name="kind"),
    CheckConstraint("state in ('active', 'reducing', 'halted')", name="state"),
)

transactions = Table(
    "transactions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("kind", String(16), nullable=False),  # deposit, buy, sell, or a corporate action's
    Column("symbol", name(18)),
    Column("quantity", quantity()),
    Column("price", price()),  # what the fill paid or got for one unit
    Column("amount", cash(), nullable=False),  # what cash changed by
    Column("realised", cash(), nullable=False),  # profit that a sale realised
    Column("cash_after", cash(), nullable=False),
    Column("quote_price", price()),
    Column("quote_as_of", Moment),
    Column("quote_seen_at", Moment),
    Column("source", String(16)),
    Column("rationale", Words, nullable=False),
    Column("order_key", String(80)),
    Column("session_id", String(64)),
    Column("actor", String(16), nullable=False),  # floor, client, operator, baseline, market
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Column("ex_date", Date),  # of a corporate action; `quantity` is then what was held when that day began
    Column("units_change", quantity()),  # what a split or a rename changed the holding of `symbol` by
    Column("to_symbol", name(18)),  # where a rename moved it
    UniqueConstraint("account", "order_key"),
    UniqueConstraint("account", "symbol", "ex_date", "kind"),
    CheckConstraint("kind in ('deposit', 'buy', 'sell', 'split', 'dividend', 'rename', 'delisting')", name="kind"),
    CheckConstraint("quantity > 0", name="quantity_positive"),
    CheckConstraint("price > 0", name="price_positive"),
    Index(None, "account", "id"),
    Index(None, "account", "market_time"),
    Index(None, "account", "session_id"),
    sqlite_autoincrement=True,
)

holdings = Table(
    "holdings",
    metadata,
    Column("account", name(32), ForeignKey("accounts.name"), primary_key=True),
    Column("symbol", name(18), primary_key=True),
    Column("quantity", quantity(), nullable=False),
    Column("cost", cash(), nullable=False),  # what the units held cost, spread included
    CheckConstraint("quantity > 0", name="quantity_positive"),
)

# What companies did to their shares, as the venue told it: each was applied to every account that it concerns.
corporate_actions = Table(
    "corporate_actions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("symbol", name(18), nullable=False),
    Column("ex_date", Date, nullable=False),
    Column("kind", String(16), nullable=False),  # split, dividend, rename, delisting
    Column("units_before", quantity()),
    Column("units_after", quantity()),
    Column("usd_per_unit", price()),
    Column("to_symbol", name(18)),
    Column("price", price()),  # USD for a unit after it: pays a split's fractions, values what is delisted
    Column("price_as_of", Moment),
    Column("price_source", String(16)),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    UniqueConstraint("symbol", "ex_date", "kind"),
    CheckConstraint("kind in ('split', 'dividend', 'rename', 'delisting')", name="kind"),
    sqlite_autoincrement=True,
)

# Up to which day of the exchange the corporate actions of a symbol are known and applied.
action_days = Table(
    "action_days",
    metadata,
    Column("symbol", name(18), primary_key=True),
    Column("day", Date, nullable=False),
)

portfolio_values = Table(
    "portfolio_values",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("value", cash(), nullable=False),
    Column("cash", cash(), nullable=False),
    Column("stale", Boolean, nullable=False),  # some holding was valued at a stale price
    Column("cycle", Integer),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "market_time"),
    sqlite_autoincrement=True,
)

strategies = Table(
    "strategies",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("strategy", Words, nullable=False),
    Column("session_id", String(64)),
    Column("actor", String(16), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "id"),
    sqlite_autoincrement=True,
)

limits = Table(
    "limits",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("key", String(32), nullable=False),
    Column("value", price()),  # null: no limit
    Column("actor", String(16), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "key", "id"),
    sqlite_autoincrement=True,
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), ForeignKey("accounts.name"), nullable=False),
    Column("symbol", name(18), nullable=False),
    Column("action", String(8), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("horizon_days", Integer, nullable=False),
    Column("rationale", Words, nullable=False),
    Column("session_id", String(64)),
    Column("actor", String(16), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "id"),
    sqlite_autoincrement=True,
)

# `account` is what the caller said, so it may name none.
refusals = Table(
    "refusals",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", Words, nullable=False),
    Column("tool", Words, nullable=False),
    Column("code", Words, nullable=False),
    Column("sentence", Words, nullable=False),
    Column("arguments", Words, nullable=False),
    Column("session_id", String(64)),
    Column("actor", String(16), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "id"),
    sqlite_autoincrement=True,
)

logs = Table(
    "logs",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("type", String(16), nullable=False),
    Column("account", name(32), nullable=False),
    Column("session_id", String(64)),
    Column("message", Words, nullable=False),
    Column("tool", Words),
    Column("arguments", Words),
    Column("result", Words),
    Column("is_error", Boolean, nullable=False),
    Column("latency_ms", Float),
    Column("model", Words),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("span_id", String(16)),
    Column("wall_time", Moment, nullable=False),
    Index(None, "account", "id"),
    Index(None, "session_id"),
    sqlite_autoincrement=True,
)

market_cache = Table(
    "market_cache",
    metadata,
    Column("key", String(120), primary_key=True),
    Column("value", Words, nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
)

# Who asks a market's vendor for what, so that no two processes ask the same at once; gone when it is answered.
market_flights = Table(
    "market_flights",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("what", String(120), nullable=False),
    Column("urgent", Boolean, nullable=False),
    Column("waiting", Boolean, nullable=False),  # for a request's turn; otherwise it has one, or is between two
    Column("alive_until", Moment, nullable=False),  # beyond it, its process is taken for dead
    UniqueConstraint("what"),
    sqlite_autoincrement=True,
)

# Requests of the vendor's limit that are in use: each takes `weight` of them until `free_at`.
market_slots = Table(
    "market_slots",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("free_at", Moment, nullable=False),
    Column("weight", Integer, nullable=False),
    sqlite_autoincrement=True,
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account", name(32), nullable=False),
    Column("title", Words, nullable=False),
    Column("message", Words, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Words, nullable=False),
    Column("session_id", String(64)),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    Column("event", String(16)),  # null: a sender's own words
    Column("about", String(120)),  # what the floor tells of, each once
    Column("due_at", Moment),  # wall time at which a held one is to be sent, or was
    Column("carried_by", RowId),  # the message that it went out in
    Index(None, "account", "id"),
    Index(None, "state", "due_at"),
    Index(None, "about", unique=True),
    sqlite_autoincrement=True,
)

# How far the floor has read what it tells of: a row's id, or an account's state.
bookmarks = Table(
    "bookmarks",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("reached", Words, nullable=False),
)

# What of the floor is real, as it was when it last started.
parts = Table(
    "parts",
    metadata,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("name", Words, nullable=False),
    Column("state", String(16), nullable=False),  # real, recorded, simulated, off
    Column("why", Words, nullable=False),
    Column("change", Words, nullable=False),
    Column("wall_time", Moment, nullable=False),
)

# What the owner asked for, each request a row; `account` null is the whole floor.
controls = Table(
    "controls",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("action", String(16), nullable=False),  # pause, resume, reduce, halt, run, limit, strategy
    Column("account", name(32)),
    Column("argument", Words, nullable=False),
    Column("actor", String(16), nullable=False),
    Column("market_time", Moment, nullable=False),
    Column("wall_time", Moment, nullable=False),
    sqlite_autoincrement=True,
)
