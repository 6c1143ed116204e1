"""The store: how it is made, opened, shared, refused and copied, and what one transaction promises."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Integer, delete, func, insert, inspect, select, text

from accounts import open_account
from database import (
    NewRun,
    Store,
    insert_log,
    read_account,
    read_log,
    read_market,
    write_account,
    write_log,
    write_market,
)
from ledger.reconcile import reconcile
from market import Market, open_store
from store import tables
from store.migrate import MIGRATIONS, revision
from store.sqlite import make_engine
from store.turns import try_turn
from tests.conftest import START
from tests.shelf import refused
from tests.side_by_side import PROJECT, at_once, settings_of
from values.address import StoreAddress
from values.errors import StoreBusy, StoreEmpty, StoreUnusable
from values.log import LogRow

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1)


def log_row(message: str, account: str = "warren") -> LogRow:
    return LogRow("trace", account, message, START)


def messages(store: Store) -> list[str]:
    return [row.message for _, row in read_log(store)]


def schema(engine: Engine) -> dict[str, object]:
    """Every table as the database itself tells it, in words that two databases can be compared by."""
    inspector = inspect(engine)
    found: dict[str, object] = {}
    for name in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        with engine.connect() as connection:
            made_by = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name})
            numbered = "AUTOINCREMENT" in str(made_by.scalar_one())
        found[name] = {
            "columns": sorted(
                (each["name"], _kind(each["type"]), each["nullable"], str(each["default"]))
                for each in inspector.get_columns(name)
            ),
            "key": inspector.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted((str(each["name"]), each["column_names"]) for each in inspector.get_indexes(name)),
            "unique": sorted(each["column_names"] for each in inspector.get_unique_constraints(name)),
            "checks": sorted(each["sqltext"] for each in inspector.get_check_constraints(name)),
            "foreign": sorted(
                (each["constrained_columns"], each["referred_table"]) for each in inspector.get_foreign_keys(name)
            ),
            "numbered": numbered,
        }
    return found


def _kind(column_type: Any) -> str:
    return "INTEGER" if isinstance(column_type, Integer) else str(column_type)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


class TestNew:
    @pytest.mark.sqlite_only
    def test_a_new_store_has_exactly_the_tables_that_the_code_names(self, store: Store, tmp_path: Path) -> None:
        wanted, made = make_engine(tmp_path / "wanted.db"), make_engine(store.path)
        tables.metadata.create_all(wanted)
        try:
            assert schema(made) == schema(wanted)
        finally:
            wanted.dispose()
            made.dispose()

    def test_the_last_migration_is_the_revision_that_this_version_writes(self, store: Store) -> None:
        assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [tables.SCHEMA_REVISION]
        with store.read() as connection:
            assert revision(connection) == tables.SCHEMA_REVISION

    def test_it_remembers_what_it_was_made_for(self, address: StoreAddress) -> None:
        with closing(Store(address, NewRun("replay", 5, "f" * 64, "prices.csv", START))) as store:
            made = store.run()
        with closing(Store(address)) as store:
            assert store.run() == made
        assert (made.market, made.seed, made.history_hash, made.history_name) == ("replay", 5, "f" * 64, "prices.csv")
        assert made.started_at == made.anchor.market == START
        assert (made.cycle, made.cycle_slot) == (0, None)

    def test_a_seed_that_nobody_chose_is_drawn_and_recorded(self, tmp_path: Path) -> None:
        seeds = set()
        for name in "abcd":
            with closing(Store(tmp_path / f"{name}.db", NewRun())) as store:
                seeds.add(store.run().seed)
                assert 0 <= store.run().seed < 2**32
        assert len(seeds) > 1

    def test_a_store_that_exists_keeps_its_run_whatever_a_new_one_was_to_be(self, address: StoreAddress) -> None:
        with closing(Store(address, NewRun("simulated", 5))) as store:
            made = store.run()
        with closing(Store(address, NewRun("simulated", 6))) as store:
            assert store.run() == made

    def test_reopening_does_not_import_the_migration_tools(self, store: Store) -> None:
        code = (
            "import sys; from values.settings import PROJECT; from values.address import StoreAddress; "
            "from database import Store; "
            "Store(StoreAddress.parse(sys.argv[1], PROJECT)).run(); "
            "print([each for each in ('alembic', 'mako', 'numpy', 'mcp') if each in sys.modules])"
        )
        told = subprocess.run(
            [sys.executable, "-c", code, store.address.url], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == "[]"

    @pytest.mark.parametrize("name", ["what? is this", "100%", "#1", "a b", "ünïcode", "semi;colon", "q'uote"])
    def test_the_folder_and_the_file_may_have_any_name(self, name: str, tmp_path: Path) -> None:
        folder = tmp_path / name
        folder.mkdir()
        path = folder / f"{name}.db"
        with closing(Store(path, NewRun("simulated", 5))) as store:
            write_log(store, [log_row("here")])
        assert path.exists()
        assert [each.name for each in tmp_path.iterdir()] == [name]
        with closing(Store(path)) as store:
            assert messages(store) == ["here"]

    def test_processes_that_make_it_at_once_make_one_run(self, address: StoreAddress) -> None:
        made = at_once("open_new", [[address.url]] * 3)
        assert len(set(made)) == 1
        with closing(Store(address)) as store, store.read() as connection:
            assert connection.execute(select(func.count()).select_from(tables.run)).scalar_one() == 1

    @pytest.mark.parametrize("journal", [None, "WAL"])
    def test_a_file_that_another_process_has_only_just_created_is_made_a_store(
        self, path: Path, journal: str | None
    ) -> None:
        with closing(sqlite3.connect(path)) as raw:
            raw.execute(f"PRAGMA journal_mode={journal or 'DELETE'}")
        path.touch()
        with closing(open_store(settings_of(path))) as store:
            assert store.run().market == "simulated"

    @pytest.mark.sqlite_only
    def test_what_it_holds_is_readable_by_its_owner_alone(self, store: Store, tmp_path: Path) -> None:
        write_log(store, [log_row("private")])
        store.backup(tmp_path / "copy.db")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
        assert {"accounts.db", "accounts.db-wal", "copy.db"} <= modes.keys()
        assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


class TestRefused:
    def test_a_store_that_is_not_there_is_not_made_by_who_only_reads(self, address: StoreAddress) -> None:
        for _ in range(2):
            with pytest.raises(StoreEmpty, match=r"there is no store (at|in) .*start the floor"):
                Store(address)
        assert not address.path.exists()

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnusable, match="in a folder that does not exist: make it, or change DATABASE_URL"):
            Store(tmp_path / "no" / "accounts.db", NewRun())

    def test_a_path_beneath_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(StoreUnusable, match="folder"):
            Store(tmp_path / "file" / "accounts.db", NewRun())

    def test_a_folder_is_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnusable, match="can't be opened"):
            Store(tmp_path, NewRun())

    @pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000, b"\x00" * 4096])
    def test_a_file_of_something_else_is_refused_and_left_as_it_is(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(StoreUnusable, match=r"not an SQLite database|damaged"):
            Store(path, NewRun())
        assert path.read_bytes() == content

    @pytest.mark.parametrize("version", [None, "0000", "0001", "00a1b2", "ae10", "9999"])
    def test_another_program_s_database_is_refused_and_left_as_it_is(self, path: Path, version: str | None) -> None:
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("CREATE TABLE users (name TEXT)")
            if version is not None:
                raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
                raw.execute("INSERT INTO alembic_version VALUES (?)", (version,))
            raw.commit()
        before = path.read_bytes()
        with pytest.raises(StoreUnusable, match="name another one in DATABASE_URL"):
            Store(path, NewRun())
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert path.read_bytes() == before
        assert [each.name for each in path.parent.glob("*.before-*")] == []

    def test_a_store_whose_run_was_never_written_says_what_to_do(self, store: Store) -> None:
        with store.write() as connection:
            connection.execute(delete(tables.run))
        with pytest.raises(StoreUnusable, match="never set up"):
            Store(store.address)

    @pytest.mark.sqlite_only
    def test_a_damaged_store_is_told_to_be_restored(self, store: Store) -> None:
        write_log(store, [log_row("x" * 1000)] * 200)
        store.close()
        size = store.path.stat().st_size
        with store.path.open("r+b") as file:
            file.seek(size // 3)
            file.write(b"\xff" * (size // 3))
        with pytest.raises(StoreUnusable, match="damaged: restore a copy"):
            read_everything(store.path)


def read_everything(path: Path) -> None:
    with closing(Store(path)) as store, store.read() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(select(table)).all()


def write_to(path: Path) -> None:
    with closing(Store(path)) as store:
        write_log(store, [log_row("after")])


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user who owns nothing here: file permissions do not bind root."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65_534)
    except OSError as error:
        pytest.skip(f"root can't take another user's rights here: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def guarded() -> Iterator[Path]:
    """A store in a folder that everybody can reach, neither of which the tests' user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="floor-store-"))
    with closing(Store(folder / "accounts.db", NewRun())) as store:
        write_log(store, [log_row("before")])
    yield folder / "accounts.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


