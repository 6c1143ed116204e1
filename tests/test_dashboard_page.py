"""The page in a real browser, over a real floor's store: what it shows, what it lets its owner do, what it survives.

Market time stands still after the floor's run, so that every figure can be worked out again from the store.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect
from sqlalchemy import Row, Table, insert

from accounts import Account, open_account
from dashboard.health import SERVER_OF
from database import Store, read_account, write_log
from ledger.valuation import record_values
from market import Market, open_market, open_store
from personas import load_personas
from store import tables
from tests.bookkeeping import rows
from tests.browser import SECRET, Dashboard, Visit, chromium, dashboard, floor_run, freeze, overflow, why_not
from values.clock import wall_now
from values.log import LogRow
from values.money import ZERO
from values.settings import MarketSettings, load

TRADERS = ("cathie", "george", "ray", "warren")
LIVE_MS = 60_000
WINDOW = ViewportSize(width=1440, height=900)
ZONE, AHEAD = "Asia/Kolkata", timedelta(hours=5, minutes=30)
CENT = Decimal("0.005")
SCRIPT = "<script>document.title='hit'</script><img src=x onerror=\"document.title='hit'\"><b>bold</b>"
RATIONALE = f'=HYPERLINK("http://floor.test","{SCRIPT}")'
DECISION = f"+1+cmd|' /C calc'!A0 {SCRIPT}"
MESSAGE, TITLE = f"@SUM(1) {SCRIPT}", f"-2+3 {SCRIPT}"
LINE, MODEL, TOOL, NEWS, STRATEGY = (f"={what} {SCRIPT}" for what in ("line", "model", "tool", "news", "strategy"))
NAME, SYMBOL = "=1<img src=x onerror=hit()>", "=<b>SYM</b>"
FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]"
ALL_FOCUSABLE = f"""() => {{
  window.reached = new Set();
  window.named = (each) => each.id || `${{each.tagName}} ${{each.type ?? ""}} ${{each.getAttribute("aria-label") ?? each.textContent}}`;
  document.addEventListener("focusin", (event) => window.reached.add(event.target), true);
  const radios = new Set();
  window.wanted = [...document.querySelectorAll("{FOCUSABLE}")].filter((each) => {{
    if (!each.checkVisibility({{visibilityProperty: true}}) || each.tabIndex < 0 || each.disabled) return false;
    if (each.type !== "radio") return true;
    return each.checked;  // the arrows go on from there
  }});
  return window.wanted.length;
}}"""  # noqa: E501
MISSED = "() => window.wanted.filter((each) => each.isConnected && !window.reached.has(each)).map(window.named)"


RESET = """async () => {
  const dialog = document.getElementById("dialog");
  const closed = new Promise((done) => dialog.addEventListener("close", done, {once: true}));
  if (dialog.open) {
    dialog.close();
    await closed;  // it gives the focus back
  }
  for (const each of document.querySelectorAll("#floor input[type=search]")) {
    each.value = "";
    each.dispatchEvent(new Event("input"));
  }
  for (const each of document.querySelectorAll("#floor details[open]")) each.open = false;
  document.body.tabIndex = -1;
  document.body.focus();  // the keyboard begins at the top
  document.body.removeAttribute("tabindex");
  scrollTo(0, 0);
}"""


@dataclass
class Exhibit:
    """A store that a floor has filled, its market at one moment, and the dashboard over it."""

    store: Store
    market: Market
    page: Dashboard
    browser: Browser
    shared: Visit
    visits: list[Visit] = field(default_factory=list)

    def tab(self) -> Page:
        """The tab that the tests share, as one comes to it: a page of its own costs each of them seconds."""
        page = self.shared.page
        page.set_viewport_size(WINDOW)
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        page.evaluate(RESET)
        return page

    def visit(self, at: Dashboard, **options: Any) -> Page:
        """A tab of its own, in which its user logs in."""
        visit = opened(self.browser, at, **options)
        self.visits.append(visit)
        return visit.page

    def account(self, name: str) -> Account:
        return Account(self.store, self.market, name, "floor")


def opened(browser: Browser, at: Dashboard, **options: Any) -> Visit:
    told = {"viewport": WINDOW, "timezone_id": ZONE, "locale": "en-GB", **options}
    visit = Visit(browser.new_context(**told).new_page())
    at.log_in(visit.page)
    expect(visit.page.locator("#floor .strip")).to_be_visible()
    return visit


def skip_or_fail() -> None:
    reason = why_not()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    skip_or_fail()
    expect.set_options(timeout=LIVE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def exhibit(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exhibit]:
    address = floor_run(tmp_path_factory.mktemp("floor"), "once")
    settings = load(MarketSettings, database_url=address)
    with closing(open_store(settings)) as store:
        freeze(store)
        market = open_market(store, settings)
        hang_canaries(store, market)
        with dashboard(address) as page:
            yield Exhibit(store, market, page, browser, opened(browser, page))


@pytest.fixture
def floor(exhibit: Exhibit) -> Iterator[Exhibit]:
    """After each test: nothing failed in the page, and nothing was asked of another host."""
    yield exhibit
    visits = exhibit.visits[:]
    exhibit.visits.clear()
    for visit in visits:
        visit.page.context.close()
    visits.append(exhibit.shared)
    errors = [error for visit in visits for error in visit.errors]
    hosts = {host.partition(":")[0] for visit in visits for host in visit.hosts if host}
    exhibit.shared.errors.clear()
    exhibit.shared.hosts.clear()
    assert errors == []
    assert hosts <= {"127.0.0.1"}


def hang_canaries(store: Store, market: Market) -> None:
    """A client whose every word tries to be more than a word. Its name and its symbol go around the checks."""
    stamp = wall_now()
    own = open_account(store, market, "mine", strategy=STRATEGY)
    own.buy_shares("BTC-USD", "0.01", RATIONALE)
    own.record_decision("BTC-USD", "hold", 0.5, 10, DECISION)
    write_log(
        store,
        [
            LogRow("trace", "mine", f"{LINE} \u202ereversed", stamp),
            LogRow("function", "mine", "searched", stamp, "trace_x1", tool=TOOL, result=NEWS, is_error=True),
        ],
    )
    times = {"market_time": market.clock.now(), "wall_time": stamp}
    with store.write() as connection:
        message = {"account": "mine", "title": TITLE, "message": MESSAGE, "state": "failed", "reason": MESSAGE}
        connection.execute(insert(tables.notifications).values(**message, **times))
        session = {
            "id": "trace_x1", "account": "mine", "cycle": 1, "mode": "trade", "model": MODEL, "outcome": "failed",
            "reason": MESSAGE, "appraisal": RATIONALE, "turns": 1, "tool_calls": 1, "input_tokens": 1,
            "output_tokens": 1, "cost_usd": ZERO, "ended_wall_time": stamp,
        }  # fmt: skip
        connection.execute(insert(tables.sessions).values(**session, **times))
    with closing(sqlite3.connect(store.path)) as raw:
        named = [name for name, table in tables.metadata.tables.items() if "account" in table.c]
        for name in named:
            raw.execute(f"UPDATE {name} SET account = ? WHERE account = 'mine'", (NAME,))
        raw.execute("UPDATE accounts SET name = ?, kind = 'trader' WHERE name = 'mine'", (NAME,))
        raw.execute("UPDATE decisions SET symbol = ? WHERE account = ?", (SYMBOL, NAME))
        raw.execute(
            "UPDATE transactions SET symbol = ?, session_id = 'trace_x1' WHERE kind = 'buy' AND account = ?",
            (SYMBOL, NAME),
        )
        raw.commit()


def cells(page: Page, table: str) -> list[list[str]]:
    """What stands in a table's rows."""
    found: list[list[str]] = page.evaluate(
        """(name) => [...document.querySelectorAll(`table[data-table="${CSS.escape(name)}"] tbody tr`)]
          .map((row) => [...row.cells].map((cell) => cell.textContent))""",
        table,
    )
    return found


