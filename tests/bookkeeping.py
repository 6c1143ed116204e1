"""What tests of accounts ask of a store: all its books, what was refused, and that a refusal changed nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Row, select

from database import Store
from ledger.reconcile import reconcile
from store import tables
from tests.shelf import refused
from values.errors import Refused


def books(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Cash, holdings, transactions, strategies and limits of every account, whole."""
    own = tables.accounts.c
    queries = {
        "accounts": select(own.name, own.kind, own.cash, own.realised, own.deposited, own.strategy, own.opened_at),
        "holdings": select(tables.holdings),
        "transactions": select(tables.transactions),
        "strategies": select(tables.strategies),
        "limits": select(tables.limits),
    }
    with store.read() as connection:
        return {name: sorted(map(tuple, connection.execute(query)), key=str) for name, query in queries.items()}


def rows(store: Store, table: Any) -> list[Row[Any]]:
    with store.read() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)).all())


def differences(store: Store) -> list[str]:
    with store.read() as connection:
        return [str(each) for each in reconcile(connection)]


@contextmanager
def turned_down(store: Store, code: str, text: str = "") -> Iterator[pytest.ExceptionInfo[Refused]]:
    """What happens inside is refused with `code`, leaves one row that says so, and changes nothing in the books."""
    before, known = books(store), len(rows(store, tables.refusals))
    with refused(code, text) as caught:
        yield caught
    assert books(store) == before
    new = rows(store, tables.refusals)[known:]
    assert [(row.code, row.sentence) for row in new] == [(code, caught.value.sentence)]


def would_fit(refusal: Refused) -> Decimal:
    """The quantity that a refusal offers."""
    found = re.search(r"; (\S+) would fit$", refusal.sentence)
    assert found is not None, refusal.sentence
    return Decimal(0) if found[1] == "none" else Decimal(found[1])


def at(store: Store, moment: datetime) -> None:
    """Move the run's market time."""
    store.anchor(moment, 1, timedelta(0))
