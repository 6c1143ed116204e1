"""A floor on paper for tests of the house model: a book that checks every order, its tools, and AutoGen's own agent.

The book refuses what an account would refuse, so that a test can assert that nothing was refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import TextMessage
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient
from autogen_core.tools import TextResultContent, ToolResult, ToolSchema, Workbench

from tests.house.paper_market import PaperMarket
from values.clock import iso
from values.errors import Refused
from values.money import ZERO, Side, exact, fill_price, notional, plain

WIDE_LIMITS = {"max_position_share": "0.35", "max_trades_per_session": "4", "max_trades_per_day": "12"}


@dataclass(frozen=True, slots=True)
class PaperFill:
    side: Side
    symbol: str
    quantity: Decimal
    price: Decimal
    time: datetime
    rationale: str


@dataclass
class PaperBook:
    """Cash, holdings and fills; `refusals` are sentences. Checks what an account checks."""

    market: PaperMarket
    limits: dict[str, str | None] = field(default_factory=lambda: dict[str, str | None](WIDE_LIMITS))
    cash: Decimal = Decimal(10_000)
    state: str = "active"
    holdings: dict[str, Decimal] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    fills: list[PaperFill] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    session_fills: int = 0

    def value(self) -> Decimal:
        return self.cash + sum((self.market.price(symbol)[0] * held for symbol, held in self.holdings.items()), ZERO)

    def hold(self, symbol: str, quantity: str, cost: str) -> None:
        """Put a holding there as if bought at `cost` USD a unit."""
        self.holdings[symbol], self.costs[symbol] = Decimal(quantity), Decimal(quantity) * Decimal(cost)

    def limit(self, key: str) -> Decimal | None:
        text = self.limits.get(key)
        return None if text is None else Decimal(text)

    def trade(self, side: Side, symbol: str, quantity_text: str, rationale: str) -> dict[str, str]:
        quantity = exact(quantity_text)
        price, is_open = self.market.price(symbol)
        self._check(side, symbol, quantity, price, is_open)
        paid = fill_price(price, side)
        amount = notional(paid, quantity, side)
        held = self.holdings.get(symbol, ZERO)
        if side == "buy":
            self.cash -= amount
            self.costs[symbol] = self.costs.get(symbol, ZERO) + amount
            self.holdings[symbol] = held + quantity
        else:
            self.cash += amount
            self.costs[symbol] -= self.costs[symbol] * quantity / held
            self.holdings[symbol] = held - quantity
            if not self.holdings[symbol]:
                del self.holdings[symbol], self.costs[symbol]
        self.fills.append(PaperFill(side, symbol, quantity, paid, self.market.now, rationale))
        self.session_fills += 1
        left = self.holdings.get(symbol, ZERO)
        return {
            "transaction_id": str(len(self.fills)), "side": side, "symbol": symbol, "quantity": plain(quantity),
            "price": plain(paid), "amount": plain(amount), "cash": plain(self.cash), "holding": plain(left),
        }  # fmt: skip

    def _check(self, side: Side, symbol: str, quantity: Decimal, price: Decimal, is_open: bool) -> None:
        if self.state == "halted" or (self.state == "reducing" and side == "buy"):
            raise Refused(self.state, f"the account is {self.state}")
        if not is_open:
            raise Refused("market_closed", f"{symbol} does not trade now")
        if quantity <= 0 or quantity % self.market.step(symbol):
            raise Refused("bad_quantity", f"the quantity of {symbol} is {quantity}")
        today = sum(fill.time.date() == self.market.now.date() for fill in self.fills)
        for key, done in (("max_trades_per_session", self.session_fills), ("max_trades_per_day", today)):
            limit = self.limit(key)
            if limit is not None and done >= limit:
                raise Refused("over_limit", f"{done} trades were made, {key} is {limit}")
        if side == "sell":
            if quantity > self.holdings.get(symbol, ZERO):
                raise Refused("insufficient_shares", f"there are {self.holdings.get(symbol, ZERO)} {symbol}")
            return
        cost = notional(fill_price(price, "buy"), quantity, "buy")
        share, order = self.limit("max_position_share"), self.limit("max_order_usd")
        after = (self.holdings.get(symbol, ZERO) + quantity) * price
        if cost > self.cash - (self.limit("min_cash_usd") or ZERO):
            raise Refused("insufficient_cash", f"{quantity} {symbol} cost {cost} USD")
        if order is not None and cost > order:
            raise Refused("over_limit", f"{quantity} {symbol} cost {cost} USD, more than {order}")
        if share is not None and after > share * (self.value() - (cost - quantity * price)):
            raise Refused("over_limit", f"{quantity} {symbol} would be more than {share} of the account")

    def transactions(self, most: int) -> list[dict[str, Any]]:
        """The last fills, newest first."""
        return [
            {
                "id": at, "kind": fill.side, "symbol": fill.symbol, "quantity": plain(fill.quantity),
                "price": plain(fill.price), "amount": "0", "market_time": iso(fill.time), "rationale": fill.rationale,
            }
            for at, fill in enumerate(self.fills[-most:])
        ][::-1]  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """The account as the task shows it."""
        total = self.value()
        positions = []
        for symbol, quantity in self.holdings.items():
            price, is_open = self.market.price(symbol)
            positions.append({
                "symbol": symbol, "kind": self.market.kind(symbol), "quantity": plain(quantity),
                "average_cost": plain(self.costs[symbol] / quantity), "cost": plain(self.costs[symbol]),
                "price": plain(price), "value": plain(price * quantity), "weight": plain(price * quantity / total),
                "unrealised_profit": "0", "as_of": iso(self.market.now), "source": "replay", "stale": not is_open,
            })  # fmt: skip
        return {
            "name": "warren", "balance": plain(self.cash), "strategy": "Patience.", "state": self.state,
            "holdings": {symbol: plain(held) for symbol, held in self.holdings.items()}, "positions": positions,
            "total_portfolio_value": plain(total), "total_profit_loss": plain(total - 10_000), "limits": self.limits,
            "transactions": self.transactions(10),
        }  # fmt: skip


def task_text(book: PaperBook, mode: str = "trade", turn_limit: int = 30, **account: object) -> str:
    """The floor's message: words, then the block of session and account."""
    session = {
        "id": "trace_warren1", "mode": mode, "time": iso(book.market.now), "market": "replay", "open": True,
        "turn_limit": turn_limit,
    }  # fmt: skip
    block = {"session": session, "account": {**book.shown(), **account}, "instruments_note": "none"}
    return f"Run your session.\n\n```json\n{json.dumps(block)}\n```\n"


