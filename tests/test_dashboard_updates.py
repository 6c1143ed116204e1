"""What a tab gets of the panels: what has changed since it asked, in the same bytes for all, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import insert
from starlette.applications import Starlette
from starlette.routing import Route

from accounts import open_account
from dashboard import charts, column
from dashboard.columns import render_columns
from dashboard.html import Markup
from dashboard.record import Record
from dashboard.snapshots import Lines, Snapshots
from dashboard.sparkline import sparkline
from dashboard.tally import LOGS_KEPT
from dashboard.updates import PATH, Updates
from dashboard.view import COLUMNS_MAX, StrategyChange
from database import Store, write_log
from ledger.valuation import record_values
from store import tables
from tests.conftest import START
from tests.dashboard_stage import NAMES, Stage, stage_of
from tests.shelf import ShelfVenue
from values.log import LogRow


@pytest.fixture
def stage(store: Store, venue: ShelfVenue) -> Stage:
    return stage_of(store, venue)


class Tab:
    """A page's script: it keeps what it was told."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self.run, self.seen = "", 0
        self.lines: dict[str, dict[int, str]] = {}

    def ask(self) -> dict[str, Any]:
        """The panels that the answer has; none for no answer."""
        told = self._snapshots.since(self.run, self.seen)
        if told is None:
            return {}
        answer = json.loads(told)
        self.run, self.seen = answer["run"], answer["now"]
        panels: dict[str, Any] = answer["panels"]
        for name, payload in panels.items():
            if isinstance(payload, dict) and "rows" in payload:
                known = {} if payload["whole"] else self.lines.get(name, {})
                merged = known | dict(payload["rows"])
                self.lines[name] = {row: merged[row] for row in sorted(merged, reverse=True)[: payload["kept"]]}
        return panels


def lines(*ids: int, text: str = "line") -> Lines:
    return Lines([(each, f"{text} {each}") for each in ids])


def test_a_tab_gets_everything_once_and_then_what_has_changed_alone() -> None:
    snapshots = Snapshots()
    snapshots.put("header", "<p>é</p>")
    snapshots.put("columns", [["warren", "<section>"]])
    first, second = Tab(snapshots), Tab(snapshots)
    assert first.ask() == {"header": "<p>é</p>", "columns": [["warren", "<section>"]]}
    assert first.ask() == {}
    snapshots.put("header", "<p>é</p>")
    assert first.ask() == {}, "the same again is no change"
    snapshots.put("header", "<p>2</p>")
    snapshots.empty("columns")
    assert first.ask() == {"header": "<p>2</p>", "columns": None}
    assert second.ask() == {"header": "<p>2</p>", "columns": None}


def test_a_tab_of_another_run_or_with_a_number_that_is_still_to_come_gets_everything() -> None:
    snapshots = Snapshots()
    snapshots.put("header", "here")
    for run, seen in (("", 1), ("another", 1), (snapshots.run, 2), (snapshots.run, -1)):
        assert b'"header":"here"' in (snapshots.since(run, seen) or b"")
    assert snapshots.since(snapshots.run, 1) is None


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ([(1,), (2, 1), (3, 2, 1)], [1, 1, 1]),
        ([(3, 2, 1), (4, 3, 2)], [3, 1]),  # one came in, and one left at the end
        ([(3, 1), (3, 2, 1)], [2, 1]),  # one became visible late
        ([(30, 20), (2, 1)], [2, 2]),  # the store was reset
        ([(), (1,), ()], [0, 1, 0]),
        ([(5, 4), (5,)], [2, 1]),  # one is gone from the middle of things: the list is another
    ],
)
def test_a_list_that_grows_sends_its_new_rows_and_a_tab_has_it_as_it_is(
    steps: Sequence[Sequence[int]], sent: Sequence[int]
) -> None:
    snapshots = Snapshots()
    tab = Tab(snapshots)
    for ids, rows in zip(steps, sent, strict=True):
        snapshots.put("log:warren", lines(*ids))
        told = tab.ask()["log:warren"]["rows"]
        assert tab.lines["log:warren"] == {each: f"line {each}" for each in ids}
        if ids != (5,):
            assert len(told) == rows


def test_a_row_with_other_words_makes_the_list_another() -> None:
    snapshots = Snapshots()
    tab = Tab(snapshots)
    snapshots.put("log:warren", lines(2, 1))
    tab.ask()
    snapshots.put("log:warren", lines(2, 1, text="other"))
    assert tab.ask()["log:warren"]["whole"] is True
    assert tab.lines["log:warren"] == {2: "other 2", 1: "other 1"}


