"""A write-ahead log that was cut, scrambled or zeroed: the store opens at the state of a commit before the damage.

A live store's file and -wal are copied while it is open; each image is that copy with its -wal damaged at random. What
it must open at is known from the file format: SQLite replays whole commits up to the first frame whose checksum does
not fit (sqlite.org/fileformat2.html#walformat), so every commit before the first damaged byte, and none after it. The
database file itself is not harmed here.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure
from database import NewRun, Store
from tests.chaos.state import Activity, faults_of, orders_of, state_of
from tests.conftest import START
from values.errors import StoreUnusable

IMAGES = 1_000
IMAGES_OF_A_STORE = 50
RUN = NewRun("replay", 1, "0" * 64, "a tape of the test", START)
HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24


@dataclass(frozen=True, slots=True)
class LiveStore:
    """Files of a store in use. `states[n]` is what it held after the n-th commit that its -wal has, `ends[n - 1]` where
    that commit ends in it; `orders[n]` the orders acknowledged by then."""

    database: bytes
    wal: bytes
    shm: bytes
    states: list[str]
    orders: list[dict[str, int]]
    ends: list[int]


def commit_ends(wal: bytes) -> list[int]:
    """Where in the log each commit ends. Frames of before its last restart, which have another salt, don't count."""
    page_bytes = int.from_bytes(wal[8:12], "big")
    salts, ends, at = wal[16:24], [], HEADER_BYTES
    while at < len(wal) and wal[at + 8 : at + 16] == salts:
        is_commit = wal[at + 4 : at + 8] != bytes(4)
        at += FRAME_HEADER_BYTES + page_bytes
        if is_commit:
            ends.append(at)
    return ends


def live_store(folder: Path, chance: random.Random, *, restarted: bool) -> LiveStore:
    """A store with several commits in its -wal; `restarted`: written over an older log, whose end is still there."""
    path = folder / "live.db"
    with closing(Store(path, RUN)) as store:
        activity = Activity(store, chance)
        if restarted:
            for _ in range(chance.randint(20, 30)):
                activity.anything()()
        with closing(sqlite3.connect(path)) as raw:
            raw.execute(f"PRAGMA wal_checkpoint({'RESTART' if restarted else 'TRUNCATE'})")
        states, orders = [state_of(store)], [dict(activity.filled)]
        for _ in range(chance.randint(5, 15)):
            activity.anything()()
            states.append(state_of(store))
            orders.append(dict(activity.filled))
        database, wal, shm = (path.with_name(path.name + end).read_bytes() for end in ("", "-wal", "-shm"))
    ends = commit_ends(wal)
    assert len(ends) == len(states) - 1, "every transaction is one commit of the log"
    assert (ends[-1] < len(wal)) is restarted
    for each in folder.iterdir():
        each.unlink()
    return LiveStore(database, wal, shm, states, orders, ends)


def damaged(wal: bytes, chance: random.Random) -> tuple[str, bytes]:
    """What was done to the log, and the log."""
    kind = chance.choice(("cut", "scrambled", "overwritten", "zeroed"))
    start = chance.randrange(len(wal))
    end = chance.randint(start + 1, min(len(wal), start + chance.choice((1, 100, 5_000, len(wal)))))
    harmed = bytearray(wal)
    if kind == "cut":
        del harmed[start:]
    elif kind == "zeroed":
        harmed[start:end] = bytes(end - start)
    elif kind == "overwritten":
        harmed[start:end] = chance.randbytes(end - start)
    else:
        for _ in range(chance.randint(1, 20)):
            harmed[chance.randrange(len(wal))] ^= 1 << chance.randrange(8)
    return kind, bytes(harmed)


def first_difference(whole: bytes, harmed: bytes) -> int:
    """The first byte that is not as it was; the length of the whole when all are."""
    if whole.startswith(harmed):
        return len(harmed)
    low, high = 0, len(harmed)  # whole[:low] is unharmed, whole[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if whole[:middle] == harmed[:middle]:
            low = middle
        else:
            high = middle
    return low


@dataclass
class Opened:
    """What became of all images."""

    kinds: Counter[str]
    commits_lost: int = 0
    not_at_the_commit: int = 0
    not_whole: int = 0
    not_opened: int = 0
    trading_stopped: int = 0

    @property
    def images(self) -> int:
        return self.kinds.total()


def open_images(folder: Path, images: int, seed: int) -> Opened:
    """Damage the logs of live stores `images` times and open each with the product."""
    chance = random.Random(seed)
    opened = Opened(Counter())
    for number in range(images):
        if number % IMAGES_OF_A_STORE == 0:
            live = live_store(folder, chance, restarted=bool(number // IMAGES_OF_A_STORE % 2))
        kind, wal = damaged(live.wal, chance)
        shm = chance.choice((None, live.shm, chance.randbytes(len(live.shm))))
        index = {None: "without -shm", live.shm: "with its -shm"}.get(shm, "with a strange -shm")
        opened.kinds.update((f"{kind}, {index}",))
        path = folder / f"image-{number}.db"
        for end, content in (("", live.database), ("-wal", wal), ("-shm", shm)):
            if content is not None:
                path.with_name(path.name + end).write_bytes(content)
        whole_until = first_difference(live.wal, wal)
        commits = sum(end <= whole_until for end in live.ends)
        opened.commits_lost += len(live.ends) - commits
        try:
            _open_image(path, live, commits, opened, chance)
        except StoreUnusable:
            opened.not_opened += 1
        for each in folder.glob(f"{path.name}*"):
            each.unlink()
    return opened


def _open_image(path: Path, live: LiveStore, commits: int, opened: Opened, chance: random.Random) -> None:
    """Open the image, which holds `commits` whole ones, compare, and trade on it."""
    with closing(Store(path)) as store:
        opened.not_at_the_commit += state_of(store) != live.states[commits] or orders_of(store) != live.orders[commits]
        opened.not_whole += bool(faults_of(store))
        activity = Activity(store, chance)
        activity.order(10**6)()
        opened.trading_stopped += orders_of(store) != live.orders[commits] | activity.filled


def prove(scale: int, seed: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        opened = open_images(Path(folder), IMAGES * scale, seed)
    assert opened.commits_lost > opened.images, "the damage reached too few commits to prove anything"
    assert len(opened.kinds) == 12
    torn = f"of {opened.images:,} torn write-ahead logs"
    return [
        Figure(f"{torn}, not opened", opened.not_opened, "", goal=0),
        Figure(f"{torn}, not at the last commit before the damage", opened.not_at_the_commit, "", goal=0),
        Figure(f"{torn}, pages or books not whole", opened.not_whole, "", goal=0),
        Figure(f"{torn}, no trade possible afterwards", opened.trading_stopped, "", goal=0),
        Figure(f"{torn}, commits that the damage took", opened.commits_lost, ""),
    ]
