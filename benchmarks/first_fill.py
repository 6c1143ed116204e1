"""From `make floor` on an installed machine to the first fill of a persona's session, through its stdio server.

The baseline is a bare one-tool MCP server of the same SDK, from its launch to its first answered call.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.bare_server import ARGUMENTS, BARE, TOOL
from benchmarks.figure import Figure
from desks.connection import ServerConnection
from values.settings import PROJECT

ROUNDS = 3
LOOK_EVERY_S = 0.02
GIVE_UP_S = 120.0


def measure() -> list[Figure]:
    subprocess.run(["make", "setup"], cwd=PROJECT, check=True, capture_output=True)
    bare, floor = [], []
    for _ in range(ROUNDS):
        bare.append(asyncio.run(_bare_server_s()))
        floor.append(_first_fill_s())
    return [Figure("from make floor to a persona's first fill", median(floor), "s", median(bare), goal=10.0)]


async def _bare_server_s() -> float:
    began = time.monotonic()
    connection = ServerConnection(BARE)
    await connection.start()
    await connection.call_tool(TOOL, ARGUMENTS, timeout_s=10)
    taken = time.monotonic() - began
    await connection.stop()
    return taken


def _first_fill_s() -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accounts.db"
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{path}", "MARKET": "simulated", "MARKET_SEED": "7"}
        began = time.monotonic()
        with subprocess.Popen(
            ["make", "--silent", "floor"],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as floor:
            try:
                while not _has_fill(path):
                    if time.monotonic() - began > GIVE_UP_S or floor.poll() is not None:
                        raise RuntimeError("the floor made no fill")
                    time.sleep(LOOK_EVERY_S)
                return time.monotonic() - began
            finally:
                os.killpg(floor.pid, signal.SIGTERM)


def _has_fill(path: Path) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
        try:
            found = raw.execute("SELECT 1 FROM transactions WHERE session_id IS NOT NULL AND kind = 'buy' LIMIT 1")
            return found.fetchone() is not None
        except sqlite3.OperationalError:  # the store is being made
            return False
