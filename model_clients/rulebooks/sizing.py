"""From wishes to orders: what fits the cash, the limits in the task and the instrument's step.

Rounds quantities down, prices a fill with the spread, and keeps a margin, because the account prices its own fill a
moment later. A wish that does not fit becomes a sentence. A limit that can't be read allows no buying.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext

from model_clients.rulebooks.conversation import Exchange
from model_clients.rulebooks.rulebook import Wish
from model_clients.rulebooks.task import Task, amount, symbol_of
from values.money import EXACT, ZERO, exact, fill_price, notional, plain, usd

ORDERS_MAX = 4
"""Orders that the rules place in one session at most, whatever the account allows."""

CASH_MARGIN = Decimal("0.99")
"""Part of the room in cash and limits that is used: the quote may move before the fill."""

SMALLEST_ORDER_USD = Decimal(20)
REACH = Decimal("1.5")
"""One step may cost this many times what a buy was to spend, so that a dear share is not out of reach for ever."""


@dataclass(frozen=True, slots=True)
class Order:
    """A wish with the quantity that fits."""

    wish: Wish
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Unfit:
    """A wish that becomes no order, and why."""

    wish: Wish
    reason: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be had now: the quote in USD and the instrument's step."""

    price: Decimal
    step: Decimal


def orders_left(task: Task, placed: int) -> int:
    """How many orders the session may still place after `placed` of them."""
    limits = task.limits
    room = ORDERS_MAX
    if limits.max_trades_per_session is not None:
        room = min(room, limits.max_trades_per_session)
    if limits.max_trades_per_day is not None:
        room = min(room, limits.max_trades_per_day - task.trades_today)
    return max(0, room - placed)


def sell_order(task: Task, wish: Wish, offer: Offer) -> Order | Unfit:
    """The part of the holding that the wish asks for, in whole steps; all of it when the wish is for all.

    Limits on size are not applied: they bound what is bought and never keep an account from selling.
    """
    position = task.positions.get(wish.symbol)
    if position is None:
        return Unfit(wish, f"no {wish.symbol} is held")
    everything = wish.share >= 1
    quantity = position.quantity
    if not everything:
        quantity = _steps(quantity * exact(round(wish.share, 6)), offer.step)
    worth = notional(offer.price, quantity)
    if quantity <= 0 or (not everything and worth < SMALLEST_ORDER_USD):
        return Unfit(wish, f"{wish.share:.0%} of {plain(position.quantity)} {wish.symbol} is too little to sell")
    return Order(wish, quantity)


def buy_orders(
    task: Task, wishes: Sequence[Wish], offers: Mapping[str, Offer], cash_usd: Decimal, most: int
) -> list[Order | Unfit]:
    """At most `most` orders, in the wishes' order, that together cost no more than `cash_usd` less the minimum."""
    room_usd = (cash_usd - task.limits.min_cash_usd) * CASH_MARGIN
    found: list[Order | Unfit] = []
    for wish in wishes:
        if task.limits.unreadable is not None:
            found.append(Unfit(wish, f"the limit {task.limits.unreadable} in the task can't be read"))
            continue
        if most <= 0:
            found.append(Unfit(wish, "the number of orders is used up"))
            continue
        offer = offers[wish.symbol]
        quantity, tightest = _affordable(task, wish, offer, room_usd)
        cost = notional(fill_price(offer.price, "buy"), quantity, "buy")
        if quantity <= 0 or cost < SMALLEST_ORDER_USD:
            found.append(Unfit(wish, f"at {plain(offer.price)} USD nothing fits {tightest}"))
            continue
        room_usd -= cost
        most -= 1
        found.append(Order(wish, quantity))
    return found


def _affordable(task: Task, wish: Wish, offer: Offer, room_usd: Decimal) -> tuple[Decimal, str]:
    """The quantity for the wish within every limit, and the words for the limit that bound it."""
    price = fill_price(offer.price, "buy")
    wished_usd = task.total_usd * exact(round(wish.share, 6))
    caps = [(room_usd, f"{usd(max(room_usd, ZERO))} USD of free cash")]
    limits = task.limits
    if limits.max_order_usd is not None:
        caps.append((limits.max_order_usd * CASH_MARGIN, f"the order limit of {usd(limits.max_order_usd)} USD"))
    if limits.max_position_share is not None:
        held = task.positions[wish.symbol].quantity * offer.price if wish.symbol in task.positions else ZERO
        room = limits.max_position_share * task.total_usd * CASH_MARGIN - held
        caps.append((room, f"the position limit of {plain(limits.max_position_share)} of the account"))
    cap_usd, words = min(caps, key=lambda cap: cap[0])
    quantity = _steps(min(wished_usd, cap_usd) / price, offer.step)
    if quantity <= 0 and price * offer.step <= min(wished_usd * REACH, cap_usd):
        return offer.step, words
    if wished_usd <= cap_usd:
        words = f"the {usd(wished_usd)} USD that the rules would spend"
    return max(quantity, ZERO), words


def smaller_order(refused: Exchange) -> Decimal | None:
    """The quantity that a refusal's sentence says would fit, when it is smaller than what was asked; else None.

    Read from the sentence's last clause, such as `27 would fit` or `27 shares would fit`; money is never a quantity.
    """
    asked, symbol = amount(refused.arguments.get("quantity")), symbol_of(refused.arguments.get("symbol"))
    if asked is None or symbol is None or refused.error is None:
        return None
    units = rf"(?: (?:shares?|units?|coins?|{re.escape(symbol)}))?"
    found = re.search(rf"(\d[\d,]*(?:\.\d+)?){units} would fit", refused.error.rpartition(";")[2])
    fits = amount(found[1].replace(",", "")) if found else None
    return fits if fits is not None and 0 < fits < asked else None


def _steps(quantity: Decimal, step: Decimal) -> Decimal:
    """`quantity` rounded down to a multiple of `step`."""
    with localcontext(EXACT):
        return ((quantity / step).to_integral_value(rounding=ROUND_FLOOR) * step).normalize()