def number(shown: str) -> Decimal:
    """A figure as the page spells it."""
    return Decimal(re.sub(r"[^0-9.−+]", "", shown).replace("−", "-"))


def is_cents(shown: str, exact: Decimal, within: Decimal = CENT) -> bool:
    return abs(number(shown) - exact) <= within


def of(exhibit: Exhibit, table: Table, account: str) -> list[Row[Any]]:
    """An account's rows, newest first."""
    return [row for row in reversed(rows(exhibit.store, table)) if row.account == account]


def worth(exhibit: Exhibit, name: str) -> Decimal:
    cash = next(row.cash for row in rows(exhibit.store, tables.accounts) if row.name == name)
    held = (row for row in rows(exhibit.store, tables.holdings) if row.account == name)
    return sum((row.quantity * exhibit.market.quote(row.symbol).price for row in held), start=Decimal(cash))


def card(page: Page, name: str) -> Locator:
    return page.locator(f".card.trader-{name}")


def test_the_standings_are_what_the_store_makes_them_to_the_cent(floor: Exhibit) -> None:
    page = floor.tab()
    titles = {each.title: each.name for each in load_personas()} | {
        "Cash": "baseline-cash", "Equal weight": "baseline-equal-weight", "SPY": "baseline-index",
    }  # fmt: skip
    shown = {next((name for title, name in titles.items() if row[0].startswith(title)), NAME): row
             for row in cells(page, "leaderboard")}  # fmt: skip
    assert set(shown) == {*titles.values(), NAME}
    for name, (_, _, value, gain, _, _, sharpe, trades, _, spread, cost, _) in shown.items():
        fills = [row for row in of(floor, tables.transactions, name) if row.kind != "deposit"]
        exact = worth(floor, name)
        assert is_cents(value, exact), name
        assert is_cents(gain, exact / 100 - 100), name
        assert sharpe == "too early"
        assert int(trades) == len(fills) > (-1 if name == "baseline-cash" else 0)
        assert is_cents(spread, sum((abs(row.price - row.quote_price) * row.quantity for row in fills), ZERO)), name
        if not name.startswith("baseline"):
            assert is_cents(cost, sum((row.cost_usd for row in of(floor, tables.sessions, name)), ZERO))
    values = [number(row[2]) for row in cells(page, "leaderboard")]
    assert values == sorted(values, reverse=True)
    expect(page.locator(".verdict")).to_contain_text("no ranking")
    strip = page.locator(".strip")
    for text in ("SIMULATED", "made-up prices", "not running", "$0.00 of $5.00 a day"):
        expect(strip).to_contain_text(text)


