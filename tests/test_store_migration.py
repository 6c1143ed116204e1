"""An older store is brought up to date, once, with all that it held; by a chain of the test's own.

A file is copied first. PostgreSQL undoes a migration that fails by itself.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, insert, inspect

from database import NewRun, Store, read_account
from store import tables
from store.migrate import MIGRATIONS, revision, upgrade
from store.sqlite import WRITES, make_engine
from tests.side_by_side import at_once
from values.address import StoreAddress
from values.errors import StoreUnusable

pytestmark = pytest.mark.both_databases

OLD = datetime(2025, 1, 1, tzinfo=UTC)

OLDER = '''
"""The schema before the newest one: without controls, and accounts can't be paused."""
import importlib.util
from pathlib import Path
from alembic import op

revision, down_revision, branch_labels, depends_on = "0000", None, None, None


def upgrade():
    for path in sorted(Path({versions!r}).glob("0*.py")):
        spec = importlib.util.spec_from_file_location(f"version_{{path.stem}}", path)
        step = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(step)
        step.upgrade()
    op.drop_table("controls")
    op.drop_column("accounts", "paused")
'''
NEWER = '''
"""What was missing."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = {newest!r}, "0000", None, None


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
    """Migrations of a product whose newest schema came after an older one, 0000."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (versions / "0000_before.py").write_text(OLDER.format(versions=str(MIGRATIONS / "versions")))
    (versions / "9999_since.py").write_text(NEWER.format(newest=tables.SCHEMA_REVISION, more=more))
    return folder


@contextmanager
def raw(address: StoreAddress) -> Iterator[Connection]:
    """A transaction beside the store, on what may be of any schema."""
    is_file = address.url.startswith("sqlite")
    engine = make_engine(address.path) if is_file else create_engine(address.url)
    with engine.connect() as plain:
        connection = plain.execution_options(**{WRITES: True}) if is_file else plain
        with connection.begin():
            yield connection
    engine.dispose()


def make_older(address: StoreAddress, migrations: Path) -> None:
    """A store at 0000 with an account in it, as an older version would have left it."""
    with raw(address) as connection:
        upgrade(connection, migrations, "0000")
        connection.execute(insert(tables.run).values(
            id=1, market="replay", seed=5, history_name="old.csv", made_at=OLD, started_at=OLD, anchor_wall=OLD,
            anchor_market=OLD + timedelta(days=1), factor=1, fast_until=OLD, cycle=3,
        ))  # fmt: skip
        connection.execute(insert(tables.accounts).values(
            name="warren", kind="trader", state="active", state_reason="", cash=Decimal(10_000), realised=Decimal(0),
            deposited=Decimal(10_000), strategy="wait", opened_at=OLD,
        ))  # fmt: skip


def columns(address: StoreAddress) -> dict[str, set[str]]:
    with raw(address) as connection:
        inspector = inspect(connection)
        names = set(inspector.get_table_names()) - {"alembic_version"}
        return {name: {column["name"] for column in inspector.get_columns(name)} for name in names}


@pytest.fixture
def older(address: StoreAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreAddress:
    migrations = chain(tmp_path / "chain")
    monkeypatch.setattr("database.upgrade", partial(upgrade, migrations=migrations))
    make_older(address, migrations)
    return address


def test_an_older_store_is_brought_up_to_date_with_all_that_it_held(older: StoreAddress) -> None:
    with closing(Store(older)) as store:
        with store.read() as connection:
            assert revision(connection) == tables.SCHEMA_REVISION
        found = read_account(store, "warren")
        assert found is not None
        assert (found.cash, found.strategy, found.paused) == (Decimal(10_000), "wait", False)
        run = store.run()
        assert (run.seed, run.cycle, run.history_name) == (5, 3, "old.csv")
        assert run.anchor.market == OLD + timedelta(days=1)
    assert columns(older) == {
        table.name: {each.name for each in table.columns} for table in tables.metadata.sorted_tables
    }


@pytest.mark.sqlite_only
def test_the_copy_made_first_opens_and_holds_the_old_data(older: StoreAddress) -> None:
    with closing(Store(older)) as store:
        copy = store.migrated_copy
    assert copy is not None
    assert copy.parent == older.path.parent
    assert "from-0000" in copy.name
    with closing(sqlite3.connect(copy)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert file.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)
        assert file.execute("SELECT name, cash, strategy FROM accounts").fetchall() == [("warren", 10**10, "wait")]
        assert file.execute("SELECT name FROM sqlite_master WHERE name = 'controls'").fetchall() == []
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_store_that_is_up_to_date_is_not_copied(older: StoreAddress) -> None:
    Store(older).close()
    with closing(Store(older)) as store:
        assert store.migrated_copy is None
    assert len(copies_beside(older)) == copies_made(older)


def copies_beside(address: StoreAddress) -> list[Path]:
    return list(address.path.parent.glob("*.before-*"))


def copies_made(address: StoreAddress) -> int:
    """How many a migration makes."""
    return int(address.url.startswith("sqlite"))


def test_several_processes_that_open_it_at_once_migrate_it_once(address: StoreAddress, tmp_path: Path) -> None:
    migrations = chain(tmp_path / "chain")
    make_older(address, migrations)
    migrated = at_once("migrate", [(address.url, str(migrations))] * 3)
    assert sorted(migrated) == [False, False, True]
    assert len(copies_beside(address)) == copies_made(address)
    with closing(Store(address)) as store:
        assert read_account(store, "warren") is not None


def test_a_migration_that_fails_leaves_the_old_store_as_it_was(
    address: StoreAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = chain(tmp_path / "chain", more='op.execute("INSERT INTO nowhere VALUES (1)")')
    make_older(address, migrations)
    before = columns(address)
    monkeypatch.setattr("database.upgrade", partial(upgrade, migrations=migrations))
    with pytest.raises(StoreUnusable, match="nowhere"):
        Store(address)
    assert columns(address) == before
    assert "controls" not in before
    assert "paused" not in before["accounts"]
    with raw(address) as connection:
        assert revision(connection) == "0000"
    assert copies_beside(address) == []


def test_a_store_that_a_newer_version_wrote_is_refused_and_left_as_it_is(address: StoreAddress) -> None:
    Store(address, NewRun("simulated", 5)).close()
    newer = f"{int(tables.SCHEMA_REVISION) + 1:04}"
    with raw(address) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{newer}'")
    before = columns(address)
    told = rf"schema {newer} .* knows up to {tables.SCHEMA_REVISION}.*newer version.*Update the floor"
    for new_run in (None, NewRun()):
        with pytest.raises(StoreUnusable, match=told):
            Store(address, new_run)
    with raw(address) as connection:
        assert revision(connection) == newer
    assert columns(address) == before
