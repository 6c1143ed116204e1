"""A store in an SQLite file: WAL, synchronous FULL, foreign keys, and fair turns for its one writer.

A read transaction is a snapshot; a write transaction begins IMMEDIATE, so it never fails half way for a lock.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, StatementError

from store.turns import is_taken, try_turn, turn
from values.clock import wall_now
from values.errors import Refused, StoreBusy, StoreEmpty, StoreUnusable

BUSY_MS = 10_000
LOOKS, A_LOOK_S = 4, 0.05
"""How often, and after how long, a floor that starts tries again to get its lock."""
WRITES = "floor_writes"
_ADVICE = {
    "readonly": "it can't be written to: check the file's and the folder's permissions",
    "full": "the disk is full: nothing was written; make room and try again",
    "not a database": "it is not an SQLite database: name another file in DATABASE_URL",
    "malformed": "it is damaged: restore a copy made with `trading-floor accounts backup`",
    "unable to open": "it can't be opened: check that the folder exists and may be written to",
    "disk I/O error": "the disk failed to read or write: check it, then try again",
}


def make_engine(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, pool_size=4, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        if not _is_writable(path):  # a connection made now would stay read only, and so would the -wal file it makes
            raise sqlite3.OperationalError("attempt to write a readonly database")
        connection.isolation_level = None  # this module begins transactions, not the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _is_writable(path: Path) -> bool:
    return not path.exists() or os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


class SqliteFile:
    """`store.backend.Backend` over the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = path.with_name(path.name + ".lock")
        self._floor_lock = path.with_name(path.name + ".floor.lock")
        self._engine = make_engine(path)

    def prepare(self, *, may_make: bool) -> None:
        path = self._path
        if not may_make and not path.exists():
            raise StoreEmpty(f"there is no store at {path}: start the floor, or `trading-floor accounts open NAME`")
        if not path.parent.is_dir():
            raise StoreUnusable(f"the store {path} is in a folder that does not exist: make it, or change DATABASE_URL")
        if path.exists():
            if not _is_writable(path):
                raise StoreUnusable(f"the store {path}: {_ADVICE['readonly']}")
            refuse_foreign(path)
            return
        try:
            # SQLite gives its -wal and -shm files the rights of this one: rationales are the owner's alone
            path.touch(0o600)
        except OSError as error:
            raise StoreUnusable(
                f"the store {path} can't be made: {error.strerror}; check the folder's permissions"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, timeout_s: float) -> Iterator[Connection]:
        try:
            with turn(self._turns, timeout_s), self._engine.connect() as plain:
                connection = plain.execution_options(**{WRITES: True})
                with connection.begin():
                    yield connection
        except OSError as error:
            where = error.filename or self._path
            raise StoreUnusable(f"{where}: {error.strerror}; check its and its folder's permissions") from error

    def hold_alone(self, connection: Connection) -> None:
        """A write transaction is alone already."""

    def copy_before_migration(self, found: str, to: str) -> Path:
        stamp = re.sub(r"[^0-9]", "", wall_now().isoformat())[:14]
        copy = self._path.with_name(f"{self._path.name}.before-{to}.from-{found}.{stamp}")
        try:
            copy.touch(0o600)
            self.copy_to(copy)
        except (OSError, Refused) as error:
            reason = error.sentence if isinstance(error, Refused) else f"{copy} can't be written: {error.strerror}"
            raise StoreUnusable(f"the store {self._path} is not brought up to date without a copy: {reason}") from error
        return copy

    def copy_to(self, target: Path) -> None:
        try:
            with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            remove_database(target)
            raise Refused("no_copy", f"{target} can't be written: {advice(str(error))}") from None

    def hold_floor(self) -> _FileHold | None:
        descriptor = try_turn(self._floor_lock)
        for _ in range(LOOKS):  # whoever looks whether a floor runs has the lock for a moment
            if descriptor is not None:
                break
            time.sleep(A_LOOK_S)
            descriptor = try_turn(self._floor_lock)
        if descriptor is None:
            return None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} since {wall_now():%Y-%m-%d %H:%M:%S} UTC".encode())
        except OSError as error:
            os.close(descriptor)
            raise StoreUnusable(f"the store {self._path}: {error.strerror}; make room and try again") from error
        return _FileHold(descriptor)

    def floor_holder(self) -> str:
        return self._floor_lock.read_text() if self._floor_lock.exists() else "nobody"

    def is_floor_held(self) -> bool:
        return is_taken(self._floor_lock)

    def discard(self) -> None:
        self.close()
        remove_database(self._path)

    def explained(self, error: StatementError) -> Exception:
        return explained(error, self._path)

    def close(self) -> None:
        self._engine.dispose()


class _FileHold:
    """An open descriptor that has the lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def remove_database(path: Path) -> None:
    """Remove an SQLite file and what SQLite keeps beside it."""
    for end in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def refuse_foreign(path: Path) -> None:
    """Raises StoreUnusable for another program's database, before anything of ours could change it."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return  # whatever is wrong with it, opening it says so
    refuse_foreign_tables(tables, str(path))


def refuse_foreign_tables(tables: set[str], where: str) -> None:
    """Raises StoreUnusable unless the tables are a store's, or none."""
    if tables and not {"alembic_version", "run", "accounts"} <= tables:
        raise StoreUnusable(
            f"the database {where} has the tables {', '.join(sorted(tables)[:5])} and is not this floor's: "
            "name another one in DATABASE_URL"
        )


def advice(said: str) -> str:
    """What to do about what SQLite said."""
    return next((what_to_do for sign, what_to_do in _ADVICE.items() if sign in said), said)


def explained(error: StatementError, path: Path) -> Exception:
    """The store's own error for what SQLite said, or the error of ours that a column's type raised."""
    if not isinstance(error, DBAPIError):
        return error.orig if isinstance(error.orig, Exception) else error
    said = str(error.orig)
    if "locked" in said or "busy" in said:
        return StoreBusy(f"another program holds {path.name} locked; nothing was written, try again")
    return StoreUnusable(f"the store {path}: {advice(said)}")
