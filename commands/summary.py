"""The closing table of a run: what each account came to, beside the baselines. It is no ranking."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from accounts import list_accounts
from analysis.performance import max_drawdown
from database import Store
from store import tables
from values.money import usd


def summary_lines(store: Store) -> Iterator[str]:
    """Plain lines: final value, return, trades, refusals and largest fall of each account, from recorded values."""
    values, trades, refused = tables.portfolio_values.c, tables.transactions.c, tables.refusals.c
    heading = f"{'account':<24}{'final value USD':>16}{'return':>10}{'trades':>8}{'refusals':>10}{'largest fall':>14}"
    rows = []
    with store.read() as connection:
        for account in sorted(list_accounts(store), key=lambda each: (each.kind == "baseline", each.name)):
            series = (
                connection.execute(select(values.value).where(values.account == account.name).order_by(values.id))
                .scalars()
                .all()
            )
            if not series:
                continue
            fills = connection.execute(
                select(func.count()).where(trades.account == account.name, trades.kind.in_(("buy", "sell")))
            ).scalar_one()
            refusals = connection.execute(select(func.count()).where(refused.account == account.name)).scalar_one()
            gain = float(series[-1] / account.deposited - 1)
            fall = max_drawdown([float(account.deposited), *map(float, series)])
            rows.append(f"{account.name:<24}{usd(series[-1]):>16}{gain:>+10.2%}{fills:>8}{refusals:>10}{fall:>14.2%}")
    if rows:
        yield heading
        yield from rows
        yield f"{store.run().cycle} cycles; values at the last recorded prices. A short run is no evidence of skill."
