"""A disk that is full, at every page: a clear error, nothing half done, and trading goes on when there is room.

Everything that writes is tried on a full disk (`tests/chaos/rooms.py` has three kinds), then with one page more, and so
on until it is done: orders, also over MCP, accounts, also by command, log rows, sessions, a copy, the first start of a
store and the migration of an older one. After each refusal the store must hold what it held.
"""

from __future__ import annotations

import json
import logging
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

from benchmarks.figure import Figure
from database import NewRun, Store
from market import open_store
from store.migrate import upgrade
from tests.chaos.faces import open_by_command, order_over_mcp, told_by_command
from tests.chaos.rooms import ROOMS, Room, filled, may_mount, on_small_disk
from tests.chaos.state import Activity, faults_of, orders_of, state_of
from tests.side_by_side import settings_of
from tests.test_store_migration import chain, make_older
from values.address import StoreAddress
from values.errors import Refused, StoreUnusable
from values.settings import PROJECT

RUN = NewRun("simulated", 7)
ROUNDS = 6
STEPS_MAX = 400
TRIES_MAX = 60
LEAP_PAGES = 7
SENTENCE = re.compile(
    r"the store \S+(:| is not brought up to date without a copy: \S+ can't be written:) "
    r"(the disk is full: nothing was written; make room and try again"
    r"|the disk failed to read or write: check it, then try again|No space left on device)"
)
COPIES_BY_COMMAND = ("copy by command", "reset --yes")
"""Whose refusal is the sentence of `no_copy`."""
DEPOSIT = (
    "INSERT INTO transactions (account, kind, amount, realised, cash_after, rationale, actor, market_time, wall_time) "
    "SELECT name, 'deposit', cash, 0, cash, '', 'floor', opened_at, opened_at FROM accounts"
)
MORE_TABLES = "for number in range(8): op.execute(f'CREATE TABLE more_{number} (x)')"


@contextmanager
def unheard(name: str) -> Iterator[None]:
    """Keep what a logger warns of, thousands of times, off the terminal."""
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


@dataclass
class Full:
    """What a full disk did: how often it refused each kind of thing, how often that was done, and what went wrong."""

    refused: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    half_done: int = 0
    not_done: int = 0
    not_whole: int = 0
    trades_lost: int = 0

    def until_done(
        self, kind: str, action: Callable[[], object], room: Room, refused: Callable[[], None], pages: int
    ) -> None:
        """Try on a full disk, then with `pages` more each time; `refused` looks after each refusal, with room."""
        for step in range(STEPS_MAX):
            with filled(room):
                room.more_pages(step * pages)
                if self.tried(kind, action):
                    return
            refused()
        raise AssertionError(f"{kind} was still refused with {STEPS_MAX * pages} pages of room: {self.unclear}")

    def tried(self, kind: str, action: Callable[[], object]) -> bool:
        """Whether it was done; what an error says is judged here."""
        try:
            action()
        except (Refused, StoreUnusable, sqlite3.Error, OSError) as error:
            self.refused[kind] += 1
            is_clear = SENTENCE.fullmatch(str(error)) or (isinstance(error, Refused) and error.code == "no_copy")
            if not is_clear and not (kind in COPIES_BY_COMMAND and isinstance(error, StoreUnusable)):
                self.unclear[f"{kind}: {type(error).__name__}: {error}"] += 1
            return False
        self.done[kind] += 1
        return True


