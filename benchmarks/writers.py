"""How long eight writers on one store wait for their trades, on SQLite and on PostgreSQL.

Each is a process that buys without a pause on an account of its own. The baseline is one such process alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from statistics import quantiles

import pytest
from sqlalchemy import func, select

from accounts import Account, open_account
from benchmarks.figure import Figure
from database import NewRun, Store
from ledger.reconcile import reconcile
from market import Market, open_market
from store import tables
from tests.postgresql import schema
from values.address import StoreAddress
from values.errors import StoreUnusable
from values.settings import PROJECT, MarketSettings, load

WRITERS = 8
TRADES = 250
GOAL_P99_MS = 50.0
GOAL_LONGEST_MS = 500.0


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures("SQLite", StoreAddress.of_file(Path(folder) / "accounts.db"))
        try:
            with schema(f"floor_bench_{os.getpid()}", Path(folder), is_durable=True) as address:
                figures += _figures("PostgreSQL", address)
        except pytest.skip.Exception as skipped:
            print(f"writers on PostgreSQL are not measured: {skipped}", file=sys.stderr)
    return figures


def _figures(database: str, address: StoreAddress) -> list[Figure]:
    with closing(Store(address, NewRun("simulated", 7))) as store:
        market = _market(store)
        names = [f"writer-{number}" for number in range(WRITERS)]
        for name in ["alone", *names]:
            open_account(store, market, name, balance=Decimal(10_000_000))
        (alone,), together = _side_by_side(address, ["alone"]), _side_by_side(address, names)
        failures = [each for told in together for each in told["failures"]]
        waits = [wait for told in together for wait in told["waits_ms"]]
        with store.read() as connection:
            differences = len(list(reconcile(connection)))
            booked = connection.execute(
                select(func.count()).where(
                    tables.transactions.c.kind == "buy", tables.transactions.c.account != "alone"
                )
            ).scalar_one()
    for failure in failures[:3]:
        print(f"a writer was told: {failure}", file=sys.stderr)
    what = f"{WRITERS} writers on one {database} store"
    return [
        Figure(f"{what}: trades refused or lost", len(failures) + abs(booked - len(waits)), "", goal=0),
        Figure(f"{what}: differences in the books", differences, "", goal=0),
        Figure(f"{what}: 99th percentile of a trade", _p99(waits), "ms", _p99(alone["waits_ms"]), GOAL_P99_MS),
        Figure(f"{what}: longest trade", max(waits), "ms", max(alone["waits_ms"]), GOAL_LONGEST_MS),
    ]


def _p99(waits_ms: list[float]) -> float:
    return quantiles(waits_ms, n=100)[-1]


def _market(store: Store) -> Market:
    return open_market(store, load(MarketSettings, run_even_when_market_is_closed=True))


def _side_by_side(address: StoreAddress, names: list[str]) -> list[dict[str, list[float]]]:
    """What a process for each account was told; all begin together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.writers", address.url, name],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def main() -> None:
    address, name = StoreAddress.parse(sys.argv[1], PROJECT), sys.argv[2]
    with closing(Store(address)) as store:
        account = Account(store, _market(store), name, "client")
        account.report()
        print("ready", flush=True)
        sys.stdin.readline()
        waits, failures = [], []
        for _ in range(TRADES):
            began = time.perf_counter()
            try:
                account.buy_shares("BTC-USD", "0.0001", "a benchmark")
            except StoreUnusable as error:
                failures.append(str(error))
            waits.append((time.perf_counter() - began) * 1000)
    print(json.dumps({"waits_ms": waits, "failures": failures}))


if __name__ == "__main__":
    main()
