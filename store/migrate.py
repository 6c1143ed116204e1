"""Brings a store to the schema this version writes; one that a newer version wrote is refused.

Alembic is imported only when there is something to do: it costs every start 0.3 s.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from store.tables import SCHEMA_REVISION
from values.errors import StoreUnusable

MIGRATIONS = Path(__file__).parent / "migrations"


def revision(connection: Connection) -> str | None:
    """The schema revision of the store, None for an empty one."""
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def is_current(connection: Connection) -> bool:
    """Whether the store is at this version's schema. Raises StoreUnusable when a newer version wrote it."""
    found = revision(connection)
    if found is not None and found > SCHEMA_REVISION:
        raise StoreUnusable(
            f"the store has schema {found} and this version of the floor knows up to {SCHEMA_REVISION}: "
            "a newer version wrote it. Update the floor, or name another store in DATABASE_URL"
        )
    return found == SCHEMA_REVISION


def upgrade(connection: Connection, migrations: Path = MIGRATIONS, target: str = "head") -> None:
    """Migrate within the caller's write transaction."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(migrations))
    context = MigrationContext.configure(
        connection, opts={"fn": lambda revision, _context: scripts._upgrade_revs(target, revision)}
    )
    with Operations.context(context):
        context.run_migrations()
