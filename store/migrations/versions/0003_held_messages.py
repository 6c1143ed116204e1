"""Messages that wait: what they are about, when they are due, and in which they went out; how far the floor has read,
and what of it is real.

Revision 0003 follows 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notifications", sa.Column("event", sa.String(length=16), nullable=True))
    op.add_column("notifications", sa.Column("about", sa.String(length=120), nullable=True))
    op.add_column("notifications", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("notifications", sa.Column("carried_by", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_notifications_state_due_at"), "notifications", ["state", "due_at"], unique=False)
    op.create_index(op.f("ix_notifications_about"), "notifications", ["about"], unique=True)
    op.create_table(
        "bookmarks",
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("reached", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_bookmarks")),
    )
    op.create_table(
        "parts",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_parts")),
    )
