"""What models cost: reservations, spending by the day, and the rates and cached tokens of each call.

Revision 0005 follows 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RATES = ("input_usd", "cached_usd", "cache_write_usd", "output_usd")


def name(chars: int) -> sa.String:
    """Put in order by its characters' numbers, whatever the language of a PostgreSQL database."""
    return sa.String(chars).with_variant(sa.String(chars, collation="C"), "postgresql")


def upgrade() -> None:
    for table, column in (
        ("sessions", "cached_tokens"),
        ("model_calls", "cached_tokens"),
        ("model_calls", "cache_write_tokens"),
    ):
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("model_calls", sa.Column("is_estimate", sa.Boolean(), nullable=False, server_default=sa.false()))
    for rate in RATES:
        op.add_column("model_calls", sa.Column(rate, sa.BigInteger(), nullable=True))
    op.create_table(
        "reservations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("account", name(32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        *(sa.Column(rate, sa.BigInteger(), nullable=False) for rate in RATES),
        sa.Column("cost_usd", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "spending",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("account", name(32), nullable=False),
        sa.Column("cost_usd", sa.BigInteger(), nullable=False),
        sa.Column("is_told", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("day", "account", name=op.f("pk_spending")),
    )
