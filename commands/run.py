"""Starts the floor: settings, store, accounts, servers, traders, screen - and ends it, whatever ends it, within 3 s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from accounts import open_account
from commands.screen import PlainScreen, Screen, TableScreen
from commands.summary import summary_lines
from database import Store, read_account, write_log
from desks.connection import ServerGone
from desks.servers import Servers
from ledger.baselines import open_baselines
from ledger.sessions import end_session_row, open_session_row
from market import Market, open_market, open_store
from model_clients.house import HouseModel
from tracers import LogTracer
from traders import Persona, SessionBounds, SessionEnd, Trader, load_personas
from trading_floor import FAST_FACTOR, Floor, RunsSessions, Tape
from values.errors import StoreUnusable
from values.session import Mode
from values.settings import PROJECT, FloorSettings, load

logger = logging.getLogger("floor")

REPLAY_PAUSE_S = 60.0
END_S = 2.7
"""Wall seconds after a signal at which whatever still runs is killed; the promise is 3."""


@dataclass(slots=True)
class FloorRecorder:
    """Sessions' rows in the store, after their log rows. A write is finished even when the floor is stopped."""

    store: Store
    tracer: LogTracer

    async def opened(self, session_id: str, account: str, mode: Mode, model: str) -> None:
        cycle = self.store.run().cycle
        await asyncio.to_thread(open_session_row, self.store, session_id, account, cycle, mode, model)

    async def ended(self, end: SessionEnd) -> None:
        def write() -> None:
            if not self.tracer.flush():
                logger.warning("log rows of %s were not written in time", end.session_id)
            end_session_row(
                self.store,
                end.session_id,
                outcome=end.outcome,
                reason=end.reason,
                appraisal=end.appraisal,
                turns=end.turns,
                tool_calls=end.tool_calls,
                calls=end.model_calls,
            )

        await asyncio.shield(asyncio.to_thread(write))


def run_floor(
    market: str | None, history: Path | None, seed: int | None, *, fast: bool = False, cycles_max: int | None = None
) -> int:
    """Run until stopped, to a replay's end, or for `cycles_max` cycles; the exit code."""
    given = market or ("replay" if history else None)
    settings = load(FloorSettings, market=given, replay_history=history, market_seed=seed)
    if fast and (settings.market or given) != "replay" and not settings.store_path.exists():
        print("--as-fast-as-possible goes with a replay: name a price file with --history", file=sys.stderr)
        return 2
    store = open_store(settings)
    with contextlib.closing(store):
        held = store.hold_floor()
        if held is None:
            raise StoreUnusable(
                f"another floor runs on {store.path} ({store.floor_holder()}): stop it, or name another store"
            )
        try:
            return _run_on(store, settings, fast, cycles_max)
        finally:
            os.close(held)


def _run_on(store: Store, settings: FloorSettings, fast: bool, cycles_max: int | None) -> int:
    market = open_market(store, settings)
    screen: Screen = TableScreen(store, market) if sys.stdout.isatty() else PlainScreen()
    for line in _opening_lines(store, settings):
        screen.say(line)
    personas = load_personas(PROJECT / "personas")
    for persona in personas:
        if read_account(store, persona.name) is None:
            open_account(
                store, market, persona.name, strategy=persona.strategy, kind="trader", limits=persona.limits,
                actor="floor",
            )  # fmt: skip
    for sentence in open_baselines(store, market):
        screen.say(sentence)
    code = asyncio.run(_live(store, market, settings, personas, screen, fast, cycles_max))
    for line in summary_lines(store):
        print(line)
    return code


def _opening_lines(store: Store, settings: FloorSettings) -> Iterator[str]:
    run = store.run()
    what = {"simulated": f"seed {run.seed}", "replay": f"file {run.history_name}"}.get(run.market, "")
    yield f"store {store.path}, market {run.market.upper()} ({what}), model house (rule-based)"
    if store.migrated_copy is not None:
        yield f"the store was of an older version: copied to {store.migrated_copy} and brought up to date"
    if settings.polygon_api_key is not None and run.market != "live":
        yield "a key for live prices is set, and this version has no live market: it is not used"


