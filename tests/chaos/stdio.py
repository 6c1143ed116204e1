"""Garbage, giants and orphans: a stdio server ignores what is no request, refuses what it can't read, and ends.

Each server, spawned and forked, gets thousands of bad lines between good calls: what is nobody's request is ignored,
an unreadable request is refused by its id, no state changes, nothing but protocol comes back, a line of any length
costs bounded memory. When the parent is killed, or a pipe closed, with a handler in mid-call, the process ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import psutil

from accounts import open_account
from benchmarks.figure import Figure
from desks.launch import Launch
from desks.nursery import Nursery
from desks.servers import SERVERS, launch_of
from market import open_market, open_store
from memory import memory_path
from memory.graph import MemoryGraph
from tests.chaos.garbage import BAD_PARAMS, BAD_REQUEST, ORDER, frames
from tests.processes import still_running
from tests.raw_stdio import DEADLINE_S, RawServer, call, encoded, peak_bytes, raw_server, request, spawn
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load
from wire.stdio import MESSAGE_BYTES_MAX

Kind = Literal["spawned", "forked"]
KINDS: tuple[Kind, ...] = ("spawned", "forked")
Pipe = Literal["stdin", "stdout"]
PIPES: tuple[Pipe, ...] = ("stdin", "stdout")
OURS = tuple(row.name for row in SERVERS if row.is_ours)
MODULES = [row.module for row in SERVERS if row.is_ours]
READS: dict[str, tuple[str, dict[str, Any]]] = {
    "accounts": ("get_balance", {"name": "warren"}),
    "market": ("get_market_status", {}),
    "memory": ("read_graph", {}),
}


@dataclass
class Tally:
    ignored: int = 0
    refused: int = 0
    served: int = 0
    giants: int = 0
    growth_bytes: int = 0
    ended: int = 0
    faults: list[str] = field(default_factory=list)


def settings_of(folder: Path) -> MarketSettings:
    return load(MarketSettings, **{key.lower(): value for key, value in simulated_settings(folder).items()})


def set_up(folder: Path) -> None:
    settings = settings_of(folder)
    with closing(open_store(settings)) as store:
        open_account(store, open_market(store, settings), "warren", kind="trader", actor="floor")
        MemoryGraph(memory_path(folder / "accounts.db", "warren"), store.clock()).close()


def dump(path: Path) -> Iterator[str]:
    """Everything in a database, line by line."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield from connection.iterdump()


def fingerprint(folder: Path) -> str:
    """Of everything in the store and in warren's memory, refusals and log lines included."""
    files = [folder / "accounts.db", folder / "accounts.db.memory-warren"]
    return sha256("\n".join(line for path in files for line in dump(path)).encode()).hexdigest()


def launch(name: str, folder: Path) -> Launch:
    row = next(row for row in SERVERS if row.name == name)
    return launch_of(row, "warren" if row.scope == "trader" else None, simulated_settings(folder))


@asynccontextmanager
async def nursery_of(kind: Kind) -> AsyncIterator[Nursery | None]:
    nursery = Nursery(MODULES, PROJECT) if kind == "forked" else None
    try:
        yield nursery
    finally:
        if nursery is not None:
            await nursery.stop()


async def garbage(name: str, server: RawServer, folder: Path, chance: random.Random, count: int) -> Tally:
    """Feed a server `count` bad lines, some before its `initialize`, with a good call after every few of them."""
    tally = Tally()
    early = await server.answer(call("early", "buy_shares", **ORDER))
    assert early["error"]["code"] == BAD_PARAMS, early  # before initialize: refused, and not traded
    await server.greet()
    await good(name, server, "first")
    before = fingerprint(folder)
    bad, number = frames(chance), 0
    while number < count:
        batch = [next(bad) for _ in range(min(chance.randint(1, 40), count - number))]
        number += len(batch)
        await server.send(*(each.line for each in batch))
        codes = {each.id: each.code for each in batch if each.code}
        got = await server.answers(list(codes))
        told = {each["id"]: each.get("error", {}).get("code") for each in got}
        if told != codes or len(got) != len(codes):
            tally.faults.append(f"{name}: {codes} expected, {told} answered to {[each.line[:200] for each in batch]}")
        if any(len(encoded(each["error"])) > 2_000 for each in got if "error" in each):
            tally.faults.append(f"{name}: an error repeats what was sent")
        tally.refused += len(codes)
        tally.ignored += len(batch) - len(codes)
        await good(name, server, f"good {number}")
        tally.served += 1
    if fingerprint(folder) != before:
        tally.faults.append(f"{name}: the state changed")
    return tally


