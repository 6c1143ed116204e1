"""What `doctor` finds out about this machine and the store, each a Finding with the line that mends it.

The store is only read: nothing in it is migrated or recovered, so that a damaged one is left as it was found.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from ledger.reconcile import reconcile
from store import tables
from store.backend import backend_of
from store.migrate import is_current, revision
from store.sqlite import explained, refuse_foreign
from values.address import StoreAddress
from values.clock import wall_now
from values.errors import StoreEmpty, StoreUnusable

Version = tuple[int, ...]

RECONCILED_MAX = 1_000_000
"""Transactions beyond which the books are left to `accounts reconcile`: each takes some microseconds."""
EXAMINED_S = 30.0
DISK_WARN_BYTES = 1_000_000_000
DISK_FAIL_BYTES = 100_000_000
CLOCK_SLACK = timedelta(seconds=5)
RESTORE = "restore a copy made with `trading-floor accounts backup`, or start anew with another DATABASE_URL"
_DATED = (
    tables.transactions, tables.portfolio_values, tables.logs, tables.refusals, tables.notifications, tables.controls,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's. `mend` is what to do about it, and is there when it is not ok."""

    state: Literal["ok", "note", "warn", "FAIL"]
    subject: str
    found: str
    mend: str = ""


def failed(subject: str, error: Exception) -> Finding:
    """An error of ours as a finding: its sentence ends with what to do."""
    sentence = getattr(error, "sentence", None) or str(error)
    for mark in ("; allowed: ", ". ", ": "):
        found, is_there, mend = sentence.rpartition(mark)
        if is_there:
            return Finding("FAIL", subject, found, mend if mark != "; allowed: " else f"set it to {mend}")
    return Finding("FAIL", subject, sentence, "mend what it names, then try again")


def python_finding(version: Version, executable: str) -> Finding:
    found = f"{_dotted(version)} at {executable}"
    if version < (3, 11):
        return Finding(
            "FAIL", "Python", found, "install Python 3.11 or newer, then `make setup PYTHON=/path/to/python`"
        )
    return Finding("ok", "Python", found)


def sqlite_finding(version: Version) -> Finding:
    """The WAL-reset fault: in 3.7.0 to 3.51.2, mended in 3.51.3, 3.50.7 and 3.44.6. Source: sqlite.org/wal.html."""
    found = _dotted(version)
    if version < (3, 37):
        return Finding("FAIL", "SQLite", f"{found}, and memory's tables need 3.37", "use a Python with a newer SQLite")
    if version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45):
        return Finding("ok", "SQLite", found)
    return Finding(
        "warn",
        "SQLite",
        f"{found}, which has a rare fault (WAL reset) that can damage a file with several writers at once; here "
        "writers take turns, which leaves it next to no chance",
        "use a Python whose SQLite is 3.51.3 or newer (or 3.50.7, 3.44.6); keep copies with `trading-floor accounts "
        "backup`",
    )


def folder_finding(store: Path) -> Finding:
    """Whether the store's folder, and the store's files in it, can be written to."""
    folder = store.parent
    if not folder.is_dir():
        return Finding("FAIL", "folder", f"{folder} does not exist", f"mkdir -p {folder}, or change DATABASE_URL")
    locked = [each for each in sorted(folder.glob(f"{store.name}*")) if not os.access(each, os.R_OK | os.W_OK)]
    if locked:
        return Finding(
            "FAIL", "folder", f"{locked[0]} can't be written to", f"make it yours: sudo chown $USER {store}*"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "FAIL",
            "folder",
            f"{folder} can't be written to: {error.strerror}",
            f"make it yours: sudo chown $USER {folder}, or change DATABASE_URL",
        )
    return Finding("ok", "folder", f"{folder} can be written to")


def disk_finding(free_bytes: int) -> Finding:
    found = f"{free_bytes / 1e9:,.1f} GB free"
    if free_bytes < DISK_FAIL_BYTES:
        return Finding("FAIL", "disk", f"{free_bytes / 1e6:,.0f} MB free", "make room before the next cycle is lost")
    if free_bytes < DISK_WARN_BYTES:
        return Finding("warn", "disk", found, "make room: with under 0.1 GB the floor may fail to record")
    return Finding("ok", "disk", found)


def free_bytes(store: Path) -> int:
    folder = next(each for each in store.parents if each.is_dir())
    return shutil.disk_usage(folder).free


def port_finding(port: int, host: str = "127.0.0.1") -> Finding:
    if port == 0:
        return Finding("ok", "port", f"any that is free on {host}, for the dashboard")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return Finding(
                "note",
                "port",
                f"{port} on {host} is taken, perhaps by a dashboard",
                "end that program if the dashboard is to have the port, or set another DASHBOARD_PORT",
            )
    return Finding("ok", "port", f"{port} on {host} is free for the dashboard")