def test_each_traders_column_is_what_the_store_holds_to_the_cent(floor: Exhibit) -> None:
    page = floor.tab()
    for name in TRADERS:
        check_column(floor, page, name)
    own = next(row for row in rows(floor.store, tables.accounts) if row.name == "warren")
    card(page, "warren").locator("summary", has_text="Strategy").click()
    told = card(page, "warren").locator("details")
    assert own.strategy.strip() in (told.text_content() or "")
    expect(told).to_contain_text(", by the floor")


def check_column(floor: Exhibit, page: Page, name: str) -> None:
    value = worth(floor, name)
    own = next(row for row in rows(floor.store, tables.accounts) if row.name == name)
    figures = card(page, name).locator(".figures span")
    assert is_cents(figures.nth(0).inner_text(), value)
    assert is_cents(figures.nth(1).inner_text(), value - own.deposited)
    assert f"cash {own.cash:,.2f} " in card(page, name).locator("p.line").inner_text()

    held = {row.symbol: row for row in rows(floor.store, tables.holdings) if row.account == name}
    shown = {row[0]: row for row in cells(page, f"holdings of {name}")}
    assert shown.keys() == held.keys() != set()
    for symbol, (_, quantity, cost, price, worth_now, weight, profit) in shown.items():
        quote, row = floor.market.quote(symbol).price, held[symbol]
        assert number(quantity) == row.quantity
        assert is_cents(cost, row.cost)
        assert is_cents(price, quote, CENT / 100)
        assert is_cents(worth_now, quote * row.quantity)
        assert is_cents(weight, quote * row.quantity / value * 100, CENT * 10)
        assert is_cents(profit, quote * row.quantity - row.cost)

    trades = [row for row in of(floor, tables.transactions, name) if row.kind != "deposit"]
    shown_trades = cells(page, f"transactions of {name}")
    assert [row[1] for row in shown_trades] == [f"{row.kind} {row.symbol}" for row in trades]
    for (moment, _, quantity, price, amount, why), row in zip(shown_trades, trades, strict=True):
        assert f"{row.market_time + AHEAD:%d/%m/%Y, %H:%M}" == moment
        assert number(quantity) == row.quantity
        assert is_cents(price, row.price, CENT / 100)
        assert is_cents(amount, row.amount)
        assert why == row.rationale

    decisions = of(floor, tables.decisions, name)
    assert [row[1:] for row in cells(page, f"decisions of {name}")] == [
        [f"{row.action} {row.symbol}", f"{row.confidence * 100:.0f} %", f"{row.horizon_days}", row.rationale]
        for row in decisions
    ]

    lines = card(page, name).locator(".log li")
    logged = of(floor, tables.logs, name)[:200]
    assert lines.count() == len(logged) > 5
    for (kind, message), row in zip(
        lines.evaluate_all("(all) => all.map((each) => [each.children[1].textContent, each.children[2].textContent])"),
        logged,
        strict=True,
    ):
        assert kind == row.type
        assert row.message[:300] in message


