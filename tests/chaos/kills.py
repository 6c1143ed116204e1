"""kill -9 of accounts servers and of whole floors at random moments under a steady stream of orders.

No acknowledged trade is lost, none is doubled, none half done; the next start needs no hand and marks what was cut; no
process is left. Moments are drawn as seconds, in the start of a floor too, so they fall where they may.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import psutil

from benchmarks.figure import Figure
from desks.connection import RESTARTS_MAX
from desks.nursery import Nursery
from tests.chaos.streams import Tally, nursery_of_accounts, opened, served
from tests.processes import still_running
from tests.shelf import simulated_settings
from values.settings import PROJECT

TURNS = 100
KILLS_OF_A_STORE = 10
STARTING_SHARE = 0.2
HANGING_SHARE = 0.3
STARTING_S = 2.5
FLOOR_RUNS_S = 0.7
SERVER_RUNS_S = 0.1
UP_S = 120.0


async def kill_servers(folder: Path, kills: int, chance: Random, nursery: Nursery) -> Tally:
    """Kill an accounts server `kills` times; the workbench is to send what was under way again, once."""
    tally = Tally()
    store = opened(folder, ["warren"])
    while tally.kills < kills:
        for_now = min(RESTARTS_MAX, kills - tally.kills)  # a connection leaves alone what ends more often
        async with served(store, folder, nursery, f"trace_{tally.kills}", tally) as warren:
            for _ in range(for_now):
                await warren.stream.wait(chance.uniform(0, SERVER_RUNS_S))
                tally.processes_left += (await warren.hit(signal.SIGKILL)).ended_at is None
        assert warren.connection.restarts == for_now
    tally.judge(store)
    store.close()
    return tally


class FloorProcess:
    """`tests/order_stream.py` on the store in `folder`. Its processes are known by a TMPDIR that is theirs alone."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder = folder
        self.mark = folder / mark
        self.mark.mkdir()
        self.acknowledged: list[int] = []
        self.said: list[str] = []
        self.trades = asyncio.Event()
        self.dying: list[psutil.Process] = []

    async def __aenter__(self) -> FloorProcess:
        environment = simulated_settings(self._folder) | {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.mark),
            "RUN_EVERY_N_MINUTES": "1",
            "SESSION_TURNS": str(TURNS),
            "RUN_EVEN_WHEN_MARKET_IS_CLOSED": "true",
        }
        with (self.mark / "stderr").open("wb") as errors:
            self.process: Process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.order_stream", str(TURNS),
                env=environment, cwd=PROJECT, stdout=PIPE, stderr=errors,
            )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self.processes():
            each.kill()
        await self.process.wait()
        await self._listening

    def processes(self) -> list[psutil.Process]:
        return [
            each
            for each in psutil.process_iter(["environ", "ppid"])
            if (each.info["environ"] or {}).get("TMPDIR") == str(self.mark)
        ]

    def has_forked(self, process: psutil.Process) -> bool:
        """Whether it is one of the servers, which the floor's nursery has forked."""
        return process.pid != self.process.pid and process.info["ppid"] != self.process.pid

    async def run(self, seconds: float) -> None:
        """Let it run. Raises AssertionError with its last words when it ends by itself."""
        await asyncio.wait({self._listening}, timeout=seconds)
        assert not self._listening.done(), self.last_words()

    async def traded(self) -> None:
        """Return once the first trade was acknowledged."""
        waiting = asyncio.create_task(self.trades.wait())
        await asyncio.wait({waiting, self._listening}, timeout=UP_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert self.trades.is_set(), f"a floor that should have traded by itself did not: {self.last_words()}"

    async def gone(self, tally: Tally) -> None:
        """Wait until its processes have ended, and count what it had told of by then."""
        left = await asyncio.to_thread(still_running, self.dying)
        left += await asyncio.to_thread(still_running, self.processes())  # forked while the others were being counted
        tally.processes_left += len(left)
        # what had been acknowledged when the kill came may have been in the pipe, which its nursery holds too
        await self._listening
        tally.acknowledged += self.acknowledged
        tally.unanswered += sum(line.startswith("refused") for line in self.said)

    def last_words(self) -> str:
        return "\n".join(self.said[-5:]) + (self.mark / "stderr").read_text()[-2_000:]

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            word, _, rest = line.decode().rstrip().partition(" ")
            if word == "acknowledged":
                self.acknowledged.append(int(rest))
                self.trades.set()
            else:
                self.said.append(f"{word} {rest}")


async def kill_floors(folder: Path, kills: int, chance: Random) -> Tally:
    """Kill `kills` floors on one store, each started at once after the one before; then end one in order."""
    tally = Tally()
    store = opened(folder)
    async with AsyncExitStack() as all_of_them:
        before: FloorProcess | None = None
        for number in range(kills):
            draws = Random(chance.random())  # how many processes there are must not change the next kill's moment
            floor = await all_of_them.enter_async_context(FloorProcess(folder, f"floor-{number}"))
            if before is not None:
                await before.gone(tally)
            await _kill(floor, draws, tally)
            before = floor
        last = await all_of_them.enter_async_context(FloorProcess(folder, "last"))
        if before is not None:
            await before.gone(tally)
        await last.traded()
        last.dying = last.processes()
        last.process.terminate()
        await last.gone(tally)
        assert await last.process.wait() == 0, last.last_words()
    tally.judge(store)
    store.close()
    return tally


async def _kill(floor: FloorProcess, draws: Random, tally: Tally) -> None:
    """Kill it at a random moment, alone or with all of its processes; one of its servers may hang by then."""
    is_in_its_start, takes_all = draws.random() < STARTING_SHARE, draws.random() < 0.5
    hangs = draws.random() < HANGING_SHARE
    seconds = draws.uniform(0, STARTING_S if is_in_its_start else FLOOR_RUNS_S)
    if not is_in_its_start:
        await floor.traded()
    await floor.run(seconds)
    floor.dying = floor.processes()
    servers = [each for each in floor.dying if floor.has_forked(each)]
    if hangs and servers:
        draws.choice(servers).suspend()
        tally.stopped += 1
    victims = [each for each in floor.dying if takes_all or each.pid == floor.process.pid]
    draws.shuffle(victims)
    for each in victims:
        each.kill()
    tally.kills += 1
    await floor.process.wait()


def prove(scale: int, seed: int) -> list[Figure]:
    tally = asyncio.run(_both(100 * scale, 100 * scale, seed))
    for sentence in tally.broken[:20]:
        print(sentence)
    assert tally.under_way, "no order was under way when a server was killed"
    assert tally.sent_again, "no server was killed between a commit and its answer"
    assert tally.stopped, "no floor was killed with a server that hung"
    assert tally.interrupted, "no session was cut"
    among = f"in {tally.kills} kills"
    return [
        Figure(f"trades acknowledged {among}", len(tally.acknowledged), ""),
        Figure("floors killed of which a server hung", tally.stopped, ""),
        Figure(f"orders under way {among} of servers", tally.under_way, ""),
        Figure("of them filled before the kill and told of after it", tally.sent_again, ""),
        Figure(f"sessions interrupted {among}", tally.interrupted, ""),
        Figure(f"acknowledged trades lost {among}", tally.lost, "", goal=0),
        Figure(f"trades doubled {among}", tally.doubled, "", goal=0),
        Figure(f"trades half done {among}", len(tally.broken), "", goal=0),
        Figure(f"orders without an answer {among}", tally.unanswered, "", goal=0),
        Figure(f"sessions left open {among}", tally.left_open, "", goal=0),
        Figure(f"processes left {among}", tally.processes_left, "", goal=0),
    ]


async def _both(server_kills: int, floor_kills: int, seed: int) -> Tally:
    """Half and half; the floors in two lanes, as each start is mostly one core's work."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nursery = nursery_of_accounts()
        try:
            tally.add(await kill_servers(folder / "servers", server_kills, Random(f"{seed} servers"), nursery))
        finally:
            await nursery.stop()
        waiting = list(range(0, floor_kills, KILLS_OF_A_STORE))

        async def lane() -> None:
            while waiting:
                first = waiting.pop(0)
                kills = min(KILLS_OF_A_STORE, floor_kills - first)
                tally.add(await kill_floors(folder / f"floors-{first}", kills, Random(f"{seed} floors {first}")))

        async with asyncio.TaskGroup() as lanes:
            for _ in range(2):
                lanes.create_task(lane())
    return tally
