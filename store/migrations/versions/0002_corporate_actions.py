"""Splits, dividends, renames and delistings: what the venue told, and transactions of their kinds.

No store before this one had a market with corporate actions, so there is nothing to look back for.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from store.columns import name

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

_KINDS = "kind in ('deposit', 'buy', 'sell', 'split', 'dividend', 'rename', 'delisting')"
_KEPT = (
    "id", "account", "kind", "symbol", "quantity", "price", "amount", "realised", "cash_after", "quote_price",
    "quote_as_of", "quote_seen_at", "source", "rationale", "order_key", "session_id", "actor", "market_time",
    "wall_time",
)  # fmt: skip


def _new_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("ex_date", sa.Date(), nullable=True),
        sa.Column("units_change", sa.BigInteger(), nullable=True),
        sa.Column("to_symbol", name(18), nullable=True),
    ]


def upgrade() -> None:
    op.create_table(
        "corporate_actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("symbol", name(18), nullable=False),
        sa.Column("ex_date", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("units_before", sa.BigInteger(), nullable=True),
        sa.Column("units_after", sa.BigInteger(), nullable=True),
        sa.Column("usd_per_unit", sa.BigInteger(), nullable=True),
        sa.Column("to_symbol", name(18), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("price_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("price_source", sa.String(length=16), nullable=True),
        sa.Column("market_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('split', 'dividend', 'rename', 'delisting')", name=op.f("ck_corporate_actions_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corporate_actions")),
        sa.UniqueConstraint("symbol", "ex_date", "kind", name=op.f("uq_corporate_actions_symbol_ex_date_kind")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "action_days",
        sa.Column("symbol", name(18), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_action_days")),
    )
    if op.get_bind().dialect.name == "sqlite":
        _remake_transactions()
        return
    for column in _new_columns():
        op.add_column("transactions", column)
    op.drop_constraint("ck_transactions_kind", "transactions", type_="check")
    op.create_check_constraint(op.f("ck_transactions_kind"), "transactions", _KINDS)
    op.create_unique_constraint(
        op.f("uq_transactions_account_symbol_ex_date_kind"), "transactions", ["account", "symbol", "ex_date", "kind"]
    )


def _remake_transactions() -> None:
    """SQLite can't change a table's constraints."""
    op.create_table(
        "transactions_remade",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("account", name(32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("symbol", name(18), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("realised", sa.BigInteger(), nullable=False),
        sa.Column("cash_after", sa.BigInteger(), nullable=False),
        sa.Column("quote_price", sa.BigInteger(), nullable=True),
        sa.Column("quote_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("quote_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=True),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("order_key", sa.String(length=80), nullable=True),
        sa.Column("session_id", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=16), nullable=False),
        sa.Column("market_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=False),
        *_new_columns(),
        sa.CheckConstraint(_KINDS, name=op.f("ck_transactions_kind")),
        sa.CheckConstraint("price > 0", name=op.f("ck_transactions_price_positive")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_transactions_quantity_positive")),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_transactions_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("account", "order_key", name=op.f("uq_transactions_account_order_key")),
        sa.UniqueConstraint(
            "account", "symbol", "ex_date", "kind", name=op.f("uq_transactions_account_symbol_ex_date_kind")
        ),
        sqlite_autoincrement=True,
    )
    before, after = (sa.table(each, *map(sa.column, _KEPT)) for each in ("transactions", "transactions_remade"))
    op.execute(after.insert().from_select(_KEPT, sa.select(before).order_by(before.c.id)))
    op.drop_table("transactions")
    op.rename_table("transactions_remade", "transactions")
    for columns in (("account", "id"), ("account", "market_time"), ("account", "session_id")):
        op.create_index(op.f(f"ix_transactions_{'_'.join(columns)}"), "transactions", list(columns), unique=False)
