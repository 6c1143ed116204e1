"""A floor whose market, clock and history a test makes as it likes, and its figures worked out from every row."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from accounts import Account, open_account, set_state
from analysis.performance import max_drawdown
from dashboard.reader import Reader
from dashboard.survey import House
from dashboard.view import AccountView, View
from database import Store, write_log
from ledger.baselines import CASH
from ledger.sessions import end_session_row, open_session_row
from ledger.valuation import record_values
from market import Market
from personas import load_personas
from store import tables
from tests.bookkeeping import rows
from tests.conftest import START
from tests.shelf import LISTED, ShelfVenue
from values.clock import FixedClock, market_day
from values.errors import Refused
from values.log import LogRow
from values.money import ZERO, notional
from values.usage import ModelCall, Rates, Tokens

NAMES = ("warren", "george", "mine", CASH)
HOUSE = House(load_personas(), timedelta(hours=1), Decimal(5))
WHOLE = ("header", "leaderboard", "columns", "equity", "drawdown", "notifications", "health", "parts")
OF_ACCOUNT = ("top", "strategy", "log", "holdings", "trades", "decisions", "value")


@dataclass
class Stage:
    """A floor whose market, clock and history a test makes as it likes."""

    store: Store
    venue: ShelfVenue
    clock: FixedClock
    market: Market

    def reader(self, panels: Mapping[str, Any] | None = None, columns: Mapping[str, Any] | None = None) -> Reader:
        return Reader(self.store, lambda _: self.market, HOUSE, panels or {}, columns or {})

    def view(self) -> View:
        """As a reader that has just been started sees the floor."""
        reader = self.reader()
        reader.step(0.0)
        assert reader.view.broken is None
        return reader.view

    def account(self, name: str) -> Account:
        return Account(self.store, self.market, name, "floor")

    def session(self, number: int, name: str, outcome: str | None, calls: list[ModelCall]) -> None:
        session_id = f"trace_{name}{number}"
        open_session_row(self.store, session_id, name, number, "trade", "house/trend")
        if outcome is not None:
            end_session_row(
                self.store, session_id, outcome=outcome, reason=f"it {outcome}", appraisal="", turns=1, tool_calls=1,
                calls=calls,
            )  # fmt: skip

    def call(self, cost: str, ago: timedelta = timedelta(0)) -> ModelCall:
        rates = Rates(Decimal(0), Decimal(cost) * 2_500, Decimal(0), Decimal(0))  # 400 of the 700 tokens were cached
        moment = self.clock.wall() - ago
        call = ModelCall("house/trend", Tokens(700, 30, 400), rates, False, 1.0, "stop", moment)
        assert call.cost_usd == Decimal(cost)
        return call


def stage_of(store: Store, venue: ShelfVenue) -> Stage:
    """Two traders, a client and a baseline with their opening balances."""
    clock = FixedClock(START)
    market = Market(venue, clock)
    for name in NAMES:
        kind = "client" if name == "mine" else "baseline" if name == CASH else "trader"
        open_account(store, market, name, kind=kind, actor="floor")  # type: ignore[arg-type]
    return Stage(store, venue, clock, market)


def live(stage: Stage, luck: random.Random, number: int) -> None:
    """Something happens: a trade that may be refused, a price, time, a valuation, a session, a decision, a word."""
    name, symbol = luck.choice(NAMES), luck.choice(LISTED).symbol
    account, stamp = stage.account(name), stage.clock.wall()
    what = luck.choice(
        ["buy", "buy", "buy", "sell", "sell", "price", "time", "value", "session", "decide", "log", "state"]
    )
    try:
        if what == "buy":
            quantity = Decimal(luck.randint(1, 10**7)).scaleb(-8) if symbol == "BTC-USD" else luck.randint(1, 6)
            account.buy_shares(symbol, quantity, f"because of {number}")
        elif what == "sell":
            with stage.store.read() as connection:
                held = connection.execute(select(tables.holdings).where(tables.holdings.c.account == name)).all()
            _, bought, quantity, _ = luck.choice(held) if held else (name, symbol, Decimal(1), ZERO)
            account.sell_shares(bought, quantity if luck.random() < 0.5 or quantity < 2 else 1, "enough")
        elif what == "price":
            moved = stage.venue.prices[symbol] * Decimal(luck.randint(70, 140)) / 100
            stage.venue.prices[symbol] = moved.quantize(Decimal("0.0001"))
        elif what == "time":
            stage.clock.advance(timedelta(minutes=luck.randint(1, 2_000)))
        elif what == "value":
            record_values(stage.store, stage.market, number)
        elif what == "session" and name in ("warren", "george"):
            calls = [stage.call(f"0.{luck.randint(1, 999):04}", timedelta(hours=luck.randint(0, 30))) for _ in range(3)]
            stage.session(number, name, luck.choice(("completed", "failed", "timed_out", None)), calls)
        elif what == "decide":
            account.record_decision(symbol, "hold", 0.5, 10, "as it is")
        elif what == "log":
            write_log(stage.store, [LogRow("function", name, f"said {number}", stamp, tool="push", latency_ms=number)])
        elif what == "state":
            state, is_paused = luck.choice(("active", "reducing")), luck.random() < 0.3
            set_state(stage.store, stage.market, name, state, "so", paused=is_paused)  # type: ignore[arg-type]
    except Refused:
        pass


def expected(stage: Stage, name: str) -> dict[str, Any]:
    """An account's figures by another way: every row of the store, with decimals."""
    own = next(row for row in rows(stage.store, tables.accounts) if row.name == name)
    names = ["transactions", "holdings", "portfolio_values", "refusals", "model_calls", "sessions", "logs", "decisions"]
    mine = {
        table: [row for row in rows(stage.store, tables.metadata.tables[table]) if row.account == name]
        for table in names
    }
    fills = [row for row in mine["transactions"] if row.kind != "deposit"]
    sales = [row for row in fills if row.kind == "sell"]
    value = own.cash + sum((notional(stage.venue.prices[row.symbol], row.quantity) for row in mine["holdings"]), ZERO)
    points = mine["portfolio_values"]
    days: dict[date, Decimal] = {}
    for row in points:
        days[market_day(row.market_time)] = row.value
    today = market_day(stage.clock.now())
    before = [row.value for row in points if row.market_time < datetime.combine(today, time(), UTC)]
    on_day = [row.value for row in points if market_day(row.market_time) == today]
    opening = before[-1] if before else on_day[0] if on_day else value
    if own.day == today:
        opening = value if own.day_open_value is None else own.day_open_value
    is_open = any(row.outcome == "open" for row in mine["sessions"])
    return {
        "cash": own.cash,
        "deposited": Decimal(10_000),
        "value": value,
        "profit": value - 10_000,
        "realised": sum((row.realised for row in mine["transactions"]), ZERO),
        "today": value - opening,
        "days": len(days),
        "trades": len(fills),
        "sales": len(sales),
        "win_rate": sum(row.realised > 0 for row in sales) / len(sales) if sales else None,
        "spread_paid": sum((abs(row.price - row.quote_price) * row.quantity for row in fills), ZERO),
        "refusals": len(mine["refusals"]),
        "model_cost": sum((row.cost_usd for row in mine["sessions"]), ZERO),
        "input_tokens": sum(row.input_tokens for row in mine["sessions"]),
        "output_tokens": sum(row.output_tokens for row in mine["sessions"]),
        "state": "running" if is_open else "paused" if own.paused else own.state,
        "largest_fall": pytest.approx(max_drawdown([10_000.0, *(float(row.value) for row in points)])),
        "points": [(row.market_time, row.value) for row in points],
        "positions": [
            (row.symbol, row.quantity, row.cost, notional(stage.venue.prices[row.symbol], row.quantity) - row.cost)
            for row in mine["holdings"]
        ],
        "transactions": [(row.id, row.rationale, row.price) for row in reversed(mine["transactions"])][:100],
        "decisions": [row.id for row in reversed(mine["decisions"])][:100],
        "logs": [(row.id, row.message) for row in reversed(mine["logs"])][:200],
    }  # fmt: skip


def told(account: AccountView, view: View) -> dict[str, Any]:
    """The same of a view."""
    plain = (
        "cash", "deposited", "value", "profit", "realised", "today", "days", "trades", "sales", "win_rate",
        "spread_paid", "refusals", "model_cost", "input_tokens", "output_tokens", "state", "largest_fall",
    )  # fmt: skip
    return {name: getattr(account, name) for name in plain} | {
        "points": [(point.market_time, point.value) for point in account.points],
        "positions": [(each.symbol, each.quantity, each.cost, each.profit) for each in account.positions],
        "transactions": [(trade.id, trade.rationale, trade.price) for trade in account.transactions],
        "decisions": [decision.id for decision in account.decisions],
        "logs": [(line.id, line.message) for line in view.logs[account.name]],
    }
