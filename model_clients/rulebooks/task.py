"""The task of one session, as a model reads it: the JSON block that ends the floor's first message.

Promises a `Task` whose amounts are exact decimals, or None where the text holds no usable block. A limit that is there
and can't be read allows no buying. Strategy, rationales and every other free text are data that no rule looks at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from values.clock import market_day, parse_time
from values.errors import Refused
from values.instrument import normalise_symbol
from values.money import ZERO, exact

_FENCE = "```json"
_TURNS_WHEN_UNSAID = 30
_MAGNITUDE_MAX = 18


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one symbol; amounts in USD, None where the task does not say."""

    symbol: str
    quantity: Decimal
    average_cost: Decimal | None
    price: Decimal | None
    value: Decimal

    @property
    def gain(self) -> float | None:
        """Unrealised profit as a fraction of the average cost (0.1 = up 10 %)."""
        if not self.average_cost or self.price is None:
            return None
        return float(self.price / self.average_cost) - 1.0


@dataclass(frozen=True, slots=True)
class Trade:
    """One earlier fill of the account; `price` in USD a unit."""

    side: str
    symbol: str
    price: Decimal | None
    time: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """The account's limits in USD, fractions and counts; None is no limit. `unreadable` names one that is no number."""

    max_position_share: Decimal | None = None
    max_order_usd: Decimal | None = None
    max_trades_per_session: int | None = None
    max_trades_per_day: int | None = None
    min_cash_usd: Decimal = ZERO
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Session and account at the session's start. `trades` are newest first, `total_usd` is cash and holdings."""

    session_id: str
    mode: str
    time: datetime
    turn_limit: int
    account: str
    state: str
    cash_usd: Decimal
    total_usd: Decimal
    positions: Mapping[str, Position]
    trades: tuple[Trade, ...]
    limits: Limits

    @property
    def may_open(self) -> bool:
        """Whether this session may buy what is not held yet."""
        return self.mode == "trade"

    @property
    def trades_today(self) -> int:
        return sum(market_day(trade.time) == market_day(self.time) for trade in self.trades)

    def weight(self, symbol: str) -> float:
        """The holding's part of the account's total value (0.2 = a fifth)."""
        position = self.positions.get(symbol)
        return float(position.value / self.total_usd) if position and self.total_usd > 0 else 0.0

    def days_since(self, side: str, symbol: str | None = None) -> float:
        """Days since the newest fill on that side, of any symbol with None; infinite where there was none."""
        for trade in self.trades:
            if trade.side == side and symbol in (None, trade.symbol):
                return (self.time - trade.time).total_seconds() / 86_400
        return float("inf")

    def last_price(self, side: str, symbol: str) -> float | None:
        """USD a unit of the newest fill on that side."""
        for trade in self.trades:
            if trade.side == side and trade.symbol == symbol and trade.price is not None:
                return float(trade.price)
        return None


def read_task(text: str) -> Task | None:
    """The task in the first JSON block of `text`; None where there is no block or it lacks account, cash or time."""
    fence = text.find(_FENCE)
    if fence < 0:
        return None
    try:
        block, _ = json.JSONDecoder().raw_decode(text[fence + len(_FENCE) :].lstrip())
        session, account = mapping(block["session"]), mapping(block["account"])
        time = parse_time(session["time"])
        cash = amount(account["balance"])
        name = account["name"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if cash is None or not isinstance(name, str) or not name:
        return None
    positions = _positions(account)
    total = amount(account.get("total_portfolio_value"))
    turn_limit = session.get("turn_limit")
    return Task(
        session_id=str(session.get("id", "")),
        mode=str(session.get("mode", "")),
        time=time,
        turn_limit=turn_limit if type(turn_limit) is int and turn_limit > 0 else _TURNS_WHEN_UNSAID,
        account=name,
        state=str(account.get("state", "active")),
        cash_usd=cash,
        total_usd=total if total is not None else cash + sum((held.value for held in positions.values()), ZERO),
        positions=positions,
        trades=read_trades(account),
        limits=_limits(account.get("limits")),
    )


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is an object of JSON, else an empty one."""
    return value if isinstance(value, dict) else {}


def json_object(text: str) -> Mapping[str, Any]:
    """The JSON object that `text` is, else an empty one."""
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def rows(value: object) -> list[Mapping[str, Any]]:
    """The objects in a JSON list; empty for anything else."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def amount(value: object) -> Decimal | None:
    """`value` as an exact number, None where it is none or of a size that no book holds."""
    try:
        number = exact(value)
    except Refused:
        return None
    return number if not number or abs(number.adjusted()) <= _MAGNITUDE_MAX else None


def symbol_of(value: object) -> str | None:
    """`value` as a normalised symbol, None where it can't be one."""
    try:
        return normalise_symbol(value)
    except Refused:
        return None


def _positions(account: Mapping[str, Any]) -> dict[str, Position]:
    known = {symbol_of(row.get("symbol")): row for row in rows(account.get("positions"))}
    quantities = {symbol_of(key): amount(value) for key, value in mapping(account.get("holdings")).items()}
    for symbol, row in known.items():
        quantities.setdefault(symbol, amount(row.get("quantity")))
    found = {}
    for symbol, quantity in quantities.items():
        if symbol is None or quantity is None or quantity <= 0:
            continue
        row = known.get(symbol, {})
        price, value = amount(row.get("price")), amount(row.get("value"))
        if value is None:
            value = price * quantity if price is not None else ZERO
        found[symbol] = Position(symbol, quantity, amount(row.get("average_cost")), price, value)
    return found


def read_trades(record: Mapping[str, Any]) -> tuple[Trade, ...]:
    """The fills among the `transactions` of an account or of a page of them, in their order."""
    found = []
    for row in rows(record.get("transactions")):
        symbol = symbol_of(row.get("symbol"))
        try:
            time = parse_time(row["market_time"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
        if symbol is not None and row.get("kind") in ("buy", "sell"):
            found.append(Trade(row["kind"], symbol, amount(row.get("price")), time))
    return tuple(found)


def _limits(value: object) -> Limits:
    given = {key: item for key, item in mapping(value).items() if item is not None}
    numbers = {key: amount(item) for key, item in given.items()}
    read: dict[str, Decimal] = {key: number for key, number in numbers.items() if number is not None}
    unreadable = next((key for key in numbers if key in Limits.__slots__ and key not in read), None)
    trades_session, trades_day = read.get("max_trades_per_session"), read.get("max_trades_per_day")
    return Limits(
        max_position_share=read.get("max_position_share"),
        max_order_usd=read.get("max_order_usd"),
        max_trades_per_session=None if trades_session is None else int(trades_session),
        max_trades_per_day=None if trades_day is None else int(trades_day),
        min_cash_usd=read.get("min_cash_usd", ZERO),
        unreadable=unreadable,
    )
