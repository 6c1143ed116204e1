"""A floor of four traders through thirty market days on one seed, with trouble at every seam, in one process.

Market, floor, desks, servers and store are the product's; models, the processes between desk and server, the machine's
time and its troubles are made up, and follow from the seed. After each run the books reconcile, every session has its
row with an outcome, no order was filled twice, and the same seed gives the same export, byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import random
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from multiprocessing import get_context
from unittest import mock

from benchmarks.figure import Figure
from database import Store
from desks.connection import ServerGone
from ledger.controls import ControlAction, ask
from tests.chaos.export import export
from tests.chaos.faketime import faked, run_virtually
from tests.chaos.faults import HOST, RATES, Host, troubled_stores
from tests.chaos.in_process import InProcessNursery
from tests.chaos.lives import STORE, Life, Simulation, makers, open_process
from tests.chaos.machine import Died
from tests.chaos.verdict import verdict
from values.errors import StoreUnusable

DAYS = 30
LIVES_MAX = 200
"""Floors that one run may need; every one after the first was started because the one before had ended."""
SEEDS = 100
TWICE = 10
"""How many of the seeds are run again, to compare."""
WORKERS = 2

OWNERS: Mapping[str, ControlAction] = {
    "trader is halted": "halt",
    "trader is paused": "pause",
    "trader may only sell": "reduce",
}


async def owner(run: Simulation, life: Life) -> None:
    """What happens to a floor from outside: its owner's word, its end, a hand on the machine's clock."""
    HOST.set(Host("owner"))
    chance, faults = run.faults.chance, run.faults
    with contextlib.ExitStack() as stack:
        store, market = open_process(run, stack)
        while True:
            await asyncio.sleep(chance.uniform(1, 25))
            name = chance.choice(sorted(run.models))
            try:
                for kind, action in OWNERS.items():
                    if life.floor is not None and faults.strikes(kind):
                        ask(store, market, action, name)
                if chance.random() < 0.3 and life.floor is not None:
                    ask(store, market, "resume", None)
            except StoreUnusable:
                run.happened["the owner was told that the store can't be used"] += 1
            if faults.strikes("clock is set back"):
                run.fake.step(-timedelta(hours=chance.uniform(1, 30)))
            if faults.strikes("clock is set forward"):
                run.fake.step(timedelta(hours=chance.uniform(1, 30)))
            if life.floor is not None and life.floor.traders and faults.strikes("floor is stopped"):
                life.floor.stop()
            elif faults.strikes("floor is killed"):
                run.killed.set()


async def play(run: Simulation) -> None:
    """Floors one after another, until one has come to the tape's end."""
    for _ in range(LIVES_MAX):
        run.happened["floors"] += 1
        run.killed.clear()
        nursery = InProcessNursery(makers(run), run.faults, run.crashed)
        life = Life(run, Host("floor"), nursery)
        with (
            contextlib.ExitStack() as stack,
            mock.patch("desks.servers.Nursery", nursery),
            mock.patch.object(os, "killpg", nursery.killpg),
        ):
            living = asyncio.create_task(life.live(stack))
            owning = asyncio.create_task(owner(run, life))
            killing = asyncio.create_task(run.killed.wait())
            await asyncio.wait({living, killing}, return_when=asyncio.FIRST_COMPLETED)
            if not living.done():
                me = asyncio.current_task()
                assert me is not None
                await life.kill(living, {me, owning, killing})
            for each in (owning, killing):
                each.cancel()
            await asyncio.wait({owning, killing})
            if not owning.cancelled():
                owning.result()
            ended = _how_it_ended(living)
            run.happened[f"floors that {ended}"] += 1
            if ended == "came to the end" and life.floor is not None and not life.floor._stopping.is_set():
                return
    raise AssertionError(f"{LIVES_MAX} floors did not come to the end of {run.days} days: {run.happened}")


def _how_it_ended(living: asyncio.Task[None]) -> str:
    try:
        living.result()
    except (Died, asyncio.CancelledError):
        return "were killed"
    except StoreUnusable:
        return "could not use their store"
    except ServerGone:
        return "could not start a server"
    return "came to the end"


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to: a digest of its export, the broken promises, the troubles, and what happened."""

    seed: int
    digest: str
    broken: list[str]
    came: Counter[str]
    happened: Counter[str]


def simulate(seed: int, days: int = DAYS) -> Result:
    """One whole run in a folder of its own."""
    with tempfile.TemporaryDirectory() as made, contextlib.chdir(made):
        run = Simulation(seed, days)
        with _alone(run):
            run.prepare()
            with troubled_stores(run.faults):
                run_virtually(run.fake, lambda: play(run))
            with contextlib.closing(Store(STORE)) as store:
                broken = [*run.crashed, *verdict(store, run.models, run.happened)]
                digest = sha256(export(store)).hexdigest()
    return Result(seed, digest, broken, run.faults.came, run.happened)


@contextlib.contextmanager
def _alone(run: Simulation) -> Iterator[None]:
    """Time, chance and secrets follow from the seed; what the product says on stderr is nobody's."""
    tokens = random.Random(f"{run.seed} tokens")
    with (
        faked(run.fake),
        mock.patch.object(secrets, "token_hex", lambda count=32: tokens.randbytes(count).hex()),
        mock.patch("opentelemetry.sdk.trace.id_generator.random", random.Random(f"{run.seed} spans")),
        contextlib.redirect_stderr(io.StringIO()),
        _quiet(),
    ):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def prove(scale: int, seed: int) -> list[Figure]:
    """100 seeds of thirty days, ten of them twice, each run in whichever of two processes is free."""
    seeds = [seed * 1_000_003 + number for number in range(SEEDS * scale)]
    again = seeds[: TWICE * scale]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(simulate, [*seeds, *again]))
    first, second = results[: len(seeds)], results[len(seeds) :]
    broken = [f"seed {each.seed}: {sentence}" for each in results for sentence in each.broken]
    assert not broken, broken[:5]
    came = sum((each.came for each in results), Counter[str]())
    happened = sum((each.happened for each in results), Counter[str]())
    digests = {each.seed: each.digest for each in first}
    differ = sum(each.digest != digests[each.seed] for each in second)
    assert min(came[kind] for kind in RATES) > 0, came
    told = ("sessions", "fills", "fills that were sent again", "floors", "floors that were killed")
    return [
        Figure(f"simulator: seeds of {DAYS} market days with true books", len(first), "", goal=SEEDS, at_least=True),
        Figure("simulator: books, sessions or orders that are not as promised", len(broken), "", goal=0),
        Figure("simulator: seeds run twice", len(second), "", goal=TWICE, at_least=True),
        Figure("simulator: seeds whose second export differs by a byte", differ, "", goal=0),
        Figure("simulator: seeds with another seed's export", len(first) - len(set(digests.values())), "", goal=0),
        *(Figure(f"simulator: {what}", happened[what], "") for what in told),
        *(Figure(f"simulator: {kind}", came[kind], "", goal=1, at_least=True) for kind in RATES),
    ]
