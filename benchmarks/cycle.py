"""One cycle of house traders on servers that are up, beside the same floor with all servers started for each session.

CPU seconds of the whole process tree. The other floor spawns each session's servers and ends them after it, in the
ordinary way of MCP clients; it runs SESSIONS_AT_ONCE of them at a time, so that none waits longer than its deadline.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from benchmarks.books import Books, crowd, open_books
from benchmarks.figure import Figure
from benchmarks.process_tree import cpu_s, ended_cpu_s, tree
from commands.seats import FloorRecorder
from database import write_log
from desks.connection import ServerConnection
from desks.servers import SERVERS, Servers, launch_of
from model_clients.house import HouseModel
from model_clients.routing import Route
from personas import Persona
from tracers import LogTracer
from traders import SessionEnd, Trader
from trading_floor import Floor, RunsSessions
from values.session import Mode, Outcome

FLOORS = (4, 32)
SESSIONS_AT_ONCE = 2
CPU_RATIO = 0.1
WITHOUT = ("fetch",)
SAME = 0.9
"""A market minute more or less may change what a house trader looks at."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one cycle; `calls` are the tools that its sessions called."""

    wall_s: float
    cpu_s: float
    calls: int


@dataclass(slots=True)
class Seat:
    """A trader whose servers are up, or, without any, are started for its session and ended after it."""

    name: str
    persona: Persona
    books: Books
    recorder: FloorRecorder
    servers: Mapping[str, ServerConnection] | None
    at_once: asyncio.Semaphore
    calls: int = field(default=0, init=False)

    async def run(self, mode: Mode) -> SessionEnd:
        if self.servers is not None:
            return await self._session(mode, self.servers)
        async with self.at_once:
            rows = [row for row in SERVERS if row.name not in WITHOUT]
            own = {
                row.name: ServerConnection(
                    launch_of(row, self.name if row.scope == "trader" else None, self.books.told)
                )
                for row in rows
            }
            try:
                await asyncio.gather(*(each.start() for each in own.values()))
                return await self._session(mode, own)
            finally:
                await asyncio.gather(*(each.stop() for each in own.values()))

    async def _session(self, mode: Mode, servers: Mapping[str, ServerConnection]) -> SessionEnd:
        house = HouseModel(self.persona.rulebook)
        end = await Trader(
            self.name,
            self.persona.last_name,
            Route.to(house.name, house),
            prompt=self.persona.prompt,
            servers=servers,
            recorder=self.recorder,
            tracer=self.recorder.tracer.tracer,
        ).run(mode)
        assert end.outcome == "completed", f"{self.name}'s session ended {end.outcome}: {end.reason}"
        self.calls = end.tool_calls
        return end

    def stop(self, outcome: Outcome, reason: str) -> None:
        """Nobody stops a benchmark's sessions."""


def measure() -> list[Figure]:
    figures = []
    for traders in FLOORS:
        with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as other:
            up = asyncio.run(_cycle(Path(ours), crowd(traders), servers_are_up=True))
            anew = asyncio.run(_cycle(Path(other), crowd(traders), servers_are_up=False))
        assert SAME < up.calls / anew.calls < 1 / SAME, f"{up.calls} and {anew.calls} calls are not the same work"
        figures += [
            Figure(f"one cycle of {traders} house traders, CPU", up.cpu_s, "s", anew.cpu_s, CPU_RATIO, "ratio"),
            Figure(f"one cycle of {traders} house traders, wall", up.wall_s, "s", anew.wall_s),
        ]
    return figures


async def _cycle(folder: Path, personas: Sequence[Persona], *, servers_are_up: bool) -> Cost:
    """What the first cycle of a new store costs."""
    names = [each.name for each in personas]
    with open_books(folder, personas) as books, LogTracer(lambda rows: write_log(books.store, rows)) as tracer:
        recorder, at_once = FloorRecorder(books.store, tracer), asyncio.Semaphore(SESSIONS_AT_ONCE)
        async with Servers(names if servers_are_up else [], books.told, WITHOUT) as servers:
            seats = [
                Seat(each.name, each, books, recorder, servers.of(each.name) if servers_are_up else None, at_once)
                for each in personas
            ]
            traders: dict[str, RunsSessions] = {each.name: each for each in seats}
            floor = Floor(books.store, books.market, traders, timedelta(hours=1), lambda _: None)
            pids = tree()
            began, cpu_before, ended_before = time.monotonic(), cpu_s(pids), ended_cpu_s()
            await floor.run(cycles_max=1)
            cost = cpu_s(pids) - cpu_before + ended_cpu_s() - ended_before
            return Cost(time.monotonic() - began, cost, sum(each.calls for each in seats))
