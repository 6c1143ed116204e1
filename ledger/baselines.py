"""The baselines that traders are measured against: accounts of their own that trade through the same fills.

    baseline-cash           holds its cash
    baseline-equal-weight   all instruments alike at the first cycle, made equal again at each new month
    baseline-index          buys SPY, else QQQ, else BTC, at the first cycle and holds; left out where there is none

They hold fractions, pay the same spread and have no limits.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from sqlalchemy import select

from accounts import Account, open_account
from database import Store, read_account
from ledger.corporate_actions import look
from ledger.valuation import quotes_for, valuate
from market import Market
from store import tables
from values.clock import market_day
from values.errors import Refused, VenueUnavailable
from values.instrument import FRACTION
from values.money import EXACT, affordable, fill_price, notional

CASH = "baseline-cash"
EQUAL_WEIGHT = "baseline-equal-weight"
INDEX = "baseline-index"
_INDEX_CHOICES = ("SPY", "QQQ")
_BAND = Decimal("0.0005")
"""A rebalancing trade smaller than this share of the account's value is not worth its spread."""


def index_symbol(market: Market) -> str | None:
    """The instrument that stands for the market."""
    listed = [instrument.symbol for instrument in market.venue.instruments()]
    for choice in _INDEX_CHOICES:
        if choice in listed:
            return choice
    return next((symbol for symbol in listed if symbol.startswith("BTC-")), None)


def open_baselines(store: Store, market: Market) -> list[str]:
    """Open those that are missing; a sentence for each that can't be."""
    index = index_symbol(market)
    wanted = {
        CASH: "Hold cash.",
        EQUAL_WEIGHT: "Hold every instrument alike; make them equal again each month.",
    }
    sentences = []
    if index is None:
        sentences.append(f"{INDEX} is left out: this market lists none of SPY, QQQ and BTC")
    else:
        wanted[INDEX] = f"Buy {index} and hold it."
    for name, strategy in wanted.items():
        if read_account(store, name) is None:
            open_account(store, market, name, strategy=strategy, kind="baseline", actor="baseline")
    return sentences


def run_baselines(store: Store, market: Market) -> list[str]:
    """What the baselines do this cycle; a sentence for each order that was refused."""
    return [*_run_index(store, market), *_run_equal_weight(store, market)]


def _run_index(store: Store, market: Market) -> list[str]:
    symbol = index_symbol(market)
    if symbol is None or read_account(store, INDEX) is None or _last_trade_month(store, INDEX) is not None:
        return []
    if not market.session(symbol).is_open:
        return []
    account = Account(store, market, INDEX, "baseline")
    try:
        quantity = _affordable(account.record().cash, market.get_share_price(symbol))
    except VenueUnavailable as error:
        return [f"{INDEX} waits for a price of {symbol}: {error}"]
    return _order(account, "buy", symbol, quantity, "buy and hold")


def _run_equal_weight(store: Store, market: Market) -> list[str]:
    now = market.clock.now()
    today = market_day(now)
    if read_account(store, EQUAL_WEIGHT) is None or _last_trade_month(store, EQUAL_WEIGHT) == (today.year, today.month):
        return []
    account = Account(store, market, EQUAL_WEIGHT, "baseline")
    tradable = [each.symbol for each in market.venue.instruments() if market.venue.session(now, each.symbol).is_open]
    quotes = {symbol: quote for symbol, quote in quotes_for(store, market, tradable).items() if not quote.stale}
    try:
        sentences = look(store, market, tuple(quotes))  # of all at once, before each order asks for its own
    except VenueUnavailable as error:
        return [f"{EQUAL_WEIGHT} waits until it is known what was split: {error}"]
    valuation = valuate(store, market, EQUAL_WEIGHT)
    if not quotes or valuation.value is None:
        return sentences
    share = valuation.value / len(quotes)
    changes = []
    for symbol, quote in quotes.items():
        held = valuation.book.held(symbol).quantity
        changes.append((share - notional(quote.price, held), symbol, quote.price))
    for difference, symbol, price in sorted(changes):  # sales first, so that there is cash for the buys
        if abs(difference) < valuation.value * _BAND:
            continue
        if difference < 0:
            held = valuation.book.held(symbol).quantity
            sentences += _order(account, "sell", symbol, min(held, _units(-difference, price)), "monthly rebalance")
        else:
            budget = min(difference, account.record().cash)
            sentences += _order(account, "buy", symbol, _affordable(budget, price), "equal weight")
    return sentences


def _last_trade_month(store: Store, name: str) -> tuple[int, int] | None:
    table = tables.transactions.c
    with store.read() as connection:
        last = connection.execute(
            select(table.market_time)
            .where(table.account == name, table.kind.in_(("buy", "sell")))
            .order_by(table.id.desc())
            .limit(1)
        ).scalar_one_or_none()
    return None if last is None else (last.year, last.month)


def _units(amount: Decimal, price: Decimal) -> Decimal:
    return EXACT.divide(amount, price).quantize(FRACTION, rounding=ROUND_FLOOR, context=EXACT)


def _affordable(budget: Decimal, quote_price: Decimal) -> Decimal:
    """The most units that `budget` buys with the spread."""
    return affordable(budget, fill_price(quote_price, "buy"), FRACTION)


def _order(account: Account, side: str, symbol: str, quantity: Decimal, why: str) -> list[str]:
    if quantity <= 0:
        return []
    trade = account.buy_shares if side == "buy" else account.sell_shares
    try:
        trade(symbol, quantity, why)
    except Refused as refusal:
        return [f"{account.name}: {refusal.sentence}"]
    return []
