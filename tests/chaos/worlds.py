"""The servers under test, each in a world of its own that says what must have changed: what was promised, or nothing.

A world keeps a model beside the store: `accepted` applies what a legal call promises, `refused` what a refusal may
leave (a row that says so). `check` reads the store and raises AssertionError when the two differ.
"""

from __future__ import annotations

import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select

import accounts_server
import market_server
import memory.server
import push_server
import research.server
from accounts import change_limit, open_account
from database import NewRun, Store
from ledger.reconcile import reconcile
from market import Market
from memory.graph import MemoryGraph
from push.outbox import Outbox
from push.targets import Delivery
from research.simulated import SimulatedSearch
from store import tables
from tests.chaos.verdicts import as_read, number_in, quantity_of, seen
from tests.shelf import LISTED, ShelfVenue
from values.clock import FixedClock
from values.names import normalise_name
from venues.simulated import SimulatedVenue
from wire.server import RefusingServer

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ROW_CHARS_MAX = 50_000
Arguments = dict[str, Any]
Effect = tuple[Any, ...]


class World(ABC):
    """`bound`, `holding`, `keys` and `entities` are what the verdict on a value may depend on."""

    server: RefusingServer
    bound: str | None = None

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], Effect] = {}
        self.entities: dict[str, tuple[str, set[str]]] = {}

    def holding(self, symbol: str) -> int:
        return 0

    @abstractmethod
    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        """A call that went through, and the object that it returned."""

    @abstractmethod
    def refused(self, tool: str, arguments: Arguments, code: str) -> None: ...

    @abstractmethod
    def check(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Check what is checked once, and close the files."""


def _store(folder: Path) -> Store:
    return Store(folder / "accounts.db", NewRun("replay", 1, "0" * 64, "a tape of the test", START))


class Books(World):
    """The accounts server, bound to warren or the operator's; george has money too."""

    WRITING = frozenset({"buy_shares", "sell_shares", "change_strategy", "record_decision"})

    def __init__(self, folder: Path, bound: str | None) -> None:
        super().__init__()
        self.store = _store(folder)
        self.market = Market(ShelfVenue(), self.store.clock())
        for name in ("warren", "george"):
            account = open_account(self.store, self.market, name, strategy="Wait.", balance=Decimal(10**9))
            for each in LISTED:
                account.buy_shares(each.symbol, 1_000 if each.kind == "coin" else 100_000, "to have some")
            change_limit(self.store, name, "max_order_usd", "100000")
        self.server = accounts_server.build(
            self.store, self.market, bound=bound, actor="client" if bound else "operator"
        )
        self.bound = bound
        self._since = {table.name: self._newest(table) for table in _APPENDED}
        self._expected: dict[str, list[Effect]] = {table.name: [] for table in _APPENDED}
        self._state = self._read_state()
        self._limits = self._limit_rows()

    def holding(self, symbol: str) -> int:
        return int(self._state["warren"][2].get(symbol, 0))

    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        if tool not in self.WRITING:
            return
        name = normalise_name(arguments["name"])
        cash, strategy, holdings = self._state[name]
        if tool == "change_strategy":
            self._expected["strategies"].append((name, arguments["strategy"]))
            self._state[name] = (cash, arguments["strategy"], holdings)
            return
        symbol = arguments["symbol"].strip(" ").upper()
        if tool == "record_decision":
            sure, days = number_in(arguments["confidence"]), number_in(arguments["horizon_days"])
            self._expected["decisions"].append((name, symbol, arguments["action"], sure, days, arguments["rationale"]))
            return
        side, quantity, key = (
            tool.partition("_")[0],
            quantity_of(arguments["quantity"]),
            arguments.get("client_order_id"),
        )
        key = as_read(key)
        assert quantity is not None
        assert (said["symbol"], said["quantity"], said["repeated"]) == (symbol, f"{quantity}", False), said
        amount = Decimal(said["amount"])
        assert (amount < 0) == (side == "buy")
        order = (name, side, symbol, Decimal(quantity), amount, arguments["rationale"], key)
        if key is not None:
            self.keys[name, key] = order
        self._expected["transactions"].append(order)
        holdings = holdings + Counter({symbol: quantity}) if side == "buy" else holdings - Counter({symbol: quantity})
        self._state[name] = (cash + amount, strategy, holdings)

    def refused(self, tool: str, arguments: Arguments, code: str) -> None:
        if tool in self.WRITING:
            self._expected["refusals"].append((tool, code))

    def check(self) -> None:
        for table, columns in _APPENDED.items():
            got = self._rows(table, columns)
            assert got == self._expected[table.name], (
                f"{table.name}: {_first_difference(got, self._expected[table.name])}"
            )
            self._expected[table.name] = []
            self._since[table.name] = self._newest(table)
        assert self._read_state() == self._state
        assert self._limit_rows() == self._limits

    def close(self) -> None:
        with self.store.read() as connection:
            assert list(reconcile(connection)) == []
        self.store.close()

    def _newest(self, table: Table) -> int:
        with self.store.read() as connection:
            return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())

    def _rows(self, table: Table, columns: Sequence[str]) -> list[Effect]:
        query = select(table).where(table.c.id > self._since[table.name]).order_by(table.c.id)
        with self.store.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            assert all(len(each) < ROW_CHARS_MAX for each in row if isinstance(each, str)), f"{row}"[:500]
        return [tuple(getattr(row, column) for column in columns) for row in rows]

    def _read_state(self) -> dict[str, Effect]:
        own, held = tables.accounts.c, tables.holdings
        with self.store.read() as connection:
            accounts = connection.execute(select(own.name, own.cash, own.strategy)).all()
            rows = connection.execute(select(held.c.account, held.c.symbol, held.c.quantity)).all()
        holdings = {
            name: Counter({row.symbol: int(row.quantity) for row in rows if row.account == name})
            for name, *_ in accounts
        }
        return {row.name: (row.cash, row.strategy, holdings[row.name]) for row in accounts}

    def _limit_rows(self) -> list[Effect]:
        with self.store.read() as connection:
            return [tuple(row) for row in connection.execute(select(tables.limits))]


