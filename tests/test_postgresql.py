"""A store in PostgreSQL where it differs from a file: its address, its locks, its copies, and a server that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from accounts import Account, open_account
from commands import doctor
from commands.checks import StoreExamination
from database import NewRun, Store, read_account, write_account, write_log
from ledger.reconcile import reconcile
from market import Market
from store import tables
from tests.conftest import START
from tests.owner import ask
from tests.postgresql import schema
from tests.shelf import ShelfVenue
from tests.side_by_side import PROJECT
from values.address import StoreAddress
from values.errors import BadSetting, StoreBusy, StoreEmpty, StoreUnusable
from values.log import LogRow
from values.settings import FloorSettings, StoreSettings, load

SECRET = "canary-password"
WITH_PASSWORD = f"postgresql+psycopg://floor:{SECRET}@db.example:5433/paper?sslmode=require"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[StoreAddress]:
    with schema(f"floor_test_postgresql_{os.getpid()}", tmp_path) as address:
        yield address


@pytest.fixture
def store(address: StoreAddress) -> Iterator[Store]:
    with closing(Store(address, NewRun("replay", 1, "0" * 64, "a tape of the test", START))) as store:
        yield store


class TestAddress:
    def test_the_password_is_for_the_driver_alone(self) -> None:
        address = StoreAddress.parse(WITH_PASSWORD, Path("/floor"))
        assert address.url == WITH_PASSWORD
        assert address.password == SECRET
        shown = "postgresql+psycopg://floor:***@db.example:5433/paper?sslmode=require"
        assert f"{address} {address!r}" == f"{shown} {shown}"
        assert SECRET not in str(address.path)

    def test_the_floor_counts_the_password_as_a_secret(self) -> None:
        assert load(FloorSettings, database_url=WITH_PASSWORD).secrets == [SECRET]

    def test_what_stands_beside_a_store_is_its_own(self) -> None:
        urls = [WITH_PASSWORD, WITH_PASSWORD.replace("paper", "other"), WITH_PASSWORD.replace("5433", "5434")]
        paths = {StoreAddress.parse(url, Path("/floor")).path for url in urls}
        assert len(paths) == 3
        assert {path.parent for path in paths} == {Path("/floor")}

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://floor@localhost/paper", "postgresql+psycopg://", "postgresql+psycopg://floor@localhost",
            "postgresql+psycopg://floor@localhost/", "postgresql+psycopg://floor@localhost:port/paper",
            "postgresql+psycopg://floor@localhost:99999/paper", "postgresql+psycopg:///paper",
            f"mysql://floor:{SECRET}@localhost/paper", f"postgresql+psycopg://floor:{SECRET}@localhost:port/paper",
        ],
    )  # fmt: skip
    def test_another_address_is_refused_without_its_password(self, url: str) -> None:
        with pytest.raises(BadSetting, match="DATABASE_URL") as caught:
            load(StoreSettings, database_url=url)
        assert "postgresql+psycopg://USER" in caught.value.sentence
        assert SECRET not in str(caught.value)


class TestServer:
    def test_one_that_is_not_there_is_a_sentence_without_the_password(self, tmp_path: Path) -> None:
        url = f"postgresql+psycopg://floor:{SECRET}@127.0.0.1:1/paper"
        with pytest.raises(StoreUnusable, match="can't be reached") as caught:
            Store(StoreAddress.parse(url, tmp_path))
        assert SECRET not in str(caught.value)

    def test_a_connection_that_the_server_closed_is_made_anew(self, store: Store) -> None:
        with pytest.raises(StoreUnusable, match="may or may not be kept"), store.write() as connection:
            with closing(Store(store.address)) as other, other.write() as killer:
                pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                killer.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
            connection.execute(select(tables.run))
        write_log(store, [LogRow("trace", "warren", "after", START)])

    def test_another_programs_tables_are_refused_and_left(self, address: StoreAddress, store: Store) -> None:
        with store.write() as connection:
            connection.execute(text("DROP TABLE alembic_version"))
        with pytest.raises(StoreUnusable, match="is not this floor's"):
            Store(address, NewRun())
        with store.read() as connection:
            assert connection.execute(select(tables.run)).one()

    def test_the_doctor_looks_at_it_and_changes_nothing(self, address: StoreAddress, tmp_path: Path) -> None:
        examination = StoreExamination(address)
        (finding,) = examination.findings()
        assert (finding.state, examination.is_there) == ("note", False)
        with closing(Store(address, NewRun())) as store:
            write_account(store, "warren", strategy="Wait.", actor="operator")
            found = {each.subject: each.state for each in StoreExamination(address).findings()}
            assert found == {"store": "ok", "schema": "ok", "clock": "ok", "books": "ok"}
            with store.write() as connection:
                connection.execute(text("UPDATE accounts SET cash = cash + 1"))
            assert {each.subject: each.state for each in StoreExamination(address).findings()}["books"] == "FAIL"
        gone = StoreAddress.parse("postgresql+psycopg://floor@127.0.0.1:1/paper", tmp_path)
        assert [each.state for each in StoreExamination(gone).findings()] == ["FAIL"]


class TestLocks:
    def test_one_account_does_not_wait_for_another(self, store: Store) -> None:
        market = Market(ShelfVenue(), store.clock())
        warren, george = (open_account(store, market, name) for name in ("warren", "george"))
        with store.write() as connection:
            connection.execute(select(tables.accounts).where(tables.accounts.c.name == "warren").with_for_update())
            george.buy_shares("AAPL", 1, "")
            assert warren.report().holdings == {}, "and a reader waits for nobody"

    def test_an_order_whose_account_stays_locked_gives_up_and_nothing_is_booked(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.postgresql._OPTIONS", "-c lock_timeout=50")
        market = Market(ShelfVenue(), store.clock())
        open_account(store, market, "warren")
        with closing(Store(store.address)) as impatient, store.write() as connection:
            connection.execute(select(tables.accounts).with_for_update()).all()
            with pytest.raises(StoreBusy, match="nothing was written, try again"):
                Account(impatient, market, "warren").buy_shares("AAPL", 1, "")
        assert Account(store, market, "warren").report().holdings == {}

    def test_a_lock_that_a_dead_process_held_is_free(self, store: Store) -> None:
        write_account(store, "warren", strategy="Wait.", actor="operator")
        code = (
            "import os, signal, sys; from database import *\n"
            "with Store(StoreAddress.parse(sys.argv[1], Path())).write() as connection:\n"
            "    account_record(connection, 'warren', lock=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        ended = subprocess.run([sys.executable, "-c", code, store.address.url], cwd=PROJECT)
        assert ended.returncode == -9
        write_account(store, "warren", strategy="Act.", actor="operator")

    def test_a_floor_is_one_per_store_and_free_when_its_process_dies(self, store: Store, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys; from database import *\n"
            "held = Store(StoreAddress.parse(sys.argv[1], Path())).hold_floor()\n"
            "print(os.getpid(), flush=True); sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", code, store.address.url]
        with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            pid = int(other.stdout.readline())
            assert store.hold_floor() is None
            assert store.floor_holder().startswith(f"process {pid} since ")
            with schema(f"floor_test_second_{os.getpid()}", tmp_path) as second:
                with closing(Store(second, NewRun())) as another:
                    held = another.hold_floor()
                    assert held is not None, "another schema is another store"
                    held.release()
            other.communicate("end\n")
        with store.write() as connection:  # the server has taken the dead session's locks away once it is not listed
            alive = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE :who"
            connection.execute(text(alive), {"who": f"process {pid} %"}).all()
        held = store.hold_floor()
        assert held is not None
        held.release()
        assert store.floor_holder() == "nobody"


class TestCopies:
    def test_a_copy_is_an_sqlite_store_with_everything_in_it(self, store: Store, tmp_path: Path) -> None:
        market = Market(ShelfVenue(), store.clock())
        warren = open_account(store, market, "warren", limits={"max_order_usd": "5000"})
        warren.buy_shares("AAPL", 2, "because")
        warren.sell_shares("AAPL", 1, "because")
        warren.record_decision("AAPL", "hold", 0.5, 30, "wait")
        store.backup(tmp_path / "copy.db")
        with closing(Store(tmp_path / "copy.db")) as copy:
            for table in tables.metadata.sorted_tables:
                with store.read() as one, copy.read() as other:
                    query = select(table).order_by(*table.primary_key)
                    assert one.execute(query).all() == other.execute(query).all(), table.name
            with copy.read() as connection:
                assert list(reconcile(connection)) == []
            Account(copy, Market(ShelfVenue(), copy.clock()), "warren").buy_shares("AAPL", 1, "the copy goes on")

    def test_a_store_that_is_discarded_can_be_made_anew(self, store: Store, address: StoreAddress) -> None:
        write_account(store, "warren", strategy="Wait.", actor="operator")
        store.discard()
        with pytest.raises(StoreEmpty):
            Store(address)
        with closing(Store(address, NewRun("simulated", 3))) as new:
            assert read_account(new, "warren") is None


@contextmanager
def without_its_files(address: StoreAddress) -> Iterator[None]:
    try:
        yield
    finally:
        for each in address.path.parent.glob(f"{address.path.name}*"):
            each.unlink()


def test_a_floor_runs_a_cycle_on_it_and_its_password_is_nowhere_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server asks for none, and so takes any."""
    monkeypatch.setattr(doctor, "SERVERS", ())
    # a command's files beside the store are in the project's folder
    with schema(f"floor_test_whole_{os.getpid()}", PROJECT) as plain:
        url = make_url(plain.url).set(password=SECRET).render_as_string(hide_password=False)
        address = StoreAddress.parse(url, PROJECT)
        with without_its_files(address):
            settings = {"DATABASE_URL": url, "MARKET": "simulated", "MARKET_SEED": "7", "COLUMNS": "160"}
            environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")} | settings
            said = cycle_of_a_floor(environment)
            for command in (
                ("status",), ("accounts", "reconcile"), ("doctor",), ("mcp-config", "plain"),
                ("accounts", "backup", str(tmp_path / "copy.db")),
            ):  # fmt: skip
                told = ask(environment, *command)
                assert told.returncode == 0, told
                said += [told.stdout, told.stderr]
                if command[0] == "mcp-config":
                    assert "DATABASE_URL" not in told.stdout
                    assert "DATABASE_URL is set in this shell alone" in told.stderr
            with closing(Store(address)) as store, store.read() as connection:
                assert connection.execute(select(tables.sessions.c.outcome)).scalars().all() == ["completed"] * 4
                kept = {table.name: connection.execute(select(table)).all() for table in tables.metadata.sorted_tables}
                assert any(row.kind == "buy" for row in kept["transactions"])
                assert store.run().cycle == 1
                said += [f"{name} {row}" for name, rows in kept.items() for row in rows]
                activity = "SELECT application_name || ' ' || query FROM pg_stat_activity"
                said += [str(each) for each in connection.execute(text(activity)).scalars()]
            assert (tmp_path / "copy.db").stat().st_size > 0
            files = [tmp_path / "copy.db", *address.path.parent.glob(f"{address.path.name}*")]
            assert [each.name for each in files if SECRET in each.name or SECRET.encode() in each.read_bytes()] == []
            assert [each for each in said if SECRET in each] == []
            assert any("root:***@127.0.0.1" in each for each in said), "the store is named, without it"


def cycle_of_a_floor(environment: dict[str, str]) -> list[str]:
    """What a floor said until its first cycle was over and it was asked to end, and its processes' command lines."""
    command = [sys.executable, "-m", "trading_floor", "run"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as floor:
        assert floor.stdout is not None
        said: list[str] = []
        while sum(" completed (trade" in line for line in said) < 4:
            said.append(floor.stdout.readline())
            assert said[-1], said
        processes = [psutil.Process(floor.pid), *psutil.Process(floor.pid).children(recursive=True)]
        lines = [" ".join(each.cmdline()) for each in processes]
        assert [each for each in processes[1:] if SECRET in str(each.environ())] == [], "a fork is told over a pipe"
        floor.send_signal(signal.SIGTERM)
        said.append(floor.stdout.read())
    assert floor.returncode == 0, said
    assert len(lines) > 10
    return said + lines
