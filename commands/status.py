"""`status` and what the owner asks of a floor: pause, resume, reduce, halt."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC
from decimal import Decimal
from typing import get_args

from commands.standings import standings
from commands.tables import show_table
from database import Store
from ledger.controls import ControlAction, ask, told
from ledger.model_costs import model_use
from market import Market, open_market
from values.clock import iso, wall_now
from values.money import usd
from values.settings import MarketSettings, ScheduleSettings, load


def existing() -> tuple[Store, Market]:
    """The store that is there, and its market. Raises StoreUnusable when there is none: these commands make none."""
    settings = load(MarketSettings)
    store = Store(settings.store_address)
    return store, open_market(store, settings)


def show_status() -> None:
    """The floor, the market and every account, as a table that is wide enough for its text."""
    store, market = existing()
    with closing(store):
        session = market.session()
        print(f"store   {store.address}")
        print(f"floor   {'running: ' + store.floor_holder() if store.is_floor_held() else 'not running'}")
        print(f"market  {market.name.upper()} at {iso(market.clock.now())}, {'open' if session.is_open else 'closed'}")
        print(f"        {session.note}")
        print(_models_line(store))
        show_table(
            ("account", "kind", "model", "state", "value USD", "profit USD", "trades", "refusals", "last action"),
            [
                (
                    row.name,
                    row.kind,
                    row.model,
                    row.state,
                    ("no price" if row.value is None else usd(row.value)) + (" (stale)" if row.is_stale else ""),
                    "no price" if row.profit is None else f"{row.profit:+,.2f}",
                    str(row.fills),
                    str(row.refusals),
                    row.last_action,
                )
                for row in standings(store, market)
            ],
        )


def _models_line(store: Store) -> str:
    cap = Decimal(load(ScheduleSettings).floor_day_cents) / 100
    with store.read() as connection:
        use = model_use(connection, wall_now().astimezone(UTC).date())
    cached = "" if use.cached_share is None else f"; {use.cached_share:.0%} of the tokens read came from caches"
    return f"models  ${usd(use.today_usd)} today (UTC) of ${usd(cap)}{cached}"


def control(action: str, trader: str | None) -> None:
    """Carry out and record what the owner asks for; works with the floor or without."""
    assert action in get_args(ControlAction)
    store, market = existing()
    with closing(store):
        concerned = ask(store, market, action, trader)  # type: ignore[arg-type]
    print(told(action, concerned))  # type: ignore[arg-type]
