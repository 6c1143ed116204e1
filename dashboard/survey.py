"""One look at the floor: the record's figures with the market's prices and hours, as the view that panels show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from dashboard.queries import OpenAccount
from dashboard.record import Record
from dashboard.tally import Tally
from dashboard.view import AccountView, Badge, Header, Position
from database import Store
from ledger.baselines import CASH, EQUAL_WEIGHT, INDEX, index_symbol
from ledger.valuation import Valuation, quotes_for
from market import Market
from personas import Persona
from values.clock import market_day
from values.money import CASH_DECIMALS, ZERO, from_scaled, notional
from values.quote import Quote, Source
from values.schedule import next_run_at

_BADGES: Mapping[str, Badge] = {"simulated": "SIMULATED", "replay": "REPLAY"}
_LIVE: tuple[tuple[Source, Badge], ...] = (("end_of_day", "END OF DAY"), ("delayed", "DELAYED"), ("realtime", "LIVE"))
"""Least fresh first: a badge promises no more than the oldest kind of price keeps."""
_BASELINES = {CASH: ("Cash", "holds its cash"), EQUAL_WEIGHT: ("Equal weight", "all instruments alike")}
NO_MODEL_YET = "none yet"


@dataclass(frozen=True, slots=True)
class House:
    """What the store does not say: who the traders are, how often the floor runs, what models may cost a day."""

    personas: Sequence[Persona] = ()
    every: timedelta = timedelta(hours=1)
    cap_today: Decimal = Decimal(5)
    by_name: Mapping[str, Persona] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name: each for each in self.personas})


def prices(store: Store, record: Record, market: Market) -> dict[str, Quote]:
    """The quotes of all that is held and of the market's index, of one moment."""
    held = {symbol for account in record.accounts.values() for symbol in account.book.holdings}
    index = index_symbol(market)
    return quotes_for(store, market, sorted(held if index is None else held | {index}))


def header(store: Store, record: Record, market: Market, house: House, quotes: Mapping[str, Quote]) -> Header:
    run = store.run()
    now, wall = market.clock.now(), market.clock.wall()
    session = market.session()
    floor = (store.floor_holder() or "another process") if store.is_floor_held() else None
    factor = run.anchor.factor if run.market == "simulated" and wall < run.anchor.fast_until else 1
    next_at = None
    if floor is not None and run.market != "replay":  # a replay's next bar is the floor's to choose
        opens_at = session.next_change if market.minds_closed and not session.is_open else None
        next_at = next_run_at(run.cycle_slot, now, house.every, opens_at)
    badge, stale_for = _badge(run.market, quotes.values(), now)
    return Header(
        badge=badge,
        stale_for_s=stale_for,
        is_open=session.is_open,
        changes_at=session.next_change,
        note=session.note,
        market_time=now,
        wall_time=wall,
        market_seconds_a_second=factor,
        floor=floor,
        cycle=run.cycle,
        running=() if floor is None else tuple(sorted(record.running)),
        next_run_at=next_at,
        next_run_in_s=None if next_at is None else max(0.0, (next_at - now).total_seconds() / factor),
        spent_today=record.spent_on(wall.astimezone(UTC).date()),
        cap_today=house.cap_today,
        has_llm=any(tally.model and not is_rule_based(tally.model) for tally in record.tallies.values()),
    )


def _badge(market: str, quotes: Collection[Quote], now: datetime) -> tuple[Badge, float | None]:
    """What kind of prices these are; with the age of the newest one when all are too old to trade on."""
    if quotes and all(quote.stale for quote in quotes):
        return "STALE", (now - max(quote.as_of for quote in quotes)).total_seconds()
    if market in _BADGES:
        return _BADGES[market], None
    sources = {quote.source for quote in quotes}
    return next((badge for source, badge in _LIVE if source in sources), "END OF DAY"), None


def is_rule_based(model: str) -> bool:
    """Whether a session's model is the house's own, which asks no language model."""
    return model == "house" or model.startswith("house/")


def accounts(
    record: Record, market: Market, house: House, quotes: Mapping[str, Quote], running: Collection[str]
) -> tuple[AccountView, ...]:
    """Every account, the most valuable first; those whose value is not known come last."""
    today = market.clock.now()
    found = [
        _account(name, account, record, house, quotes, today, name in running, index_symbol(market))
        for name, account in record.accounts.items()
    ]
    return tuple(sorted(found, key=lambda each: (each.value is None, -(each.value or ZERO), each.name)))


def _account(
    name: str,
    account: OpenAccount,
    record: Record,
    house: House,
    quotes: Mapping[str, Quote],
    now: datetime,
    is_running: bool,
    index: str | None,
) -> AccountView:
    own, tally = account.book.account, record.tallies[name]
    valuation = Valuation(account.book, quotes)
    value = valuation.value
    opening = _opening(account, tally, now, value)
    today = None if value is None or opening is None else value - opening
    title, style = _who(name, house, index)
    model = {"baseline": "baseline", "client": "client"}.get(own.kind) or tally.model or NO_MODEL_YET
    return AccountView(
        name=name,
        title=title,
        role=own.kind,
        style=style,
        model=model,
        is_rule_based=is_rule_based(model),
        state="running" if is_running else "paused" if own.paused else own.state,
        state_reason=own.state_reason,
        cash=own.cash,
        deposited=own.deposited,
        value=value,
        is_stale=valuation.is_stale,
        realised=own.realised,
        today=today,
        today_share=None if today is None or not opening else float(today / opening),
        largest_fall=tally.series.largest_fall,
        sharpe=tally.series.sharpe,
        days=tally.series.days,
        trades=tally.trades,
        sales=tally.sales,
        win_rate=tally.win_rate,
        spread_paid=tally.spread_paid,
        refusals=tally.refusals,
        model_cost=tally.model_cost,
        input_tokens=tally.input_tokens,
        cached_tokens=tally.cached_tokens,
        output_tokens=tally.output_tokens,
        points=tally.series.points,
        positions=tuple(_positions(valuation, value)),
        transactions=tally.transactions.rows,
        decisions=tally.decisions.rows,
        strategy=own.strategy,
        strategy_change=record.strategy_changes.get(name),
        limits=record.limits.get(name, {}),
    )


def _opening(account: OpenAccount, tally: Tally, now: datetime, value: Decimal | None) -> Decimal | None:
    """What the account was worth when its trading day opened, by the rule of `ledger/day.py`, written or not."""
    today = market_day(now)
    if account.day == today:
        return value if account.day_value is None else account.day_value
    before = tally.series.opening(today)
    return value if before is None else from_scaled(before, CASH_DECIMALS)


def _who(name: str, house: House, index: str | None) -> tuple[str, str]:
    """How an account is called and what it is like."""
    if name in house.by_name:
        return house.by_name[name].title, house.by_name[name].style
    if name == INDEX:
        return index or "Index", f"buys {index or 'the index'} and holds it"
    return _BASELINES.get(name, (name, ""))


def _positions(valuation: Valuation, total: Decimal | None) -> Iterable[Position]:
    for holding in valuation.book.holdings.values():
        quote = valuation.quotes.get(holding.symbol)
        value = None if quote is None else notional(quote.price, holding.quantity)
        yield Position(
            symbol=holding.symbol,
            quantity=holding.quantity,
            average_cost=holding.average_cost,
            cost=holding.cost,
            price=None if quote is None else quote.price,
            value=value,
            weight=None if value is None or not total else float(value / total),
            profit=None if value is None else value - holding.cost,
            as_of=None if quote is None else quote.as_of,
            source=None if quote is None else quote.source,
            is_stale=quote is not None and quote.stale,
        )
