"""Accounts servers that die or hang in mid-call: at every named point of a trade, and at random moments.

The workbench gives up at its deadline, restarts the server and sends the order again under its key; it is filled once
and is whole. Each case has a store, a server and a session of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random

import psutil
from opentelemetry.trace import NoOpTracer

from accounts import Account
from benchmarks.figure import Figure
from database import Store
from desks.connection import RESTARTS_MAX, ServerConnection
from desks.launch import Launch
from desks.nursery import Nursery
from desks.workbench import CALL_S, SessionWorkbench, Shelf
from ledger.sessions import open_session_row
from market import open_market
from tests.chaos.streams import Tally, nursery_of_accounts, opened, served
from tests.crashing_server import FAULTS, POINTS
from tests.fills import faults, keys_by_id
from tests.processes import still_running
from tests.shelf import simulated_settings
from values.settings import PROJECT, MarketSettings, load

MODULE = "tests.crashing_server"
ORDERS = {"insert": ("buy_shares", "AAPL"), "update": ("buy_shares", "MSFT"), "delete": ("sell_shares", "MSFT")}
"""What a trade does to its row of holdings; the account holds one share of Microsoft."""
SESSION = "trace_case"
CASE_CALL_S = {"killed": CALL_S, "hung": 5.0}
STREAM_CALL_S = 5.0
RUNS_S = 0.1
LANES = 5
AT_ONCE = {"killed": 4, "hung": 16}
"""The hung ones mostly wait, and do so side by side."""

Case = tuple[str, str, str]
"""What the trade does to holdings, the point, the fault."""

ALL_CASES: Sequence[Case] = tuple(product(ORDERS, POINTS, FAULTS))


async def at_points(folder: Path, cases: Sequence[Case], nursery: Nursery) -> dict[Case, list[str]]:
    """What was not as promised in each case."""
    template = folder / "template"
    store = opened(template, ["warren"])
    settings = load(MarketSettings, **{key.lower(): value for key, value in simulated_settings(template).items()})
    Account(store, open_market(store, settings), "warren", "client").buy_shares("MSFT", 1, "held from the start")
    open_session_row(store, SESSION, "warren", 1, "trade", "none")
    store.close()
    turns = {fault: asyncio.Semaphore(many) for fault, many in AT_ONCE.items()}

    async def one(case: Case) -> list[str]:
        async with turns[case[2]]:
            own = folder / "-".join(case)
            shutil.copytree(template, own)
            return await _at_point(own, nursery, case)

    told = await asyncio.gather(*(one(case) for case in cases))
    return dict(zip(cases, told, strict=True))


async def _at_point(folder: Path, nursery: Nursery, case: Case) -> list[str]:
    """Place the order whose server fails and one after it; both are to be filled, once."""
    kind, point, fault = case
    tool, symbol = ORDERS[kind]
    marker = folder / "once"
    marker.touch()
    arguments = (point, fault, str(marker), "--account", "warren", "--floor")
    connection = ServerConnection(Launch("accounts", arguments, simulated_settings(folder), PROJECT, MODULE), nursery)
    await connection.start()
    try:
        first = psutil.Process(connection.pid)
        workbench = SessionWorkbench({"accounts": Shelf(connection)}, SESSION, NoOpTracer(), CASE_CALL_S[fault])
        order = {"name": "warren", "quantity": "1", "rationale": "a test"}
        answer = await workbench.call_tool(tool, order | {"symbol": symbol})
        after = await workbench.call_tool("buy_shares", order | {"symbol": "SPY"})
        broken = [each.to_text() for each in (answer, after) if each.is_error]
        if broken:
            return broken
        fills = [json.loads(each.to_text()) for each in (answer, after)]
        if marker.exists():
            broken.append("the server never reached the point")
        if connection.restarts != 1:
            broken.append(f"the server was restarted {connection.restarts} times")
        if still_running([first]):
            broken.append("the first server still runs")
        if fills[0]["repeated"] is not (point in ("after_commit", "before_reply")):
            broken.append(f"the answer says repeated: {fills[0]['repeated']}")
    finally:
        await connection.stop()
    store = Store(folder / "accounts.db")
    wanted = {fill["transaction_id"]: f"{SESSION}:{number}" for number, fill in enumerate(fills, 1)}
    if (booked := keys_by_id(store)) != wanted:
        broken.append(f"on record are {booked}, acknowledged were {wanted}")
    broken += faults(store)
    store.close()
    return broken


async def at_random(folder: Path, times: int, chance: Random) -> tuple[Tally, list[float]]:
    """Let a server die or hang `times` times; the tally, and for each hang the seconds from the deadline to its end."""
    tally, late = Tally(), list[float]()
    nursery = nursery_of_accounts()
    rounds = [
        [(chance.choice(list(FAULTS.values())), chance.uniform(0, RUNS_S)) for _ in range(min(RESTARTS_MAX, left))]
        for left in range(times, 0, -RESTARTS_MAX)
    ]
    waiting = list(enumerate(rounds))

    async def lane() -> None:
        while waiting:
            number, moments = waiting.pop(0)
            own, store_tally = folder / f"round-{number}", Tally()
            store = opened(own, ["warren"])
            async with served(store, own, nursery, f"trace_{number}", store_tally, STREAM_CALL_S) as warren:
                for fault, moment in moments:
                    await warren.stream.wait(moment)
                    hit = await warren.hit(fault)
                    if hit.ended_at is None:
                        store_tally.processes_left += 1
                    elif fault == FAULTS["hung"] and hit.oldest_order_at is not None:
                        late.append(hit.ended_at - hit.oldest_order_at - STREAM_CALL_S)
            assert warren.connection.restarts == len(moments)
            store_tally.judge(store)
            store.close()
            tally.add(store_tally)

    try:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(lane())
    finally:
        await nursery.stop()
    return tally, late


async def _at_all_points(folder: Path) -> dict[Case, list[str]]:
    nursery = Nursery([MODULE], PROJECT)
    try:
        return await at_points(folder, ALL_CASES, nursery)
    finally:
        await nursery.stop()


def prove(scale: int, seed: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = asyncio.run(_at_all_points(folder))
        tally, late = asyncio.run(at_random(folder, 50 * scale, Random(seed)))
    for case, sentences in broken.items():
        if sentences:
            print(*case, *sentences, sep="; ")
    print(*tally.broken[:20], sep="\n")
    assert tally.under_way, "no order was under way when a server failed"
    assert late, "no server hung"
    return [
        Figure(f"named points that broke a promise, of {len(broken)}", sum(map(bool, broken.values())), "", goal=0),
        Figure(f"orders under way when a server died or hung, {tally.kills} times", tally.under_way, ""),
        Figure("of them filled before and told of after it", tally.sent_again, ""),
        Figure("of them without an answer", tally.unanswered, "", goal=0),
        Figure("servers that did not end", tally.processes_left, "", goal=0),
        Figure("of them lost, doubled or half done", tally.lost + tally.doubled + len(tally.broken), "", goal=0),
        Figure(f"hung calls given up after their deadline, worst of {len(late)}", max(late), "s", goal=1.0),
    ]
