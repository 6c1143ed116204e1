"""Where a store is: an SQLite file, or a PostgreSQL database by its URL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql+psycopg://"


@dataclass(frozen=True, slots=True, repr=False)
class StoreAddress:
    """`url` has the password, if there is one, and is for the driver and our own servers alone; `str` leaves it out.

    `path` is SQLite's file, and for PostgreSQL a file that is not there: what belongs to a store and is not in its
    database (price history, memories, copies) stands beside `path` under names that begin with its name.
    """

    url: str
    path: Path

    @classmethod
    def of_file(cls, path: Path) -> StoreAddress:
        return cls(f"{_SQLITE}{path}", path)

    @classmethod
    def parse(cls, url: str, folder: Path) -> StoreAddress:
        """The address that DATABASE_URL is; a relative path is in `folder`. Raises ValueError with what is expected."""
        if url.startswith(_SQLITE) and len(url) > len(_SQLITE) and ":memory:" not in url:
            return cls.of_file(folder / url.removeprefix(_SQLITE))
        if url.startswith(_POSTGRESQL):
            parts = urlsplit(url)
            try:
                is_whole = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"/[^/]+", parts.path)
            except ValueError:  # a port that is none
                is_whole = False
            if is_whole:
                shown = _without_password(url)
                mark = hashlib.sha256(shown.encode()).hexdigest()[:8]
                name = re.sub(r"[^A-Za-z0-9]+", "-", parts.path).strip("-")
                return cls(url, folder / f"postgresql-{name}-{mark}")
        raise ValueError("an SQLite file such as sqlite:///accounts.db, or postgresql+psycopg://USER@HOST/DATABASE")

    @property
    def is_file(self) -> bool:
        return self.url.startswith(_SQLITE)

    @property
    def password(self) -> str | None:
        return None if self.is_file else urlsplit(self.url).password

    def history_path(self, history_hash: str) -> Path:
        """Where the store's run keeps the indexed form of its price file."""
        return self.path.with_name(f"{self.path.name}.history-{history_hash[:16]}")

    @property
    def recording_path(self) -> Path:
        """Where the store of a playback keeps the recording that it plays."""
        return self.path.with_name(f"{self.path.name}.recording")

    def __str__(self) -> str:
        return str(self.path) if self.is_file else _without_password(self.url)

    __repr__ = __str__


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))
