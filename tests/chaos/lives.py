"""The lives of a simulated floor: each a process with its servers, as `commands/run.py` starts it, on one run's seed.

Market, floor, desks, servers and store are the product's. Models, the pipe between desk and server, and time are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import accounts_server
import market_server
import memory.server
import push_server
from accounts import open_account
from commands.seats import FloorRecorder
from database import NewRun, Store, read_account, write_log
from desks.launch import Launch
from desks.servers import Servers
from ledger.baselines import open_baselines
from market import Market
from memory import memory_path
from memory.graph import MemoryGraph
from model_clients.prices import Price
from model_clients.routing import Route
from personas import Persona, load_personas
from push.events import Announcer
from push.outbox import Outbox
from tests.chaos.faketime import FakeTime
from tests.chaos.faults import HOST, Faults, Host, TroubledCarrier, TroubledVenue
from tests.chaos.in_process import InProcessNursery
from tests.chaos.seeded_model import SeededModel
from tracers import LogTracer
from traders import SessionBounds, Trader
from trading_floor import Floor
from values.errors import StoreUnusable
from values.log import LogRow
from values.push_settings import DEFAULT_LEVELS
from values.schedule import Tape
from values.settings import PROJECT
from values.usage import Rates
from venues.history import history_hash, import_history
from venues.replay import ReplayVenue
from wire.server import RefusingServer

STORE = Path("accounts.db")
"""In the run's own folder, which is where it works: no path of a machine gets into its sentences."""
FIRST_DAY = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
DAY = timedelta(days=1)
SYMBOLS = ("AAPL", "AMD", "BRK.B", "JPM", "KO", "MSFT", "NVDA", "SPY", "BTC-USD", "ETH-USD")
BOUNDS = SessionBounds(turns=12, seconds=60.0, usd=Decimal("0.5"))
PRICE = Price.flat(Rates.plain(Decimal(1), Decimal(2)))
PAUSE_S = 3.0


class LockstepTracer(LogTracer):
    """The tracer without its thread: rows are written when somebody waits for them."""

    def _run(self) -> None:
        """Nothing: `flush` does it."""

    def flush(self, timeout_s: float = 5.0) -> bool:
        told = Future[bool]()
        with self._work:
            self._entries.append(self._notice(told))
            self._hurry = True
        while self._entries:
            batch = self._take()
            self._deliver(batch)
            for entry in batch:
                if entry.told:
                    entry.told.set_result(not self._untold)
        return told.result(0)


@dataclass
class Simulation:
    """One run: its seed, its faults, and what happened."""

    seed: int
    days: int
    faults: Faults = field(init=False)
    fake: FakeTime = field(init=False)
    models: dict[str, SeededModel] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    crashed: list[str] = field(default_factory=list)
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.faults = Faults(f"{self.seed} faults")
        worker = random.Random(f"{self.seed} workers")
        self.fake = FakeTime(datetime(2026, 11, 20, 9, tzinfo=UTC), lambda: worker.uniform(0.0001, 0.02))

    def prepare(self) -> None:
        """A new store with its price file, and a model for each persona."""
        csv = Path("prices.csv")
        csv.write_text("\n".join(_prices(random.Random(f"{self.seed} prices"), self.days)))
        digest = history_hash(csv)
        info = import_history(csv, Path(f"{STORE}.history-{digest[:16]}"))
        with contextlib.closing(Store(STORE, NewRun("replay", self.seed, digest, csv.name, info.first_start))) as store:
            self.history_path = store.address.history_path(digest)
        for persona in personas():
            self.models[persona.name] = SeededModel(persona.name, SYMBOLS, f"{self.seed} model", self.faults)


def personas() -> list[Persona]:
    return load_personas(PROJECT / "personas")


def _prices(chance: random.Random, days: int) -> Iterator[str]:
    """Daily bars: coins every day, the others from Monday to Friday."""
    yield "symbol,time,open,high,low,close,volume"
    for symbol in SYMBOLS:
        price = chance.uniform(20, 400)
        for day in range(days):
            start = FIRST_DAY + DAY * day
            close = price * chance.lognormvariate(0, 0.04)
            if symbol.endswith("-USD") or start.weekday() < 5:
                top, bottom = max(price, close) * 1.01, min(price, close) * 0.99
                numbers = ",".join(f"{each:.2f}" for each in (price, top, bottom, close))
                yield f"{symbol},{start:%Y-%m-%dT%H:%M:%SZ},{numbers},1000"
            price = close


