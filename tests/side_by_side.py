"""Work that tests have done by several processes at once: `python -m tests.side_by_side WORK ARGUMENT...`.

A process says "ready" once it has imported all it needs, begins when it gets a line, and prints its result as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

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
    """Open an older store with another chain of migrations; the copy that this process made, if it was the one."""
    database.upgrade = partial(upgrade, migrations=Path(migrations))  # type: ignore[attr-defined]
    with closing(Store(StoreAddress.parse(url, PROJECT), NewRun())) as store:
        return None if store.migrated_copy is None else store.migrated_copy.name


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


def spend(url: str, cap_usd: str, count: str, *accounts: str) -> object:
    """A process for each account makes `count` calls at once, as dear as can be; how many were refused."""
    waiting, begin = os.pipe()
    children = []
    for account in accounts:
        child = os.fork()
        if not child:
            os.close(begin)
            os.read(waiting, 1)
            os._exit(asyncio.run(_spend(url, account, int(count), Decimal(cap_usd))))
        children.append(child)
    os.close(begin)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


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
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.side_by_side", work, *each],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("begin\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=150)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(answer) for answer in answers]


def main() -> None:
    work, *arguments = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(WORK[work](*arguments)))


if __name__ == "__main__":
    main()
