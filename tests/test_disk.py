"""A full disk, a store that may only be read, a newer one, another program's: an error that helps, and no change.

The full disks are the small form of `tests/chaos/disk.py`; its docstrings say how they are made full.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

import accounts_server
from database import NewRun, Store
from ledger.sessions import end_session_row, open_session_row
from store import tables
from tests.bookkeeping import rows
from tests.chaos.disk import RUN, Full, fill_up, fill_up_small_disk
from tests.chaos.faces import order_over_mcp, told_by_command
from tests.chaos.rooms import ROOMS, file_limit, filled, may_mount
from tests.chaos.state import Activity, faults_of, orders_of, state_of
from tests.conftest import START
from tests.test_store import without_privileges
from traders import SessionEnd
from trading_floor import Floor
from values.errors import StoreUnusable
from values.schedule import Tape
from values.session import Mode, Outcome

SEED = 20
TRADING = {"order", "order over MCP", "account", "account by command", "log row", "session"}


def nothing_went_wrong(full: Full, kinds: set[str]) -> None:
    """And the disk was full for each of these kinds of things, which were done when there was room."""
    assert dict(full.unclear) == {}
    assert (full.half_done, full.not_done, full.not_whole, full.trades_lost) == (0, 0, 0, 0)
    assert kinds <= full.refused.keys()
    assert full.refused.keys() <= full.done.keys()


@pytest.mark.parametrize("kind", ["pages", "file size"])
def test_a_floor_on_a_full_disk_loses_nothing_says_so_and_goes_on(tmp_path: Path, kind: str) -> None:
    nothing_went_wrong(fill_up(kind, tmp_path, 1, SEED, ["trading"]), TRADING)


def test_so_does_one_on_a_real_one_where_a_small_disk_can_be_had(tmp_path: Path) -> None:
    parts = ["trading", "first start"]
    full = fill_up_small_disk(tmp_path, 1, SEED, parts) if may_mount(tmp_path) else fill_up(
        "file size", tmp_path, 1, SEED, parts
    )  # fmt: skip
    nothing_went_wrong(full, TRADING | {"first start"})


def test_a_migration_that_runs_out_of_pages_leaves_the_older_store_as_it_was(tmp_path: Path) -> None:
    nothing_went_wrong(fill_up("pages", tmp_path, 1, SEED, ["migration"]), {"migration"})


@pytest.mark.parametrize(
    ("part", "kind"), [("copies", "copy"), ("copies", "copy by command"), ("view", "reset --yes"), ("migration",) * 2]
)
def test_a_copy_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path, part: str, kind: str) -> None:
    with closing(Store(tmp_path / "trading.db", RUN)) as store:
        Activity(store, random.Random(SEED)).order(1)()
    nothing_went_wrong(fill_up("file size", tmp_path, 1, SEED, [part]), {kind})


def test_a_floor_that_cannot_leave_its_name_says_so_and_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with closing(Store(path, RUN)) as store, ROOMS["file size"](path) as room:
        with filled(room), pytest.raises(StoreUnusable):
            store.hold_floor()
        assert store.hold_floor() is not None


def test_an_export_that_does_not_fit_or_would_overwrite_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path, output = tmp_path / "accounts.db", tmp_path / "trades.csv"
    export = partial(told_by_command, path, "accounts", "export", "--output", str(output))
    with closing(Store(path, RUN)) as store, file_limit(path) as room:
        Activity(store, random.Random(SEED)).order(1)()
        with filled(room), pytest.raises(StoreUnusable, match=r"trades\.csv can't be written: File too large"):
            export()
        assert not output.exists()
        export()
        whole = output.read_bytes()
        assert whole.count(b"\n") == 3
        with pytest.raises(StoreUnusable, match=r"trades\.csv exists already; name a new file"):
            export()
        assert output.read_bytes() == whole


@pytest.fixture
def guarded() -> Iterator[Path]:
    """A store that has traded, in a folder that everybody can reach."""
    folder = Path(tempfile.mkdtemp(prefix="floor-store-"))
    path = folder / "accounts.db"
    with closing(Store(path, RUN)) as store:
        Activity(store, random.Random(SEED)).order(1)()
    folder.chmod(0o777)
    for each in folder.iterdir():
        each.chmod(0o666)
    for command in (("accounts", "list"), ("status",)):
        told_by_command(path, *command)  # imports what the tests' other user may not read
    yield path
    folder.chmod(0o700)
    shutil.rmtree(folder)


def only_the_file_may_not_be_written_to(path: Path) -> None:
    path.chmod(0o444)


def nothing_may_be_written_in_its_folder(path: Path) -> None:
    path.parent.chmod(0o555)


@pytest.mark.parametrize(
    "forbid",
    [
        only_the_file_may_not_be_written_to,
        nothing_may_be_written_in_its_folder,
    ],
)
def test_a_store_that_may_only_be_read_is_told_of_by_command_and_left_alone(
    guarded: Path, forbid: Callable[[Path], None]
) -> None:
    before = guarded.read_bytes()
    forbid(guarded)
    with without_privileges():
        with pytest.raises(StoreUnusable, match=r"\Athe store \S+: it can't be .*: check .*folder"):
            told_by_command(guarded, "accounts", "open", "me")
        with pytest.raises(StoreUnusable, match=r"\Athe store \S+: it can't be .*: check .*folder"):
            told_by_command(guarded, "halt")
    assert guarded.read_bytes() == before
    guarded.chmod(0o666)
    guarded.parent.chmod(0o777)
    with without_privileges():
        assert "me is open" in told_by_command(guarded, "accounts", "open", "me")


def test_a_server_whose_file_was_read_only_for_a_while_trades_once_it_may_be_written_to(guarded: Path) -> None:
    with without_privileges():
        store = Store(guarded)
    with closing(store):
        orders = order_over_mcp(store, Activity(store, random.Random(SEED)))
        before = state_of(store)
        guarded.chmod(0o444)
        with without_privileges(), store.read():  # so that the order needs a connection of its own
            with pytest.raises(
                StoreUnusable, match="can't be written to: check the file's and the folder's permissions"
            ):
                orders(2)()
        assert state_of(store) == before
        guarded.chmod(0o666)
        with without_privileges():
            for number in range(2, 6):  # on each connection there is
                orders(number)()
        assert faults_of(store) == []
        assert orders_of(store).keys() == {f"order:{number}" for number in range(1, 6)}


def of_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE users (name TEXT)")


@pytest.mark.parametrize(
    ("become", "text"), [(of_a_newer_version, "a newer version wrote it"), (of_another_program, "not this floor's")]
)
def test_a_newer_store_and_a_strange_one_are_refused_by_every_face_and_left_as_they_are(
    guarded: Path,
    become: Callable[[Path], None],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = guarded.read_bytes()
    become(guarded)
    before, names = guarded.read_bytes(), sorted(guarded.parent.iterdir())
    for command in (
        ["status"], ["run"], ["halt"], ["reset", "--yes"], ["accounts", "list"], ["accounts", "open", "me"],
        ["accounts", "reconcile"], ["accounts", "backup", str(guarded.parent / "copy.db")],
    ):  # fmt: skip
        with pytest.raises(StoreUnusable, match=text):
            told_by_command(guarded, *command)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{guarded}")
    for arguments in ([], ["--account", "warren"]):
        monkeypatch.setattr(sys, "argv", ["accounts-server", *arguments])
        with pytest.raises(SystemExit, match="2"):
            accounts_server.main()
        [line] = capsys.readouterr().err.splitlines()
        assert text in line
    # to read a database with a log SQLite makes an index, and one who may only read leaves it
    left = [each for each in sorted(guarded.parent.iterdir()) if not each.name.endswith(("-wal", "-shm"))]
    assert (guarded.read_bytes(), left) == (before, names)
    guarded.write_bytes(whole)
    with closing(Store(guarded)) as store:
        order_over_mcp(store, Activity(store, random.Random(SEED)))(2)()
        assert faults_of(store) == []
        assert orders_of(store).keys() == {"order:1", "order:2"}


class RecordedTrader:
    """A trader whose session is its row; before its second one, `hinder` is called."""

    def __init__(self, store: Store, name: str, hinder: Callable[[], None]) -> None:
        self.store, self.name, self.hinder = store, name, hinder
        self.sessions = 0

    async def run(self, mode: Mode) -> SessionEnd:
        self.sessions += 1
        session_id = f"trace_{self.name}{self.sessions}"
        open_session_row(self.store, session_id, self.name, self.sessions, mode, "scripted/test")
        if self.sessions == 2:
            self.hinder()
        end_session_row(
            self.store, session_id, outcome="completed", reason="", appraisal="", turns=1, tool_calls=0, calls=()
        )
        return SessionEnd(session_id, self.name, "completed", "", "", 1, 0, ())

    def stop(self, outcome: Outcome, reason: str) -> None:
        raise AssertionError(f"nobody stops this floor: {reason}")


async def test_a_floor_whose_disk_is_full_waits_tells_whose_session_was_lost_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_floor.RETRY_S", 0)
    path, said = tmp_path / "accounts.db", list[str]()
    starts = [START + timedelta(hours=hour) for hour in range(3)]
    with closing(Store(path, NewRun("replay", 1, "0" * 64, "a tape of the test", START))) as store:
        market = Activity(store, random.Random(SEED)).market
        with file_limit(path) as room:

            def say(line: str) -> None:
                said.append(line)
                if line.startswith("the floor waits"):
                    room.lift()

            trader = RecordedTrader(store, "warren", room.fill)
            tape = Tape(starts, starts[-1] + timedelta(hours=1), 0.0)
            room.fill()
            await Floor(store, market, {"warren": trader}, timedelta(hours=1), say, tape=tape).run()
        assert [line.partition(":")[0] for line in said if "store" in line or "record" in line] == [
            "the floor waits for its store", "the store answers again, the floor goes on",
            "warren's session is not on record as it was",
            "the floor waits for its store", "the store answers again, the floor goes on",
        ]  # fmt: skip
        assert [row.outcome for row in rows(store, tables.sessions)] == ["completed", "interrupted", "completed"]
        assert store.run().cycle == 3
        assert faults_of(store) == []