async def good(name: str, server: RawServer, request_id: str) -> None:
    message = (
        request(request_id, "tools/list") if name not in READS else call(request_id, READS[name][0], **READS[name][1])
    )
    answer = await server.answer(message)
    assert not answer["result"].get("isError"), answer


async def giants(server: RawServer, sizes: Sequence[int]) -> Tally:
    """Messages too long, with their id first, last, or without any end: refused, or ignored, at a bounded cost."""
    tally = Tally()
    assert server.process.stdin is not None
    fits = encoded(request("fits", "ping", {"x": ""}))
    fits = fits.replace(b'""', b'"%s"' % (b"x" * (MESSAGE_BYTES_MAX - len(fits) - 1)))  # its line feed counts
    assert "result" in (await server.answers_to(fits, ["fits"]))[0]
    before = peak_bytes(server.process.pid)
    for number, size in enumerate(sizes):
        shapes = {
            f"first {number}": (b'{"jsonrpc":"2.0","id":"first %d","method":"ping","params":{"x":"' % number, b'"}}'),
            f"last {number}": (b'{"method":"ping","params":{"x":"', b'"},"jsonrpc":"2.0","id":"last %d"}' % number),
            "": (b"", b""),
        }
        for request_id, (head, tail) in shapes.items():
            server.process.stdin.write(head)
            for _ in range(size // (1024 * 1024)):
                server.process.stdin.write(b"x" * (1024 * 1024))
                await server.process.stdin.drain()
            got = await server.answers_to(tail, [request_id] if request_id else [])
            told = [(each["id"], each.get("error", {}).get("code")) for each in got]
            if told != ([(request_id, BAD_REQUEST)] if request_id else []):
                tally.faults.append(f"a line of {size} bytes was answered {told}")
            tally.giants += 1
    tally.growth_bytes = peak_bytes(server.process.pid) - before
    return tally


async def attack(kind: Kind, names: Sequence[str], folder: Path, seed: int, count: int, sizes: Sequence[int]) -> Tally:
    """All of it on servers of one kind, one by one; the giants on the last of them."""
    whole = Tally()
    async with nursery_of(kind) as nursery:
        for name in names:
            async with raw_server(launch(name, folder), nursery) as server:
                parts = [await garbage(name, server, folder, random.Random(f"{seed} {kind} {name}"), count)]
                if name == names[-1]:
                    parts.append(await giants(server, sizes))
                    await good(name, server, "last")
                if rest := await server.rest():
                    whole.faults.append(f"{name}: said at its end {rest}")
                whole.ended += server.process.returncode == 0
            for part in parts:
                for key in ("ignored", "refused", "served", "giants", "growth_bytes"):
                    setattr(whole, key, getattr(whole, key) + getattr(part, key))
                whole.faults += part.faults
    return whole


async def ends(
    folder: Path, pipes: Sequence[tuple[Kind, Pipe]], parents: Sequence[Kind], names: Sequence[str]
) -> tuple[int, int]:
    """End servers in every way with an order in mid-call; how many processes ended, and how many did not.

    The order waits, because the turn to write is held here all the while.
    """
    before = fingerprint(folder)
    with closing(open_store(settings_of(folder))) as store, store.write():
        closing_pipes = [end_of_a_pipe(kind, which, folder) for kind, which in pipes]
        ended = await asyncio.gather(*closing_pipes, *(orphans(kind, folder, names) for kind in parents))
    assert fingerprint(folder) == before, "an order was booked whose server had ended"
    return sum(of for of, _ in ended) - sum(left for _, left in ended), sum(left for _, left in ended)


async def end_of_a_pipe(kind: Kind, which: Pipe, folder: Path) -> tuple[int, int]:
    async with nursery_of(kind) as nursery:
        server = await busy_server(folder, nursery)
        assert server.process.stdout is not None
        process = psutil.Process(server.process.pid)
        if which == "stdin":
            assert await server.rest() == [], f"{kind}: it waited for its handler"  # which gives up some seconds later
        else:
            server.process.stdout._transport.close()  # type: ignore[attr-defined]
        left = await asyncio.to_thread(_killed_if_left, [process])
        assert await server.process.wait() == 0 or left, f"{kind}, {which} closed: {server.process.returncode}"
    return 1, left


def _killed_if_left(processes: Sequence[psutil.Process]) -> int:
    left = still_running(processes, DEADLINE_S)
    for each in left:
        each.kill()
    return len(left)


async def orphans(kind: Kind, folder: Path, names: Sequence[str]) -> tuple[int, int]:
    """Kill -9 a parent of servers; how many processes it had, its nursery among them, and how many outlived it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.stdio", kind, str(folder), *names, stdout=-1, cwd=PROJECT
    )
    assert process.stdout is not None
    try:
        children = [psutil.Process(pid) for pid in json.loads(await process.stdout.readline())]
    finally:
        process.kill()
    await process.wait()
    return len(children), await asyncio.to_thread(_killed_if_left, children)


async def parent(kind: Kind, folder: Path, names: Sequence[str]) -> None:
    """Run as a process of its own: start these servers and a busy one; print their pids; live until killed."""
    async with nursery_of(kind) as nursery:
        spawned = await asyncio.gather(*(spawn(launch(name, folder), nursery) for name in names))
        idle = [RawServer(each) for each in spawned]
        servers = [*idle, await busy_server(folder, nursery)]
        await asyncio.gather(*(server.greet() for server in idle))
        pids = [server.process.pid for server in servers]
        print(json.dumps(pids if nursery is None else [*pids, nursery.pid]), flush=True)
        await asyncio.Event().wait()


async def busy_server(folder: Path, nursery: Nursery | None) -> RawServer:
    """An accounts server with an order in mid-call."""
    server = RawServer(await spawn(launch("accounts", folder), nursery))
    await server.greet()
    await server.send(call("order", "buy_shares", **ORDER))
    told = await server.answers_to(encoded(call("read", "get_balance", name="warren")), ["read"])
    assert [each["id"] for each in told] == ["read"], told  # it was read after the order, which still waits
    return server


def prove(scale: int, seed: int) -> list[Figure]:
    """Every server of ours in both kinds, 1,500 bad lines each; giants up to 96 MB; ends in every way."""
    whole, ended, left = [], 0, 0
    mebi = 1024 * 1024
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        set_up(folder)
        for kind in KINDS:
            whole.append(asyncio.run(attack(kind, OURS, folder, seed, 1_500 * scale, [16 * mebi, 96 * mebi * scale])))
        for _ in range(scale):
            did, did_not = asyncio.run(ends(folder, [(kind, which) for kind in KINDS for which in PIPES], KINDS, OURS))
            ended, left = ended + did, left + did_not
    faults = [fault for each in whole for fault in each.faults]
    assert not faults, "\n".join(faults[:20])
    assert min(each.ignored for each in whole) > 1_000
    assert min(each.refused for each in whole) > 1_000
    return [
        Figure("bad lines sent to stdio servers", sum(each.ignored + each.refused for each in whole), ""),
        Figure("bad lines answered otherwise than they should be", len(faults), "", goal=0),
        Figure("good calls served between the bad lines", sum(each.served for each in whole), ""),
        Figure("lines of 16 to 96 MB refused or ignored", sum(each.giants for each in whole), ""),
        Figure(
            "most memory that a server took for them", max(each.growth_bytes for each in whole) / mebi, "MiB", goal=32
        ),
        Figure("servers that outlived their parent or their pipes", left, "", goal=0),
        Figure("servers ended by a killed parent or a closed pipe", ended, ""),
    ]


if __name__ == "__main__":
    asyncio.run(parent("forked" if sys.argv[1] == "forked" else "spawned", Path(sys.argv[2]), sys.argv[3:]))