@dataclass
class Life:
    """One floor's process, from its start to its end, and the servers that it started."""

    run: Simulation
    host: Host
    nursery: InProcessNursery
    floor: Floor | None = None

    async def live(self, stack: contextlib.ExitStack) -> None:
        """What `commands/run.py` does, without screen and signals."""
        HOST.set(self.host)
        run = self.run
        store, market = open_process(run, stack)
        for persona in personas():
            if read_account(store, persona.name) is None:
                strategy, limits = persona.strategy, persona.limits
                open_account(
                    store, market, persona.name, strategy=strategy, kind="trader", limits=limits, actor="floor"
                )
        open_baselines(store, market)
        backlog = 25 if run.faults.strikes("log falls behind") else 10_000
        tracer = LockstepTracer(self._log(store), queue_rows=backlog, pause=lambda _s: None, wall=run.fake.wall)
        stack.callback(tracer.close)
        recorder = FloorRecorder(store, tracer, Announcer(store, market.clock, DEFAULT_LEVELS, None, True))
        venue = ReplayVenue(run.history_path)
        stack.callback(venue.close)
        tape = Tape(venue.starts(), venue.end, PAUSE_S)
        traders: dict[str, Trader] = {}
        self.floor = Floor(store, market, traders, DAY, self._say, tape=tape)
        names = [persona.name for persona in personas()]
        async with Servers(names, {"DATABASE_URL": f"sqlite:///{STORE}"}, ("fetch", "search")) as servers:
            for persona in personas():
                traders[persona.name] = Trader(
                    persona.name, persona.last_name, Route.to("seeded/model", run.models[persona.name], PRICE),
                    prompt=persona.prompt, servers=servers.of(persona.name), recorder=recorder,
                    tracer=tracer.tracer, bounds=BOUNDS,
                )  # fmt: skip
            try:
                await self.floor.run()
            finally:
                if not self.host.is_dead:
                    tracer.flush()

    def _say(self, line: str) -> None:
        if line.startswith("cycle "):
            self.run.happened["cycles"] += 1

    def _log(self, store: Store) -> Callable[[Sequence[LogRow]], None]:
        tries_refused = 0

        def write(rows: Sequence[LogRow]) -> None:
            nonlocal tries_refused
            if tries_refused == 0 and self.run.faults.strikes("log can't be written"):
                tries_refused = 4
            if tries_refused:
                tries_refused -= 1
                raise StoreUnusable("the log can't be written")
            write_log(store, rows)

        return write

    async def kill(self, task: asyncio.Task[None], spare: set[asyncio.Task[Any]]) -> None:
        """The process is gone, and with it its servers: not a byte more is written."""
        self.host.is_dead = True
        for process in self.nursery.processes.values():
            process.kill()
        rest = asyncio.all_tasks() - spare
        for each in rest:
            each.cancel()
        await asyncio.wait(rest)
        for each in rest:
            if not each.cancelled():
                each.exception()
        assert task.done()


def open_process(run: Simulation, stack: contextlib.ExitStack) -> tuple[Store, Market]:
    """A store, a venue and a clock, as each process has its own."""
    store = stack.enter_context(contextlib.closing(Store(STORE)))
    venue = ReplayVenue(run.history_path)
    stack.callback(venue.close)
    return store, Market(TroubledVenue(venue, run.faults), store.clock())


def makers(run: Simulation) -> dict[str, Callable[[contextlib.ExitStack, Launch], RefusingServer]]:
    """What each server's `main` builds, by its module."""

    def accounts(stack: contextlib.ExitStack, launch: Launch) -> RefusingServer:
        store, market = open_process(run, stack)
        return accounts_server.build(store, market, bound=launch.arguments[1], actor="floor")

    def prices(stack: contextlib.ExitStack, _launch: Launch) -> RefusingServer:
        return market_server.build(open_process(run, stack)[1])

    def pushes(stack: contextlib.ExitStack, launch: Launch) -> RefusingServer:
        store, market = open_process(run, stack)
        outbox = Outbox(store, TroubledCarrier(run.faults), market.clock)
        return push_server.build(outbox, bound=launch.arguments[1], actor="floor")

    def memories(stack: contextlib.ExitStack, launch: Launch) -> RefusingServer:
        name = launch.arguments[1]
        graph = MemoryGraph(memory_path(STORE, name), open_process(run, stack)[1].clock)
        stack.callback(graph.close)
        return memory.server.build(graph, name)

    return {
        "accounts_server": accounts, "market_server": prices, "push_server": pushes, "memory.server": memories,
    }  # fmt: skip
