"""One account's running figures and newest rows: what a look at the store adds up once and never reads again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from dashboard.series import Series
from dashboard.view import Decision, LogLine, Trade
from values.money import CASH_DECIMALS, EXACT, PRICE_DECIMALS, QUANTITY_DECIMALS, from_scaled

LOGS_KEPT = 200
ROWS_KEPT = 100
"""Of an account's transactions and decisions, the newest."""


class Numbered(Protocol):
    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=Numbered)


class Newest(Generic[T]):
    """The rows with the highest ids, newest first, as one tuple that stays the same object until a row comes in."""

    def __init__(self, limit_rows: int) -> None:
        self._limit = limit_rows
        self.rows: tuple[T, ...] = ()

    def add(self, rows: Iterable[T]) -> None:
        """A row that is here already is here once; one that became visible late goes to its place."""
        merged = {row.id: row for row in (*self.rows, *rows)}
        self.rows = tuple(merged[each] for each in sorted(merged, reverse=True)[: self._limit])


@dataclass(slots=True)
class Tally:
    """Whole numbers are the store's: USD in 1e-6; `spread` is price times quantity, in 1e-16."""

    series: Series
    logs: Newest[LogLine] = field(default_factory=lambda: Newest(LOGS_KEPT))
    transactions: Newest[Trade] = field(default_factory=lambda: Newest(ROWS_KEPT))
    decisions: Newest[Decision] = field(default_factory=lambda: Newest(ROWS_KEPT))
    trades: int = 0
    sales: int = 0
    wins: int = 0
    spread: int = 0
    refusals: int = 0
    cost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    model: str = ""

    def add_fills(self, kind: str, count: int, wins: int, spread: int) -> None:
        """Buys or sales; a sale that realised more than 0 is a win."""
        self.trades += count
        self.spread += spread
        if kind == "sell":
            self.sales += count
            self.wins += wins

    def add_model_use(self, cost: int, input_tokens: int, cached_tokens: int, output_tokens: int) -> None:
        self.cost += cost
        self.input_tokens += input_tokens
        self.cached_tokens += cached_tokens
        self.output_tokens += output_tokens

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.sales if self.sales else None

    @property
    def spread_paid(self) -> Decimal:
        """USD, exact: how far each fill was from its quote, times its quantity."""
        return Decimal(self.spread).scaleb(-(PRICE_DECIMALS + QUANTITY_DECIMALS), EXACT)

    @property
    def model_cost(self) -> Decimal:
        return from_scaled(self.cost, CASH_DECIMALS)