def test_messages_health_and_curves_are_what_the_store_holds(floor: Exhibit) -> None:
    page = floor.tab()
    messages = list(reversed(rows(floor.store, tables.notifications)))
    assert [row[1:] for row in cells(page, "notifications")] == [
        [row.account, row.state.replace("_", " "), f"{row.title} {row.message}"] for row in messages
    ]
    calls = Counter(
        SERVER_OF.get(row.tool) for row in rows(floor.store, tables.logs) if row.type == "function" and row.tool
    )
    told = {row[0]: int(row[1]) for row in cells(page, "servers")}
    assert told.items() >= {name: count for name, count in calls.items() if name in ("accounts", "market")}.items()
    page.wait_for_selector("#floor [data-chart=equity].js-plotly-plot")
    curves = page.evaluate(
        """() => document.querySelector("#floor [data-chart=equity]").data.map(
          (each) => [each.name, Array.from(each.customdata, Number)])"""
    )
    recorded = {
        each.title: [float(row.value) for row in reversed(of(floor, tables.portfolio_values, each.name))]
        for each in load_personas()
    }
    assert all(recorded.values())
    assert dict(curves).items() >= recorded.items()
    check_choices(floor, page)


CHARTS = """() => {
  const shown = ([from, to]) => Math.round((new Date(to) - new Date(from)) / 864e5);
  const [equity, drawdown] = ["equity", "drawdown"].map((name) => document.querySelector(`[data-chart=${name}]`));
  const warren = equity.data.find((each) => each.name === "Warren Patience");
  return {
    days: [equity, drawdown].map(({ _fullLayout: { xaxis } }) => xaxis.autorange ? null : shown(xaxis.range)),
    last: Number(warren.y.at(-1)), points: warren.y.length, tick: equity._fullLayout.yaxis.tickprefix,
    hidden: [equity, drawdown].map((one) => one.data.filter((each) => !each.visible).map((each) => each.name)),
    pressed: [...document.querySelectorAll(".chart-tools [aria-pressed=true]")].map((each) => each.id)
      .filter((each) => !each.startsWith("line-=")),  // the canary comes in with its first value
  };
}"""


