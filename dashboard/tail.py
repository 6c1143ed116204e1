"""The new rows of an append-only table, each handed out once and none left out.

On PostgreSQL two transactions that overlap may become visible against the order of their ids, so the newest ids are
looked at again each time, as many as OVERLAP says. What a look costs depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, func, select

OVERLAP = {"sqlite": 0, "postgresql": 1_000}
"""SQLite's one writer commits in the order of ids. A transaction of PostgreSQL's that takes more ids than this while
another one commits would be seen in part."""


class Tail:
    """Reading changes nothing until `accept`, so that a read that fails half way loses no row."""

    def __init__(self, connection: Connection, table: Table) -> None:
        """From here on: what is in the table now is known."""
        self._id = table.c.id
        self._overlap = OVERLAP[connection.dialect.name]
        self._newest = connection.execute(select(func.max(self._id))).scalar_one() or 0
        self._known: set[int] = set()
        self.accept(connection.execute(select(self._id).where(self._id > self._floor)).scalars().all())

    @property
    def newest(self) -> int:
        """The newest id that was accepted, 0 for none."""
        return self._newest

    @property
    def _floor(self) -> int:
        return max(0, self._newest - self._overlap)

    def new(self, connection: Connection) -> list[int]:
        """Ids that were not accepted yet, in order."""
        count, newest = connection.execute(select(func.count(), func.max(self._id)).where(self._id > self._floor)).one()
        if count == len(self._known) and (newest or self._newest) == self._newest:
            return []
        ids = connection.execute(select(self._id).where(self._id > self._floor).order_by(self._id)).scalars()
        return [each for each in ids if each not in self._known]

    def rows(self, connection: Connection, query: Any, ids: list[int]) -> list[Any]:
        """The rows of `query`, which has the column `id`, for ids that `new` gave, in order."""
        if not ids:
            return []
        wanted = set(ids)
        found = connection.execute(query.where(self._id >= ids[0]).order_by(self._id))
        return [row for row in found if row.id in wanted]

    def accept(self, ids: Iterable[int]) -> None:
        """These are known from now on."""
        self._known.update(ids)
        self._newest = max(self._newest, max(self._known, default=0))
        floor = self._floor
        self._known = {each for each in self._known if each > floor}
