"""Exact decimal numbers for money, prices and quantities, and their scaled integers in the store.

One constructor, `exact`, makes every Decimal that is booked; a float goes through its shortest text. Rounding
happens only in `fill_price`, `notional` and `share_of_cost`, each named for what it rounds. Cash is kept in
1e-6 dollars, prices and quantities in 1e-8; a value that does not fit is refused, never cut.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, localcontext
from typing import Literal

from values.errors import Refused, shown

Side = Literal["buy", "sell"]

CASH_DECIMALS = 6
PRICE_DECIMALS = 8
QUANTITY_DECIMALS = 8
CENT = Decimal("0.01")
ZERO = Decimal(0)
SPREAD = Decimal("0.002")
"""Fraction of the quoted price that a fill pays on each side: buys at 1.002 of it, sells at 0.998."""

STARTING_BALANCE = Decimal(10_000)
"""USD that a new account opens with."""

_INT64_MAX = 2**63 - 1
_NUMBER_CHARS_MAX = 64
EXACT = Context(prec=50)
"""Wide enough that the product of two stored numbers is never rounded by the context."""


def exact(value: object, what: str = "number") -> Decimal:
    """`value` (Decimal, int, float or decimal text) as a finite Decimal.

    Raises Refused `bad_number` for bool, NaN, infinities, over-long text and anything that is no number.
    """
    number: Decimal | None = None
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value) if abs(value) <= _INT64_MAX else None
    elif isinstance(value, float):
        number = Decimal(repr(float(value)))
    elif isinstance(value, str) and len(value) <= _NUMBER_CHARS_MAX and value.isascii() and "_" not in value:
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite():
        raise Refused("bad_number", f"the {what} is {shown(value)}; expected a finite decimal number such as 12.5")
    return number


def to_scaled(value: Decimal, decimals: int, what: str = "number") -> int:
    """The integer that the store keeps for `value` at `decimals` places.

    Raises Refused `out_of_range` when the value has more places or does not fit 64 bits: nothing is rounded here.
    """
    # as_tuple keeps this exact for exponents that would blow a scaled product up
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise Refused("bad_number", f"the {what} is {value}; expected a finite decimal number")
    if not value:
        return 0
    if value.adjusted() > 19:
        raise Refused("out_of_range", f"the {what} is {shown(str(value))}, which is too large to keep")
    shift = exponent + decimals
    kept, rest = (digits, ()) if shift >= 0 else (digits[:shift], digits[shift:])
    if any(rest):
        raise Refused("out_of_range", f"the {what} is {shown(str(value))}; at most {decimals} decimals are kept")
    scaled: int = int("".join(map(str, kept)) or "0") * 10 ** max(shift, 0)
    if scaled > _INT64_MAX:
        raise Refused("out_of_range", f"the {what} is {shown(str(value))}, which is too large to keep")
    return -scaled if sign else scaled


def from_scaled(scaled: int, decimals: int) -> Decimal:
    """The Decimal for an integer that `to_scaled` made."""
    return Decimal(scaled).scaleb(-decimals, EXACT)


def _quantize(value: Decimal, decimals: int, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=rounding, context=EXACT)


def fill_price(quote_price: Decimal, side: Side) -> Decimal:
    """USD a unit that `side` trades at: the quote with the spread, rounded to 1e-8 against the trader."""
    with localcontext(EXACT):
        if side == "buy":
            return _quantize(quote_price * (1 + SPREAD), PRICE_DECIMALS, ROUND_CEILING)
        return _quantize(quote_price * (1 - SPREAD), PRICE_DECIMALS, ROUND_FLOOR)


def notional(price: Decimal, quantity: Decimal, side: Side | None = None) -> Decimal:
    """price x quantity in USD, to 1e-6: up for a buy, down for a sell, half-even for a valuation (None)."""
    rounding = {"buy": ROUND_CEILING, "sell": ROUND_FLOOR, None: ROUND_HALF_EVEN}[side]
    with localcontext(EXACT):
        return _quantize(price * quantity, CASH_DECIMALS, rounding)


def affordable(budget: Decimal, price: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` units that `budget` USD buys at `price`, 0 when none. What it costs is rounded up
    to 1e-6 and fits all the same, because the budget is first rounded down to it."""
    with localcontext(EXACT):
        whole = _quantize(max(budget, ZERO), CASH_DECIMALS, ROUND_FLOOR)
        return (whole / (price * step)).to_integral_value(ROUND_FLOOR) * step


def share_of_cost(cost: Decimal, sold: Decimal, held: Decimal) -> Decimal:
    """The part of a holding's cost that goes with `sold` of `held` units (average cost), half-even to 1e-6."""
    if sold == held:
        return cost
    with localcontext(EXACT):
        return _quantize(cost * sold / held, CASH_DECIMALS, ROUND_HALF_EVEN)


def ratio(part: Decimal, whole: Decimal) -> Decimal:
    """part / whole to 8 places half-even, for weights and average costs that are shown, never booked."""
    with localcontext(EXACT):
        return _quantize(part / whole, 8, ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """Decimal text without an exponent and without trailing zeros: 10000, 0.5, 187.42."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def usd(value: Decimal) -> str:
    """Dollars for a sentence: 7,511.79 (to the cent, half-even)."""
    return f"{_quantize(value, 2, ROUND_HALF_EVEN):,f}"
