"""`doctor`: what is there, what works and what does not, each with the line that mends it.

It changes nothing: the store is only read, and the servers start on an empty store of the same run in a folder of their
own. Keys are said to be set or not, never shown. A check that meets something else fails with a line, not a traceback.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from commands.checks import (
    Finding,
    StoreExamination,
    disk_finding,
    failed,
    folder_finding,
    free_bytes,
    port_finding,
    python_finding,
    sqlite_finding,
)
from commands.parts import parts_of
from commands.servers import server_findings
from commands.tables import one_line
from commands.upstreams import ask_all
from commands.variables import given_variables, known_variables
from database import NewRun, Run, Store
from desks.connection import ServerConnection, ServerGone
from desks.servers import SERVERS, ServerRow, launch_of
from market import Market, open_market, open_store
from push.targets import Targets
from values.errors import Refused, StoreUnusable, VenueUnavailable
from values.settings import DashboardSettings, FloorSettings, MarketKind, MarketSettings, StoreSettings, load

SERVER_START_S = 25.0
NOBODY = "nobody"


def run_doctor(online: bool) -> int:
    """Print every finding as it is made; 1 when one of them is a FAIL, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    states: Counter[str] = Counter()
    failures_told: set[str] = set()
    for finding in _findings(online):
        if finding.state == "FAIL":
            if finding.found in failures_told:
                continue
            failures_told.add(finding.found)
        states[finding.state] += 1
        is_bad = finding.state in ("warn", "FAIL")
        line = Text(f"{finding.state:<5} {finding.subject:<10} {one_line(finding.found)}")
        line.stylize("bold" if is_bad else "", 0, 5)
        console.print(line)
        if finding.mend:
            console.print(Text(f"{'':<17}-> {one_line(finding.mend)}"))
    failures, warnings = states["FAIL"], states["warn"]
    console.print(
        f"{failures or 'no'} failure{'' if failures == 1 else 's'}, "
        f"{warnings or 'no'} warning{'' if warnings == 1 else 's'}"
    )
    return 1 if failures else 0


def _findings(online: bool) -> Iterator[Finding]:
    yield python_finding(sys.version_info[:3], sys.executable)
    yield sqlite_finding(sqlite3.sqlite_version_info)
    yield from _checked("settings", _settings)
    yield from _checked("store", _store_and_servers)
    yield from _checked("keys", _keys)
    yield from _checked("mcp.json", server_findings)
    yield from _checked("port", _port)
    if online:
        yield from _checked("online", lambda: asyncio.run(ask_all(load(FloorSettings))))


