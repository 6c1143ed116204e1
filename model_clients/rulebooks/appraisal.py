"""What a session puts on record at its end: one decision for each order and each symbol left alone, and a short text.

Every word is the rules' own: the account's strategy and rationales are never repeated. Both say that they are
rule-based, and what the market lacks for the rulebook's field.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from model_clients.rulebooks.conversation import Call, Exchange
from model_clients.rulebooks.rulebook import Hold, Wish
from model_clients.rulebooks.session import Session, typical_bars
from model_clients.rulebooks.sizing import Unfit
from model_clients.rulebooks.task import amount, symbol_of
from values.money import plain, usd

RATIONALE_CHARS_MAX = 400
HOLDS_MAX = 2
NEEDED_TOOLS = ("find_symbols", "get_price_history", "lookup_share_price", "buy_shares", "sell_shares")


def rationale(session: Session, reason: str) -> str:
    """A reason as it is put on record: labelled as a rule's, with what the market lacks for these rules."""
    note = f" ({session.reading.note})" if session.reading.note else ""
    return f"Rule-based, {session.rules.name}: {reason}{note}"[:RATIONALE_CHARS_MAX]


def decisions(session: Session) -> list[Call]:
    """A `record_decision` for each order's outcome, then for what was left alone: at least one where any is known."""
    calls = []
    for order in _outcomes(session).values():
        wish = _wish_of(session, order)
        if wish is not None and order.answer is not None:
            calls.append(_decision(session, wish.side, wish))
    for hold in _holds(session):
        calls.append(_decision(session, "hold", hold))
    return calls


def appraise(session: Session) -> str:
    """The closing text: what was seen, done and left alone, with figures."""
    parts = [f"Rule-based appraisal ({session.rules.name} rulebook, no language model)."]
    histories = session.histories
    if histories:
        interval = next(iter(histories.values())).interval
        parts.append(
            f"Read {len(histories)} of {len(session.listed)} listed instruments, "
            f"typically {typical_bars(histories):.0f} {interval} bars each."
        )
    parts.append(f"Saw: {session.plan.outlook}.")
    if session.reading.note:
        parts.append(f"Note: {session.reading.note}.")
    outcomes = list(_outcomes(session).values())
    done = [_done(session, order) for order in outcomes if order.answer is not None]
    parts.append(f"Did: {'; '.join(done)}." if done else "Did: no order was filled.")
    parts.extend(f"Left alone: {hold.symbol}, {hold.reason}." for hold in _holds(session))
    problems = _problems(session)
    if problems:
        parts.append(f"Problems: {'; '.join(problems)}.")
    parts.append(f"Cash is now {usd(_cash(session))} USD; the session began at {usd(session.task.total_usd)} USD.")
    return " ".join(parts)


def _decision(session: Session, action: str, about: Wish | Hold) -> Call:
    return session.talk.call(
        "record_decision",
        name=session.task.account,
        symbol=about.symbol,
        action=action,
        confidence=round(about.confidence, 2),
        horizon_days=about.horizon_days,
        rationale=rationale(session, about.reason),
    )


def _outcomes(session: Session) -> dict[tuple[str, str | None], Exchange]:
    """The last try of each order."""
    return {(order.tool, symbol_of(order.arguments.get("symbol"))): order for order in session.orders}


def _wish_of(session: Session, order: Exchange) -> Wish | None:
    asked = order.tool.removesuffix("_shares"), symbol_of(order.arguments.get("symbol"))
    return next((wish for wish in session.plan.wishes if (wish.side, wish.symbol) == asked), None)


def _holds(session: Session) -> list[Hold]:
    """Wishes that came to nothing first, then the rulebook's own; one a symbol, none for what was traded."""
    refused, traded = [], set()
    for order in _outcomes(session).values():
        wish = _wish_of(session, order)
        if wish is not None and order.answer is not None:
            traded.add(wish.symbol)
        elif wish is not None:
            outcome = "the order was refused" if order.code else "the order has an unknown outcome"
            refused.append(_held_back(wish, f"{outcome}: {order.error}"))
    candidates = [*refused, *_unordered(session), *session.plan.holds]
    if not any(hold.symbol not in traded for hold in candidates):
        known = (*session.task.positions, *session.to_read, *sorted(session.listed))
        spare = next((symbol for symbol in known if symbol not in traded), None)
        candidates = [Hold(spare, 0.5, 1, "the rules ask for nothing here")] if spare else []
    found: dict[str, Hold] = {}
    for hold in candidates:
        if hold.symbol not in traded:
            found.setdefault(hold.symbol, hold)
    return list(found.values())[:HOLDS_MAX]


def _unordered(session: Session) -> list[Hold]:
    """Wishes that became no order, each with what stood against it."""
    tried = {symbol for _, symbol in _outcomes(session)}
    unfit: dict[str, str] = {}
    for sized in (*session.sells, *session.buys):
        if isinstance(sized, Unfit):
            unfit[sized.wish.symbol] = sized.reason
    found = []
    for wish in session.plan.wishes:
        if wish.symbol not in tried:
            because = session.hindrance(wish) or unfit.get(wish.symbol) or "there is no fresh price"
            found.append(_held_back(wish, because))
    return found


def _held_back(wish: Wish, because: str) -> Hold:
    return Hold(wish.symbol, wish.confidence, wish.horizon_days, f"would {wish.side} ({wish.reason}), but {because}")


def _done(session: Session, order: Exchange) -> str:
    answer, arguments = order.answer or {}, order.arguments
    verb = "bought" if order.tool == "buy_shares" else "sold"
    price, spent = amount(answer.get("price")), amount(answer.get("amount"))
    at = f" at {plain(price)}" if price is not None else ""
    total = f" for {usd(abs(spent))} USD" if spent is not None else ""
    wish = _wish_of(session, order)
    why = f", because {wish.reason}" if wish else ""
    return f"{verb} {arguments.get('quantity')} {arguments.get('symbol')}{at}{total}{why}"


def _cash(session: Session) -> Decimal:
    """Cash after the orders: what it was, and the amounts that the fills' answers name."""
    cash = session.task.cash_usd
    for order in session.orders:
        moved = amount((order.answer or {}).get("amount"))
        if moved is not None:
            cash += -abs(moved) if order.tool == "buy_shares" else abs(moved)
    return cash


def _problems(session: Session) -> list[str]:
    """Tools that are not offered, and calls that failed, each tool once."""
    offered = session.talk.offered
    # a closing text may be asked for without any tools after a session that had them
    missing = [tool for tool in NEEDED_TOOLS if tool not in offered] if offered or not session.talk.exchanges else []
    found = [f"{', '.join(missing)} not offered"] if missing and session.may_trade else []
    failed = [exchange for exchange in session.talk.exchanges if exchange.error and exchange.code != "bad_interval"]
    for tool, times in Counter(exchange.tool for exchange in failed).items():
        first = next(exchange.error for exchange in failed if exchange.tool == tool)
        found.append(f"{tool} failed {times} times, first with: {first}")
    return found
