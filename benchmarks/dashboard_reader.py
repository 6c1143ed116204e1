"""What a look of the dashboard's reader costs: the first at a long record, and an update after it.

The first look is the best of five. The baseline of an update is the same update on a store that holds next to nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median

from accounts import Account, open_account
from benchmarks.figure import Figure
from dashboard.reader import Reader
from dashboard.survey import House
from database import NewRun, Store, write_log
from market import Market, open_market
from personas import load_personas
from tests.bulk import fill_record
from values.clock import wall_now
from values.log import LogRow
from values.settings import MarketSettings, load

LOGS, TRANSACTIONS, VALUES = 1_000_000, 100_000, 50_000
FIRST_READS, UPDATES = 5, 60
_NUMBERED = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count), "
    "own(k, account) AS (SELECT row_number() OVER (ORDER BY name) - 1, name FROM accounts) "
)
_FROM = "FROM n JOIN own ON k = i % 4 ORDER BY i"
_LOGS = (
    f"{_NUMBERED} INSERT INTO logs(type, account, session_id, message, tool, arguments, result, is_error, latency_ms, "
    "wall_time) SELECT CASE i % 3 WHEN 0 THEN 'function' ELSE 'generation' END, account, 'trace_' || (i / 20), "
    "'a line of the length that most have, or a little longer', 'find_symbols', '{\"query\": \"bank\"}', 'a result', "
    f"i % 50 = 0, i % 97, :at {_FROM}"
)
_VALUES = (
    f"{_NUMBERED} INSERT INTO portfolio_values(account, value, cash, stale, cycle, market_time, wall_time) "
    "SELECT account, 10000000000 + (i * 7919) % 1000000000, 0, 0, i / 4, "
    f"datetime('2015-01-01', '+' || (i / 4) || ' hours') || '.000000', :at {_FROM}"
)


@dataclass
class Watched:
    """A store and the reader that watches it; `now` is the reader's time."""

    store: Store
    market: Market
    reader: Reader
    now: float = 0.0
    log_ms: list[float] = field(default_factory=list)
    trade_ms: list[float] = field(default_factory=list)

    def look(self) -> float:
        """Milliseconds of one look, half a second after the one before."""
        self.now += 0.5
        began = time.perf_counter()
        self.reader.step(self.now)
        taken = (time.perf_counter() - began) * 1000
        assert self.reader.view.broken is None, self.reader.view.broken
        return taken

    def update(self) -> None:
        """One look after new log lines, one after a trade."""
        write_log(self.store, [LogRow("agent", "warren", f"line {number}", wall_now()) for number in range(5)])
        self.log_ms.append(self.look())
        Account(self.store, self.market, "warren", "floor").buy_shares("BTC-USD", "0.00001", "one more")
        self.trade_ms.append(self.look())


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, filled_store(Path(folder), 0) as little:
        little.look()
        with filled_store(Path(folder), 1) as long:
            first = []
            for _ in range(FIRST_READS):
                long.reader = _reader(long)
                first.append(long.look() / 1000)
            for _ in range(UPDATES):  # in turn, so that what else the machine does meets both
                little.update()
                long.update()
    what = f"{LOGS:,} log rows and {TRANSACTIONS:,} transactions"
    return [
        Figure(f"dashboard: first look at {what}", min(first), "s", goal=1.0),
        Figure(
            f"dashboard: new log lines after {what}", median(long.log_ms), "ms", median(little.log_ms),
            goal=1.25, goal_of="ratio",
        ),
        Figure(
            f"dashboard: a trade after {what}", median(long.trade_ms), "ms", median(little.trade_ms),
            goal=1.25, goal_of="ratio",
        ),
    ]  # fmt: skip


@contextmanager
def filled_store(folder: Path, scale: int) -> Iterator[Watched]:
    """Four traders' store, with a history of that scale."""
    with closing(Store(folder / f"{scale}.db", NewRun("simulated", 7, started_at=wall_now()))) as store:
        market = open_market(store, load(MarketSettings, market="simulated", market_seed=7))
        for persona in load_personas():
            open_account(store, market, persona.name, strategy=persona.strategy, kind="trader", actor="floor")
            if scale:
                fill_record(store, persona.name, scale * TRANSACTIONS // 4)
        if scale:
            with store.write() as connection:
                at = f"{wall_now() - timedelta(days=1):%Y-%m-%d %H:%M:%S.%f}"
                for statement, count in ((_LOGS, LOGS), (_VALUES, VALUES)):
                    connection.exec_driver_sql(statement, {"count": scale * count, "at": at})
        watched = Watched(store, market, Reader(store, lambda _: market, House(), {}, {}))
        watched.reader = _reader(watched)
        yield watched


def _reader(watched: Watched) -> Reader:
    return Reader(watched.store, lambda _: watched.market, House(load_personas()), {}, {})
