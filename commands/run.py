"""Starts the floor: settings, store, accounts, servers, traders, screen - and ends it, whatever ends it, within 3 s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from accounts import open_account
from commands.announcements import Announcements
from commands.dashboard import DashboardProcess
from commands.parts import parts_of, record_parts
from commands.playback import begin_recording, ending_at_a_difference, open_playback
from commands.screen import PlainScreen, Screen, TableScreen
from commands.seats import FloorRecorder, Models, seats
from commands.servers import floor_guests
from commands.summary import summary_lines
from commands.warming import warm_history
from database import Store, read_account, write_log
from desks.connection import ServerGone
from desks.guests import Guests
from desks.servers import GRANTED, SERVERS, Servers
from ledger.baselines import open_baselines
from market import Market, open_market, open_store, recorded
from personas import Persona, load_personas
from push.targets import Targets
from recording.recording import Differs, Recording
from tracers import LogTracer
from trading_floor import FAST_FACTOR, Floor, RunsSessions, settle
from values.address import StoreAddress
from values.errors import StoreEmpty, StoreUnusable
from values.schedule import Tape
from values.settings import DashboardSettings, FloorSettings, PushSettings, SearchSettings, load

REPLAY_PAUSE_S = 60.0
END_S = 2.7
"""Wall seconds after a signal at which whatever still runs is killed; the promise is 3."""


def run_floor(
    market: str | None,
    history: Path | None,
    seed: int | None,
    *,
    fast: bool = False,
    cycles_max: int | None = None,
    dashboard: bool = False,
    record: Path | None = None,
) -> int:
    """Run until stopped, to a replay's end, or for `cycles_max` cycles; the exit code."""
    given = market or ("replay" if history else None)
    settings = load(FloorSettings, market=given, replay_history=history, market_seed=seed)
    if fast and (settings.market or given) != "replay" and not _is_there(settings.store_address):
        print("--as-fast-as-possible goes with a replay: name a price file with --history", file=sys.stderr)
        return 2
    store = open_store(settings)
    with contextlib.closing(store):
        held = store.hold_floor()
        if held is None:
            raise StoreUnusable(
                f"another floor runs on {store.address} ({store.floor_holder()}): stop it, or name another store"
            )
        try:
            return _run_on(store, settings, fast, cycles_max, dashboard, record)
        finally:
            held.release()


def play_back(path: Path, *, dashboard: bool = False) -> int:
    """Run a recorded run again in a new store, asking nobody; 1 when something is not as it was recorded."""
    settings = load(FloorSettings)
    store, market, recording, tape = open_playback(path, settings)
    with contextlib.closing(store), contextlib.closing(recording):
        screen: Screen = TableScreen(store, market) if sys.stdout.isatty() else PlainScreen()
        personas = load_personas()
        models = Models(personas, settings, recording)
        screen.say(f"playing back {path} into {store.address}: no model, server or price source is asked")
        try:
            code = asyncio.run(
                _live(store, market, settings, personas, models, screen, tape, None, dashboard, recording)
            )
        except Differs as error:
            code, _ = 1, recording.differ(str(error))
        for line in summary_lines(store):
            print(line)
        if recording.difference is not None:
            print(f"the playback ended where it differs: {recording.difference}", file=sys.stderr)
            return 1
        print(f"all {len(tape.starts)} cycles went as they were recorded")
        return code


def _is_there(address: StoreAddress) -> bool:
    try:
        Store(address).close()
    except StoreEmpty:
        return False
    return True


def _run_on(
    store: Store, settings: FloorSettings, fast: bool, cycles_max: int | None, dashboard: bool, record: Path | None
) -> int:
    market = open_market(store, settings)
    record_parts(store, parts_of(settings, store.run(), store.run().market))
    screen: Screen = TableScreen(store, market) if sys.stdout.isatty() else PlainScreen()
    personas = load_personas()
    models = Models(personas, settings)
    for line in _opening_lines(store, settings, models):
        screen.say(line)
    for persona in personas:
        if read_account(store, persona.name) is None:
            open_account(
                store, market, persona.name, strategy=persona.strategy, kind="trader", limits=persona.limits,
                actor="floor",
            )  # fmt: skip
    for sentence in open_baselines(store, market):
        screen.say(sentence)
    tape = _tape(market, 0.0 if fast else REPLAY_PAUSE_S)
    with contextlib.ExitStack() as ending:
        recording = None
        if record is not None:
            recording = ending.enter_context(contextlib.closing(begin_recording(store, market, record, settings)))
            recording.note("models", dict(models.choice.models))
            market = recorded(market, recording)
            screen.say(f"recording to {record}")
        code = asyncio.run(
            _live(store, market, settings, personas, models, screen, tape, cycles_max, dashboard, recording)
        )
    for line in summary_lines(store):
        print(line)
    return code


def _opening_lines(store: Store, settings: FloorSettings, models: Models) -> Iterator[str]:
    run = store.run()
    what = {
        "simulated": f"seed {run.seed}",
        "replay": f"file {run.history_name}",
        "live": f"Polygon, plan {settings.polygon_plan}",
    }[run.market]
    yield f"store {store.address}, market {run.market.upper()} ({what}), model {models.shown}"
    yield from models.choice.sentences
    if not models.choice.is_house:
        yield (
            f"models may cost {settings.session_cents} US cents a session, {settings.trader_day_cents} a trader and "
            f"day, {settings.floor_day_cents} the floor a day (UTC)"
        )
    if store.migrated_copy is not None:
        yield f"the store was of an older version: copied to {store.migrated_copy} and brought up to date"
    if settings.polygon_api_key is not None and run.market != "live":
        yield (
            f"POLYGON_API_KEY is set, and this store is of a {run.market} market, which does not use it: for live "
            "prices name another store (DATABASE_URL=sqlite:///live.db), or start anew with `trading-floor reset`"
        )


