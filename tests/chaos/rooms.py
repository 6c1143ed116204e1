"""Ways in which a disk is full, each filled to the last page and then given room page by page.

SQLite's own limit of pages, set on the product's connections through SQLAlchemy's events; this process's limit of a
file's size, which fails writes to the log and to copies; and, where the machine lets us mount one, a small file system.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.pool import Pool

PAGE = 4096
FRAME = PAGE + 24
"""A page in the log, with its header."""


class Room(Protocol):
    """What a disk has left."""

    def fill(self) -> None:
        """Leave nothing."""

    def more_pages(self, count: int) -> None: ...

    def lift(self) -> None:
        """Leave all that anybody may need."""


def page_count(path: Path) -> int:
    """How many pages the database has; 1 when there is none."""
    if not path.exists():
        return 1
    with closing(sqlite3.connect(path)) as raw:
        return max(1, int(raw.execute("PRAGMA page_count").fetchone()[0]))


@dataclass
class PageCount:
    """SQLite's limit of pages, on every connection that the product takes from a pool. See `page_limit`."""

    path: Path
    limit: int | None = None

    def fill(self) -> None:
        self.limit = page_count(self.path)

    def more_pages(self, count: int) -> None:
        assert self.limit is not None
        self.limit += count

    def lift(self) -> None:
        self.limit = None


@contextmanager
def page_limit(path: Path) -> Iterator[Room]:
    room = PageCount(path)

    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={room.limit or 2**30}")

    event.listen(Pool, "checkout", on_checkout)
    try:
        yield room
    finally:
        event.remove(Pool, "checkout", on_checkout)


@dataclass
class FileSize:
    """This process's limit of a file's size: a write beyond it fails. See `file_limit`."""

    path: Path
    before: tuple[int, int]
    limit: int = 0

    def fill(self) -> None:
        if self.path.exists():
            with closing(sqlite3.connect(self.path)) as raw:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._set(0)

    def more_pages(self, count: int) -> None:
        self._set(self.limit + count * FRAME)

    def lift(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    def _set(self, limit: int) -> None:
        self.limit = limit
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self.before[1]))


@contextmanager
def file_limit(path: Path) -> Iterator[Room]:
    """Python ignores the signal that goes with the limit, so a write fails with an error."""
    room = FileSize(path, resource.getrlimit(resource.RLIMIT_FSIZE))
    try:
        yield room
    finally:
        room.lift()


@dataclass
class SmallDisk:
    """A file system of its own, filled with a file."""

    filler: Path

    def fill(self) -> None:
        disk = os.statvfs(self.filler.parent)
        if disk.f_bavail:
            with self.filler.open("ab", buffering=0) as file:
                os.posix_fallocate(file.fileno(), file.tell(), disk.f_bavail * disk.f_frsize)

    def more_pages(self, count: int) -> None:
        os.truncate(self.filler, self.filler.stat().st_size - count * PAGE)

    def lift(self) -> None:
        self.filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Room]:
    room = SmallDisk(path.with_name("filler"))
    try:
        yield room
    finally:
        room.lift()


ROOMS: dict[str, Callable[[Path], AbstractContextManager[Room]]] = {
    "pages": page_limit, "file size": file_limit, "small disk": small_disk,
}  # fmt: skip


def on_small_disk(folder: Path, command: Sequence[str]) -> Sequence[str]:
    """The command that runs `command` with a file system of 16 MB at `folder`, which goes when the command ends."""
    own = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")
    return (*own, "sh", "-c", 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"', str(folder), *command)


def may_mount(folder: Path) -> bool:
    """Whether this machine lets us mount a file system of our own."""
    try:
        return subprocess.run(on_small_disk(folder, ["true"]), capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def filled(room: Room) -> Iterator[None]:
    room.fill()
    try:
        yield
    finally:
        room.lift()
