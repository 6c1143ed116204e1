"""The canonical export of a store: every row of every table in the order of its primary key, a JSON line each.

Two stores that hold the same give the same bytes, whatever order their tables were written in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import select

from database import Store
from store import tables
from values.clock import iso
from values.money import plain

Value = str | int | float | bool | None


def export(store: Store) -> bytes:
    return "".join(f"{line}\n" for line in _lines(store)).encode()


def _lines(store: Store) -> Iterator[str]:
    with store.read() as connection:
        for name, table in sorted(tables.metadata.tables.items()):
            for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings():
                values = {column: _value(row[column]) for column in sorted(table.columns.keys())}
                yield json.dumps({"table": name, **values}, ensure_ascii=True, separators=(",", ":"))


def _value(value: object) -> Value:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return plain(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"the export has no form for a {type(value).__name__}")