async def _live(
    store: Store,
    market: Market,
    settings: FloorSettings,
    personas: Sequence[Persona],
    models: Models,
    screen: Screen,
    tape: Tape | None,
    cycles_max: int | None,
    dashboard: bool,
    recording: Recording | None,
) -> int:
    traders: dict[str, RunsSessions] = {}
    # a language model needs real minutes to think, and a phone real minutes to be quiet
    may_hurry = store.run().market == "simulated" and models.choice.is_house and not settings.is_pushing
    floor = Floor(
        store,
        market,
        traders,
        timedelta(minutes=settings.run_every_n_minutes),
        screen.say,
        factor=FAST_FACTOR if may_hurry else 1,
        tape=tape,
    )
    if recording is not None:
        floor.passage = recording.passage
    guests, given_away = _guests(store, settings, personas, screen, recording)
    tracer = LogTracer(
        lambda rows: write_log(store, rows),
        secrets=[*settings.secrets, *given_away],
        otlp_endpoint=settings.otel_exporter_otlp_endpoint,
    )
    announcements = _announcements(store, settings, floor, recording)
    recorder = FloorRecorder(store, tracer, None if announcements is None else announcements.announcer)
    servers = _servers(store, market, settings, personas, recording)
    warming = contextlib.nullcontext() if recording is not None and recording.is_playing else warm_history(market)
    page = DashboardProcess(_told(store, settings, DashboardSettings.model_fields), screen.say) if dashboard else None

    def children() -> Iterator[int | None]:
        yield from (connection.pid for connection in (*servers.all(), *guests.connections.values()))
        yield None if page is None else page.pid

    with ending_signals(floor, children), tracer:
        async with announcements or contextlib.nullcontext():
            starting = asyncio.create_task(servers.__aenter__())
            stopping = asyncio.create_task(floor.stopped())
            try:
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    return 0
                await starting
                async with guests, seats(personas, servers, recorder, settings, models, recording, guests) as seated:
                    traders.update(seated)
                    settle()
                    async with page or contextlib.nullcontext():
                        with ending_at_a_difference(floor, recording), warming, screen.showing(floor):
                            await floor.run(cycles_max)
            except ServerGone as error:
                screen.say(f"the floor can't start: {error}")
                if announcements is not None:
                    await announcements.tell_error("the floor can't start", str(error))
                return 1
            finally:
                stopping.cancel()
                starting.cancel()
                await servers.__aexit__()
                await tracer.aflush()
    return 0


def _tape(market: Market, pause_s: float) -> Tape | None:
    from venues.replay import ReplayVenue

    venue = market.venue
    return Tape(venue.starts(), venue.end, pause_s) if isinstance(venue, ReplayVenue) else None


def _announcements(
    store: Store, settings: FloorSettings, floor: Floor, recording: Recording | None
) -> Announcements | None:
    """What tells the owner; a playback tells nobody."""
    if recording is not None and recording.is_playing:
        return None
    targets = Targets(settings)
    targets.check()
    # the run's clock, not the recorded market's: when messages go out is no part of a recording
    return Announcements(store, targets, store.clock(), settings, floor.say, floor.stopped)


def _servers(
    store: Store, market: Market, settings: FloorSettings, personas: Sequence[Persona], recording: Recording | None
) -> Servers:
    # a page of today would tell a simulated or replayed market its future
    without: Collection[str] = () if market.name == "live" or settings.allow_live_research else ("fetch",)
    joining: tuple[str, ...] = ()
    if recording is not None:
        joining = ("--playback" if recording.is_playing else "--record", str(recording.path.absolute()))
        if recording.is_playing:
            without = [row.name for row in SERVERS if row.name != "accounts"]
    return Servers([persona.name for persona in personas], _server_settings(store, settings), without, joining)


def _guests(
    store: Store, settings: FloorSettings, personas: Sequence[Persona], screen: Screen, recording: Recording | None
) -> tuple[Guests, list[str]]:
    """The added servers and their secrets; in a playback there are none, and the recording has what they answered."""
    is_playing = recording is not None and recording.is_playing
    return floor_guests(store, settings, () if is_playing else personas, screen.say)


def _server_settings(store: Store, settings: FloorSettings) -> dict[str, str]:
    return _told(
        store,
        settings,
        [name for name in (*PushSettings.model_fields, *SearchSettings.model_fields) if name.upper() in GRANTED],
    )


def _told(store: Store, settings: FloorSettings, names: Iterable[str]) -> dict[str, str]:
    """What a child is told: this run, and what of `names` is set; it goes before anything in `.env`, so all agree."""
    run = store.run()
    told = {
        "DATABASE_URL": store.address.url,
        "MARKET": run.market,
        "MARKET_SEED": str(run.seed),
        "RUN_EVEN_WHEN_MARKET_IS_CLOSED": str(settings.run_even_when_market_is_closed).lower(),
    }
    if settings.history_path is not None:
        told["REPLAY_HISTORY"] = str(settings.history_path)
    for name in names:
        value = getattr(settings, name)
        if name == "polygon_api_key" and run.market != "live":
            continue  # a market that does not use the key has no need of it
        if value is not None and name.upper() not in told:
            told[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return told


@contextlib.contextmanager
def ending_signals(floor: Floor, children: Callable[[], Iterable[int | None]]) -> Iterator[None]:
    """SIGINT and SIGTERM stop the floor; what has not ended END_S later is killed, children's groups first."""

    def kill_all() -> None:
        for pid in children():
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
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
