"""An older store is copied and brought up to date, once, with all that it held; by a chain of the test's own."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from database import Store, read_account
from store import tables
from store.migrate import MIGRATIONS, revision, upgrade
from store.sqlite import WRITES, make_engine
from tests.side_by_side import at_once
from values.errors import StoreUnusable

OLDER = '''
"""The schema before the first one: without controls, and accounts can't be paused."""
import importlib.util
from alembic import op

revision, down_revision, branch_labels, depends_on = "0000", None, None, None


def upgrade():
    spec = importlib.util.spec_from_file_location("first_schema", {first!r})
    first = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(first)
    first.upgrade()
    op.drop_table("controls")
    op.drop_column("accounts", "paused")
'''
NEWER = '''
"""What was missing."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0001", "0000", None, None


def upgrade():
    op.add_column("accounts", sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "controls",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("account", sa.String(length=32), nullable=True),
        sa.Column("argument", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=16), nullable=False),
        sa.Column("market_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wall_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controls")),
        sqlite_autoincrement=True,
    )
    {more}
'''


def chain(folder: Path, more: str = "pass") -> Path:
    """Migrations of a product whose 0001 came after an older schema, 0000."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    first = MIGRATIONS / "versions" / "0001_first_schema.py"
    (versions / "0000_before.py").write_text(OLDER.format(first=str(first)))
    (versions / "0001_since.py").write_text(NEWER.format(more=more))
    for later in sorted(first.parent.glob("*.py")):
        if later.name > first.name:
            shutil.copy(later, versions)
    return folder


def make_older(path: Path, migrations: Path) -> None:
    """A store at 0000 with an account in it, as an older version would have left it."""
    engine = make_engine(path)
    with engine.connect() as plain:
        connection = plain.execution_options(**{WRITES: True})
        with connection.begin():
            upgrade(connection, migrations, "0000")
            connection.execute(text(
                "INSERT INTO run VALUES (1, 'replay', 5, NULL, 'old.csv', '2025-01-01 00:00:00', "
                "'2025-01-01 00:00:00', '2025-01-01 00:00:00', '2025-01-02 00:00:00', 1, '2025-01-01 00:00:00', "
                "3, NULL)"
            ))  # fmt: skip
            connection.execute(text(
                "INSERT INTO accounts "
                "(name, kind, state, state_reason, cash, realised, deposited, strategy, opened_at) VALUES "
                "('warren', 'trader', 'active', '', 10000000000, 0, 10000000000, 'wait', '2025-01-01 00:00:00')"
            ))  # fmt: skip
    engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


@pytest.fixture
def older(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    migrations = chain(tmp_path / "chain")
    monkeypatch.setattr("database.upgrade", partial(upgrade, migrations=migrations))
    make_older(path, migrations)
    return path


def test_an_older_store_is_brought_up_to_date_with_all_that_it_held(older: Path) -> None:
    with closing(Store(older)) as store:
        with store.read() as connection:
            assert revision(connection) == tables.SCHEMA_REVISION
        found = read_account(store, "warren")
        assert found is not None
        assert (found.cash, found.strategy, found.paused) == (Decimal(10_000), "wait", False)
        run = store.run()
        assert (run.seed, run.cycle, run.history_name) == (5, 3, "old.csv")
        assert run.anchor.market == datetime(2025, 1, 2, tzinfo=UTC)
    wanted = {table.name: {column.name for column in table.columns} for table in tables.metadata.sorted_tables}
    with closing(sqlite3.connect(older)) as raw:
        made = {name: {row[1] for row in raw.execute(f"PRAGMA table_info({name})")} for name in wanted}
    assert made == wanted


def test_the_copy_made_first_opens_and_holds_the_old_data(older: Path) -> None:
    with closing(Store(older)) as store:
        copy = store.migrated_copy
    assert copy is not None
    assert copy.parent == older.parent
    assert "from-0000" in copy.name
    with closing(sqlite3.connect(copy)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)
        assert raw.execute("SELECT name, cash, strategy FROM accounts").fetchall() == [("warren", 10**10, "wait")]
        assert raw.execute("SELECT name FROM sqlite_master WHERE name = 'controls'").fetchall() == []
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_store_that_is_up_to_date_is_not_copied(older: Path) -> None:
    Store(older).close()
    with closing(Store(older)) as store:
        assert store.migrated_copy is None
    assert len(list(older.parent.glob("*.before-*"))) == 1


def test_several_processes_that_open_it_at_once_migrate_it_once(path: Path, tmp_path: Path) -> None:
    migrations = chain(tmp_path / "chain")
    make_older(path, migrations)
    copies = at_once("migrate", [(f"sqlite:///{path}", str(migrations))] * 3)
    assert sum(copy is not None for copy in copies) == 1
    assert len(list(tmp_path.glob("*.before-*"))) == 1
    with closing(Store(path)) as store:
        assert read_account(store, "warren") is not None


def test_a_migration_that_fails_leaves_the_old_store_as_it_was(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = chain(tmp_path / "chain", more='op.execute("INSERT INTO nowhere VALUES (1)")')
    make_older(path, migrations)
    monkeypatch.setattr("database.upgrade", partial(upgrade, migrations=migrations))
    with pytest.raises(StoreUnusable):
        Store(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)
        assert raw.execute("SELECT name FROM sqlite_master WHERE name = 'controls'").fetchall() == []
        assert "paused" not in [row[1] for row in raw.execute("PRAGMA table_info(accounts)")]