_APPENDED = {
    tables.transactions: ("account", "kind", "symbol", "quantity", "amount", "rationale", "order_key"),
    tables.strategies: ("account", "strategy"),
    tables.decisions: ("account", "symbol", "action", "confidence", "horizon_days", "rationale"),
    tables.refusals: ("tool", "code"),
}


class Reads(World):
    """The market and the search server: whatever is asked, nothing changes."""

    def __init__(self, folder: Path, which: str) -> None:
        super().__init__()
        self.folder = folder
        with closing(_store(folder)) as store:
            clock = store.clock()
        if which == "market":
            self.server = market_server.build(Market(ShelfVenue(), FixedClock(START)))
        else:
            seconds = iter(range(0, 10**9, 60))
            provider = SimulatedSearch(SimulatedVenue(7, START - timedelta(days=3)))
            self.server = research.server.build(provider, FixedClock(START), "", monotonic=lambda: next(seconds))
        del clock
        self._before = self._files()

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        assert len(f"{said}") < 200_000

    def refused(self, tool: str, arguments: Arguments, code: str) -> None:
        pass

    def check(self) -> None:
        assert self._files() == self._before

    def close(self) -> None:
        self.check()


class Sent:
    """A carrier that remembers what it was given."""

    names = ("test",)

    def __init__(self) -> None:
        self.messages: list[Effect] = []

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        self.messages.append((title, message))
        return [Delivery("test", True)]


