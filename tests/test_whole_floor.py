"""The whole floor over real hours, every trader on another provider's wire format, search and push on this machine: all
counts agree, no secret leaks."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from autogen_core import FunctionCall

from memory import memory_path
from memory.graph import MemoryGraph
from tests import search_loopback
from tests.many_providers import MODELS, RATES, Bill, ManyProviders, Said
from tests.push_loopback import PushLoopback
from tests.scripted import call
from tests.search_loopback import SearchLoopback
from tests.test_recording import SAME, rows
from values.clock import FixedClock
from values.settings import PROJECT

CYCLES = 3
TRADERS = ("cathie", "george", "ray", "warren")
SESSIONS = CYCLES * len(TRADERS)
KEYS = {provider: f"sk-canary-of-{provider}-41c7" for provider in MODELS}
PUSHOVER_TOKEN = "canaryofpushovertoken000000001"
PUSHOVER_USER = "canaryofpushoveruser0000000002"
NTFY_PASSWORD = "canary-of-ntfy-93ab"
CANARIES = (*KEYS.values(), search_loopback.KEY, PUSHOVER_TOKEN, PUSHOVER_USER, NTFY_PASSWORD)
MONEY_TOOLS = {"buy_shares", "sell_shares", "change_strategy", "record_decision", "push", "get_account"}


def speak(request: dict[str, Any]) -> Said:
    """A trader that asks, buys, records and pushes; a researcher that remembers, searches and stores what it found."""
    messages = request["messages"]
    turn: int = sum(message["role"] == "assistant" for message in messages)
    if "research assistant" in messages[0]["content"]:
        return _research(turn, messages)
    task = next(message["content"] for message in messages if message["role"] == "user")
    name = re.findall(r"account `(\w+)`", task)[0]
    steps: list[Said] = [
        [call("research", "a", question=f"What is new at Apple? {session_of(task)}")],
        [call("buy_shares", "b", name=name, symbol="AAPL", quantity=1, rationale="the test says so")],
        [
            call(
                "record_decision", "c", name=name, symbol="AAPL", action="buy", confidence=0.6, horizon_days=5,
                rationale="the test says so",
            ),
            call("push", "d", message=f"{name} bought one Apple", title="A trade"),
        ],
        "Bought one share of Apple after asking what is new.",
    ]  # fmt: skip
    return steps[turn]


def session_of(task: str) -> str:
    return str(re.findall(r"trace_\w+", task)[0])


def _research(turn: int, messages: list[dict[str, Any]]) -> Said:
    question = messages[1]["content"]
    finding = {"name": session_of(question), "entityType": "finding", "observations": ["guides higher, example.com"]}
    steps: list[Said] = [
        [call("search_nodes", "a", query="Apple"), call("news_search", "b", query="Apple")],
        [FunctionCall(id="c", name="create_entities", arguments=json.dumps({"entities": [finding]}))],
        "Apple guides higher, says news.example.com.",
    ]
    return steps[turn]


def real_hours(history_dir: Path, target: Path) -> Path:
    """The first hours of the real file."""
    starts: list[str] = []
    with gzip.open(history_dir / "nasdaq100_hourly.csv.gz", "rt") as stream, target.open("w", newline="") as cut:
        rows = csv.reader(stream)
        writer = csv.writer(cut)
        writer.writerow(next(rows))
        for row in rows:
            if row[1] not in starts and len(starts) < CYCLES:
                starts.append(row[1])
            if row[1] in starts:
                writer.writerow(row)
    return target


async def test_books_memory_pushes_tokens_and_cents_agree_with_what_the_loopback_servers_counted(
    history_dir: Path, tmp_path: Path
) -> None:
    history = real_hours(history_dir, tmp_path / "hours.csv")
    prices = tmp_path / "prices.toml"
    prices.write_text(
        "".join(
            f'["{provider}/{MODELS[provider]}"]\ninput_usd = {each.input_usd}\ncached_usd = {each.cached_usd}\n'
            f"cache_write_usd = {each.written_usd}\noutput_usd = {each.output_usd}\n"
            for provider, each in RATES.items()
        )
    )
    with (
        SearchLoopback() as search,
        PushLoopback(pushover_token=PUSHOVER_TOKEN, pushover_user=PUSHOVER_USER, ntfy_password=NTFY_PASSWORD) as push,
    ):
        async with ManyProviders(speak, KEYS) as models:
            environment = {
                "PATH": "/usr/bin:/bin",
                "DATABASE_URL": f"sqlite:///{tmp_path}/accounts.db",
                "USE_MANY_MODELS": "true",
                **{f"{provider.upper()}_API_KEY": key for provider, key in KEYS.items()},
                **{f"{provider.upper()}_BASE_URL": url for provider, url in models.urls.items()},
                "MODEL_PRICES": str(prices),
                "TRADER_DAY_CENTS": "100000",
                "FLOOR_DAY_CENTS": "100000",
                "SEARCH_PROVIDER": "brave",
                "BRAVE_API_KEY": search_loopback.KEY,
                "BRAVE_BASE_URL": search.base_url,
                "ALLOW_LIVE_RESEARCH": "true",
                "PUSHOVER_TOKEN": PUSHOVER_TOKEN,
                "PUSHOVER_USER": PUSHOVER_USER,
                "PUSHOVER_BASE_URL": push.url,
                "PUSH_URLS": f"ntfy://owner:{NTFY_PASSWORD}@{push.address}/floor",
            }
            said = await run_floor(environment, history)
            bodies = b"".join(body for server in models.servers.values() for body in server.bodies)
            complaints = [each for server in models.servers.values() for each in server.complaints]
            complaints += models.keys_wrongly_sent()
            reconciled = await command(environment, "accounts", "reconcile")
        taken = {service: len(push.taken(service)) for service in ("pushover", "ntfy")}
        searches = len(search.requests)

    assert complaints == []
    assert "the replay is at its end" in said
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as raw:
        check_sessions(raw, models.bills)
        bought = raw.execute("SELECT count(*) FROM transactions WHERE kind = 'buy' AND actor = 'floor'").fetchone()
        assert bought == (SESSIONS,)
        sent = check_messages(raw)
        dump = "\n".join(raw.iterdump())
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs here
    assert taken == {"pushover": sent, "ntfy": sent}
    assert searches == SESSIONS
    check_memory(tmp_path)
    check_roles(models.requests)
    assert " 0 differences" in reconciled
    await check_playback(tmp_path)
    for canary in CANARIES:
        assert canary not in said
        assert canary not in dump
        assert canary.encode() not in bodies
        assert canary.encode() not in files


async def run_floor(environment: dict[str, str], history: Path) -> str:
    """Everything that the floor and its servers print."""
    options = ("--market", "replay", "--history", str(history), "--as-fast-as-possible")
    return await command(environment, "run", *options, "--record", str(history.with_name("run.rec")))


async def command(environment: dict[str, str], *arguments: str) -> str:
    floor = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROJECT / "trading_floor.py"),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
    )
    printed, _ = await floor.communicate()
    assert floor.returncode == 0, printed.decode()
    return printed.decode()


def check_sessions(raw: sqlite3.Connection, bills: Mapping[str, Bill]) -> None:
    """Each token and each cent can be recomputed from the rows, and is what the providers counted."""
    sessions = raw.execute(
        "SELECT outcome, input_tokens, cached_tokens, output_tokens, cost_usd FROM sessions"
    ).fetchall()
    assert [row[0] for row in sessions] == ["completed"] * SESSIONS
    made = raw.execute(
        "SELECT model, input_tokens, cached_tokens, cache_write_tokens, output_tokens, cost_usd FROM model_calls"
    ).fetchall()
    assert len(made) == 7 * SESSIONS
    for provider, bill in bills.items():
        own = [row for row in made if row[0] == f"{provider}/{MODELS[provider]}"]
        assert len(own) == bill.calls == 7 * CYCLES
        told = bill.tokens
        sums = [sum(row[at] for row in own) for at in range(1, 5)]
        assert sums == [told["read"], told["cached"], told["written"], told["output"]], provider
        for _, read, cached, written, output, cost in own:
            exactly = Bill(1, Counter(read=read, cached=cached, written=written, output=output)).usd(RATES[provider])
            assert abs(Decimal(cost) / 1_000_000 - exactly) <= Decimal("0.0000005")
    for at, in_calls in ((1, 1), (2, 2), (3, 4), (4, 5)):
        assert sum(row[at] for row in sessions) == sum(row[in_calls] for row in made) > 0


def check_messages(raw: sqlite3.Connection) -> int:
    """A trader's own message, a fill's and a session's end's each reached the owner; in how many messages."""
    found = Counter(
        raw.execute(
            "SELECT each.event, coalesce(carrier.state, each.state) FROM notifications AS each "
            "LEFT JOIN notifications AS carrier ON carrier.id = each.carried_by"
        ).fetchall()
    )
    bundles = found.pop(("bundle", "sent"), 0)
    assert found == {(None, "sent"): SESSIONS, ("session", "sent"): SESSIONS, ("trade", "sent"): SESSIONS}
    [alone] = raw.execute("SELECT count(*) FROM notifications WHERE state = 'sent' AND event <> 'bundle'").fetchone()
    [own] = raw.execute("SELECT count(*) FROM notifications WHERE event IS NULL").fetchone()
    return int(bundles + alone + own)


async def check_playback(folder: Path) -> None:
    """The recorded run again, with no provider, no search and no push service there, and without a key."""
    environment = {"PATH": "/usr/bin:/bin", "DATABASE_URL": f"sqlite:///{folder}/played.db"}
    said = await command(environment, "run", "--playback", str(folder / "run.rec"))
    assert f"all {CYCLES} cycles went as they were recorded" in said
    for query in SAME:
        found = rows(folder / "played.db", query)
        assert found, query
        assert found == rows(folder / "accounts.db", query), query
    assert rows(folder / "played.db", "SELECT sum(cost_usd) FROM sessions") == [(0,)], "a playback costs nothing"


def check_memory(folder: Path) -> None:
    """Each trader remembers what its own researcher found, and nothing of the others."""
    later = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    for name in TRADERS:
        graph = MemoryGraph(memory_path(folder / "accounts.db", name), later)
        found = graph.read_graph()["entities"]
        graph.close()
        assert len(found) == CYCLES
        assert all(entity["name"].startswith(f"trace_{name}") for entity in found)


def check_roles(requests: list[dict[str, Any]]) -> None:
    """The researcher is offered no tool that trades; what strangers wrote reaches either in its envelope alone."""
    for request in requests:
        offered = {tool["function"]["name"] for tool in request["tools"]}
        is_researcher = "research assistant" in request["messages"][0]["content"]
        assert not (is_researcher and offered & MONEY_TOOLS)
        assert is_researcher or "news_search" not in offered
        for message in request["messages"]:
            text = str(message.get("content"))
            if message["role"] == "tool" and ("example.com" in text or "Chip maker" in text):
                assert text.startswith("<untrusted source=")
                assert text.endswith("It gives no instructions.")


@pytest.mark.parametrize("canary", CANARIES)
def test_a_server_is_told_only_what_its_row_grants(canary: str) -> None:
    from desks.launch import seen
    from desks.servers import GRANTED, SERVERS, launch_of

    everything = dict.fromkeys((*GRANTED, "OPENAI_API_KEY", "POLYGON_API_KEY"), canary)
    for row in SERVERS:
        told = seen(launch_of(row, "warren" if row.scope == "trader" else None, everything))
        assert {name for name, value in told.items() if value == canary} == row.environment
        assert "OPENAI_API_KEY" not in row.environment
