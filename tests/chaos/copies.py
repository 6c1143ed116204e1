"""Copies of a store in use: `accounts backup` makes consistent ones, and `doctor` finds raw ones that are not.

A process trades without end while copies are taken at random moments: by the command, or raw, as `cp` would, of the
file alone, of a file that moves while it is read, or of the file and then its log. What a raw copy is in truth is
judged past the product: by SQLite's full check of its pages, by sums over its rows, and, once the writer has ended, by
whether each of its tables is the beginning of what the store holds.

Doctor can't know, and does not claim, that a copy is new: the file alone, copied while nothing moved it from the log,
is a true older state without the newest trades. It says of which time the newest record is.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.pool import Pool
from typer.testing import CliRunner

from benchmarks.figure import Figure
from commands.checks import StoreExamination
from commands.main import app
from database import NewRun, Store
from tests.chaos.state import Activity, faults_of, orders_of
from values.address import StoreAddress
from values.settings import PROJECT

FLOORS = 4
BACKUPS_OF_A_FLOOR = 25
RAW_COPIES_OF_A_FLOOR = 60
CHECKPOINT_PAGES = 40
ACKNOWLEDGED_S = 60.0
Truth = Literal["damaged", "books differ", "mixed", "older", "complete"]
KEPT_FOR_EVER = ("transactions", "logs", "strategies", "sessions")


def write(path: Path, seed: int) -> None:
    """The floor's part: trades, log rows and sessions without end; the key of each acknowledged trade is a line."""

    @event.listens_for(Pool, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")  # so that the file itself moves often

    chance = random.Random(seed)
    activity = Activity(Store(path), chance, reasons=(1, 20, 100))
    while True:
        number = next(activity.numbers)
        if chance.random() < 0.1:
            activity.session(number)()
        activity.order(number)()
        print(f"order:{number}", flush=True)


@dataclass
class Floor:
    """A process that trades on the store at `path`, and the keys of the trades that it has acknowledged."""

    path: Path
    acknowledged: list[str] = field(default_factory=list)
    _more: threading.Condition = field(default_factory=threading.Condition)

    def listen(self, lines: Iterable[str]) -> None:
        """Take down what it says until it ends."""
        for line in lines:
            with self._more:
                self.acknowledged.append(line.strip())
                self._more.notify_all()

    def trades(self, count: int) -> None:
        """Wait until it has acknowledged `count` more."""
        with self._more:
            wanted = len(self.acknowledged) + count
            assert self._more.wait_for(lambda: len(self.acknowledged) >= wanted, ACKNOWLEDGED_S), "the writer is gone"


@contextmanager
def running(folder: Path, seed: int) -> Iterator[Floor]:
    """A new store with a floor that trades on it until the context ends."""
    path = folder / "accounts.db"
    with closing(Store(path, NewRun("simulated", 7))) as store:
        Activity(store, random.Random(seed))
    floor = Floor(path)
    command = [sys.executable, "-m", "tests.chaos.copies", str(path), str(seed)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        listener = threading.Thread(target=floor.listen, args=(process.stdout,))
        listener.start()
        try:
            floor.trades(1)
            yield floor
        finally:
            process.kill()
            listener.join()


def backup(path: Path, target: Path) -> None:
    """`trading-floor accounts backup`."""
    environment = {"DATABASE_URL": f"sqlite:///{path}", "MARKET": "simulated", "MARKET_SEED": "7"}
    done = CliRunner().invoke(app, ["accounts", "backup", str(target)], env=environment)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.startswith("a consistent copy of ")


def raw_copy(floor: Floor, target: Path, kind: str, chance: random.Random) -> None:
    """What `cp` makes of files that are written to. It reads a moving file in pieces, the floor trading in between."""
    if kind == "torn file":
        size = floor.path.stat().st_size
        with floor.path.open("rb") as source, target.open("wb") as copy:
            for at in sorted(chance.randrange(1, size) for _ in range(chance.randint(1, 4))):
                copy.write(source.read(at - source.tell()))
                floor.trades(chance.randint(1, 30))
            copy.write(source.read())
        return
    shutil.copyfile(floor.path, target)
    if kind == "file, then log":
        floor.trades(chance.randint(1, 30))
        shutil.copyfile(f"{floor.path}-wal", f"{target}-wal")


def truth(path: Path, final: Path, acknowledged: list[str]) -> Truth:
    """What a copy is. Nothing of the product is asked; the copy may be changed by looking at it."""
    try:
        with closing(sqlite3.connect(path)) as copy:
            if copy.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                return "damaged"
            if _books_differ(copy):
                return "books differ"
            if _mixed(copy, final):
                return "mixed"
            keys = {key for (key,) in copy.execute("SELECT order_key FROM transactions WHERE kind = 'buy'")}
    except sqlite3.DatabaseError:
        return "damaged"
    return "complete" if keys.issuperset(acknowledged) else "older"


def _books_differ(copy: sqlite3.Connection) -> bool:
    """Whether cash and holdings are not what the rows of the record sum to."""
    by_record = "SELECT account, sum(amount) FROM transactions GROUP BY account ORDER BY account"
    bought = (
        "SELECT account, symbol, sum(quantity), -sum(amount) FROM transactions WHERE kind = 'buy' "
        "GROUP BY account, symbol ORDER BY account, symbol"
    )
    kept = "SELECT account, symbol, quantity, cost FROM holdings ORDER BY account, symbol"
    cash = "SELECT name, cash FROM accounts ORDER BY name"
    return any(
        copy.execute(one).fetchall() != copy.execute(other).fetchall()
        for one, other in ((by_record, cash), (bought, kept))
    )


def _mixed(copy: sqlite3.Connection, final: Path) -> bool:
    """Whether its tables are not of one moment: each fill has one log row, and every table is a beginning."""
    [(fills,)] = copy.execute("SELECT count(*) FROM transactions WHERE kind = 'buy'")
    [(told,)] = copy.execute("SELECT count(*) FROM logs WHERE type = 'account'")
    if fills != told:
        return True
    with closing(sqlite3.connect(final)) as whole:
        for table in KEPT_FOR_EVER:
            rows = copy.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
            if rows != whole.execute(f"SELECT * FROM {table} ORDER BY rowid LIMIT {len(rows)}").fetchall():
                return True
    return False


@dataclass
class Copies:
    """What became of all copies: of the command's, and of raw ones by (truth, whether doctor found a fault)."""

    backups: int = 0
    backups_not_whole: int = 0
    trades_missing: int = 0
    not_a_beginning: int = 0
    raw: Counter[tuple[Truth, bool]] = field(default_factory=Counter)


def copy_at_random(folder: Path, backups: int, raw_copies: int, seed: int, into: Copies) -> None:
    """One floor, copied `backups` times by the command and `raw_copies` times raw, at moments that `seed` decides."""
    chance = random.Random(seed)
    due = ["backup"] * backups + [
        chance.choice(("file alone", "torn file", "torn file", "file, then log")) for _ in range(raw_copies)
    ]
    chance.shuffle(due)
    taken = []
    with running(folder, seed) as floor:
        for number, kind in enumerate(due):
            floor.trades(chance.randint(0, 12))
            before = list(floor.acknowledged)
            target = folder / f"copy-{number}.db"
            if kind == "backup":
                backup(floor.path, target)
            else:
                raw_copy(floor, target, kind, chance)
            taken.append((kind, target, before))
    with closing(Store(floor.path)) as store:
        assert orders_of(store).keys() >= set(floor.acknowledged)
        assert faults_of(store) == []
    for kind, target, before in taken:
        if kind == "backup":
            _judge_backup(target, floor.path, before, into)
        else:
            found = any(each.state == "FAIL" for each in StoreExamination(StoreAddress.of_file(target)).findings())
            into.raw.update([(truth(target, floor.path, before), found)])
        for each in folder.glob(f"{target.name}*"):
            each.unlink()


def _judge_backup(target: Path, final: Path, before: list[str], into: Copies) -> None:
    into.backups += 1
    assert not target.with_name(f"{target.name}-wal").exists(), "a copy is one file"
    with closing(Store(target)) as copy:
        into.backups_not_whole += bool(faults_of(copy))
        into.trades_missing += len(set(before) - orders_of(copy).keys())
    with closing(sqlite3.connect(target)) as raw:
        into.not_a_beginning += _books_differ(raw) or _mixed(raw, final)


def prove(scale: int, seed: int) -> list[Figure]:
    copies = Copies()
    for number in range(FLOORS * scale):
        with tempfile.TemporaryDirectory() as folder:
            copy_at_random(Path(folder), BACKUPS_OF_A_FLOOR, RAW_COPIES_OF_A_FLOOR, seed + number, copies)
    return figures(copies)


def figures(copies: Copies) -> list[Figure]:
    made = f"of {copies.backups} copies by `accounts backup` while a floor ran"
    raw = f"of {copies.raw.total()} raw copies"
    false_alarms = copies.raw["older", True] + copies.raw["complete", True]
    silent = {each: copies.raw[each, False] for each in ("damaged", "books differ", "mixed", "older", "complete")}
    found = copies.raw["damaged", True] + copies.raw["books differ", True]
    return [
        Figure(f"{made}, pages or books not whole", copies.backups_not_whole, "", goal=0),
        Figure(f"{made}, acknowledged trades missing", copies.trades_missing, "", goal=0),
        Figure(f"{made}, not the state of one moment", copies.not_a_beginning, "", goal=0),
        Figure(f"{raw}, damaged or of untrue books and found by doctor", found, ""),
        Figure(f"{raw}, damaged and not found", silent["damaged"], "", goal=0),
        Figure(f"{raw}, of untrue books and not found", silent["books differ"], "", goal=0),
        Figure(f"{raw}, true and doctor said otherwise", false_alarms, "", goal=0),
        Figure(f"{raw}, tables of several moments, found", copies.raw["mixed", True], ""),
        Figure(f"{raw}, tables of several moments, which doctor can't know", silent["mixed"], ""),
        Figure(f"{raw}, a true older state, which doctor can't know", silent["older"], ""),
        Figure(f"{raw}, complete", silent["complete"], ""),
    ]


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