def test_a_new_line_of_a_long_log_costs_a_tab_that_line_alone(stage: Stage) -> None:
    write_log(stage.store, [LogRow("agent", "warren", "words " * 50, stage.clock.wall()) for _ in range(LOGS_KEPT)])
    reader = stage.reader({}, {"log": lambda view, account: column.render_log(view.logs[account.name])})
    reader.step(0.0)
    tab = Tab(reader.snapshots)
    assert len(tab.ask()["log:warren"]["rows"]) == LOGS_KEPT
    write_log(stage.store, [LogRow("agent", "warren", "<b>one more</b>", stage.clock.wall())])
    reader.step(1.0)
    before = tab.seen
    assert len(reader.snapshots.since(tab.run, before) or b"") < 500
    [[_, row]] = tab.ask()["log:warren"]["rows"]
    assert "&lt;b&gt;one more" in row
    assert len(tab.lines["log:warren"]) == LOGS_KEPT
    assert next(iter(tab.lines["log:warren"].values())) == row


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"run": "", "seen": 0}', 200), (b'{"run": "RUN", "seen": 1}', 204), (b"", 400), (b"[]", 400),
        (b'{"run": 1, "seen": 0}', 400), (b'{"run": "", "seen": true}', 400), (b'{"run": "", "seen": 1.5}', 400),
        (b'{"run": ""}', 400), (b"\xff", 400), (b"[" * 100_000, 400),
        (b'{"run": "", "seen": 1' + b"0" * 5000 + b"}", 400),
    ],
)  # fmt: skip
async def test_a_question_that_is_none_is_refused(body: bytes, status: int) -> None:
    snapshots = Snapshots()
    snapshots.put("header", "here")
    app = Starlette(routes=[Route(PATH, Updates(snapshots).answer, methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        answer = await client.post(PATH, content=body.replace(b"RUN", snapshots.run.encode()))
    assert answer.status_code == status
    assert (answer.content == b"") is (status == 204)


def test_an_account_that_is_opened_while_the_page_is_shown_gets_a_column_and_no_more_than_40_have_one(
    stage: Stage,
) -> None:
    reader = stage.reader(
        {"columns": lambda view: render_columns(view, has_controls=True)}, {"top": lambda _, account: account.title}
    )
    reader.step(0.0)
    tab = Tab(reader.snapshots)
    seated = [name for name, _ in tab.ask()["columns"]]
    assert seated == ["george", "warren", "mine"], "traders first, no baseline"
    open_account(stage.store, stage.market, "late", kind="client")
    reader.step(1.0)
    panels = tab.ask()
    assert [name for name, _ in panels["columns"]] == ["george", "warren", "late", "mine"]
    assert panels["top:late"] == "late"
    late = panels["columns"][2][1]
    assert 'id="act-halt-late"' in late
    assert "act-run-late" not in late, "a client has no sessions"

    [one] = [each for each in reader.view.accounts if each.name == "late"]
    many = [replace(one, name=f"client{number}") for number in range(COLUMNS_MAX + 2)]
    columns = render_columns(replace(reader.view, accounts=many), has_controls=False)
    assert len(columns) == COLUMNS_MAX + 1
    assert "2 more stand in the standings alone" in columns[-1][1]


def test_a_call_that_was_refused_is_one_fault_and_the_same_words_elsewhere_are_another(stage: Stage) -> None:
    record = Record(stage.store, stage.clock.wall)

    def refused(session: str | None) -> None:
        stamp = stage.clock.wall()
        words = {"tool": "buy_shares", "code": "insufficient_cash", "sentence": "too much", "arguments": "{}"}
        times = {"market_time": stamp, "wall_time": stamp}
        with stage.store.write() as connection:
            connection.execute(
                insert(tables.refusals).values(account="warren", session_id=session, actor="floor", **words, **times)
            )

    def called(session: str, code: str, tool: str = "buy_shares") -> None:
        row = LogRow(
            "function", "warren", f"{tool} failed: {code}", stage.clock.wall(), session, tool=tool, is_error=True
        )
        write_log(stage.store, [row])
        stage.clock.advance(timedelta(seconds=1))

    refused("s1")
    called("s1", "insufficient_cash")
    called("s1", "timed_out")
    called("s2", "insufficient_cash")  # its refusal is not on record
    called("s1", "insufficient_cash", "sell_shares")
    refused(None)  # a client's
    record.refresh_values()
    record.refresh_logs()
    expected = ["buy_shares", "buy_shares", "refused buy_shares", "refused buy_shares", "sell_shares"]
    for health in (record.health, Record(stage.store, stage.clock.wall).health):
        assert sorted(fault.what for fault in health.faults) == expected
        assert [server.errors for server in health.servers] == [4], "each call counts"


def test_one_recorded_value_is_a_mark_and_two_are_a_line(stage: Stage) -> None:
    def modes() -> set[str]:
        view = stage.view()
        figures = [charts.equity(view), charts.drawdown(view), *(charts.value(each) for each in view.accounts)]
        return {trace.mode for figure in figures for trace in figure.data}

    def path() -> str:
        warren = next(each for each in stage.view().accounts if each.name == "warren")
        return sparkline(warren.points, warren.deposited)

    assert "empty-spark" in path()
    record_values(stage.store, stage.market, 1)
    assert modes() == {"markers"}
    assert 'class="curve single"' in path()
    stage.clock.advance(timedelta(hours=1))
    record_values(stage.store, stage.market, 2)
    assert modes() == {"lines"}
    assert 'class="curve"' in path()
    assert len(charts.equity(stage.view()).data) == len(NAMES)


@pytest.mark.parametrize(
    ("actor", "session", "says"),
    [("floor", None, "by the floor"), ("floor", "trace_x", "by itself, in a session"), ("operator", None, "the owner")],
)
def test_a_strategy_is_shown_as_text_with_when_and_through_whom(
    stage: Stage, actor: str, session: str | None, says: str
) -> None:
    words = "<img src=x onerror=alert(1)>\n=SUM(1) {{7*7}} ${7*7} \u202ebuy"
    change = StrategyChange(actor, session, START)
    shown = column.render_strategy(replace(stage.view().accounts[0], strategy=words, strategy_change=change))
    assert isinstance(shown, Markup)
    assert "&lt;img src=x" in shown
    assert "<img" not in shown
    assert "\u202e" not in shown
    assert says in shown
    assert f"{START:%Y-%m-%d %H:%M:%S} UTC" in shown
