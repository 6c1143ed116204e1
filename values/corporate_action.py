"""What a company does to its shares: splits, dividends, renames and delistings, each on its ex-date.

An ex-date is a day of the exchange: from its first trade on, the price no longer includes what the holders of the day
before get. Spin-offs, stock dividends in another share and rights are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from values.errors import shown
from values.instrument import normalise_symbol
from values.money import PRICE_DECIMALS, QUANTITY_DECIMALS, to_scaled


@dataclass(frozen=True, slots=True)
class Split:
    """`units_before` units become `units_after`: 1 and 4 for "4 for 1", 10 and 1 for a reverse split.

    Raises ValueError, as the others do, for what can't be: here a number that is not above 0 or has over 8 decimals.
    """

    symbol: str
    ex_date: date
    units_before: Decimal
    units_after: Decimal

    def __post_init__(self) -> None:
        _check(self.symbol, self.ex_date)
        _check_number(self.units_before, QUANTITY_DECIMALS, f"units before a split of {self.symbol}")
        _check_number(self.units_after, QUANTITY_DECIMALS, f"units after a split of {self.symbol}")


@dataclass(frozen=True, slots=True)
class Dividend:
    """`usd_per_unit` in cash for each unit held when the ex-date begins; at most 8 decimals."""

    symbol: str
    ex_date: date
    usd_per_unit: Decimal

    def __post_init__(self) -> None:
        _check(self.symbol, self.ex_date)
        _check_number(self.usd_per_unit, PRICE_DECIMALS, f"dividend of {self.symbol}")


@dataclass(frozen=True, slots=True)
class Rename:
    """From its ex-date on, what was `symbol` trades as `to_symbol`, unit for unit."""

    symbol: str
    ex_date: date
    to_symbol: str

    def __post_init__(self) -> None:
        _check(self.symbol, self.ex_date)
        _check(self.to_symbol, self.ex_date)
        if self.to_symbol == self.symbol:
            raise ValueError(f"{self.symbol} is renamed to itself; expected another symbol")


@dataclass(frozen=True, slots=True)
class Delisting:
    """From its ex-date on, `symbol` trades nowhere that the venue knows of."""

    symbol: str
    ex_date: date

    def __post_init__(self) -> None:
        _check(self.symbol, self.ex_date)


CorporateAction = Split | Dividend | Rename | Delisting


def _check(symbol: object, ex_date: object) -> None:
    if normalise_symbol(symbol) != symbol:
        raise ValueError(f"the symbol is {shown(symbol)}; expected it as {normalise_symbol(symbol)}")
    if not isinstance(ex_date, date) or isinstance(ex_date, datetime):
        raise ValueError(f"the ex-date of {symbol} is {shown(ex_date)}; expected a date without a time")


def _check_number(value: object, decimals: int, what: str) -> None:
    if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
        raise ValueError(f"the {what} is {shown(value)}; expected a decimal above 0")
    to_scaled(value, decimals, what)
