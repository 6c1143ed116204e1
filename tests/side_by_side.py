"""Work that tests have done by several processes at once: `python -m tests.side_by_side WORK`.

It reads a list of argument lists as JSON, imports all that the work needs, forks a process for each, has them begin
together, and prints their results as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

import accounts
import database
import venues.simulated  # noqa: F401 - early, so that the work itself is all that is left to do
from database import NewRun, Store
from market import open_market, open_store
from model_clients.budget import Budget
from model_clients.meter import OverBudget
from store.migrate import upgrade
from values.address import StoreAddress
from values.clock import wall_now
from values.errors import Refused, StoreUnusable
from values.settings import MarketSettings, load
from values.usage import ModelCall, Rates, Tokens

START_S = 30.0
START = get_context("fork").Barrier(1)
PROJECT = Path(__file__).resolve().parent.parent


def settings_of(where: str | Path) -> MarketSettings:
    """A simulated market on the store at a URL or in a file."""
    url = f"sqlite:///{where}" if isinstance(where, Path) else where
    return load(MarketSettings, database_url=url, market="simulated", market_seed=7)


def open_new(url: str) -> object:
    """Open the store as the floor and its servers do; what run it found or made."""
    with closing(open_store(settings_of(url))) as store:
        return str(store.run().made_at)


def migrate(url: str, migrations: str) -> object:
    """Open an older store with another chain of migrations; whether this process was the one that migrated it."""
    done = []

    def counted(connection: Connection) -> None:
        upgrade(connection, Path(migrations))
        done.append(connection)

    database.upgrade = counted  # type: ignore[attr-defined, assignment]
    Store(StoreAddress.parse(url, PROJECT), NewRun()).close()
    return bool(done)


def orders(url: str, count: str, *accounts_and_keys: str) -> object:
    """For each pair of an account and a text, buy 0.001 BTC `count` times under the keys `{text}0`, `{text}1` ...

    For each account, the ids of the fills and the refusals.
    """
    settings = settings_of(url)
    done = {}
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        for name, keys in zip(accounts_and_keys[::2], accounts_and_keys[1::2], strict=True):
            trader = accounts.Account(store, market, name, "client")
            fills, refusals = [], []
            for number in range(int(count)):
                try:
                    fill = trader.buy_shares("BTC-USD", "0.001", "side by side", f"{keys}{number}")
                    fills.append(fill.transaction_id)
                except (Refused, StoreUnusable) as error:
                    refusals.append(str(error))
            done[name] = {"fills": fills, "refusals": refusals}
    return done


def open_accounts(url: str, strategy: str, *names: str) -> object:
    """Open accounts with a strategy; which of them this process was the one to open."""
    settings = settings_of(url)
    opened = []
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        for name in names:
            with contextlib.suppress(Refused):
                accounts.open_account(store, market, name, strategy=strategy)
                opened.append(name)
    return opened


def spend(url: str, account: str, cap_usd: str, count: str) -> object:
    """Make `count` calls at once, each in a session of its own and as dear as can be; how many were refused."""
    return asyncio.run(_spend(url, account, int(count), Decimal(cap_usd)))


async def _spend(url: str, account: str, count: int, cap: Decimal) -> int:
    with closing(Store(StoreAddress.parse(url, PROJECT))) as store:
        budget = Budget(store, cap, cap)
        calls = (one_call(budget, account, f"{os.getpid()}-{number}") for number in range(count))
        return [isinstance(each, OverBudget) for each in await asyncio.gather(*calls, return_exceptions=True)].count(
            True
        )


async def one_call(budget: Budget, account: str, session_id: str) -> None:
    """A call that uses all that was held for it: 1 cent. Raises OverBudget."""
    call = ModelCall("test/dear", Tokens(9_000, 1_000), CENT_RATES, False, 1.0, "stop", wall_now())
    reservation = await budget.reserve(session_id, account, replace(call, is_estimate=True))
    await asyncio.sleep(0)
    await budget.settle(reservation, call)


CENT_RATES = Rates.plain(Decimal(1), Decimal(1))
WORK: dict[str, Callable[..., object]] = {
    "open_new": open_new, "migrate": migrate, "orders": orders, "open_accounts": open_accounts, "spend": spend,
}  # fmt: skip


def at_once(work: str, arguments: Sequence[Sequence[str]]) -> list[Any]:
    """Do `work` in one process for each list of arguments, all beginning together; their results in order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.side_by_side", work],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        text=True,
        timeout=150,
        check=True,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


def begin(task: Sequence[str]) -> object:
    START.wait(START_S)
    return WORK[sys.argv[1]](*task)


def main() -> None:
    global START
    tasks, fork = json.load(sys.stdin), get_context("fork")  # what was imported is not imported again
    START = fork.Barrier(len(tasks))  # a process that waits takes no second task
    with ProcessPoolExecutor(len(tasks), fork) as pool:
        print(json.dumps(list(pool.map(begin, tasks))))


if __name__ == "__main__":
    main()