class TestPermissions:
    def test_a_store_that_may_only_be_read_says_so_when_it_is_written_to(self, guarded: Path) -> None:
        guarded.chmod(0o444)
        (guarded.parent / "accounts.db.lock").chmod(0o666)
        guarded.parent.chmod(0o777)
        with without_privileges(), pytest.raises(StoreUnusable, match=r"check the .*permissions"):
            write_to(guarded)

    def test_a_folder_that_may_only_be_read_is_named_with_what_to_check(self, guarded: Path) -> None:
        guarded.chmod(0o666)
        guarded.parent.chmod(0o555)
        with without_privileges():
            with pytest.raises(StoreUnusable, match=r"permissions|may be written to"):
                write_to(guarded)
            with pytest.raises(StoreUnusable, match=r"permissions|may be written to"):
                Store(guarded.parent / "new.db", NewRun())

    def test_a_store_that_may_not_be_read_at_all_is_a_sentence_too(self, guarded: Path) -> None:
        guarded.chmod(0o000)
        guarded.parent.chmod(0o755)
        with without_privileges(), pytest.raises(StoreUnusable, match=r"can't be opened|permissions"):
            Store(guarded)

    def test_a_lock_file_of_another_user_is_named(self, guarded: Path) -> None:
        guarded.chmod(0o666)
        guarded.parent.chmod(0o777)
        (guarded.parent / "accounts.db.lock").chmod(0o600)
        with without_privileges(), pytest.raises(StoreUnusable, match=r"accounts\.db\.lock.*permissions"):
            write_to(guarded)