def check_choices(floor: Exhibit, page: Page) -> None:
    """What the charts show is chosen from the keyboard, and stays so when a value comes in."""
    everybody = page.evaluate(CHARTS)["pressed"][2:]
    assert len(everybody) == 7
    for button in ("range-7", "unit-usd", "line-Cash"):
        page.locator(f"#{button}").focus()
        page.keyboard.press("Enter" if button != "unit-usd" else "Space")
    shown = page.evaluate(CHARTS)
    kept = {
        "days": [7, 7], "tick": "$", "hidden": [["Cash"], ["Cash"]],
        "pressed": ["range-7", "unit-usd", *(each for each in everybody if each != "line-Cash")],
    }  # fmt: skip
    [first, *_] = of(floor, tables.portfolio_values, "warren")
    assert shown == kept | {"last": pytest.approx(float(first.value)), "points": shown["points"]}
    record_values(floor.store, floor.market, 2)
    page.wait_for_function(f"() => ({CHARTS})().points > {shown['points']}", timeout=LIVE_MS)
    [newest, *_] = of(floor, tables.portfolio_values, "warren")
    assert page.evaluate(CHARTS) == kept | {"last": float(newest.value), "points": shown["points"] + 1}
    page.evaluate(
        "() => Plotly.relayout(document.querySelector('[data-chart=equity]'), {'xaxis.range': [0, 2 * 864e5]})"
    )
    page.wait_for_function(f"() => ({CHARTS})().days.join() === '2,2'", timeout=LIVE_MS)
    assert "range-7" not in page.evaluate(CHARTS)["pressed"], "moved by hand"
    page.locator("#range-all").press("Enter")
    page.wait_for_function(f"() => ({CHARTS})().days.join() === ','", timeout=LIVE_MS)


def test_a_trade_and_a_line_arrive_in_an_open_tab_and_keep_what_its_user_types(floor: Exhibit) -> None:
    page = floor.tab()
    filter_ = page.get_by_label("filter transactions of warren")
    filter_.press_sequentially("live ")
    account = floor.account("warren")
    account.buy_shares("BTC-USD", "0.002", "a live trade")
    row = page.locator('table[data-table="transactions of warren"] tbody tr').filter(has_text="a live trade")
    expect(row).to_be_visible()
    expect(card(page, "warren").locator(".figures .big")).to_have_text(f"{worth(floor, 'warren'):,.2f}")
    expect(page.locator('table[data-table="leaderboard"] tr.trader-warren td').nth(7)).to_have_text(
        str(len(of(floor, tables.transactions, "warren")) - 1)
    )
    expect(filter_).to_be_focused()
    filter_.press_sequentially("trade")
    expect(filter_).to_have_value("live trade")
    expect(page.locator('table[data-table="transactions of warren"] tbody tr:visible')).to_have_count(1)
    write_log(floor.store, [LogRow("response", "george", "a line of now", wall_now())])
    newest = card(page, "george").locator(".log li").first
    expect(newest).to_contain_text("a line of now")
    expect(newest).to_have_class("log-response")


def test_a_table_sorts_by_its_numbers_and_says_how(floor: Exhibit) -> None:
    page = floor.tab()
    head = page.locator('table[data-table="leaderboard"] th').nth(9)
    for order, is_reversed in (("descending", True), ("ascending", False)):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", order)
        paid = [number(row[9]) for row in cells(page, "leaderboard")]
        assert paid == sorted(paid, reverse=is_reversed)
    page.locator('table[data-table="leaderboard"] th').nth(2).get_by_role("button").click()  # as it stood


def test_times_are_the_viewers_with_utc_on_hover(floor: Exhibit) -> None:
    page = floor.tab()
    moment = floor.market.clock.now()
    shown = page.locator('.strip .item:has-text("market time") time')
    expect(shown).to_have_text(f"{moment + AHEAD:%d/%m/%Y, %H:%M}")
    expect(shown).to_have_attribute("title", f"{moment:%Y-%m-%d %H:%M:%S} UTC")


def control(page: Page, button: str, password: str | None, says: str, strategy: str | None = None) -> None:
    """Ask for it in the dialog, and wait for the answer."""
    page.locator(f"#act-{button}").click()
    if strategy is not None:
        page.locator("#control-strategy").fill(strategy)
    if password is not None:
        page.locator("#control-password").fill(password)
    page.locator("#control-confirm").click()
    if password is None:
        assert page.locator("#control-password").evaluate("(each) => each.validity.valueMissing")
    else:
        expect(page.locator("#control-told")).to_contain_text(says)
    page.locator("#dialog-close").click()


