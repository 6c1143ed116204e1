"""A floor of many traders: seconds from start to ready, memory of the whole process tree, and one light server's start.

From the start of the floor's process on a folder without a store, until every server has told its tools. A floor is its
own process, the shared servers, and for each trader an accounts, a push and a memory server, with the nursery that
forks them. The baseline of one server's start is a bare one of the SDK, spawned.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.bare_server import BARE
from benchmarks.figure import Figure
from benchmarks.process_tree import cpu_s, private_mb, shared_once_mb, tree
from desks.connection import ServerConnection
from values.settings import PROJECT

FLOORS = (4, 32, 100)
MEMORY_GOAL_MB = 4 * 1024
READY_GOAL_S = 20.0
START_RATIO = 0.05
BARE_STARTS = 5


def measure() -> list[Figure]:
    figures = []
    for traders in FLOORS:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.readiness", str(traders), str(time.monotonic())],
            cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        ready_s, used_s, memory_mb, start_ms, private = map(float, ran.stdout.split())
        ready_goal, memory_goal = (READY_GOAL_S, MEMORY_GOAL_MB) if traders == max(FLOORS) else (None, None)
        figures += [
            Figure(f"{traders} traders, from start to ready", ready_s, "s", goal=ready_goal),
            Figure(f"{traders} traders, CPU from start to ready", used_s, "s"),
            Figure(f"{traders} traders, memory of the process tree", memory_mb, "MiB", goal=memory_goal),
            Figure(f"{traders} traders, memory of the process tree per trader", memory_mb / traders, "MiB"),
        ]
    bare_ms, bare_private = asyncio.run(_bare())
    return [
        *figures,
        Figure("start of one light server, CPU", start_ms, "ms", bare_ms, START_RATIO, "ratio"),
        Figure("start of one light server, private memory", private, "MiB", bare_private, START_RATIO, "ratio"),
    ]


async def _bare() -> tuple[float, float]:
    """CPU milliseconds and private MiB of a bare server that is ready."""
    taken, private = [], []
    for _ in range(BARE_STARTS):
        connection = ServerConnection(BARE)
        await connection.start()
        assert connection.pid is not None
        taken.append(cpu_s([connection.pid]) * 1000)
        private.append(private_mb(connection.pid))
        await connection.stop()
    return median(taken), median(private)


async def _floor(traders: int, began: float) -> tuple[float, float, float, float, float]:
    """Seconds to ready, CPU seconds, MiB of the tree; of a trader's servers, medians: CPU milliseconds, private MiB."""
    import commands.run  # noqa: F401 - all that a floor's process holds
    from benchmarks.books import crowd, open_books
    from desks.servers import SERVERS, Servers

    bound = [row.name for row in SERVERS if row.scope == "trader"]
    personas = crowd(traders)
    with tempfile.TemporaryDirectory() as folder, open_books(Path(folder), personas) as books:
        async with Servers([each.name for each in personas], books.told, without=("fetch",)) as servers:
            ready_s = time.monotonic() - began
            connections = [servers.of(each.name)[name] for each in personas for name in bound]
            pids = [each.pid for each in connections if each.pid is not None]
            running = tree()
            assert len(set(pids)) == traders * len(bound)
            assert set(pids) < set(running)
            used_s, start_ms = cpu_s(running), median(cpu_s([pid]) * 1000 for pid in pids)
            return ready_s, used_s, shared_once_mb(running), start_ms, median(map(private_mb, pids))


if __name__ == "__main__":
    print(*asyncio.run(_floor(int(sys.argv[1]), float(sys.argv[2]))))