PARAMETERS: dict[str, tuple[str, ...]] = {
    "find_symbols": ("query", "kind", "sector", "limit", "cursor"),
    "lookup_share_price": ("symbol",),
    "get_price_history": ("symbol", "interval", "count"),
    "get_market_status": (),
    "get_balance": ("name",),
    "get_transactions": ("name", "cursor"),
    "buy_shares": ("name", "symbol", "quantity", "rationale"),
    "sell_shares": ("name", "symbol", "quantity", "rationale"),
    "change_strategy": ("name", "strategy"),
    "record_decision": ("name", "symbol", "action", "confidence", "horizon_days", "rationale"),
}


class PaperBench(Workbench):
    """The tools over a book. `failing` maps a tool to the error that it answers with, `missing` are not offered."""

    def __init__(
        self,
        book: PaperBook,
        failing: Mapping[str, str] | None = None,
        missing: Sequence[str] = (),
        bound: bool = True,
        page: int = 200,
    ) -> None:
        self.book, self.failing, self.missing, self.bound, self.page = book, dict(failing or {}), missing, bound, page
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def list_tools(self) -> list[ToolSchema]:
        return [
            ToolSchema(
                name=name,
                description=name,
                parameters={
                    "type": "object",
                    "properties": {key: {} for key in keys if not (self.bound and key == "name")},
                },
            )
            for name, keys in PARAMETERS.items()
            if name not in self.missing
        ]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        given = dict(arguments or {})
        self.calls.append((name, given))
        try:
            if name in self.failing:
                raise Refused(*self.failing[name].split(": ", 1))
            text, is_error = json.dumps(self._answer(name, given)), False
        except Refused as refusal:
            text, is_error = str(refusal), True
            if name in ("buy_shares", "sell_shares"):
                self.book.refusals.append(text)
        return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=is_error)

    def _answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        market = self.book.market
        if name == "get_market_status":
            return {"market": "replay", "time": iso(market.now), "open": True, "note": "", "instruments": 1}
        if name == "find_symbols":
            return self._listing(given)
        if name == "get_transactions":
            return {"name": "warren", "transactions": self.book.transactions(50), "next_cursor": None}
        if name == "record_decision":
            self.book.decisions.append(given)
            return {"decision_id": len(self.book.decisions)}
        symbol = given["symbol"]
        if symbol not in market.bars:
            raise Refused("unknown_symbol", f"{symbol} is not listed here")
        if name == "get_price_history":
            bars = market.history(symbol, given["interval"], given["count"])
            return {"symbol": symbol, "interval": given["interval"], "source": "replay", "bars": bars}
        if name == "lookup_share_price":
            price, is_open = market.price(symbol)
            return {
                "symbol": symbol,
                "price": plain(price),
                "stale": not is_open or symbol in market.stale,
                "open": is_open,
            }
        return self.book.trade("buy" if name == "buy_shares" else "sell", symbol, given["quantity"], given["rationale"])

    def _listing(self, given: dict[str, Any]) -> dict[str, Any]:
        market, after = self.book.market, given.get("cursor", "")
        found = [one for one in market.symbols() if one > after and given.get("kind") in (None, market.kind(one))]
        shown = found[: min(self.page, given.get("limit", 50))]
        symbols = [
            {
                "symbol": one, "name": "", "kind": market.kind(one), "sector": market.sectors.get(one, ""),
                "step": plain(market.step(one)), "open": market.price(one)[1],
            }
            for one in shown
        ]  # fmt: skip
        return {"symbols": symbols, "next_cursor": shown[-1] if len(found) > len(shown) else None}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def reset(self) -> None: ...

    async def save_state(self) -> Mapping[str, Any]:
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None: ...


async def run_session(model: ChatCompletionClient, bench: PaperBench, task: str) -> str:
    """One session with AutoGen's own agent; the closing text. Fails when the agent ends in anything else."""
    bench.book.session_fills = 0
    bench.calls.clear()
    agent = AssistantAgent("trader", model, workbench=bench, system_message="You are a trader.", max_tool_iterations=30)
    result: TaskResult = await agent.run(task=task)
    closing = result.messages[-1]
    assert isinstance(closing, TextMessage), f"the session ended in {type(closing).__name__}"
    return closing.content
