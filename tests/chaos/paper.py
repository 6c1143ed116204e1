"""The limits once more, on paper: what an account may buy is found by trying every quantity against their definitions.

An oracle for accounts at prices that stand still. It shares nothing with `ledger/limits.py` but their sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

SPREAD = Decimal("0.002")

PaperFill = tuple[Literal["buy", "sell"], str, int]


@dataclass
class Paper:
    """`fills` are what a caller gets who asks for more than he may have and then takes what fits."""

    cash: Decimal
    held: dict[str, int]
    prices: Mapping[str, Decimal]
    limits: Mapping[str, str]
    fills: list[PaperFill] = field(default_factory=list)

    @property
    def value(self) -> Decimal:
        return self.cash + sum((self.prices[symbol] * held for symbol, held in self.held.items()), Decimal(0))

    @property
    def spread_paid(self) -> Decimal:
        return sum((self.prices[symbol] * quantity * SPREAD for _, symbol, quantity in self.fills), Decimal(0))

    def buy(self, symbol: str, wanted: int) -> None:
        while self._may_trade():
            quantity = next(
                each for each in range(min(wanted, self._affordable(symbol)), -1, -1) if self._may_buy(symbol, each)
            )
            if quantity == 0:
                return
            self._book("buy", symbol, quantity)
            if quantity == wanted:
                return

    def sell(self, symbol: str, wanted: int) -> None:
        if self._may_trade() and wanted <= self.held.get(symbol, 0):
            self._book("sell", symbol, wanted)

    def _affordable(self, symbol: str) -> int:
        return int(self.cash / self.prices[symbol])

    def _may_trade(self) -> bool:
        return len(self.fills) < int(self.limits["max_trades_per_session"])

    def _may_buy(self, symbol: str, quantity: int) -> bool:
        price = self.prices[symbol]
        cost = quantity * price * (1 + SPREAD)
        position = (self.held.get(symbol, 0) + quantity) * price
        value_after = self.value - quantity * price * SPREAD
        return (
            cost <= Decimal(self.limits["max_order_usd"])
            and self.cash - cost >= Decimal(self.limits["min_cash_usd"])
            and position <= Decimal(self.limits["max_position_share"]) * value_after
        )

    def _book(self, side: Literal["buy", "sell"], symbol: str, quantity: int) -> None:
        sign = 1 if side == "buy" else -1
        self.cash -= sign * quantity * self.prices[symbol] * (1 + sign * SPREAD)
        self.held[symbol] = self.held.get(symbol, 0) + sign * quantity
        self.fills.append((side, symbol, quantity))
