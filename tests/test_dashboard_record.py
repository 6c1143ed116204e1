"""What the dashboard keeps of a store: rows once each, curves, health, and the strip at the top."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, localcontext
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import insert, select, update

from analysis.performance import max_drawdown, returns, sharpe_ratio
from dashboard.health import SERVER_OF
from dashboard.reader import HEADER_EVERY_S, Reader
from dashboard.record import Record
from dashboard.series import NEWEST_WHOLE, Series
from dashboard.tail import OVERLAP, Tail
from database import NewRun, Store, write_log
from desks.servers import ROLES
from market import Market
from store import tables
from tests.bookkeeping import rows
from tests.conftest import START
from tests.dashboard_stage import HOUSE, Stage, stage_of
from tests.shelf import ShelfVenue
from values.clock import FixedClock
from values.errors import Refused
from values.log import LogRow
from values.money import EXACT, ZERO

pytestmark = pytest.mark.both_databases


@pytest.fixture
def stage(store: Store, venue: ShelfVenue) -> Stage:
    return stage_of(store, venue)


def test_log_rows_are_read_once_newest_first_and_the_newest_200_of_each_account_stay(stage: Stage) -> None:
    stamp = stage.clock.wall()

    def write(first: int, count: int, name: str) -> None:
        numbers = range(first, first + count)
        write_log(stage.store, [LogRow("agent", name, f"line {number}", stamp) for number in numbers])

    write(0, 250, "warren")
    record = Record(stage.store, stage.clock.wall)
    write(0, 3, "george")
    write(250, 60, "warren")
    for _ in range(3):
        record.refresh_logs()
    lines = {name: [line.message for line in tally.logs.rows] for name, tally in record.tallies.items()}
    assert lines["warren"] == [f"line {number}" for number in range(309, 109, -1)]
    assert lines["george"] == ["line 2", "line 1", "line 0"]


def test_a_flood_of_log_rows_while_nobody_looked_leaves_the_newest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.record.LOGS_AT_ONCE", 20)
    record, stamp = Record(stage.store, stage.clock.wall), stage.clock.wall()
    write_log(
        stage.store, [LogRow("function", "warren", f"call {number}", stamp, tool="push") for number in range(300)]
    )
    record.refresh_logs()
    assert [line.message for line in record.tallies["warren"].logs.rows[:2]] == ["call 299", "call 298"]
    assert len(record.tallies["warren"].logs.rows) == 200
    assert [each.calls for each in record.health.servers] == [200]


def test_rows_that_become_visible_against_their_order_are_handed_out_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlap = OVERLAP["postgresql"]
    monkeypatch.setitem(OVERLAP, "sqlite", overlap)  # SQLite itself never does this

    def add(*ids: int) -> None:
        row = {"type": "agent", "account": "warren", "message": "m", "is_error": False, "wall_time": START}
        with store.write() as connection:
            connection.execute(insert(tables.logs), [{"id": each, **row} for each in ids])

    add(3, 4, 5)
    with store.read() as connection:
        tail = Tail(connection, tables.logs)
    found: list[int] = []
    for batch in ((10, 12), (7, 11), (6,), (), (12 + overlap, 9), (13 + overlap, 14)):
        if batch:
            add(*batch)
        with store.read() as connection:
            ids = tail.new(connection)
            assert [row.id for row in tail.rows(connection, select(tables.logs.c.id), ids)] == ids
        found += ids
        tail.accept(ids)
    assert found == [10, 12, 7, 11, 6, 9, 12 + overlap, 14, 13 + overlap]


def test_the_spread_of_fills_whose_product_64_bits_cannot_hold_is_exact(stage: Stage) -> None:
    venue, account = stage.venue, stage.account("mine")
    with stage.store.write() as connection:
        connection.execute(update(tables.accounts).values(cash=Decimal(9_000_000_000_000)))
    venue.prices |= {"AAPL": Decimal("0.00123457"), "MSFT": Decimal("9876543.21"), "SPY": Decimal("3.33333333")}
    for symbol, quantity in (("AAPL", 9_999_999_999), ("MSFT", 123_457), ("SPY", 7), ("MSFT", 1), ("SPY", 999_999_937)):
        account.buy_shares(symbol, quantity, "much")
    fills = [row for row in rows(stage.store, tables.transactions) if row.symbol]
    with localcontext(EXACT):
        spread = sum((abs(row.price - row.quote_price) * row.quantity for row in fills), ZERO)
    assert max(abs(row.price - row.quote_price) * row.quantity for row in fills) * 10**16 > 2**63
    assert Record(stage.store, stage.clock.wall).tallies["mine"].spread_paid == spread


class TestHeader:
    def test_the_next_run_is_the_floors_next_multiple_in_the_clocks_own_pace(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "own.db", NewRun("simulated", 7, started_at=START))
        clock = FixedClock(START + timedelta(minutes=20))
        market = Market(ShelfVenue(), clock)
        reader = Reader(store, lambda _: market, HOUSE, {}, {})
        held = store.hold_floor()
        assert held is not None
        store.begin_cycle(START)
        with store.write() as connection:
            connection.execute(update(tables.run).values(factor=60, fast_until=clock.wall() + timedelta(seconds=30)))
        reader.step(0.0)
        header = reader.view.header
        assert header is not None
        assert (header.badge, header.cycle, header.market_seconds_a_second) == ("SIMULATED", 1, 60)
        assert header.floor is not None
        assert header.floor.startswith("process ")
        assert (header.next_run_at, header.next_run_in_s) == (START + timedelta(hours=1), 40.0)
        clock.advance(timedelta(minutes=5))
        reader.step(HEADER_EVERY_S)
        header = reader.view.header
        assert header is not None
        assert (header.market_seconds_a_second, header.next_run_in_s) == (1, 35 * 60.0), "no heartbeat: time is slow"
        held.release()
        reader.step(2 * HEADER_EVERY_S)
        assert reader.view.header is not None
        assert (reader.view.header.floor, reader.view.header.next_run_in_s) == (None, None)
        store.close()

    def test_prices_that_are_all_too_old_are_said_with_their_age(self, stage: Stage) -> None:
        stage.account("warren").buy_shares("AAPL", 3, "cheap")
        stage.venue.stale = {"AAPL"}
        view = stage.view()
        assert view.header is not None
        assert view.header.badge == "REPLAY", "the index is fresh"
        assert [each.is_stale for each in view.accounts if each.name == "warren"] == [True]
        stage.venue.stale = {"AAPL", "SPY"}
        view = stage.view()
        assert view.header is not None
        assert (view.header.badge, view.header.stale_for_s) == ("STALE", 0.0)

    def test_a_holding_without_a_price_leaves_the_value_unknown_and_the_account_last(self, stage: Stage) -> None:
        stage.account("warren").buy_shares("AAPL", 3, "cheap")
        del stage.venue.prices["AAPL"]
        last = stage.view().accounts[-1]
        assert (last.name, last.value, last.profit, last.today) == ("warren", None, None, None)
        assert (last.positions[0].price, last.positions[0].value, last.positions[0].weight) == (None, None, None)

    def test_only_todays_model_calls_are_todays_spending(self, stage: Stage) -> None:
        late = stage.clock.wall().replace(hour=0, minute=5)
        stage.clock.at = late
        stage.session(0, "warren", "completed", [stage.call("7", timedelta(days=3))])
        stage.session(1, "warren", "completed", [stage.call("0.25"), stage.call("0.5", timedelta(minutes=10))])
        reader = stage.reader()
        reader.step(0.0)
        assert reader.view.header is not None
        assert reader.view.header.spent_today == Decimal("0.25")
        stage.session(2, "warren", "completed", [stage.call("0.125"), stage.call("1", timedelta(minutes=6))])
        reader.step(1.0)
        assert reader.view.header.spent_today == Decimal("0.375")
        stage.clock.advance(timedelta(days=1))
        reader.step(10.0)
        assert reader.view.header.spent_today == 0


class TestSeries:
    def test_a_long_curve_keeps_its_newest_its_first_and_its_largest_fall(self) -> None:
        series, luck = Series(10_000_000_000), random.Random(5)
        values = [int(luck.gauss(10_000, 400) * 10**6) for _ in range(30_000)]
        values[3_333], values[3_334] = 14_000_000_000, 6_000_000_000
        for number, value in enumerate(values):
            series.add(START + timedelta(minutes=number), value)
        points = series.points
        assert len(points) <= 2_000
        shown = [int(point.value * 10**6) for point in points]
        assert shown[-NEWEST_WHOLE:] == values[-NEWEST_WHOLE:]
        assert shown[0] == values[0]
        assert [point.market_time for point in points] == sorted(point.market_time for point in points)
        older = points[: -NEWEST_WHOLE - 1]
        gaps = [(later.market_time - sooner.market_time).total_seconds() for sooner, later in pairwise(older)]
        assert max(gaps) <= 2 * median(gaps), "what is old is thinned evenly"
        assert series.largest_fall == pytest.approx(max_drawdown([10_000.0, *(value / 10**6 for value in values)]))
        assert series.largest_fall == pytest.approx(max_drawdown([float(point.value) for point in points]))
        assert series.points is points

    @pytest.mark.parametrize(("weekends", "periods"), [(True, 365), (False, 252)])
    def test_a_sharpe_ratio_needs_60_days_and_has_a_years_periods_as_the_record(
        self, weekends: bool, periods: int
    ) -> None:
        series, luck, day = Series(10_000_000_000), random.Random(9), START
        last: list[float] = []
        while len(last) < 60:
            assert series.sharpe is None
            if weekends or day.weekday() < 5:
                for hour in range(3):
                    value = luck.randint(9_000_000_000, 11_000_000_000)
                    series.add(day + timedelta(hours=hour), value)
                last.append(float(value))
            day += timedelta(days=1)
        assert series.days == 60
        assert series.sharpe == pytest.approx(sharpe_ratio(returns(last), periods))

    def test_an_account_without_money_has_no_ratio_and_no_fall(self) -> None:
        series = Series(0)
        for number in range(70):
            series.add(START + timedelta(days=number), 0)
        assert (series.sharpe, series.largest_fall) == (None, 0.0)


class TestHealth:
    def test_servers_are_judged_by_their_newest_200_calls(self, stage: Stage) -> None:
        stamp = stage.clock.wall()
        calls = [
            replace(
                LogRow("function", "warren", "m", stamp + timedelta(seconds=number), tool="buy_shares"),
                latency_ms=float(number),
                is_error=number % 50 == 0,
            )
            for number in range(300)
        ]
        read = LogRow("function", "george", "m", stamp, tool="read_graph", latency_ms=7)
        write_log(stage.store, calls[:150])
        record = Record(stage.store, stage.clock.wall)
        write_log(stage.store, [*calls[150:], read])
        record.refresh_logs()
        accounts, memory = record.health.servers
        assert (accounts.name, accounts.calls, accounts.errors) == ("accounts", 200, 4)
        assert accounts.median_ms == median(range(100, 300))
        assert (accounts.slowest_ms, accounts.last_answer_at) == (299.0, stamp + timedelta(seconds=299))
        assert (memory.name, memory.calls, memory.errors, memory.median_ms) == ("memory", 1, 0, 7.0)
        assert [line.latency_ms for line in record.health.slow_calls] == list(range(299, 289, -1))
        assert [fault.what for fault in record.health.faults] == ["buy_shares"] * 6

    def test_the_newest_20_faults_are_shown_newest_first_and_each_once(self, stage: Stage) -> None:
        record = Record(stage.store, stage.clock.wall)
        for number in range(25):
            stage.clock.advance(timedelta(seconds=1))
            with pytest.raises(Refused):
                stage.account("warren").buy_shares("AAPL", 1_000 + number, "all of it")
            if number % 5 == 0:
                record.refresh_values()
        record.refresh_values()
        for health in (record.health, Record(stage.store, stage.clock.wall).health):
            assert len(health.faults) == 20
            assert [f"buying {1_024 - place} AAPL" in fault.sentence for place, fault in enumerate(health.faults)] == [
                True
            ] * 20

    def test_each_tool_that_a_trader_is_granted_has_its_server(self) -> None:
        offered: dict[str, list[str]] = {"fetch": ["fetch"]}
        for path in (Path(__file__).parent / "snapshots").glob("*.json"):
            name = path.stem.removesuffix("_server").removesuffix("_tools")
            found = json.loads(path.read_text())
            offered[name] = [tool["name"] for tool in (found["tools"] if isinstance(found, dict) else found)]
        granted = {
            tool: server
            for globs_of in ROLES.values()
            for server, globs in globs_of.items()
            for tool in offered[server]
            if any(fnmatch(tool, glob) for glob in globs)
        }
        assert dict(SERVER_OF) == granted | {"research": "researcher"}
