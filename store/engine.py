"""The SQLite engine: WAL, synchronous FULL, foreign keys, and who may begin a write.

A read transaction is a snapshot; a write transaction begins IMMEDIATE, so it never fails half way for a lock.
Driver errors become sentences (`explained`); nothing here knows a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, StatementError

from values.errors import StoreBusy, StoreUnusable

BUSY_MS = 10_000
WRITES = "floor_writes"


def make_engine(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, pool_size=4, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
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


def explained(error: StatementError, path: Path) -> Exception:
    """The store's own error for what the driver said, or the error of ours that a column's type raised."""
    if not isinstance(error, DBAPIError):
        return error.orig if isinstance(error.orig, Exception) else error
    said = str(error.orig)
    if "locked" in said or "busy" in said:
        return StoreBusy(f"another program holds {path.name} locked; nothing was written, try again")
    what_to_do = {
        "readonly": "it can't be written to: check the file's and the folder's permissions",
        "full": "the disk is full: nothing was written; make room and try again",
        "not a database": "it is not an SQLite database: name another file in DATABASE_URL",
        "malformed": "it is damaged: restore a copy made with `trading-floor accounts backup`",
        "unable to open": "it can't be opened: check that the folder exists and may be written to",
        "disk I/O error": "the disk failed to read or write: check it, then try again",
    }
    for sign, advice in what_to_do.items():
        if sign in said:
            return StoreUnusable(f"the store {path}: {advice}")
    return StoreUnusable(f"the store {path}: {said}")
