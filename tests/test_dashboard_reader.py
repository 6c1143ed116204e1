"""What the dashboard's reader says of a floor, against the same figures worked out anew from the whole store."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from accounts import open_account, set_state
from dashboard.reader import HEADER_EVERY_S, LOGS_EVERY_S, RETRY_MAX_S, VALUES_EVERY_S, Reader
from dashboard.view import AccountView, View
from database import NewRun, Store, write_log
from ledger.baselines import CASH
from ledger.sessions import end_session_row
from ledger.valuation import record_values
from market import Market
from store import tables
from tests.bookkeeping import rows
from tests.conftest import START
from tests.dashboard_stage import HOUSE, NAMES, OF_ACCOUNT, WHOLE, Stage, expected, live, stage_of, told
from tests.shelf import ShelfVenue
from values.clock import FixedClock
from values.log import LogRow
from values.money import ZERO

pytestmark = pytest.mark.both_databases


@pytest.fixture
def stage(store: Store, venue: ShelfVenue) -> Stage:
    return stage_of(store, venue)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_figure_equals_the_one_worked_out_anew_whenever_the_reader_looks(stage: Stage, seed: int) -> None:
    luck, now = random.Random(seed), 0.0
    held = stage.store.hold_floor()  # with a floor, an open session is one that runs
    assert held is not None
    reader = stage.reader()
    for number in range(1, 121):
        live(stage, luck, number)
        if luck.random() < 0.15 or number == 120:
            now += VALUES_EVERY_S
            reader.step(now)
            views = [reader.view] if number < 120 else [reader.view, stage.view()]
            for view in views:
                assert view.broken is None
                for account in view.accounts:
                    assert told(account, view) == expected(stage, account.name)
                values = [each.value for each in view.accounts if each.value is not None]
                assert values == sorted(values, reverse=True)
                assert len(values) == len(NAMES)
                traded = {row.symbol for row in rows(stage.store, tables.transactions) if row.symbol}
                assert set(view.symbols) == traded
    assert reader.view.header is not None
    day = stage.clock.wall().date()
    calls = rows(stage.store, tables.model_calls)
    assert reader.view.header.spent_today == sum((row.cost_usd for row in calls if row.wall_time.date() == day), ZERO)
    assert sum(each.trades for each in reader.view.accounts) > 20
    held.release()


def test_a_trade_a_session_and_the_owners_word_are_seen_at_the_next_look(stage: Stage) -> None:
    held = stage.store.hold_floor()
    assert held is not None
    reader, now = stage.reader(), 0.0
    reader.step(now)

    def seen(name: str) -> AccountView:
        nonlocal now
        now += LOGS_EVERY_S
        reader.step(now)
        return next(each for each in reader.view.accounts if each.name == name)

    stage.account("warren").buy_shares("AAPL", 3, "cheap")
    assert [trade.rationale for trade in seen("warren").transactions] == ["cheap", "opening deposit"]
    stage.session(1, "george", None, [])
    assert (seen("george").state, reader.view.header and reader.view.header.running) == ("running", ("george",))
    assert seen("george").model == "house/trend"
    end_session_row(
        stage.store, "trace_george1", outcome="failed", reason="no words", appraisal="", turns=1, tool_calls=0, calls=[]
    )
    assert seen("george").state == "active"
    assert [(each.account, each.what, each.sentence) for each in reader.view.health.faults] == [
        ("george", "session failed", "no words")
    ]
    set_state(stage.store, stage.market, "george", "halted", "the owner halted it")
    assert seen("george").state == "halted"
    open_account(stage.store, stage.market, "late", kind="client")
    assert seen("late").value == 10_000
    stage.venue.prices["AAPL"] = Decimal(400)
    assert seen("warren").positions[0].price == 200, "a price alone is looked at every two minutes"
    now += VALUES_EVERY_S
    assert seen("warren").positions[0].price == 400
    held.release()


def test_without_a_floor_a_session_that_a_crash_left_open_does_not_run(stage: Stage) -> None:
    stage.session(1, "george", None, [])
    view = stage.view()
    assert view.header is not None
    assert (view.header.floor, view.header.running, view.header.next_run_at) == (None, (), None)
    assert {each.state for each in view.accounts} == {"active"}


def test_a_look_that_fails_half_way_loses_and_doubles_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = stage.reader()
    reader.step(0.0)
    stage.account("warren").buy_shares("AAPL", 3, "cheap")
    record_values(stage.store, stage.market, 1)

    def fails(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("dashboard.queries.newest_sessions", fails)
        reader.step(1.0)
    assert reader.view.broken == "the disk is gone"
    assert [each.trades for each in reader.view.accounts] == [0, 0, 0, 0]
    reader.step(10.0)
    assert reader.view.broken is None
    warren = next(each for each in reader.view.accounts if each.name == "warren")
    assert told(warren, reader.view) == expected(stage, "warren")


class TestSnapshots:
    def test_a_panel_is_rendered_again_only_when_its_part_of_the_view_has_changed(self, stage: Stage) -> None:
        drawn: list[str] = []

        def panel(name: str) -> Callable[[View], object]:
            return lambda view: drawn.append(name) or (name, len(drawn))  # type: ignore[func-returns-value]

        def column(kind: str) -> Callable[[View, AccountView], object]:
            return lambda _, account: drawn.append(f"{kind}:{account.name}") or len(drawn)  # type: ignore[func-returns-value]

        reader = stage.reader({name: panel(name) for name in WHOLE}, {kind: column(kind) for kind in OF_ACCOUNT})
        reader.step(0.0)
        seated = [name for name in NAMES if name != CASH]
        assert sorted(drawn) == sorted([*WHOLE, *(f"{kind}:{name}" for kind in OF_ACCOUNT for name in seated)])
        drawn.clear()
        reader.step(LOGS_EVERY_S)
        assert drawn == []
        write_log(stage.store, [LogRow("agent", "warren", "thinks", stage.clock.wall())])
        reader.step(2 * LOGS_EVERY_S)
        assert drawn == ["log:warren"]
        drawn.clear()
        versions = {name: reader.snapshots.newest(f"trades:{name}")[0] for name in ("warren", "george")}
        stage.account("warren").buy_shares("AAPL", 3, "cheap")
        reader.step(3 * LOGS_EVERY_S)
        assert set(drawn) == {
            "leaderboard", "top:warren", "log:warren", "holdings:warren", "trades:warren", "health"
        } - ({"health"} - set(drawn))  # fmt: skip
        assert reader.snapshots.newest("trades:warren")[0] > versions["warren"]
        assert reader.snapshots.newest("trades:george")[0] == versions["george"]
        drawn.clear()
        record_values(stage.store, stage.market, 1)
        reader.step(4 * LOGS_EVERY_S)
        assert {"equity", "drawdown", "value:warren"} <= set(drawn)
        assert "trades:warren" not in drawn

    def test_an_equal_payload_keeps_its_version(self, stage: Stage) -> None:
        reader = stage.reader({"header": lambda view: "the same"})
        for look in range(3):
            stage.clock.advance(timedelta(seconds=1))
            reader.step(look * HEADER_EVERY_S)
        assert reader.snapshots.newest("header") == (1, "the same")
        assert reader.snapshots.newest("nobody") == (0, None)

    def test_a_panel_that_fails_leaves_the_others_alone(self, stage: Stage) -> None:
        def fails(view: View) -> object:
            raise KeyError("no such thing")

        reader = stage.reader({"leaderboard": fails, "health": lambda view: "well"})
        reader.step(0.0)
        assert reader.snapshots.newest("leaderboard") == (0, None)
        assert reader.snapshots.newest("health") == (1, "well")
        assert reader.view.broken is None


class TestBrokenStore:
    @pytest.mark.sqlite_only
    def test_a_store_that_is_gone_is_said_and_one_that_comes_back_is_read_on(self, stage: Stage) -> None:
        reader = stage.reader({"header": lambda view: view.broken})
        reader.step(0.0)
        before = reader.view
        path = stage.store.path
        path.rename(path.with_name("aside.db"))
        reader.step(1.0)
        assert reader.view == replace(before, broken=f"there is no store at {path} any more: start the floor")
        assert reader.snapshots.newest("header") == (2, reader.view.broken)
        path.with_name("aside.db").rename(path)
        reader.step(1.0 + LOGS_EVERY_S / 2)
        assert reader.view.broken is not None, "it waits before it tries again"
        stage.account("warren").buy_shares("AAPL", 3, "cheap")
        reader.step(1.0 + LOGS_EVERY_S)
        assert reader.view.broken is None
        assert next(each for each in reader.view.accounts if each.name == "warren").trades == 1

    @pytest.mark.sqlite_only
    def test_it_tries_less_and_less_often_and_at_least_every_5_s(self, stage: Stage) -> None:
        reader = stage.reader()
        reader.step(0.0)
        tries: list[float] = []
        path = stage.store.path
        path.rename(path.with_name("aside.db"))
        look = reader._check_file

        def counted() -> None:
            tries.append(now)
            look()

        reader._check_file = counted  # type: ignore[method-assign]
        for half in range(120):
            now = half * LOGS_EVERY_S
            reader.step(now)
        gaps = [later - sooner for sooner, later in pairwise(tries)]
        assert gaps == sorted(gaps)
        assert (gaps[0], gaps[-1]) == (LOGS_EVERY_S, RETRY_MAX_S)

    @pytest.mark.sqlite_only
    def test_a_store_that_was_reset_is_read_from_its_beginning(self, stage: Stage, tmp_path: Path) -> None:
        reader = stage.reader({}, {"top": lambda _, account: account.name})
        reader.step(0.0)
        assert {each.name for each in reader.view.accounts} == set(NAMES)
        stage.store.discard()
        reader.step(1.0)
        assert reader.view.broken is not None
        fresh = Store(stage.store.path, NewRun("replay", 1, "0" * 64, "a tape", START))
        open_account(fresh, stage.market, "nina", kind="trader", actor="floor")
        reader.step(10.0)
        assert reader.view.broken is None
        assert [each.name for each in reader.view.accounts] == ["nina"]
        assert reader.snapshots.newest("top:nina")[1] == "nina"
        assert reader.snapshots.newest("top:warren")[1] is None
        fresh.close()

    def test_a_run_that_was_made_anew_in_the_same_place_is_another(self, stage: Stage) -> None:
        reader = stage.reader()
        reader.step(0.0)
        with stage.store.write() as connection:
            connection.execute(delete(tables.transactions))
            connection.execute(delete(tables.strategies))
            connection.execute(delete(tables.accounts))
            connection.execute(update(tables.run).values(made_at=START))
        reader.step(1.0)
        assert (reader.view.broken, reader.view.accounts) == (None, ())

    @pytest.mark.sqlite_only
    def test_a_store_that_is_damaged_before_the_first_look_is_said(self, tmp_path: Path, new_store: Path) -> None:
        path = tmp_path / "accounts.db"
        shutil.copy(new_store, path)
        store = Store(path)
        store.close()
        path.write_bytes(b"no database" * 1_000)
        market = Market(ShelfVenue(), FixedClock(START))
        reader = Reader(store, lambda _: market, HOUSE, {"header": lambda view: view.broken}, {})
        reader.step(0.0)
        assert "not an SQLite database" in str(reader.snapshots.newest("header")[1])
        store.close()


def test_the_thread_looks_by_itself_and_ends_at_once(stage: Stage) -> None:
    seen = threading.Event()

    def trades(view: View, account: AccountView) -> int:
        if account.trades:
            seen.set()
        return account.trades

    reader = stage.reader({}, {"top": trades})
    reader.start()
    try:
        stage.account("warren").buy_shares("AAPL", 3, "cheap")
        assert seen.wait(30)
    finally:
        reader.close()
    assert not any(thread.name == "dashboard-reader" for thread in threading.enumerate())