def _checked(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds; whatever stops it is a finding too."""
    try:
        yield from check()
    except (Refused, StoreUnusable, VenueUnavailable) as error:
        yield failed(subject, error)
    except Exception as error:  # noqa: BLE001 - told as a failure of the check, which is what an owner can pass on
        yield Finding(
            "FAIL", subject, f"the check itself failed: {type(error).__name__}: {error}", "report it with this line"
        )


def _settings() -> Iterator[Finding]:
    settings = load(FloorSettings)
    yield from _checked("model", lambda: _model(settings))
    if settings.is_pushing:
        yield from _checked("push", lambda: _push(settings))


def _port() -> Iterator[Finding]:
    settings = load(DashboardSettings)
    yield port_finding(settings.dashboard_port, settings.dashboard_host)


def _model(settings: FloorSettings) -> Iterator[Finding]:
    from commands.seats import Models  # AutoGen takes a second
    from personas import load_personas

    personas = load_personas()
    models = Models(personas, settings)
    for persona in personas:
        asyncio.run(models.route(persona).close())
    why = "" if settings.use_many_models else f", because MODEL {'says so' if settings.model else 'is not set'}"
    yield Finding("ok", "model", models.shown + why)
    for sentence in models.choice.sentences:
        yield Finding("note", "model", sentence)


def _push(settings: FloorSettings) -> Iterator[Finding]:
    targets = Targets(settings)
    targets.check()
    yield Finding("ok", "push", f"messages go to {', '.join(targets.names)}")


def _keys() -> Iterator[Finding]:
    given = given_variables()
    for variable in known_variables():
        if variable.is_secret:
            is_set = any(given.value(name) for name in variable.names)
            names = " or ".join(variable.names)
            yield Finding("ok", "key", f"{names} is {'set' if is_set else 'not set'}: {variable.description}")


def _store_and_servers() -> Iterator[Finding]:
    address = load(StoreSettings).store_address
    yield folder_finding(address.path)
    yield disk_finding(free_bytes(address.path))
    examination = StoreExamination(address)
    yield from examination.findings()
    with tempfile.TemporaryDirectory(prefix="trading-floor-doctor-") as folder:
        try:
            yield from _run_and_servers(examination, Path(folder))
        except (Refused, StoreUnusable, VenueUnavailable) as error:
            yield failed("market", error)
            yield Finding("note", "server", "none was started: each would say the same")


def _run_and_servers(examination: StoreExamination, folder: Path) -> Iterator[Finding]:
    """The run's market, and every server on an empty store of the same run; a new one where there is none to follow."""
    settings = load(MarketSettings)
    elsewhere = f"sqlite:///{folder / 'accounts.db'}"
    with ExitStack() as stack:
        if examination.is_sound:
            store = stack.enter_context(closing(open_store(settings)))
            yield _floor_finding(store)
            yield _market_finding(open_market(store, settings), _of(store.run()), "because the store was made for it")
            twin = stack.enter_context(closing(_twin(store, folder)))
        else:
            twin = stack.enter_context(closing(open_store(load(MarketSettings, database_url=elsewhere))))
            why = "because MARKET says so" if settings.market else "which a new store gets with these settings"
            if examination.is_there:
                why = "in a store made for this check, because yours was not opened"
            yield _market_finding(open_market(twin, settings), "", why)
        run = twin.run()
        yield from _checked("part", lambda: _parts(run if examination.is_sound else None, run.market))
        yield from asyncio.run(_start_all(_told(twin)))


def _floor_finding(store: Store) -> Finding:
    return Finding("ok", "floor", f"running: {store.floor_holder()}" if store.is_floor_held() else "not running")


def _of(run: Run) -> str:
    return {"simulated": f" (seed {run.seed})", "replay": f" (file {run.history_name})"}.get(run.market, "")


def _market_finding(market: Market, of: str, why: str) -> Finding:
    state = "open" if market.session().is_open else "closed"
    return Finding("ok", "market", f"{market.name.upper()}{of}, {why}; {state} now")


def _twin(store: Store, folder: Path) -> Store:
    """A store without accounts in `folder`, of the same run."""
    run = store.run()
    twin = Store(
        folder / "accounts.db", NewRun(run.market, run.seed, run.history_hash, run.history_name, run.started_at)
    )
    if run.history_hash is not None:
        twin.address.history_path(run.history_hash).symlink_to(store.address.history_path(run.history_hash).absolute())
    return twin


def _parts(run: Run | None, market: MarketKind) -> Iterator[Finding]:
    for part in parts_of(load(FloorSettings), run, market):
        yield Finding("ok", "part", f"{part.name}: {part.state}: {part.why}", part.change)


def _told(store: Store) -> dict[str, str]:
    """What the servers are told: what this command's environment has, and which run it is."""
    run = store.run()
    return {
        **given_variables().environment,
        "DATABASE_URL": store.address.url,
        "MARKET": run.market,
        "MARKET_SEED": str(run.seed),
    }


async def _start_all(told: Mapping[str, str]) -> list[Finding]:
    """Every server of the table, started at once and ended."""
    for name in ("floor.servers", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())  # a failure is a finding here
    return list(await asyncio.gather(*(_start(row, told) for row in SERVERS)))


async def _start(row: ServerRow, told: Mapping[str, str]) -> Finding:
    launch = launch_of(row, None if row.scope == "floor" else NOBODY, told)
    if row.scope == "trader":
        launch = replace(launch, arguments=())  # the operator's: there is no account in the store it starts on
    connection = ServerConnection(launch)
    subject = f"{row.name}-server" if row.is_ours else row.name
    try:
        async with asyncio.timeout(SERVER_START_S):
            await connection.start()
        count = len(connection.tools)
        return Finding("ok", "server", f"{subject} starts and has {count} tool{'' if count == 1 else 's'}")
    except (ServerGone, TimeoutError) as error:
        words = connection.last_words().splitlines()
        return Finding(
            "FAIL",
            "server",
            f"{subject} does not start: {words[-1] if words else error or 'no answer in time'}",
            f"mend what it says; `{' '.join(launch.command)}` shows the whole",
        )
    finally:
        await connection.stop()
