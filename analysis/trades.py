"""What a record of trades says: how often closing paid, how much was traded, how much was at risk.

Decimals in and out, because trades and valuations come from the books; results are rounded half-even to 8 places
(`values.money.ratio`). A statistic without anything to divide by is None. Which profit a sale realised is the
ledger's answer (average cost), not worked out again here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from values.money import EXACT, ZERO, ratio


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill: USD that changed hands, and USD of profit it realised (None for a trade that opens or adds)."""

    notional: Decimal
    realised_profit: Decimal | None

    def __post_init__(self) -> None:
        if not self.notional.is_finite() or self.notional < 0:
            raise ValueError(f"the notional of a trade is {self.notional}; expected a finite amount from 0 on")
        if self.realised_profit is not None and not self.realised_profit.is_finite():
            raise ValueError(f"the realised profit of a trade is {self.realised_profit}; expected a finite amount")


@dataclass(frozen=True, slots=True)
class Valuation:
    """One point of an account's record: USD in holdings, and USD in all (holdings and cash, above 0)."""

    invested: Decimal
    total: Decimal

    def __post_init__(self) -> None:
        if not self.invested.is_finite() or self.invested < 0:
            raise ValueError(f"a valuation has {self.invested} invested; expected a finite amount from 0 on")
        if not self.total.is_finite() or self.total <= 0:
            raise ValueError(f"a valuation has {self.total} in all; expected a finite amount above 0")


def win_rate(trades: Sequence[Trade]) -> Decimal | None:
    """Share of closing trades that realised a profit above 0 (0.5 = every second one); breaking even is no win.

    None where nothing was closed. Source: percent profitable, Pardo (2008), "The Evaluation and Optimization of
    Trading Strategies".
    """
    profits = [trade.realised_profit for trade in trades if trade.realised_profit is not None]
    if not profits:
        return None
    return ratio(Decimal(sum(profit > 0 for profit in profits)), Decimal(len(profits)))


def turnover(trades: Sequence[Trade], values: Sequence[Decimal]) -> Decimal | None:
    """Notional bought and sold over the mean of the account's `values` (2 = replaced once: all sold, all bought).

    For the whole record, not a year. None without a value. Raises ValueError for a value that is not above 0.
    Source: portfolio turnover as in SEC Form N-1A, item 13, but both sides, where the form takes the smaller.
    """
    for index, value in enumerate(values):
        if not value.is_finite() or value <= 0:
            raise ValueError(f"value {index} is {value}; expected a finite amount above 0")
    if not values:
        return None
    with localcontext(EXACT):
        traded = sum((trade.notional for trade in trades), ZERO)
        return ratio(traded * len(values), sum(values, ZERO))


def exposure(valuations: Sequence[Valuation]) -> Decimal | None:
    """Mean share of the account's value that was in holdings (0.6 = 60 % invested); one valuation gives its share.

    Every point counts alike, whatever time lies between. None without a valuation.
    Source: gross exposure over net asset value; the books are long only, so gross is net.
    """
    if not valuations:
        return None
    with localcontext(EXACT):
        shares = sum((point.invested / point.total for point in valuations), ZERO)
        return ratio(shares, Decimal(len(valuations)))
