"""What one conversation has come to: instruments, histories, the rulebook's plan, prices and orders that fit.

Derived anew from the exchanges each time, so that the model keeps nothing between calls. What a tool did not answer is
missing here, and the account's state and what is offered bound every wish before it is sized.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from statistics import median

from model_clients.rulebooks.conversation import Conversation, Exchange
from model_clients.rulebooks.history import History, read_history
from model_clients.rulebooks.rulebook import (
    Hold,
    Listed,
    Plan,
    Reading,
    Rulebook,
    View,
    Wish,
    open_first,
    window,
)
from model_clients.rulebooks.sizing import Offer, Order, Unfit, buy_orders, orders_left, sell_order
from model_clients.rulebooks.task import Task, amount, read_trades, rows, symbol_of
from values.instrument import FRACTION, WHOLE
from values.money import ZERO, fill_price, notional

HELD_READ_MAX = 12
"""Holdings, heaviest first, whose histories a session reads."""

DAYS_ENOUGH = 40
"""Daily bars from which on a session thinks in days rather than in hours."""


@dataclass(frozen=True)
class Session:
    """What one conversation has come to, derived from its exchanges alone."""

    rules: Rulebook
    talk: Conversation
    task: Task

    @cached_property
    def listed(self) -> dict[str, Listed]:
        found: dict[str, Listed] = {}
        for exchange in self.talk.made("find_symbols"):
            for row in rows((exchange.answer or {}).get("symbols")):
                symbol, kind = symbol_of(row.get("symbol")), row.get("kind")
                if symbol is None or kind not in ("equity", "etf", "coin"):
                    continue
                step = amount(row.get("step"))
                if step is None or step <= 0:
                    step = FRACTION if kind == "coin" else WHOLE
                found[symbol] = Listed(symbol, kind, str(row.get("sector", "")), step, row.get("open") is True)
        return found

    @property
    def may_trade(self) -> bool:
        return self.task.state in ("active", "reducing")

    @cached_property
    def reading(self) -> Reading:
        return self.rules.reading(self.listed) if self.listed else Reading()

    @cached_property
    def to_read(self) -> tuple[str, ...]:
        """Symbols whose histories this session reads: what is held, what is always read, and this hour's window."""
        if not self.may_trade:
            return ()
        heaviest = sorted(self.task.positions, key=lambda symbol: (-self.task.weight(symbol), symbol))
        turn: tuple[str, ...] = ()
        if self.task.state == "active":
            turn = window(open_first(self.listed, self.reading.rotating), self.task.time)
        return tuple(dict.fromkeys((*heaviest[:HELD_READ_MAX], *self.reading.always, *turn)))

    def histories_of(self, interval: str) -> dict[str, History]:
        found = {}
        for exchange in self.talk.made("get_price_history"):
            symbol = symbol_of(exchange.arguments.get("symbol"))
            if symbol is None or exchange.failed or exchange.arguments.get("interval") != interval:
                continue
            history = read_history(exchange.text, symbol, interval)
            if history is not None:
                found[symbol] = history
        return found

    @cached_property
    def interval(self) -> str:
        """Days where there are enough, else hours where this market has them; one for all, so that bars compare."""
        days, hours = self.histories_of("day"), self.histories_of("hour")
        answered = any(
            exchange.answer is not None and exchange.arguments.get("interval") == "hour"
            for exchange in self.talk.made("get_price_history")
        )
        if not answered or typical_bars(days) >= DAYS_ENOUGH:
            return "day"
        return "hour" if typical_bars(hours) >= typical_bars(days) else "day"

    @cached_property
    def histories(self) -> dict[str, History]:
        return self.histories_of(self.interval)

    @cached_property
    def view(self) -> View:
        long_enough = {
            symbol: history for symbol, history in self.histories.items() if history.bars >= self.rules.bars_needed
        }
        return View(self.task, self.listed, long_enough)

    @cached_property
    def plan(self) -> Plan:
        """What the rulebook wants, of what the account's state and the session's mode allow; one wish a symbol."""
        if not self.may_trade:
            return Plan((), self._left_alone(f"the account is {self.task.state}"), f"the account is {self.task.state}")
        if not self.view.histories:
            most = max((history.bars for history in self.histories.values()), default=0)
            reason = f"too little history: {most} bars, needs {self.rules.bars_needed}"
            return Plan((), self._left_alone(reason), reason)
        plan = self.rules.plan(self.view)
        wishes: dict[str, Wish] = {}
        for wish in plan.wishes:
            may_buy = self.task.state == "active" and (self.task.may_open or wish.symbol in self.task.positions)
            if wish.side == "sell" or may_buy:
                wishes.setdefault(wish.symbol, wish)
        return Plan(tuple(wishes.values()), plan.holds, plan.outlook)

    def _left_alone(self, reason: str) -> tuple[Hold, ...]:
        known = (*self.task.positions, *self.to_read, *sorted(self.listed))
        return (Hold(known[0], 0.5, 1, reason),) if known else ()

    def hindrance(self, wish: Wish) -> str | None:
        """Why a wish can't become an order whatever its price, None when it may."""
        tool = f"{wish.side}_shares"
        if tool not in self.talk.offered:
            return f"{tool} is not offered"
        listed = self.listed.get(wish.symbol)
        if listed is not None and not listed.open:
            return f"{wish.symbol} does not trade now"
        return None

    @cached_property
    def offers(self) -> dict[str, Offer]:
        """Prices that may be traded on now, by symbol."""
        found = {}
        for exchange in self.talk.made("lookup_share_price"):
            answer = exchange.answer or {}
            symbol, price = symbol_of(exchange.arguments.get("symbol")), amount(answer.get("price"))
            fresh = not answer.get("stale") and answer.get("open") is not False
            if symbol is not None and price is not None and price > 0 and fresh:
                listed = self.listed.get(symbol)
                found[symbol] = Offer(price, listed.step if listed else FRACTION if "-" in symbol else WHOLE)
        return found

    @cached_property
    def orders(self) -> list[Exchange]:
        return self.talk.made("sell_shares", "buy_shares")

    def wishes_for(self, side: str) -> list[Wish]:
        return [
            wish
            for wish in self.plan.wishes
            if wish.side == side and wish.symbol in self.offers and self.hindrance(wish) is None
        ]

    @cached_property
    def sells(self) -> list[Order | Unfit]:
        room = orders_left(self.task, 0)
        found: list[Order | Unfit] = []
        for wish in self.wishes_for("sell"):
            order = sell_order(self.task, wish, self.offers[wish.symbol])
            if isinstance(order, Order) and not room:
                order = Unfit(wish, "the number of orders is used up")
            room -= isinstance(order, Order)
            found.append(order)
        return found

    @cached_property
    def buys(self) -> list[Order | Unfit]:
        """Sized against the cash after this session's sales, so only right once those are made."""
        cash = self.task.cash_usd + sum((self._proceeds(sale) for sale in self.talk.made("sell_shares")), ZERO)
        placed = sum(isinstance(order, Order) for order in self.sells)
        return buy_orders(self.task, self.wishes_for("buy"), self.offers, cash, orders_left(self.task, placed))

    def _proceeds(self, sale: Exchange) -> Decimal:
        """USD that a sale brought: what its answer says, else what the quote makes of it; 0 when it was refused."""
        if sale.answer is None:
            return ZERO
        said = amount(sale.answer.get("amount"))
        if said is not None:
            return abs(said)
        symbol, quantity = symbol_of(sale.arguments.get("symbol")), amount(sale.arguments.get("quantity"))
        if symbol not in self.offers or quantity is None:
            return ZERO
        return notional(fill_price(self.offers[symbol].price, "sell"), quantity, "sell")


def with_record(task: Task, talk: Conversation) -> Task:
    """The task with the newest page of the account's transactions in the place of the few that it tells."""
    for exchange in talk.made("get_transactions"):
        if exchange.answer is not None and (trades := read_trades(exchange.answer)):
            return replace(task, trades=trades)
    return task


def typical_bars(histories: dict[str, History]) -> float:
    """The median length of the histories; 0 for none."""
    return median([history.bars for history in histories.values()]) if histories else 0
