"""A floor on one seed with trouble at every seam: a small form of `tests/chaos/simulator.py`, and what it found."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, update

from accounts import Account, open_account
from database import Store
from ledger import sessions
from market import Market
from store import tables
from tests.chaos.export import export
from tests.chaos.faults import RATES
from tests.chaos.simulator import simulate
from tests.chaos.verdict import verdict
from tests.conftest import START
from tests.test_floor import HOUR

DAYS = 2
SEEDS = (13, 13, 1)


def test_whatever_goes_wrong_the_books_are_true_and_one_seed_is_one_export() -> None:
    first, again, other = runs = [simulate(seed, DAYS) for seed in SEEDS]
    came = sum((run.came for run in runs), Counter[str]())
    happened = sum((run.happened for run in runs), Counter[str]())
    assert [run.broken for run in runs] == [[], [], []]
    assert first == again
    assert first.digest != other.digest
    assert len(+came) >= 10, came  # a run in which nothing went wrong would prove nothing
    assert happened["fills"] > 15
    assert set(came) <= set(RATES)


class TestVerdict:
    """Each promise can be seen to be broken."""

    @pytest.fixture
    def account(self, store: Store, market: Market) -> Account:
        account = open_account(store, market, "warren", kind="trader", actor="floor")
        sessions.open_session_row(store, "trace_1", "warren", 1, "trade", "test")
        account.buy_shares("AAPL", 1, "a test", "trace_1:1")
        sessions.end_session_row(
            store, "trace_1", outcome="completed", reason="", appraisal="", turns=0, tool_calls=0, calls=()
        )
        assert verdict(store, {}, Counter()) == []
        return account

    @pytest.mark.parametrize(
        ("table", "change", "says"),
        [
            ("sessions", {"outcome": "open"}, "has no outcome"),
            ("transactions", {"order_key": "trace_2:1"}, "has the key trace_2:1 and the session trace_1"),
            ("accounts", {"cash": Decimal(1)}, "cash"),
            ("holdings", {"quantity": Decimal(7)}, "the holding of AAPL"),
        ],
    )
    def test_a_changed_row_is_noticed(
        self, store: Store, account: Account, table: str, change: dict[str, Any], says: str
    ) -> None:
        changed = tables.metadata.tables[table]
        with store.write() as connection:
            query = update(changed).values(**change)
            connection.execute(query.where(changed.c.kind == "buy") if table == "transactions" else query)
        assert any(says in sentence for sentence in verdict(store, {}, Counter()))

    def test_a_lost_fill_and_a_second_session_of_a_cycle_are_noticed(self, store: Store, account: Account) -> None:
        sessions.open_session_row(store, "trace_2", "warren", 1, "trade", "test")
        sessions.interrupt_open_sessions(store)
        fill = {"transaction_id": 99, "name": "warren", "side": "buy", "symbol": "AAPL", "quantity": "1", "price": "1"}
        told = type("Told", (), {"told": [{**fill, "repeated": False}]})()
        broken = verdict(store, {"warren": told}, Counter())
        assert len(broken) == 2
        assert "warren had two sessions in cycle 1" in broken
        assert any("the books do not have the fill" in sentence for sentence in broken)

    def test_a_row_that_stands_behind_a_later_one_is_noticed(self, store: Store, account: Account) -> None:
        with store.write() as connection:
            query = update(tables.transactions).where(tables.transactions.c.kind == "deposit")
            connection.execute(query.values(market_time=START + timedelta(days=1)))
        assert any(sentence.startswith("transactions: ") for sentence in verdict(store, {}, Counter()))


def test_an_export_has_every_row_of_every_table_and_changes_with_any_of_them(store: Store, market: Market) -> None:
    open_account(store, market, "warren", kind="trader", actor="floor")
    open_account(store, market, "george", kind="trader", actor="floor")
    before = export(store)
    rows = [json.loads(line) for line in before.splitlines()]
    assert [row["name"] for row in rows if row["table"] == "accounts"] == ["george", "warren"]
    assert export(store) == before
    with store.read() as connection:
        counts = {name: len(connection.execute(select(table)).all()) for name, table in tables.metadata.tables.items()}
    assert Counter(row["table"] for row in rows) == +Counter(counts)
    store.anchor(START + HOUR, 1, timedelta(0))
    assert export(store) != before
