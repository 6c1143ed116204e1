"""What can be traded: equities and ETFs in whole shares, coins in steps of 1e-8.

Symbols are equities and ETFs as listed (`AAPL`, `BRK.B`) and coins as `BASE-QUOTE` (`BTC-USD`). Input is case-folded;
anything that is not plain ASCII is refused, so that no look-alike letter can name another instrument.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from values.errors import Refused, shown
from values.money import EXACT, QUANTITY_DECIMALS, exact, plain

Kind = Literal["equity", "etf", "coin"]

_LISTED = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,2})?")
_COIN = re.compile(r"[A-Z0-9]{1,12}-[A-Z]{3,5}")
_SYMBOL_CHARS_MAX = 18
_QUANTITY_MAX = Decimal(10_000_000_000)

WHOLE = Decimal(1)
FRACTION = Decimal("1e-8")

# The exchange-traded funds that a price file without kinds may hold; everything else without a dash is a share.
KNOWN_ETFS = frozenset({"SPY", "QQQ", "DIA", "IWM", "VTI", "TLT", "GLD", "IBIT", "BITO", "ARKK", "XLE", "XLF", "XLK"})


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing. `step` is the smallest quantity and every quantity's multiple."""

    symbol: str
    kind: Kind
    name: str
    sector: str

    @property
    def step(self) -> Decimal:
        return FRACTION if self.kind == "coin" else WHOLE


def normalise_symbol(text: object) -> str:
    """The symbol that `text` names, upper case. Raises Refused `bad_symbol` when it can't be one."""
    if isinstance(text, str) and len(text) <= _SYMBOL_CHARS_MAX + 4:
        symbol = text.strip(" ").upper()
        if (
            text.isascii()  # before the case is folded: some letters of other scripts fold to ours
            and len(symbol) <= _SYMBOL_CHARS_MAX
            and (_LISTED.fullmatch(symbol) or _COIN.fullmatch(symbol))
        ):
            return symbol
    raise Refused("bad_symbol", f"the symbol is {shown(text)}; expected one such as AAPL, BRK.B or BTC-USD")


def kind_of(symbol: str) -> Kind:
    """The kind that a normalised symbol of a file without kinds has."""
    if "-" in symbol:
        return "coin"
    return "etf" if symbol in KNOWN_ETFS else "equity"


def parse_quantity(value: object, symbol: str, step: Decimal) -> Decimal:
    """A quantity to trade: finite, above zero, a multiple of `step`.

    Raises Refused `bad_quantity` with what was given and what is allowed.
    """
    try:
        quantity = exact(value, "quantity")
    except Refused as refusal:
        raise Refused("bad_quantity", refusal.sentence) from None
    if quantity <= 0:
        raise Refused("bad_quantity", f"the quantity of {symbol} is {shown(str(quantity))}; expected more than 0")
    if quantity > _QUANTITY_MAX:
        raise Refused(
            "bad_quantity",
            f"the quantity of {symbol} is {shown(str(quantity))}; at most {plain(_QUANTITY_MAX)} a trade",
        )
    _, _, exponent = quantity.as_tuple()
    assert isinstance(exponent, int)
    if exponent < -40 or EXACT.remainder(quantity, step) != 0:
        allowed = "whole shares" if step == WHOLE else f"steps of {QUANTITY_DECIMALS} decimals"
        raise Refused("bad_quantity", f"the quantity of {symbol} is {shown(str(quantity))}; it trades in {allowed}")
    return quantity.normalize(EXACT)
