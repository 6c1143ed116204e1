"""The store of a playback: the recorded run's copy, whose clock only the floor moves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from values.errors import Refused

TABLES = ("recording_entries", "recording_facts")


def copy_database(source: Path, target: Path) -> None:
    """A new SQLite file at `target` with all that `source` holds. Raises Refused `exists` and `no_copy`."""
    try:
        target.touch(0o600, exist_ok=False)
    except FileExistsError:
        raise Refused(
            "exists",
            f"{target} exists already, and a playback wants a store of its own: name a new one "
            "(DATABASE_URL=sqlite:///playback.db)",
        ) from None
    except OSError as error:
        raise Refused("no_copy", f"{target} can't be written: {error.strerror}") from None
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as found,
        closing(sqlite3.connect(target)) as made,
    ):
        found.backup(made)


def make_played_store(recording: Path, target: Path, digest: str) -> None:
    """A new store at `target` as the recorded run's was at its beginning. Raises Refused `exists` and `no_copy`."""
    copy_database(recording, target)
    with closing(sqlite3.connect(target)) as made:
        for table in TABLES:
            made.execute(f"DROP TABLE {table}")
        made.execute(
            "UPDATE run SET market = 'replay', history_hash = ?, history_name = ?", (digest, recording.name[:200])
        )
        made.commit()
        made.execute("VACUUM")