def test_controls_do_what_they_say_with_the_password_alone_and_each_is_on_record(floor: Exhibit) -> None:
    page = floor.tab()
    state = card(page, "ray").locator("h3 .state")
    for password, says in ((None, ""), ("not the password", "not the password; nothing was changed")):
        control(page, "halt-ray", password, says)
    assert rows(floor.store, tables.controls) == []
    asked = [("pause-ray", "paused"), ("resume-ray", ""), ("reduce-ray", "reducing"), ("halt-ray", "halted")]
    for button, shows in asked:
        control(page, button, SECRET, "It is on record")
        if shows:
            expect(state).to_have_text(shows)
        else:
            expect(state).to_have_count(0)
    control(page, "resume-floor", SECRET, "cathie, george, ray, warren")
    expect(state).to_have_count(0)
    control(page, "strategy-ray", SECRET, "has a new strategy", strategy=STRATEGY)
    own = card(page, "ray").locator("details")
    own.locator("summary").click()
    expect(own).to_contain_text(STRATEGY)
    expect(own).to_contain_text(", by the owner")
    control(page, "run-ray", SECRET, "no floor runs")
    told = [(row.action, row.account, row.argument) for row in rows(floor.store, tables.controls)]
    assert told == [
        ("pause", "ray", ""), ("resume", "ray", ""), ("reduce", "ray", ""), ("halt", "ray", ""),
        ("resume", None, ""), ("strategy", "ray", STRATEGY),
    ]  # fmt: skip
    kept = read_account(floor.store, "ray")
    assert kept is not None
    assert kept.strategy == STRATEGY


def test_without_the_login_nothing_of_the_floor_is_shown(floor: Exhibit) -> None:
    context = floor.browser.new_context()
    floor.visits.append(Visit(context.new_page()))
    page = floor.visits[-1].page
    page.goto(floor.page.address)
    expect(page.get_by_label("Password")).to_be_focused()
    assert "Warren" not in page.content()
    assert floor.visits[-1].serious_faults() == []


def test_a_tab_whose_login_has_ended_goes_to_the_login(floor: Exhibit) -> None:
    page = floor.visit(floor.page)
    with page.context.expect_page() as opened:
        page.evaluate("() => window.open(location.href)")
    other = opened.value
    expect(other.locator("#floor .strip")).to_be_visible(timeout=LIVE_MS)
    page.get_by_role("button", name="Log out").click()
    for each in (page, other):
        expect(each.get_by_label("Password")).to_be_visible(timeout=LIVE_MS)
        assert each.url == f"{floor.page.address}login"
        assert "Warren" not in each.content()


@pytest.mark.parametrize("width", [390, 1440, 2560])
def test_the_page_does_not_scroll_sideways(floor: Exhibit, width: int) -> None:
    window = ViewportSize(width=width, height=900)
    page = floor.visit(floor.page, viewport=window) if width == 390 else floor.tab()
    page.set_viewport_size(window)
    assert overflow(page) == []
    page.locator("button.story:visible").first.click()
    expect(page.locator("#dialog .facts").first).to_be_visible()
    assert overflow(page) == []


