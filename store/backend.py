"""What the store asks of its database. One implementation for SQLite's file, one for PostgreSQL."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from values.address import StoreAddress


class FloorHold(Protocol):
    """The right to be the one floor of a store. Lost with the process, however it ends."""

    def release(self) -> None: ...


class Backend(Protocol):
    """Safe to use from several threads; other processes have their own."""

    def prepare(self, *, may_make: bool) -> None:
        """What is needed before the first connection. Raises StoreEmpty where there is no store, and StoreUnusable."""

    def read(self) -> AbstractContextManager[Connection]:
        """A snapshot that nothing is written in."""

    def write(self, timeout_s: float) -> AbstractContextManager[Connection]:
        """A durable transaction. Raises StoreBusy when another's lock is in its way for longer than `timeout_s`."""

    def hold_alone(self, connection: Connection) -> None:
        """Until its transaction ends, no other process sets the store up."""

    def copy_before_migration(self, found: str, to: str) -> Path | None:
        """A copy of the store as it is, or None where a migration is undone whole by the database itself."""

    def copy_to(self, target: Path) -> None:
        """A consistent copy as an SQLite file in the empty file `target`. Raises Refused `no_copy`."""

    def hold_floor(self) -> FloorHold | None:
        """None when another process has it."""

    def floor_holder(self) -> str:
        """Who holds the floor, or held it last, in words."""

    def is_floor_held(self) -> bool:
        """Whether a process has the floor now. To look never keeps a floor from starting."""

    def discard(self) -> None:
        """Remove the store, once a copy is safe. Closes it."""

    def explained(self, error: StatementError) -> Exception:
        """The store's own error for what the driver said, or the error of ours that a column's type raised."""

    def close(self) -> None: ...


def backend_of(address: StoreAddress) -> Backend:
    if address.is_file:
        from store.sqlite import SqliteFile

        return SqliteFile(address.path)
    from store.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(address)
