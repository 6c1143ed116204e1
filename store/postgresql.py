"""A store in a PostgreSQL database: row locks where SQLite has one writer, an advisory lock for the floor.

A read transaction is a REPEATABLE READ snapshot; a write transaction is READ COMMITTED, so that what it reads after
it has locked a row is what the writer before it left. One database, or one schema of one, is one store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, StatementError

from store import tables
from store.sqlite import advice, make_engine, refuse_foreign_tables, remove_database
from store.turns import WAIT_S
from values.address import StoreAddress
from values.clock import wall_now
from values.errors import Refused, StoreBusy, StoreEmpty, StoreUnusable

logger = logging.getLogger(__name__)

CONNECT_S = 10
_COPIED_ROWS = 1_000
# an idle transaction is a process that hangs: what it has locked comes free
_OPTIONS = f"-c lock_timeout={WAIT_S * 1000:.0f} -c idle_in_transaction_session_timeout=60s -c synchronous_commit=on"
# advisory locks are the whole database's: the second number is the schema's
_SETUP, _FLOOR = 0x7F100, 0x7F101
_WAIT_FOR = text("SELECT pg_advisory_xact_lock(:what, hashtext(current_schema()::text))")
_TRY = text("SELECT pg_try_advisory_lock(:what, hashtext(current_schema()::text))")
_HOLDER = text(
    "SELECT coalesce(application_name, 'a process') FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND granted "
    "AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = :what "
    "AND objid = (hashtext(current_schema()::text)::bigint & 4294967295)::oid LIMIT 1"
)
_BUSY = {"55P03", "40001", "40P01", "57014"}  # lock not available, serialization, deadlock, cancelled
_ADVICE = {
    "53100": "the disk of the server is full: nothing was written; make room and try again",
    "53300": "the server has no connection left: end another program, or raise max_connections",
    "25006": "it can't be written to: the server, or this user's session, is read only",
    "28P01": "the server refused the password: check DATABASE_URL",
    "28000": "the server refused the user: check DATABASE_URL and the server's pg_hba.conf",
    "3D000": "there is no such database: make it (createdb), or name another one in DATABASE_URL",
    "42501": "this user may not do that: grant it the right to create and change tables in the schema",
}


class PostgresqlDatabase:
    """`store.backend.Backend` over a server's database."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        try:
            self._url = _with_options(make_url(address.url))
        except ArgumentError as error:
            raise StoreUnusable(f"the store {address}: DATABASE_URL is no address of a database") from error
        self._engine = create_engine(
            self._url, pool_size=4, max_overflow=40, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_S}
        )
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def prepare(self, *, may_make: bool) -> None:
        try:
            with self._snapshots.begin() as connection:
                found = set(inspect(connection).get_table_names())
        except DBAPIError as error:
            raise self.explained(error) from error
        refuse_foreign_tables(found, str(self._address))
        if not found and not may_make:
            raise StoreEmpty(
                f"there is no store in {self._address}: start the floor, or `trading-floor accounts open NAME`"
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._snapshots.begin() as connection:
            yield connection

    @contextmanager
    def write(self, timeout_s: float) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if timeout_s != WAIT_S:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, round(timeout_s * 1000))}")
            yield connection

    def hold_alone(self, connection: Connection) -> None:
        connection.execute(_WAIT_FOR, {"what": _SETUP})

    def copy_before_migration(self, found: str, to: str) -> None:
        """PostgreSQL undoes a migration that fails, tables and all."""

    def copy_to(self, target: Path) -> None:
        copy = make_engine(target)
        try:
            with self.read() as source, copy.begin() as written:
                tables.metadata.create_all(written)
                written.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
                found = source.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
                written.execute(text("INSERT INTO alembic_version VALUES (:found)"), {"found": found})
                for table in tables.metadata.sorted_tables:
                    rows = source.execution_options(yield_per=_COPIED_ROWS).execute(table.select()).mappings()
                    for part in rows.partitions():
                        written.execute(table.insert(), [dict(row) for row in part])
        except DBAPIError as error:
            copy.dispose()
            remove_database(target)
            raise Refused("no_copy", f"{target} can't be written: {advice(str(error.orig))}") from None
        finally:
            copy.dispose()

    def hold_floor(self) -> _SessionHold | None:
        who = f"process {os.getpid()} since {wall_now():%Y-%m-%d %H:%M:%S} UTC"
        engine = create_engine(
            self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": CONNECT_S, "application_name": who},
        )  # fmt: skip
        try:
            connection = engine.connect()
            if connection.execute(_TRY, {"what": _FLOOR}).scalar_one():
                return _SessionHold(connection)
        except DBAPIError as error:
            raise self.explained(error) from error
        connection.close()
        return None

    def floor_holder(self) -> str:
        return self._holder() or "nobody"

    def is_floor_held(self) -> bool:
        return self._holder() is not None

    def _holder(self) -> str | None:
        try:
            with self._snapshots.begin() as connection:
                return connection.execute(_HOLDER, {"what": _FLOOR}).scalar_one_or_none()
        except DBAPIError as error:
            raise self.explained(error) from error

    def discard(self) -> None:
        with self._engine.begin() as connection:
            tables.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")
        self.close()

    def explained(self, error: StatementError) -> Exception:
        if not isinstance(error, DBAPIError):
            return error.orig if isinstance(error.orig, Exception) else error
        state = getattr(error.orig, "sqlstate", None)
        if state in _BUSY:
            return StoreBusy(f"another program holds rows of {self._address} locked; nothing was written, try again")
        if state in _ADVICE:
            return StoreUnusable(f"the store {self._address}: {_ADVICE[state]}")
        said = str(error.orig).splitlines()[0]
        if error.statement is None and isinstance(error, OperationalError) and not error.connection_invalidated:
            return StoreUnusable(f"the store {self._address} can't be reached ({said}): start it, or mend DATABASE_URL")
        if error.connection_invalidated or state is None or state.startswith(("08", "57P")):
            return StoreUnusable(
                f"the store {self._address} closed the connection ({said}); what was being written may or may not be "
                "kept: ask again once its server runs"
            )
        return StoreUnusable(f"the store {self._address}: {said}")

    def close(self) -> None:
        self._engine.dispose()


class _SessionHold:
    """An open connection whose session has the lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        """Let go of the lock before the session ends: the server may still list a closed connection for a while."""
        try:
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
        except DBAPIError as error:
            logger.warning("the floor's session on the database had ended before it was let go: %s", error.orig)
        finally:
            self._connection.close()


def _with_options(url: URL) -> URL:
    """The URL with what every session of ours is to have, before what the user asks for."""
    asked = url.query.get("options", "")
    return url.update_query_dict({"options": f"{_OPTIONS} {asked if isinstance(asked, str) else ' '.join(asked)}"})