class Messages(World):
    """The push server: what is legal is sent once, what is not is sent nowhere."""

    def __init__(self, folder: Path, bound: str | None) -> None:
        super().__init__()
        self.store = _store(folder)
        self.clock = FixedClock(START)
        self.carrier = Sent()
        if bound is not None:
            open_account(self.store, Market(ShelfVenue(), self.store.clock()), bound)
        self.server = push_server.build(Outbox(self.store, self.carrier, self.clock), bound=bound)
        self._expected: list[Effect] = []
        self._refused = 0
        self._since = 0

    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        assert said["state"] == "sent", said
        heading = " ".join(seen(arguments.get("title", "")).split()) or "Trading floor"
        self._expected.append((heading, seen(arguments["message"])))
        self.clock.advance(timedelta(days=1))  # no limit on the number of messages is meant here

    def refused(self, tool: str, arguments: Arguments, code: str) -> None:
        self._refused += code != "bad_argument" and code != "unknown_tool"

    def check(self) -> None:
        assert self.carrier.messages == self._expected, _first_difference(self.carrier.messages, self._expected)
        table = tables.notifications
        with self.store.read() as connection:
            rows = connection.execute(select(table).where(table.c.id > self._since).order_by(table.c.id)).all()
        assert [(row.title, row.message) for row in rows if row.state == "sent"] == self._expected
        assert sum(row.state == "refused" for row in rows) == self._refused == len(rows) - len(self._expected)
        self._since = max((row.id for row in rows), default=self._since)
        self.carrier.messages, self._expected, self._refused = [], [], 0

    def close(self) -> None:
        self.store.close()


NVDA = {"name": "NVDA", "entityType": "company", "observations": ["makes chips"]}
AMD = {"name": "AMD", "entityType": "company", "observations": ["makes chips too"]}
RIVALS = {"from": "NVDA", "to": "AMD", "relationType": "rivals"}


class Remembered(World):
    """The memory server over a graph of two companies, new for each parameter."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self.graph = MemoryGraph(self._folder / "memory", FixedClock(START))
        self.graph.create_entities([NVDA, AMD])  # type: ignore[list-item]
        self.graph.create_relations([RIVALS])  # type: ignore[list-item]
        self.server = memory.server.build(self.graph, "warren")
        self.entities = {
            each["name"]: (each["entityType"], set(each["observations"]))  # type: ignore[misc]
            for each in (NVDA, AMD)
        }
        self.relations = {tuple(RIVALS.values())}

    def accepted(self, tool: str, arguments: Arguments, said: Arguments) -> None:
        rows = as_read(next(iter(arguments.values()), []))
        if tool == "create_entities":
            for each in rows:
                self.entities.setdefault(each["name"], (each["entityType"], set(each["observations"])))
        elif tool == "create_relations":
            self.relations |= {(each["from"], each["to"], each["relationType"]) for each in rows}
        elif tool == "add_observations":
            for each in rows:
                self.entities[each["entityName"]][1].update(each["contents"])
        elif tool == "delete_entities":
            self._forget(rows)
        elif tool == "delete_observations":
            for each in rows:
                if each["entityName"] in self.entities:
                    self.entities[each["entityName"]][1].difference_update(each["observations"])
        elif tool == "delete_relations":
            self.relations -= {(each["from"], each["to"], each["relationType"]) for each in rows}

    def _forget(self, names: Sequence[str]) -> None:
        self.entities = {name: of for name, of in self.entities.items() if name not in names}
        self.relations = {each for each in self.relations if not {each[0], each[1]} & set(names)}

    def refused(self, tool: str, arguments: Arguments, code: str) -> None:
        pass

    def check(self) -> None:
        present = "deleted_market_time IS NULL"
        with closing(sqlite3.connect(self.graph.path)) as connection:
            entities = connection.execute(f"SELECT id, name, entity_type FROM entities WHERE {present}").fetchall()
            said = connection.execute(f"SELECT entity_id, text FROM observations WHERE {present}").fetchall()
            relations = connection.execute(
                "SELECT f.name, t.name, r.relation_type FROM relations r JOIN entities f ON f.id = r.from_id "
                "JOIN entities t ON t.id = r.to_id WHERE r.deleted_market_time IS NULL "
                "AND f.deleted_market_time IS NULL AND t.deleted_market_time IS NULL"
            ).fetchall()
        texts: dict[int, set[str]] = {number: set() for number, _, _ in entities}
        for number, text in said:
            if number in texts:
                texts[number].add(text)
        assert {name: (of, texts[number]) for number, name, of in entities} == self.entities
        assert set(relations) == self.relations

    def close(self) -> None:
        self.graph.close()


def _first_difference(got: Sequence[Effect], wanted: Sequence[Effect]) -> str:
    for at, (one, other) in enumerate(zip(got, wanted, strict=False)):
        if one != other:
            return f"row {at} is {one!r:.300}, expected {other!r:.300}"
    return f"{len(got)} rows, expected {len(wanted)}"
