"""Where every account stands now: the rows of the floor's table and of `status`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select

from database import Store
from ledger.book import read_book
from ledger.sessions import activity
from ledger.valuation import Valuation, quotes_for
from market import Market
from store import tables


@dataclass(frozen=True, slots=True)
class Standing:
    """USD; `value` and `profit` are None when a holding has no price."""

    name: str
    kind: str
    model: str
    state: str
    value: Decimal | None
    profit: Decimal | None
    fills: int
    refusals: int
    session_cost: Decimal
    last_action: str
    is_stale: bool


def standings(store: Store, market: Market) -> list[Standing]:
    """Traders first, then clients, then baselines, each by name; one snapshot of the store."""
    with store.read() as connection:
        table = tables.accounts.c
        names = connection.execute(select(table.name).order_by(table.name)).scalars().all()
        books = {name: read_book(connection, name) for name in names}
        done = {name: activity(connection, name) for name in names}
    quotes = quotes_for(store, market, sorted({symbol for book in books.values() for symbol in book.holdings}))
    found = []
    for name, book in books.items():
        account, acted = book.account, done[name]
        valuation = Valuation(book, quotes)
        value = valuation.value
        found.append(
            Standing(
                name=name,
                kind=account.kind,
                model={"baseline": "baseline", "client": "client"}.get(account.kind, acted.model or "none yet"),
                state="paused" if account.paused else account.state,
                value=value,
                profit=None if value is None else value - account.deposited,
                fills=acted.fills,
                refusals=acted.refusals,
                session_cost=acted.session_cost_usd,
                last_action=acted.last_action,
                is_stale=valuation.is_stale,
            )
        )
    return sorted(found, key=lambda each: (("trader", "client", "baseline").index(each.kind), each.name))