def test_axe_finds_no_serious_fault(floor: Exhibit) -> None:
    page = floor.tab()
    expect(page.locator("#floor [data-chart=equity] .main-svg").first).to_be_visible(timeout=LIVE_MS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_function(f"() => document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")
        check_with_axe(floor.shared, scheme)


def check_with_axe(visit: Visit, scheme: str) -> None:
    """The page, a story, and a control's dialog."""
    page = visit.page
    assert visit.serious_faults() == [], scheme
    page.locator("button.story:visible").first.click()
    expect(page.locator("#dialog .facts").first).to_be_visible()
    assert visit.serious_faults() == [], scheme
    page.keyboard.press("Escape")
    page.locator("#act-strategy-ray").click()
    expect(page.locator("#control-strategy")).to_be_focused()
    assert visit.serious_faults() == [], scheme
    page.keyboard.press("Escape")


def test_the_keyboard_alone_reaches_everything(floor: Exhibit) -> None:
    page = floor.tab()
    count = page.evaluate(ALL_FOCUSABLE)
    assert count > 150
    buttons_of_plotly = page.locator(
        "#floor [data-chart] :is(.updatemenu-button, .rangeselector .button, .legendtoggle)"
    )
    assert buttons_of_plotly.evaluate_all("(all) => all.filter((each) => each.checkVisibility()).length") == 0
    for _ in range(count + 20):
        page.keyboard.press("Tab")
    assert page.evaluate(MISSED) == []


def test_the_keyboard_alone_opens_and_closes_a_story(floor: Exhibit) -> None:
    page = floor.tab()
    story = card(page, "warren").locator("button.story").last
    story.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#dialog .facts").first).to_be_visible()
    floor.account("warren").buy_shares("BTC-USD", "0.001", "while a story is read")
    table = card(page, "warren").locator("table").filter(has_text="while a story is read")
    expect(table).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).not_to_be_visible()
    expect(story).to_be_focused()


def test_a_story_tells_the_session_its_tools_and_the_price_with_its_source(floor: Exhibit) -> None:
    page = floor.tab()
    trade = next(row for row in of(floor, tables.transactions, "warren") if row.session_id)
    page.locator(f"#story-{trade.id}").click()
    dialog = page.locator("#dialog")
    expect(dialog.locator(".facts").first).to_be_visible()
    text = dialog.inner_text()
    [session] = [row for row in rows(floor.store, tables.sessions) if row.id == trade.session_id]
    whole, _, rest = f"{trade.quote_price:,f}".partition(".")
    seen = f"{whole}.{rest.rstrip('0').ljust(2, '0')}"
    for wanted in (
        f"{trade.kind} {trade.quantity.normalize():f} {trade.symbol}", f"{seen} USD, simulated", trade.rationale,
        session.model, session.outcome, f"{session.turns} turns, {session.tool_calls} tool calls",
    ):  # fmt: skip
        assert wanted in text
    called = [row.tool for row in reversed(of(floor, tables.logs, "warren"))
              if row.type == "function" and row.session_id == trade.session_id]  # fmt: skip
    summaries = [each.partition(" · ")[0] for each in dialog.locator("details summary").all_inner_texts()]
    assert sorted(summaries) == sorted(called)
    assert "buy_shares" in called


def test_a_symbol_on_the_page_leads_to_its_chart_with_every_fill(floor: Exhibit) -> None:
    page = floor.tab()
    held = next(row for row in rows(floor.store, tables.holdings) if row.account == "warren")
    card(page, "warren").locator(f'button.symbol[data-symbol="{held.symbol}"]').click()
    chart = page.locator("#symbol-chart .js-plotly-plot")
    drawn = "() => document.querySelector('#symbol-chart .js-plotly-plot')?.data[0]?.type === 'candlestick'"
    page.wait_for_function(drawn, timeout=LIVE_MS)
    marks = chart.evaluate("(each) => each.data.slice(1).reduce((sum, trace) => sum + trace.x.length, 0)")
    fills = [row for row in rows(floor.store, tables.transactions) if row.symbol == held.symbol]
    assert marks == len(fills) > 0