class StoreExamination:
    """The store at `address`, looked at without a change. `is_sound` once `findings` has been read to its end."""

    def __init__(self, address: StoreAddress, *, reconciled_max: int = RECONCILED_MAX) -> None:
        self.address = address
        self.is_there = True
        self.is_sound = False
        self._reconciled_max = reconciled_max

    def findings(self) -> Iterator[Finding]:
        try:
            yield from self._of_file() if self.address.is_file else self._of_server()
        except StoreEmpty:
            self.is_there = False
            yield Finding("note", "store", f"none yet at {self.address}: the first start makes it")
        except StoreUnusable as error:
            yield failed("store", error)

    def _of_file(self) -> Iterator[Finding]:
        path = self.address.path
        if not path.exists():
            raise StoreEmpty
        try:
            with _looking(path) as (connection, raw):
                whole = _whole(connection, raw, path)
                if whole.state == "FAIL":
                    yield whole
                    return
                refuse_foreign(path)
                yield from self._look(connection, whole)
        except DBAPIError as error:
            if "malformed" in str(error.orig):
                yield Finding("FAIL", "store", f"{path} is damaged: {error.orig}", RESTORE)
            else:
                yield failed("store", explained(error, path))
        except sqlite3.Error as error:
            yield Finding("FAIL", "store", f"{path} can't be opened: {error}", "check who owns it and its folder")

    def _of_server(self) -> Iterator[Finding]:
        with closing(backend_of(self.address)) as backend:
            backend.prepare(may_make=False)
            try:
                with backend.read() as connection:
                    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
                    yield from self._look(connection, Finding("ok", "store", f"{self.address}, PostgreSQL {version}"))
            except DBAPIError as error:
                yield failed("store", backend.explained(error))

    def _look(self, connection: Connection, whole: Finding) -> Iterator[Finding]:
        found = revision(connection)
        is_now = found is not None and is_current(connection)
        if found is None or (is_now and connection.execute(select(tables.run)).one_or_none() is None):
            yield Finding(
                "FAIL",
                "store",
                f"{self.address} holds no run: it was never set up, or is a copy of the file without its -wal",
                f"{RESTORE}; if it never held anything, remove the file",
            )
            return
        yield whole
        if not is_now:
            yield Finding(
                "note", "schema", f"{found}; the next start brings it to {tables.SCHEMA_REVISION} and keeps a copy"
            )
            return
        yield Finding("ok", "schema", f"{found}, the newest")
        newest = _newest(connection)
        yield _clock_finding(newest, wall_now())
        books = self._books(connection, newest)
        self.is_sound = books.state != "FAIL"
        yield books

    def _books(self, connection: Connection, newest: datetime | None) -> Finding:
        count = connection.execute(select(func.count()).select_from(tables.transactions)).scalar_one()
        until = "" if newest is None else f", the newest record of {newest:%Y-%m-%d %H:%M:%S} UTC"
        transactions = f"{count:,} transaction{'' if count == 1 else 's'}"
        if count > self._reconciled_max:
            return Finding(
                "note",
                "books",
                f"{transactions}{until}: not recomputed here, which would take long",
                "`trading-floor accounts reconcile` recomputes them",
            )
        differences = list(islice(reconcile(connection), 2))
        if differences:
            return Finding(
                "FAIL",
                "books",
                f"{transactions}{until}, and {'differences' if differences[1:] else 'a difference'}: {differences[0]}",
                f"`trading-floor accounts reconcile` lists every difference; {RESTORE}",
            )
        return Finding("ok", "books", f"{transactions} recomputed, no difference{until}")


@contextmanager
def _looking(path: Path) -> Iterator[tuple[Connection, sqlite3.Connection]]:
    """One snapshot of the file, read only. Raises DBAPIError."""
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as raw:
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection, raw


def _whole(connection: Connection, raw: sqlite3.Connection, path: Path) -> Finding:
    """Whether every page of the file is where it belongs."""
    size = f"{path} ({path.stat().st_size / 1e6:,.1f} MB)"
    ends = time.monotonic() + EXAMINED_S
    raw.set_progress_handler(lambda: time.monotonic() > ends, 100_000)
    try:
        faults = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalars().all()
    except DBAPIError as error:
        if "interrupted" not in str(error.orig):
            raise
        return Finding("note", "store", f"{size}; too large to check every page within {EXAMINED_S:g} s")
    finally:
        raw.set_progress_handler(None, 0)
    if faults != ["ok"]:
        return Finding("FAIL", "store", f"{size} is damaged: {str(faults[0]).splitlines()[-1]}", RESTORE)
    return Finding("ok", "store", f"{size}, every page in its place")


def _newest(connection: Connection) -> datetime | None:
    """Wall time of the newest record."""
    times = (
        connection.execute(select(table.c.wall_time).order_by(table.c.id.desc()).limit(1)).scalar_one_or_none()
        for table in _DATED
    )
    return max((each for each in times if each is not None), default=None)


def _clock_finding(newest: datetime | None, now: datetime) -> Finding:
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if newest is not None and newest > now + CLOCK_SLACK:
        return Finding(
            "warn",
            "clock",
            f"{found}, which is behind the store's newest record of {newest:%Y-%m-%d %H:%M:%S} UTC",
            "set this machine's clock (`timedatectl set-ntp true`); limits by day and hour count from it",
        )
    return Finding("ok", "clock", f"{found}, not behind the record")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version[:3]))