def walk(path: Path, room: Room, chance: random.Random, rounds: int, full: Full) -> None:
    """Trade on a new store. In each round, for each kind of thing, the disk is full where it happens to be."""
    with closing(Store(path, RUN)) as store, unheard("accounts"):
        activity = Activity(store, chance)
        makers: dict[str, Callable[[int], Callable[[], object]]] = {
            "order": activity.order,
            "order over MCP": order_over_mcp(store, activity),
            "account": activity.account,
            "account by command": partial(open_by_command, path),
            "log row": activity.log,
            "session": activity.session,
        }
        for number in range(1, rounds + 1):
            for kind, make in makers.items():
                with filled(room):
                    tries = (make(next(activity.numbers)) for _ in range(TRIES_MAX))
                    any(page_by_page(store, room, kind, action, full) for action in tries)
                    assert activity.refused() == "unknown_symbol", (
                        "a reason that can't be recorded is told all the same"
                    )
            activity.session(-number)()
            with filled(room):
                page_by_page(store, room, "end of a session", activity.end_session(-number), full)
            full.trades_lost += orders_of(store) != activity.filled
    with closing(Store(path)) as store:
        full.not_whole += bool(faults_of(store))
        full.trades_lost += orders_of(store) != activity.filled


def page_by_page(store: Store, room: Room, kind: str, action: Callable[[], object], full: Full) -> int:
    """Try until there is room; how often there was not. Each time, nothing may have changed but the refusals' rows."""
    for refused in range(STEPS_MAX):
        before = state_of(store, but=("refusals",))
        if full.tried(kind, action):
            full.not_done += state_of(store, but=("refusals",)) == before
            return refused
        full.half_done += state_of(store, but=("refusals",)) != before
        full.not_whole += bool(faults_of(store))
        # a row of refusals may take the page again, so an order over MCP is given one more each time
        room.more_pages(1 if kind != "order over MCP" else refused + 1)
    raise AssertionError(f"{kind} was still refused with {STEPS_MAX} pages of room")


def backups(path: Path, room: Room, full: Full, pages: int) -> None:
    """A copy of the store, by the store and by the command, page by page until there is room for it."""
    target = path.with_name("copy.db")

    def refused() -> None:
        full.half_done += _remove(target)

    with closing(Store(path)) as store:
        ways: dict[str, Callable[[], object]] = {
            "copy": partial(store.backup, target),
            "copy by command": partial(told_by_command, path, "accounts", "backup", str(target)),
        }
        for kind, copy in ways.items():
            before = state_of(store)
            full.until_done(kind, copy, room, refused, pages)
            with closing(Store(target)) as copied:
                full.not_whole += bool(faults_of(copied)) or state_of(copied) != before
            _remove(target)


def first_start(path: Path, room: Room, full: Full, pages: int) -> None:
    """The first start of a store, with `pages` more each time until it is made: what is left is no hindrance."""
    full.until_done("first start", lambda: open_store(settings_of(path)).close(), room, lambda: None, pages)
    with closing(open_store(settings_of(path))) as store:
        Activity(store, random.Random(1)).order(1)()
        full.not_whole += bool(faults_of(store))


def migration(path: Path, room: Room, full: Full, pages: int) -> None:
    """The start on an older store, page by page until it is brought up to date."""
    steps = chain(path.with_name("chain"), MORE_TABLES)
    make_older(StoreAddress.of_file(path), steps)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(DEPOSIT)
    before = _rows(path)

    def refused() -> None:
        full.half_done += _rows(path) != before
        for copy in _copies(path):  # one that was made whole may stay
            full.half_done += _rows(copy) != before
            _remove(copy)

    with mock.patch("database.upgrade", partial(upgrade, migrations=steps)):
        full.until_done("migration", lambda: Store(path).close(), room, refused, pages)
    [copy] = _copies(path)
    full.not_whole += _rows(copy) != before
    with closing(Store(path)) as store:
        full.not_whole += bool(faults_of(store))