async def _live(
    store: Store,
    market: Market,
    settings: FloorSettings,
    personas: Sequence[Persona],
    screen: Screen,
    fast: bool,
    cycles_max: int | None,
) -> int:
    traders: dict[str, RunsSessions] = {}
    floor = Floor(
        store,
        market,
        traders,
        timedelta(minutes=settings.run_every_n_minutes),
        screen.say,
        factor=FAST_FACTOR if store.run().market == "simulated" else 1,
        tape=_tape(market, 0.0 if fast else REPLAY_PAUSE_S),
    )
    key = settings.polygon_api_key
    tracer = LogTracer(
        lambda rows: write_log(store, rows),
        secrets=[] if key is None else [key.get_secret_value()],
        otlp_endpoint=settings.otel_exporter_otlp_endpoint,
    )
    servers = Servers([persona.name for persona in personas], _server_settings(store, settings))
    with ending_signals(floor, servers), tracer:
        starting = asyncio.create_task(servers.__aenter__())
        stopping = asyncio.create_task(floor.stopped())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return 0
            await starting
            for persona in personas:
                traders[persona.name] = _trader(persona, servers, store, tracer, settings)
            with screen.showing(floor):
                await floor.run(cycles_max)
        except ServerGone as error:
            screen.say(f"the floor can't start: {error}")
            return 1
        finally:
            stopping.cancel()
            starting.cancel()
            await servers.__aexit__()
            await tracer.aflush()
    return 0


def _trader(persona: Persona, servers: Servers, store: Store, tracer: LogTracer, settings: FloorSettings) -> Trader:
    return Trader(
        persona.name,
        persona.last_name,
        f"house/{persona.rulebook}",
        prompt=persona.prompt,
        client=HouseModel(persona.rulebook),
        servers=servers.of(persona.name),
        recorder=FloorRecorder(store, tracer),
        tracer=tracer.tracer,
        bounds=SessionBounds(
            settings.session_turns, float(settings.session_seconds), Decimal(settings.session_cents) / 100
        ),
    )


def _tape(market: Market, pause_s: float) -> Tape | None:
    from venues.replay import ReplayVenue

    venue = market.venue
    return Tape(venue.starts(), venue.end, pause_s) if isinstance(venue, ReplayVenue) else None


def _server_settings(store: Store, settings: FloorSettings) -> dict[str, str]:
    """What servers are told of the run; it stands before anything in `.env`, so that all agree with this floor."""
    run = store.run()
    told = {
        "DATABASE_URL": f"sqlite:///{store.path}",
        "MARKET": run.market,
        "MARKET_SEED": str(run.seed),
        "RUN_EVEN_WHEN_MARKET_IS_CLOSED": str(settings.run_even_when_market_is_closed).lower(),
    }
    if settings.history_path is not None:
        told["REPLAY_HISTORY"] = str(settings.history_path)
    return told


@contextlib.contextmanager
def ending_signals(floor: Floor, servers: Servers) -> Iterator[None]:
    """SIGINT and SIGTERM stop the floor; what has not ended END_S later is killed, servers first."""

    def kill_all() -> None:
        for connection in servers.all():
            if connection.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(connection.pid, signal.SIGKILL)
        os._exit(1)

    def end() -> None:
        if not timer.is_alive():
            timer.start()
        floor.stop()

    timer = threading.Timer(END_S, kill_all)
    timer.daemon = True
    loop = asyncio.get_running_loop()
    undo: list[Callable[[], object]] = []
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, end)
        undo.append(partial(loop.remove_signal_handler, each))
    try:
        yield
    finally:
        for step in undo:
            step()
        timer.cancel()
