"""A floor whose market server is dead for an hour of market time: it says what it missed, and recovers by itself.

The server is killed in mid-cycle and what starts in its place exits at once, until the hour is over. Market time is
moved by a tape, a quarter of an hour a cycle.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from benchmarks.figure import Figure
from desks.launch import Launch
from model_clients.house import HouseModel
from store import tables
from tests.floors import SmallFloor, small_floor
from trading_floor import Floor
from values.schedule import Tape
from values.settings import PROJECT

RULES = {"cathie": "beta", "george": "macro", "ray": "trend", "warren": "value"}
QUARTER = timedelta(minutes=15)
BEFORE, DEAD, AFTER = 1, 4, 1
"""Cycles; those of the DEAD are an hour."""
LAST_WORDS = "the disk of the market is gone"


@dataclass
class Outage:
    """What a floor did before, in and after the hour: each cycle's sessions' ends, its lines, its books."""

    outcomes: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    cycles: int = 0


class _Fate:
    """Hears what the floor says, and acts on it: death at a cycle's start, return when the hour's sessions are over."""

    def __init__(self, small: SmallFloor, said: list[str], traders: int) -> None:
        self._market = next(each for each in small.servers.all() if each.name == "market")
        self._sound = self._market.launch
        self._said = said
        self._failures_left = DEAD * traders

    def say(self, line: str) -> None:
        self._said.append(line)
        if line.startswith(f"cycle {BEFORE + 1},"):
            self._market.launch = Launch(
                "market", (sys.executable, "-c", f"raise SystemExit({LAST_WORDS!r})"), {}, PROJECT
            )
            assert self._market.pid is not None
            os.killpg(self._market.pid, signal.SIGKILL)
        self._failures_left -= " failed (" in line
        if not self._failures_left:
            self._market.launch = self._sound


async def dead_for_an_hour(folder: Path, names: Sequence[str] = tuple(RULES)) -> Outage:
    outage = Outage()
    async with small_floor(folder, names) as small:
        begin = small.market.clock.now() + QUARTER
        starts = [begin + QUARTER * number for number in range(BEFORE + DEAD + AFTER)]
        traders = {name: small.trader(name, HouseModel(RULES[name])) for name in names}
        fate = _Fate(small, outage.said, len(names))
        tape = Tape(starts, starts[-1] + QUARTER, 0.0)
        floor = Floor(small.store, small.market, traders, QUARTER, fate.say, tape=tape)
        await floor.run()
        outage.cycles = floor.cycles_run
        outage.differences = small.differences()
        table = tables.sessions.c
        with small.store.read() as connection:
            query = select(table.cycle, table.outcome, table.reason).order_by(table.cycle, table.account)
            for cycle, outcome, reason in connection.execute(query):
                outage.outcomes.setdefault(cycle, []).append((outcome, reason))
    return outage


def prove(scale: int, seed: int) -> list[Figure]:
    del scale, seed  # an hour is an hour, and nothing in it is drawn
    with tempfile.TemporaryDirectory() as name:
        outage = asyncio.run(dead_for_an_hour(Path(name)))
    dead = [end for cycle in range(BEFORE + 1, BEFORE + DEAD + 1) for end in outage.outcomes[cycle]]
    after = [end for cycle in range(BEFORE + DEAD + 1, outage.cycles + 1) for end in outage.outcomes[cycle]]
    unexplained = sum("the market server" not in reason or LAST_WORDS not in reason for _, reason in dead)
    unsaid = len(RULES) - sum(f"is back after {DEAD} sessions" in line for line in outage.said)
    return [
        Figure("sessions failed while the market server was dead for an hour", len(dead), ""),
        Figure("of them without its last words in their rows", unexplained, "", goal=0),
        Figure("traders of whom the floor did not say what they missed", unsaid, "", goal=0),
        Figure("sessions not completed once it was back", sum(end != ("completed", "") for end in after), "", goal=0),
    ]
