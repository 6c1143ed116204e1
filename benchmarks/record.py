"""What a trade, an account's report and a page of transactions cost with a short and with a long record behind them.

The baseline is the same operation on an account without a record, in turns with the others.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from statistics import median

from accounts import Account, open_account
from benchmarks.figure import Figure
from database import NewRun, Store
from market import Market
from tests.bulk import fill_record
from values.clock import FixedClock, wall_now
from venues.simulated import SimulatedVenue

RECORDS = (0, 10_000, 100_000, 1_000_000)
ROUNDS = 1_000
GOAL = 1.25
SEED = 7


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        accounts = {count: _account(Path(folder) / f"{count}.db", count) for count in RECORDS}
        taken = _measured(accounts)
        for account in accounts.values():
            account.store.close()
    figures = []
    for name in OPERATIONS:
        medians = {count: median(taken[name, count]) * 1000 for count in RECORDS}
        figures += [
            Figure(f"{name} with {count:,} transactions behind it", medians[count], "ms", medians[0], GOAL, "ratio")
            for count in RECORDS[1:]
        ]
    return figures


def _buy(account: Account) -> None:
    account.buy_shares("BTC-USD", "0.0001", "a benchmark")


def _report(account: Account) -> None:
    account.report()


def _page(account: Account) -> None:
    account.list_transactions()


OPERATIONS: dict[str, Callable[[Account], None]] = {
    "a trade": _buy,
    "an account's report": _report,
    "a page of transactions": _page,
}


def _account(path: Path, count: int) -> Account:
    store = Store(path, NewRun("simulated", SEED))
    run = store.run()
    # a clock that stands still: what differs is the record alone, not a price that another asked for already
    market = Market(SimulatedVenue(run.seed, run.started_at), FixedClock(wall_now()), minds_closed=False)
    account = open_account(store, market, "warren", balance=Decimal(100_000_000))
    fill_record(store, "warren", count)
    for _ in range(50):  # so that every report and page is of full length
        _buy(account)
    return account


def _measured(accounts: dict[int, Account]) -> dict[tuple[str, int], list[float]]:
    taken: dict[tuple[str, int], list[float]] = {(name, count): [] for name in OPERATIONS for count in RECORDS}
    order = list(taken)
    chance = random.Random(SEED)
    for _ in range(ROUNDS):
        chance.shuffle(order)
        for name, count in order:
            began = time.perf_counter()
            OPERATIONS[name](accounts[count])
            taken[name, count].append(time.perf_counter() - began)
    return taken
