"""Why a trade was made, and a symbol's chart with its fills: what stands there is what the store holds."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from dashboard.story import CALLS_AFTER, CALLS_SHOWN, CHARS_SHOWN, story
from dashboard.symbol import FILLS_SHOWN, offered, symbol_chart
from database import Store, write_log
from ledger.sessions import end_session_row, open_session_row
from tests.conftest import START
from tests.dashboard_stage import Stage, stage_of
from tests.shelf import LISTED, ShelfVenue
from values.errors import StoreBusy, VenueUnavailable
from values.log import LogRow
from values.quote import Bar

pytestmark = pytest.mark.both_databases
CANARY = "<img src=x onerror=alert(1)>{{7*7}}${7*7}"
SESSION = "trace_warren1"


@pytest.fixture
def stage(store: Store, venue: ShelfVenue) -> Stage:
    return stage_of(store, venue)


def called(stage: Stage, tool: str, result: str = "{}", arguments: str = "{}", **more: Any) -> None:
    row = LogRow(
        "function", "warren", f"{tool} finished", stage.clock.wall(), SESSION, tool=tool, arguments=arguments,
        result=result, latency_ms=12.4, **more,
    )  # fmt: skip
    write_log(stage.store, [row])
    stage.clock.advance(timedelta(seconds=1))


def bought(stage: Stage, rationale: str = "it is cheap") -> int:
    stage.clock.advance(timedelta(seconds=1))
    fill = stage.account("warren").buy_shares("NVDA", "3", rationale)
    stage.clock.advance(timedelta(seconds=1))
    return fill.transaction_id


def words(markup: str) -> str:
    """What a reader sees of it."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", markup)))


def of_session(stage: Stage) -> int:
    """A session that researched, bought and ended; the trade."""
    open_session_row(stage.store, SESSION, "warren", 1, "trade", "openai/some")
    called(stage, "get_account")
    called(stage, "web_search", result="Nvidia sells chips", arguments='{"query": "nvidia"}')
    called(stage, "research", result="it sells chips")
    trade = bought(stage)
    called(stage, "buy_shares", result="filled")
    called(stage, "push", result="no such target", is_error=True)
    end_session_row(
        stage.store, SESSION, outcome="completed", reason="", appraisal="I bought chips.", turns=4, tool_calls=5,
        calls=[stage.call("0.0123")],
    )  # fmt: skip
    return trade


def test_a_trade_tells_its_price_its_spread_its_session_and_what_led_to_it(stage: Stage) -> None:
    told = words(story(stage.store, of_session(stage)))
    # 187.42 USD, bought at 1.002 of it: 187.79484, which is 0.37484 more for each of three
    for text in (
        "buy 3 NVDA", "187.42 USD, replay, of", "Filled at 187.79484 USD", "Spread paid 1.1245 USD", "−563.38 USD",
        "it is cheap", "Mode trade", "Model openai/some", "Outcome completed", "4 turns, 5 tool calls",
        "700 tokens read, 30 written, 57 % of those read from a cache", "1.2300 US cents", "I bought chips.",
    ):  # fmt: skip
        assert text in told, text
    _, researched, tools = re.split("What was researched|Tools called", told)
    assert re.findall(r"(\w+) · 12 ms", researched) == ["web_search", "research"]
    assert 'Asked {"query": "nvidia"} Answered Nvidia sells chips' in researched
    assert re.findall(r"(\w+) · 12 ms( · failed)?", tools) == [
        ("get_account", ""), ("buy_shares", ""), ("push", " · failed"),
    ]  # fmt: skip


def test_what_strangers_wrote_stays_text(stage: Stage) -> None:
    open_session_row(stage.store, SESSION, "warren", 1, "trade", CANARY)
    called(stage, CANARY, result=CANARY, arguments=CANARY)
    called(stage, "fetch", result=CANARY)
    trade = bought(stage, CANARY)
    end_session_row(
        stage.store, SESSION, outcome="failed", reason=CANARY, appraisal=CANARY, turns=1, tool_calls=1, calls=()
    )
    told = story(stage.store, trade)
    assert "<img" not in told
    assert told.count("&lt;img src=x") == 8


def test_a_long_session_shows_what_led_to_the_trade_and_says_what_it_leaves_out(stage: Stage) -> None:
    open_session_row(stage.store, SESSION, "warren", 1, "trade", "openai/some")
    for number in range(70):
        called(stage, f"before_{number}", result="x" * (CHARS_SHOWN + 5) if number == 69 else "short")
    trade = bought(stage)
    for number in range(20):
        called(stage, f"after_{number}")
    told = story(stage.store, trade)
    shown = re.findall(r"<summary>(\w+)<", told)
    assert len(shown) == CALLS_SHOWN
    first = 70 - (CALLS_SHOWN - CALLS_AFTER)
    assert shown[0] == f"before_{first}"
    assert shown[-1] == f"after_{CALLS_AFTER - 1}"
    assert f"Left out: {first} earlier and {20 - CALLS_AFTER} later calls" in told
    assert "x" * CHARS_SHOWN + "… (5 characters more)" in told
    assert "x" * (CHARS_SHOWN + 1) not in told


