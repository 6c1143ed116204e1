"""A session a turn at a time: look, read histories, ask prices, sell, buy, put on record, appraise.

`next_reply` answers a conversation with the calls that are still to make, or with the closing text. Nothing is asked
twice but an order that was refused with what would fit, once; unreminded, a session takes twelve replies at most.
"""

from __future__ import annotations

from collections.abc import Callable

from model_clients.rulebooks.appraisal import appraise, decisions, rationale
from model_clients.rulebooks.conversation import Call, Conversation
from model_clients.rulebooks.rulebook import Rulebook
from model_clients.rulebooks.session import Session, with_record
from model_clients.rulebooks.sizing import Order, Unfit, smaller_order
from model_clients.rulebooks.task import symbol_of
from values.money import plain

LISTING_PAGE = 200
QUOTES_MAX = 8

NO_TASK = (
    "This is a rule-based model: it reads a trading task, which is text with a JSON block of session and account. "
    "There is none in this conversation, so there is nothing to decide."
)


def next_reply(rules: Rulebook, talk: Conversation) -> list[Call] | str:
    """The next calls, or the session's closing text."""
    if talk.task is None:
        return NO_TASK
    session = Session(rules, talk, with_record(talk.task, talk))
    return _next_calls(session) or appraise(session)


def _next_calls(session: Session) -> list[Call]:
    """The calls to make now; none when only the closing text is left, or too few turns are for anything else."""
    turns_left = session.task.turn_limit - session.talk.turns_used
    steps: tuple[tuple[int, Callable[[Session], list[Call]]], ...] = (
        (6, _list_instruments),
        (6, _try_intervals),
        (5, _read_histories),
        (4, _ask_prices),
        (3, _sell),
        (3, _buy),
        (2, _record),
    )
    for turns_needed, step in steps:
        if turns_left >= turns_needed and (calls := step(session)):
            return calls
    return []


def _list_instruments(session: Session) -> list[Call]:
    """What is listed, and the account's record, of which the task tells a part only.

    Of a market beyond one page a second page, and the funds and coins, which may be beyond both.
    """
    talk = session.talk
    if not session.may_trade or "find_symbols" not in talk.offered:
        return []
    pages = talk.made("find_symbols")
    if not pages:
        first = [talk.call("find_symbols", limit=LISTING_PAGE)]
        if "get_market_status" in talk.offered:
            first.append(talk.call("get_market_status"))
        if "get_transactions" in talk.offered:
            first.append(talk.call("get_transactions", name=session.task.account))
        return first
    cursor = (pages[0].answer or {}).get("next_cursor")
    if len(pages) > 1 or not isinstance(cursor, str) or not cursor:
        return []
    return [
        talk.call("find_symbols", limit=LISTING_PAGE, cursor=cursor),
        talk.call("find_symbols", limit=LISTING_PAGE, kind="etf"),
        talk.call("find_symbols", limit=LISTING_PAGE, kind="coin"),
    ]


def _try_intervals(session: Session) -> list[Call]:
    """A few days and hours first, which tell the interval that this market has enough of."""
    if session.talk.made("get_price_history"):
        return []
    ends = tuple(dict.fromkeys((*session.to_read[:1], *session.to_read[-1:])))
    return [*_histories(session, ends, "day"), *_histories(session, ends[-1:], "hour")]


def _read_histories(session: Session) -> list[Call]:
    """The histories that are still missing in that interval; none when nothing was answered at all."""
    made, interval = session.talk.made("get_price_history"), session.interval
    if all(exchange.answer is None for exchange in made):
        return []
    asked = [symbol_of(one.arguments.get("symbol")) for one in made if one.arguments.get("interval") == interval]
    return _histories(session, tuple(one for one in session.to_read if one not in asked), interval)


def _histories(session: Session, symbols: tuple[str, ...], interval: str) -> list[Call]:
    if "get_price_history" not in session.talk.offered:
        return []
    count = session.rules.day_bars if interval == "day" else session.rules.hour_bars
    return [session.talk.call("get_price_history", symbol=symbol, interval=interval, count=count) for symbol in symbols]


def _ask_prices(session: Session) -> list[Call]:
    talk = session.talk
    if "lookup_share_price" not in talk.offered or talk.made("lookup_share_price"):
        return []
    wanted = [wish.symbol for wish in session.plan.wishes if session.hindrance(wish) is None]
    return [talk.call("lookup_share_price", symbol=symbol) for symbol in wanted[:QUOTES_MAX]]


def _sell(session: Session) -> list[Call]:
    return _order(session, "sell_shares", lambda: session.sells)


def _buy(session: Session) -> list[Call]:
    return _order(session, "buy_shares", lambda: session.buys)


def _order(session: Session, tool: str, sized: Callable[[], list[Order | Unfit]]) -> list[Call]:
    """The orders with that tool; once they are made, those refused ones again whose refusal said what would fit."""
    made = session.talk.made(tool)
    if not made:
        return [_order_call(session, order) for order in sized() if isinstance(order, Order)]
    tried = [symbol_of(exchange.arguments.get("symbol")) for exchange in made]
    again = []
    for exchange, symbol in zip(made, tried, strict=True):
        fits = smaller_order(exchange) if tried.count(symbol) == 1 else None
        if fits is not None:
            again.append(session.talk.call(tool, **{**exchange.arguments, "quantity": plain(fits)}))
    return again


def _order_call(session: Session, order: Order) -> Call:
    return session.talk.call(
        f"{order.wish.side}_shares",
        name=session.task.account,
        symbol=order.wish.symbol,
        quantity=plain(order.quantity),
        rationale=rationale(session, order.wish.reason),
    )


def _record(session: Session) -> list[Call]:
    """The decisions, once; where none of them was taken, once more for each reminder."""
    if "record_decision" not in session.talk.offered:
        return []
    calls, made = decisions(session), session.talk.made("record_decision")
    if any(exchange.answer is not None for exchange in made) or len(made) > session.talk.reminders * len(calls):
        return []
    return calls
