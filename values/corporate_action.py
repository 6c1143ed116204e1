"""What a company does to its shares: splits, dividends, renames, delistings. Each has the first day it holds on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Split:
    """From `ex_date` on, `units_before` shares are `units_after` (1 and 20 for a split of twenty for one)."""

    symbol: str
    ex_date: date
    units_before: Decimal
    units_after: Decimal


@dataclass(frozen=True, slots=True)
class Dividend:
    """Who holds the share when `ex_date` begins is paid `usd_per_unit`."""

    symbol: str
    ex_date: date
    usd_per_unit: Decimal


@dataclass(frozen=True, slots=True)
class Rename:
    """From `ex_date` on, `symbol` trades as `to_symbol`."""

    symbol: str
    ex_date: date
    to_symbol: str


@dataclass(frozen=True, slots=True)
class Delisting:
    """From `ex_date` on, `symbol` does not trade."""

    symbol: str
    ex_date: date


CorporateAction = Split | Dividend | Rename | Delisting