def test_what_tries_to_be_more_than_text_is_text_on_the_page_and_in_the_csv(floor: Exhibit) -> None:
    page = floor.tab()
    assert page.title() == "Trading floor"
    shown = cells(page, f"transactions of {NAME}")
    assert [row[1] for row in shown] == [f"buy {SYMBOL}"]
    assert [row[5] for row in shown] == [RATIONALE]
    assert [(row[1], row[4]) for row in cells(page, f"decisions of {NAME}")] == [(f"hold {SYMBOL}", DECISION)]
    assert cells(page, "notifications")[0][1:] == [NAME, "failed", f"{TITLE} {MESSAGE}"]
    assert any(row[0].startswith(NAME) and MODEL in row[1] for row in cells(page, "leaderboard"))
    text = page.locator("#floor").inner_text()
    assert LINE in text
    own = page.locator("section.card").filter(has=page.locator(f'[data-panel="trades:{NAME}"]'))
    own.locator("summary", has_text="Strategy").click()
    expect(own.locator("details .why")).to_have_text(STRATEGY)
    expect(own.locator("details")).to_contain_text(", by the owner")
    assert "\u202e" not in text
    [story] = [row.id for row in of(floor, tables.transactions, NAME) if row.symbol == SYMBOL]
    page.locator(f"#story-{story}").click()
    expect(page.locator("#dialog details").first).to_be_visible()
    for wanted in (RATIONALE, MODEL, MESSAGE, TOOL, NEWS, SYMBOL):
        assert wanted in (page.locator("#dialog").text_content() or "")
    page.keyboard.press("Escape")
    assert page.locator("#floor :is(script, b, img[src=x])").count() == 0
    assert page.title() == "Trading floor"

    exported = {name: csv_of(page, name) for name in (f"transactions of {NAME}", "notifications", "leaderboard")}
    [trade] = exported[f"transactions of {NAME}"][1:]
    assert (trade[1], trade[5]) == (f"buy {SYMBOL}", f"'{RATIONALE}")
    message = exported["notifications"][1]
    assert (message[1], message[3]) == (f"'{NAME}", f"'{MESSAGE}")
    assert [f"'{NAME}", f"'{MODEL}"] in [row[:2] for row in exported["leaderboard"]]
    amounts = {row[4] for row in csv_of(page, "transactions of warren")[1:]}
    assert all(Decimal(amount) < 0 for amount in amounts), "a negative number is no formula"


def csv_of(page: Page, table: str) -> list[list[str]]:
    """What the table's CSV button gives."""
    with page.expect_download() as download:
        page.get_by_label(f"export {table} as CSV", exact=True).click()
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"), newline="")))


def test_an_empty_floor_explains_itself_and_a_broken_store_is_said_in_a_sentence(
    floor: Exhibit, tmp_path: Path
) -> None:
    settings = load(MarketSettings, database_url=f"sqlite:///{tmp_path}/accounts.db", market="simulated", market_seed=7)
    with closing(open_store(settings)) as store:
        path, market = store.path, open_market(store, settings)
        with dashboard(settings.database_url) as empty:
            page = floor.visit(empty)
            expect(page.locator("#floor")).to_contain_text("Nobody has an account yet: the floor opens them")
            alert = page.get_by_role("alert")
            expect(alert).to_have_count(0)
            store.close()
            with closing(sqlite3.connect(path)) as raw:  # else the log beside it is a whole store by itself
                assert raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
            path.rename(tmp_path / "aside")
            expect(alert).to_contain_text(f"there is no store at {path} any more: start the floor")
            path.write_bytes(b"this is no database" * 1000)
            expect(alert).to_contain_text("What is shown is what was read last")
            expect(alert).not_to_contain_text("any more")
            (tmp_path / "aside").replace(path)
            expect(alert).to_have_count(0)
            open_account(store, market, "late")
            expect(page.locator('table[data-table="leaderboard"]')).to_contain_text("late")
            open_account(store, market, "later", strategy="comes in while a tab is open")
            record_values(store, market, 1)
            for name in ("late", "later"):
                expect(card(page, name).locator(".figures .big")).to_have_text("10,000.00")
                expect(card(page, name).locator(".spark .single")).to_have_count(1)
                expect(card(page, name).locator("[data-chart] .point")).to_have_count(1)
            write_log(store, [LogRow("account", "late", "a word of its own", wall_now())])
            expect(card(page, "late").locator(".log li")).to_contain_text(["a word of its own"])
            expect(page.locator('[data-chart="equity"] .point')).to_have_count(2)
            page.context.close()
