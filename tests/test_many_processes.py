"""Many processes on one account: every order is filled once, and the books say so afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, nullcontext
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from accounts import Account, open_account
from database import Store
from ledger.reconcile import reconcile
from market import open_market, open_store
from store import tables
from tests.postgresql import schema
from tests.side_by_side import at_once, settings_of
from values.address import StoreAddress

PROCESSES = 8
ORDERS = 8


class Crowd:
    """What eight processes did side by side, and the store that they left behind."""

    def __init__(self, store: Store, own: list[Any], shared: list[Any]) -> None:
        self.store = store
        self.own = own
        self.shared = shared

    def keys(self, account: str) -> list[str]:
        table = tables.transactions.c
        with self.store.read() as connection:
            rows = connection.execute(select(table.order_key).where(table.account == account, table.kind == "buy"))
            return [row.order_key for row in rows]

    def ids(self, account: str) -> set[int]:
        table = tables.transactions.c
        with self.store.read() as connection:
            return set(
                connection.execute(select(table.id).where(table.account == account, table.kind == "buy")).scalars()
            )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    sqlite = nullcontext(StoreAddress.of_file(folder / "accounts.db"))
    postgresql = schema(f"floor_crowd_{os.getpid()}", folder)
    with sqlite if request.param == "sqlite" else postgresql as address:
        yield from crowd_on(address)


def crowd_on(address: StoreAddress) -> Iterator[Crowd]:
    settings = settings_of(address.url)
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        for name in ("warren", "george"):
            open_account(store, market, name, balance=Decimal(1_000_000))
        done = at_once(
            "orders",
            [
                (address.url, str(ORDERS), "george", "order:", "warren", f"process-{process}:")
                for process in range(PROCESSES)
            ],
        )
        own, shared = ([each[name] for each in done] for name in ("warren", "george"))
        yield Crowd(store, own, shared)


def test_eight_processes_that_order_at_once_fill_every_order(crowd: Crowd) -> None:
    assert [each["refusals"] for each in crowd.own] == [[]] * PROCESSES
    wanted = sorted(f"process-{process}:{number}" for process in range(PROCESSES) for number in range(ORDERS))
    assert sorted(crowd.keys("warren")) == wanted
    told = [fill for each in crowd.own for fill in each["fills"]]
    assert len(told) == len(set(told)) == PROCESSES * ORDERS
    assert set(told) == crowd.ids("warren")


def test_the_same_keys_from_eight_processes_fill_once_each(crowd: Crowd) -> None:
    assert [each["refusals"] for each in crowd.shared] == [[]] * PROCESSES
    assert sorted(crowd.keys("george")) == sorted(f"order:{number}" for number in range(ORDERS))
    assert len({tuple(each["fills"]) for each in crowd.shared}) == 1, "every process was told of the same fills"
    assert set(crowd.shared[0]["fills"]) == crowd.ids("george")


@pytest.mark.parametrize(("name", "fills"), [("warren", PROCESSES * ORDERS), ("george", ORDERS)])
def test_what_is_held_and_left_afterwards_is_the_sum_of_the_fills(crowd: Crowd, name: str, fills: int) -> None:
    market = open_market(crowd.store, settings_of(crowd.store.address.url))
    report = Account(crowd.store, market, name).report()
    assert Decimal(report.holdings["BTC-USD"]) == fills * Decimal("0.001")
    table = tables.transactions.c
    with crowd.store.read() as connection:
        paid = connection.execute(select(func.sum(table.amount)).where(table.account == name)).scalar_one()
        logged = connection.execute(
            select(func.count()).where(tables.logs.c.account == name, tables.logs.c.type == "account")
        ).scalar_one()
        assert list(reconcile(connection)) == []
    assert Decimal(report.balance) == paid
    assert logged == fills


def test_no_order_of_the_crowd_was_refused_on_record(crowd: Crowd) -> None:
    with crowd.store.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.refusals)).scalar_one() == 0


@pytest.mark.both_databases
def test_of_two_processes_that_open_an_account_at_once_one_does_and_its_strategy_stays(address: StoreAddress) -> None:
    settings = settings_of(address.url)
    names = [f"account-{number}" for number in range(20)]
    with closing(open_store(settings)) as store:
        told = at_once("open_accounts", [(address.url, strategy, *names) for strategy in ("patience", "boldness")])
        assert sorted(told[0] + told[1]) == sorted(names)
        market = open_market(store, settings)
        for strategy, opened in zip(("patience", "boldness"), told, strict=True):
            assert {Account(store, market, name).record().strategy for name in opened} <= {strategy}