def owners_view(path: Path, room: Room, full: Full, pages: int) -> None:
    """What an owner looks at, on a store that nobody has open; then `reset`, which moves it away once it is copied."""
    with closing(Store(path)) as store:
        held = state_of(store)
    before = path.read_bytes()

    def refused() -> None:
        full.half_done += _remove(path.with_name(f"{path.name}.kept-"))
        full.half_done += path.read_bytes() != before

    views = (("status",), ("accounts", "list"), ("accounts", "show", "warren"), ("accounts", "reconcile"))
    for view in (*views, ("reset", "--yes")):
        full.until_done(" ".join(view), partial(told_by_command, path, *view), room, refused, pages)
    [kept] = path.parent.glob(f"{path.name}.kept-*")
    with closing(Store(kept)) as store:
        full.not_whole += bool(faults_of(store)) or state_of(store) != held


def _copies(path: Path) -> list[Path]:
    return [each for each in path.parent.glob(f"{path.name}.before-*") if not each.name.endswith(("-wal", "-shm"))]


def _remove(path: Path) -> bool:
    """A database and what stands beside it; whether there was anything."""
    found = list(path.parent.glob(f"{path.name}*"))
    for each in found:
        each.unlink()
    return bool(found)


def _rows(path: Path) -> list[str]:
    """What a database holds, whatever its schema, or why it can't be read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
            return list(raw.iterdump())
    except sqlite3.Error as error:
        return [str(error)]


PARTS: dict[str, Callable[[Path, Room, Full, int], None]] = {
    "first start": first_start, "copies": backups, "view": owners_view, "migration": migration,
}  # fmt: skip
"""What stands beside `trading`; each is given so many pages more after a refusal."""


def fill_up(kind: str, folder: Path, rounds: int, seed: int, parts: Iterable[str] = ("trading", *PARTS)) -> Full:
    """Each part on one kind of a full disk, page by page, or by leaps for a single round.

    Copies and views are of the traders' store, the others have one of their own in `folder`.
    """
    full = Full()
    for part in parts:
        path = folder / f"{'trading' if part in ('copies', 'view') else part.replace(' ', '-')}.db"
        with ROOMS[kind](path) as room:
            if part == "trading":
                walk(path, room, random.Random(seed), rounds, full)
            else:
                PARTS[part](path, room, full, 1 if rounds > 1 else LEAP_PAGES)
    return full


def fill_up_small_disk(folder: Path, rounds: int, seed: int, parts: Iterable[str] = ("trading", *PARTS)) -> Full:
    """`fill_up` in a process that has mounted a small file system at `folder`."""
    told = [sys.executable, "-m", "tests.chaos.disk", str(folder), str(rounds), str(seed), *parts]
    done = subprocess.run(on_small_disk(folder, told), cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Full(**found | {name: Counter(found[name]) for name in ("refused", "done", "unclear")})


def prove(scale: int, seed: int) -> list[Figure]:
    made = []
    for kind in ROOMS:
        with tempfile.TemporaryDirectory() as folder:
            if kind != "small disk":
                full = fill_up(kind, Path(folder), ROUNDS * scale, seed)
            elif may_mount(Path(folder)):
                full = fill_up_small_disk(Path(folder), ROUNDS * scale, seed)
            else:
                print("no small file system can be mounted here: that kind of a full disk is left out")
                continue
        made += figures(kind, full)
    return made


def figures(kind: str, full: Full) -> list[Figure]:
    for error, count in full.unclear.items():
        print(f"{kind}: not a clear error, {count} times: {error}")
    disk = f"full disk ({kind})"
    return [
        *(Figure(f"{disk}, refusals of: {what}", count, "") for what, count in sorted(full.refused.items())),
        Figure(f"{disk}, what was refused and not done when there was room", full.not_done, "", goal=0),
        Figure(f"{disk}, errors that are no clear sentence", full.unclear.total(), "", goal=0),
        Figure(f"{disk}, changed or left something after a refusal", full.half_done, "", goal=0),
        Figure(f"{disk}, pages or books not whole", full.not_whole, "", goal=0),
        Figure(f"{disk}, times that trades were lost or doubled", full.trades_lost, "", goal=0),
    ]


if __name__ == "__main__":
    print(json.dumps(vars(fill_up("small disk", Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))))
