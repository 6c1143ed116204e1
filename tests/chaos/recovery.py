"""What a kill adds to the next start with a long record behind it: the writer dies in a large transaction.

From the launch of an accounts server to its first fill, once after a kill and once after a clean close, in turn.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from sqlalchemy import func, select

from benchmarks.figure import Figure
from database import Store
from desks.connection import ServerConnection
from desks.nursery import Nursery
from desks.servers import launch_of
from store import tables
from tests.bookkeeping import differences
from tests.bulk import A_BATCH, fill_record
from tests.chaos.streams import ACCOUNTS, nursery_of_accounts, opened
from tests.shelf import simulated_settings
from values.settings import PROJECT

ON_RECORD = 100_000
ROUNDS = 5
WRITES_S = 0.3
ORDER = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "the first after the start"}


@dataclass
class Recovery:
    """Seconds to the first fill, and what became of the batches. `wal_bytes`: what each kill left to recover."""

    after_a_kill: list[float] = field(default_factory=list)
    after_a_close: list[float] = field(default_factory=list)
    wal_bytes: list[int] = field(default_factory=list)
    batches_told: int = 0
    batches_on_record: float = 0.0
    """A fraction would be half a batch."""
    differences: list[str] = field(default_factory=list)


async def recover(folder: Path, on_record: int, batch: int, rounds: int, chance: Random, nursery: Nursery) -> Recovery:
    """Kill a writer of batches `rounds` times on a record of `on_record` transactions."""
    found = Recovery()
    path = folder / "accounts.db"
    store = opened(folder, ["warren"])
    fill_record(store, "warren", on_record)
    store.close()
    await _first_fill_s(folder, nursery)  # the nursery's own start is nobody's recovery
    for _ in range(rounds):
        found.after_a_close.append(await _first_fill_s(folder, nursery))
        found.batches_told += await _kill_a_writer(path, batch, chance.uniform(0, WRITES_S))
        found.wal_bytes.append(path.with_name(path.name + "-wal").stat().st_size)
        found.after_a_kill.append(await _first_fill_s(folder, nursery))
    store = Store(path)
    table = tables.transactions.c
    with store.read() as connection:
        rows = connection.execute(select(func.count()).where(table.order_key.like("record:%"))).scalar_one()
    found.batches_on_record = (rows - on_record) / batch
    found.differences = differences(store)
    store.close()
    return found


async def _first_fill_s(folder: Path, nursery: Nursery) -> float:
    """Seconds from an accounts server's launch to its first fill; it is then closed in order."""
    connection = ServerConnection(launch_of(ACCOUNTS, "warren", simulated_settings(folder)), nursery)
    began = time.monotonic()
    await connection.start()
    try:
        answer = await connection.call_tool("buy_shares", ORDER, timeout_s=60.0)
        taken_s = time.monotonic() - began
        assert not answer.is_error, answer.content
    finally:
        await connection.stop()
    return taken_s


async def _kill_a_writer(path: Path, batch: int, after_s: float) -> int:
    """Kill it so long after its first batch; how many batches it told of."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bulk", str(path), "warren", str(batch), cwd=PROJECT, stdout=PIPE
    )
    assert writer.stdout is not None
    assert await writer.stdout.readline(), "the writer ended by itself"
    rest = asyncio.create_task(writer.stdout.read())
    await asyncio.wait({rest}, timeout=after_s)
    assert not rest.done(), "the writer ended by itself"
    writer.kill()
    await writer.wait()
    return 1 + (await rest).count(b"\n")


async def _proven(folder: Path, rounds: int, chance: Random) -> Recovery:
    nursery = nursery_of_accounts()
    try:
        return await recover(folder, ON_RECORD, A_BATCH, rounds, chance, nursery)
    finally:
        await nursery.stop()


def prove(scale: int, seed: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(_proven(Path(name), ROUNDS * scale, Random(seed)))
    print(*found.differences[:20], sep="\n")
    assert found.batches_on_record.is_integer(), f"half a batch is on record: {found.batches_on_record}"
    assert min(found.wal_bytes) > 0, "a kill left nothing to recover"
    usual = median(found.after_a_close)
    return [
        Figure("left by a killed writer to recover, median", median(found.wal_bytes) / 2**20, "MiB"),
        Figure("from an accounts server's launch to its first fill, after a kill", max(found.after_a_kill), "s", usual),
        Figure("recovery with 100,000 transactions on record, worst", max(found.after_a_kill) - usual, "s", goal=2.0),
        Figure("batches lost of those told of", max(0, found.batches_told - int(found.batches_on_record)), "", goal=0),
        Figure("differences after the kills", len(found.differences), "", goal=0),
    ]