@pytest.mark.parametrize(
    ("actor", "says"),
    [("client", "by a client over MCP"), ("operator", "by the owner's own"), ("baseline", "by a baseline")],
)
def test_a_trade_without_a_session_says_who_made_it(stage: Stage, actor: Any, says: str) -> None:
    from accounts import Account

    fill = Account(stage.store, stage.market, "mine", actor).buy_shares("NVDA", 1, "")
    told = words(story(stage.store, fill.transaction_id))
    assert says in told
    assert "No reason was given." in told
    assert "Tools called" not in told


def test_a_sale_tells_what_it_realised_and_a_deposit_is_told_as_one(stage: Stage, venue: ShelfVenue) -> None:
    stage.account("warren").buy_shares("AAPL", 2, "")
    venue.prices["AAPL"] = Decimal(300)
    fill = stage.account("warren").sell_shares("AAPL", 2, "")
    assert "Profit realised +198.00 USD" in words(story(stage.store, fill.transaction_id))
    assert "deposit of 10,000.00 USD" in words(story(stage.store, 1))


@pytest.mark.parametrize("unknown", [0, -1, 999, 2**63, 2**70])
def test_a_trade_that_is_not_there_is_a_sentence(stage: Stage, unknown: int) -> None:
    assert f"There is no transaction {unknown}" in story(stage.store, unknown)


def test_a_store_that_does_not_answer_is_a_sentence(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: Store) -> None:
        raise StoreBusy("<b>held</b>")

    monkeypatch.setattr(Store, "read", busy)
    told = story(stage.store, 1)
    assert "can&#x27;t be read now: &lt;b&gt;held" in told


# ---- the symbol


def with_bars(
    venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch, count: int = 3, first: datetime = START
) -> Callable[..., tuple[Bar, ...]]:
    hour = timedelta(hours=1)

    def bars(symbol: str, *_: object) -> tuple[Bar, ...]:
        venue.instrument(symbol)
        price = Decimal(100)
        return tuple(
            Bar(symbol, first + hour * n, first + hour * (n + 1), price, price + 2, price - 1, price + 1, Decimal(5))
            for n in range(count)
        )

    monkeypatch.setattr(venue, "bars", bars)
    return bars


def test_a_symbols_chart_has_its_bars_and_every_accounts_fills_since_the_first(
    stage: Stage, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bars(venue, monkeypatch, first=START + timedelta(hours=1))
    stage.account("warren").buy_shares("NVDA", 9, "before the first bar")
    stage.clock.advance(timedelta(hours=3))
    stage.account("warren").buy_shares("NVDA", 1, "")
    stage.account("george").buy_shares("NVDA", 2, "")
    stage.account("george").sell_shares("NVDA", 2, "")
    stage.account("george").buy_shares("AAPL", 2, "another symbol")
    figure = symbol_chart(stage.store, stage.market, "nvda", "hour", {"warren": "Warren Patience"})
    assert figure is not None
    candles, *fills = figure.data
    assert list(candles.high) == [102.0] * 3
    assert {trace.name: list(trace.customdata) for trace in fills} == {
        "Warren Patience buys": ["1"], "george buys": ["2"], "george sells": ["2"],
    }  # fmt: skip


def test_what_has_no_chart_is_none(stage: Stage, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert symbol_chart(stage.store, stage.market, "NVDA", "hour", {}) is None, "no bar yet"
    with_bars(venue, monkeypatch)
    for symbol in ("ZZZZ", "", "<b>", "x" * 1000):
        assert symbol_chart(stage.store, stage.market, symbol, "hour", {}) is None
    assert symbol_chart(stage.store, stage.market, "NVDA", "century", {}) is not None

    def gone(*_: object) -> tuple[Bar, ...]:
        raise VenueUnavailable("the line is down")

    monkeypatch.setattr(venue, "bars", gone)
    assert symbol_chart(stage.store, stage.market, "NVDA", "hour", {}) is None


def test_many_fills_are_the_newest(stage: Stage, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard import symbol

    assert FILLS_SHOWN == 2_000
    monkeypatch.setattr(symbol, "FILLS_SHOWN", 3)
    with_bars(venue, monkeypatch)
    for number in range(1, 5):
        stage.clock.advance(timedelta(seconds=1))
        stage.account("warren" if number % 2 else "george").buy_shares("NVDA", number, "")
    figure = symbol_chart(stage.store, stage.market, "NVDA", "day", {})
    assert figure is not None
    assert {trace.name: list(trace.customdata) for trace in figure.data[1:]} == {
        "george buys": ["2", "4"], "warren buys": ["3"],
    }  # fmt: skip


def test_every_listed_symbol_is_offered(stage: Stage) -> None:
    assert offered(stage.market) == sorted(each.symbol for each in LISTED)