def write_and(store: Store, then: Callable[[Connection], object]) -> None:
    """Write a log row and do `then` in one transaction."""
    with store.write() as connection:
        insert_log(connection, [log_row("never to be seen")])
        then(connection)


class TestTransactions:
    def test_a_write_that_raises_is_rolled_back_whole(self, store: Store) -> None:
        write_log(store, [log_row("before")])
        with pytest.raises(ZeroDivisionError):
            write_and(store, lambda connection: 1 // 0)
        assert messages(store) == ["before"]
        write_log(store, [log_row("after")])
        assert messages(store) == ["before", "after"]

    def test_a_row_that_the_schema_refuses_takes_the_rest_of_its_write_with_it(self, store: Store) -> None:
        with pytest.raises(StoreUnusable, match=r"(?i)check"):
            write_and(store, lambda connection: connection.execute(text("UPDATE run SET id = 2")))
        assert messages(store) == []

    def test_a_read_sees_one_moment(self, store: Store) -> None:
        write_log(store, [log_row("one")])
        with store.read() as connection:
            count = select(func.count()).select_from(tables.logs)
            before = connection.execute(count).scalar_one()
            write_log(store, [log_row("two")])
            assert connection.execute(count).scalar_one() == before
        assert messages(store) == ["one", "two"]

    def test_what_was_written_outlives_a_process_that_ends_at_once(self, store: Store) -> None:
        code = (
            "import os, sys; from database import *; from values.clock import wall_now; "
            "write_log(Store(StoreAddress.parse(sys.argv[1], Path())), "
            "[LogRow('trace', 'a', 'durable', wall_now())]); os._exit(9)"
        )
        ended = subprocess.run([sys.executable, "-c", code, store.address.url], cwd=PROJECT)
        assert ended.returncode == 9
        assert messages(store) == ["durable"]

    def test_a_foreign_account_can_t_be_written_for(self, store: Store) -> None:
        with pytest.raises(StoreUnusable, match=r"(?i)foreign key"), store.write() as connection:
            connection.execute(
                insert(tables.holdings).values(account="ghost", symbol="A", quantity=Decimal(1), cost=Decimal(1))
            )

    def test_a_number_that_does_not_fit_is_refused_by_name_and_nothing_is_written(self, store: Store) -> None:
        for cash in (Decimal("0.0000001"), Decimal("1e13")):
            with refused("out_of_range", "the amount is"):
                write_account(store, "warren", strategy="", actor="operator", balance=cash)
        assert read_account(store, "warren") is None

    def test_a_time_without_a_zone_can_t_enter_the_record(self, store: Store) -> None:
        with pytest.raises(Exception, match="no time zone"):
            store.begin_cycle(START.replace(tzinfo=None))
        assert store.run().cycle == 0


class TestTurns:
    @pytest.mark.sqlite_only
    def test_a_writer_whose_turn_does_not_come_gives_up_in_time_and_says_so(self, store: Store) -> None:
        held = try_turn(store.path.with_name("accounts.db.lock"))
        assert held is not None
        try:
            sentence = r"writing to accounts\.db for over 0\.05 s; nothing was written, try again"
            with pytest.raises(StoreBusy, match=sentence), store.write(timeout_s=0.05):
                raise AssertionError("the turn was another's")
        finally:
            os.close(held)
        write_log(store, [log_row("after")])
        assert messages(store) == ["after"]

    @pytest.mark.sqlite_only
    def test_one_that_gave_up_does_not_keep_the_turn_that_comes_to_it_later(self, store: Store) -> None:
        lock = store.path.with_name("accounts.db.lock")
        held = try_turn(lock)
        assert held is not None
        for _ in range(3):
            with suppress(StoreBusy), store.write(timeout_s=0.01):
                pass
        os.close(held)
        for thread in threading.enumerate():
            if thread.name == "store-turn":
                thread.join(5)
        again = try_turn(lock)
        assert again is not None
        os.close(again)

    def test_a_reader_need_not_wait_for_a_writer(self, store: Store) -> None:
        write_log(store, [log_row("before")])
        with store.write() as connection:
            connection.execute(
                insert(tables.logs).values(type="trace", account="a", message="new", is_error=False, wall_time=START)
            )
            assert messages(store) == ["before"]

    def test_a_database_that_another_program_locks_is_busy_not_broken(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.sqlite.BUSY_MS", 50)
        with closing(Store(path, NewRun())) as store, closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match=r"another program holds accounts\.db locked; nothing was written"):
                write_log(store, [log_row("after")])
            other.rollback()
            write_log(store, [log_row("after")])
            assert messages(store) == ["after"]

    def test_one_floor_holds_a_store_and_the_other_learns_who(self, store: Store) -> None:
        assert store.floor_holder() == "nobody"
        held = store.hold_floor()
        assert held is not None
        assert store.hold_floor() is None
        assert f"process {os.getpid()} since" in store.floor_holder()
        held.release()
        again = store.hold_floor()
        assert again is not None
        again.release()

    @pytest.mark.sqlite_only
    def test_who_looks_whether_a_floor_runs_keeps_none_from_starting(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = store.hold_floor()
        assert held is not None
        held.release()
        looking = os.open(store.path.with_name("accounts.db.floor.lock"), os.O_RDONLY)
        fcntl.flock(looking, fcntl.LOCK_SH)  # as `is_floor_held` does for a moment
        assert not store.is_floor_held(), "another look is no floor"
        monkeypatch.setattr("store.sqlite.time.sleep", lambda _: os.close(looking))
        started = store.hold_floor()
        assert started is not None
        started.release()

    @pytest.mark.sqlite_only
    def test_a_look_makes_no_lock_file(self, store: Store) -> None:
        assert not store.is_floor_held()
        assert not store.path.with_name("accounts.db.floor.lock").exists()


class TestOperations:
    def test_writing_an_account_opens_it_once_and_then_changes_its_strategy_alone(self, store: Store) -> None:
        assert write_account(store, "warren", strategy="wait", actor="floor", kind="trader") is True
        opened = read_account(store, "warren")
        assert opened is not None
        assert (opened.cash, opened.deposited, opened.strategy) == (Decimal(10_000), Decimal(10_000), "wait")
        assert (
            write_account(store, "warren", strategy="act", actor="operator", kind="client", balance=Decimal(1)) is False
        )
        again = read_account(store, "warren")
        assert again is not None
        assert (again.cash, again.deposited, again.strategy, again.kind) == (opened.cash, opened.cash, "act", "trader")

    def test_an_account_that_is_not_there_reads_as_none(self, store: Store) -> None:
        assert read_account(store, "nobody") is None

    def test_the_newest_rows_of_a_log_are_read_in_the_order_they_were_written(self, store: Store) -> None:
        write_log(store, [])
        write_log(store, [log_row(str(number)) for number in range(250)])
        write_log(store, [log_row("of george", "george")])
        newest = read_log(store, "warren", limit_rows=3)
        assert [row.message for _, row in newest] == ["247", "248", "249"]
        assert len(read_log(store)) == 100
        last_id = newest[-1][0]
        assert read_log(store, "warren", after_id=last_id) == []
        assert [row.message for _, row in read_log(store, after_id=last_id)] == ["of george"]

    def test_what_no_database_can_keep_of_a_text_is_marked(self, store: Store) -> None:
        write_log(store, [log_row("a\0b\ud800c\ud83d\ude80")])
        assert messages(store) == ["a\ufffdb\ufffdc🚀"]

    def test_a_log_row_comes_back_as_it_went_in(self, store: Store) -> None:
        row = LogRow("function", "warren", "\x01ü", START, "trace_1", "buy", "{}", "ok", True, 1.5, "house", 3, 4, "ab")
        write_log(store, [row])
        assert [found for _, found in read_log(store)] == [row]

    def test_a_market_answer_replaces_the_one_before(self, store: Store) -> None:
        assert read_market(store, "AAPL") is None
        write_market(store, "AAPL", "1", START)
        write_market(store, "AAPL", "2", START + SECOND)
        assert read_market(store, "AAPL") == ("2", START + SECOND)


class TestBackup:
    def test_a_copy_made_while_a_writer_writes_is_consistent(
        self, store: Store, market: Market, tmp_path: Path
    ) -> None:
        warren = open_account(store, market, "warren", balance=Decimal(1_000_000))
        begun, stop = threading.Event(), threading.Event()

        def trade() -> None:
            while not stop.is_set():
                warren.buy_shares("BTC-USD", "0.0001", "")
                begun.set()

        writer = threading.Thread(target=trade)
        writer.start()
        assert begun.wait(10)
        copies = [tmp_path / f"copy-{number}.db" for number in range(5)]
        for copy in copies:
            store.backup(copy)
        stop.set()
        writer.join()
        sizes = []
        for copy in copies:
            with closing(Store(copy)) as copied, copied.read() as connection:
                assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
                assert list(reconcile(connection)) == []
                assert copied.run() == store.run()
                sizes.append(connection.execute(select(func.count()).select_from(tables.transactions)).scalar_one())
        assert sizes == sorted(sizes)
        assert sizes[0] >= 2

    def test_a_copy_never_overwrites_a_file(self, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "precious.db"
        target.write_text("precious")
        with refused("exists", "name a new file"):
            store.backup(target)
        assert target.read_text() == "precious"

    def test_a_copy_into_a_folder_that_is_not_there_is_a_sentence(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="folder") as caught:
            store.backup(tmp_path / "no" / "copy.db")
        assert type(caught.value).__name__ in ("Refused", "StoreUnusable")
