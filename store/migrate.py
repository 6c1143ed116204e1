"""Brings a store to the schema this version writes: a new one is made, an older one is copied and migrated.

All under the store's write turn, so that of several processes that start at once one does it. A store that a newer
version wrote is refused. Alembic is imported only when there is something to do: it costs every start 0.3 s.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, inspect, text

from store.tables import SCHEMA_REVISION
from values.clock import wall_now
from values.errors import StoreUnusable

MIGRATIONS = Path(__file__).parent / "migrations"


def refuse_foreign(path: Path) -> None:
    """Raises StoreUnusable for another program's database, before anything of ours could change it."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return  # whatever is wrong with it, opening it says so
    if tables and not {"alembic_version", "run", "accounts"} <= tables:
        raise StoreUnusable(
            f"the database {path} has the tables {', '.join(sorted(tables)[:5])} and is not this floor's: "
            "name another file in DATABASE_URL"
        )


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
            "a newer version wrote it. Update the floor, or name another file in DATABASE_URL"
        )
    return found == SCHEMA_REVISION


def upgrade(connection: Connection, path: Path, migrations: Path = MIGRATIONS, target: str = "head") -> Path | None:
    """Migrate within the caller's write transaction; the path of the copy that was made first, if there was a store."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    found = revision(connection)
    copy = None if found is None else _copy(path, found)
    scripts = ScriptDirectory(str(migrations))
    context = MigrationContext.configure(
        connection, opts={"fn": lambda revision, _context: scripts._upgrade_revs(target, revision)}
    )
    with Operations.context(context):
        context.run_migrations()
    return copy


def _copy(path: Path, found: str) -> Path:
    stamp = re.sub(r"[^0-9]", "", wall_now().isoformat())[:14]
    copy = path.with_name(f"{path.name}.before-{SCHEMA_REVISION}.from-{found}.{stamp}")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    return copy
