"""`trading-floor accounts`: the owner's view of the books."""

from __future__ import annotations

import csv
import sys
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from sqlalchemy import select

from accounts import Account, account_limits, change_limit, list_accounts, open_account
from commands.standings import standings
from commands.status import existing
from commands.tables import one_line, show_table
from database import Store
from ledger.book import read_book
from ledger.limits import as_shown
from ledger.reconcile import reconcile
from market import open_market, open_store
from store import tables
from values.clock import iso
from values.errors import Refused
from values.money import STARTING_BALANCE, plain, usd
from values.names import normalise_name
from values.settings import MarketSettings, load

COLUMNS = (
    "id", "account", "kind", "symbol", "quantity", "price", "amount", "realised", "cash_after", "quote_price",
    "quote_as_of", "source", "rationale", "order_key", "session_id", "actor", "market_time", "wall_time",
    "ex_date", "units_change", "to_symbol",
)  # fmt: skip


def list_all() -> None:
    store, market = existing()
    with closing(store):
        for row in standings(store, market):
            value = "no price" if row.value is None else usd(row.value)
            profit = "no price" if row.profit is None else f"{row.profit:+,.2f}"
            print(f"{row.name:<32} {row.kind:<9} {row.state:<9} {value:>14} USD {profit:>12} USD {row.fills:>6} trades")


def open_one(name: str) -> None:
    settings = load(MarketSettings)
    store = open_store(settings)
    with closing(store):
        account = open_account(store, open_market(store, settings), name)
        print(
            f"{account.name} is open with {usd(STARTING_BALANCE)} USD; "
            f"trade with `accounts-server --account {account.name}`"
        )


def show_one(name: str) -> None:
    store, market = existing()
    with closing(store):
        report = Account(store, market, normalise_name(name)).report()
        print(f"{report.name} ({report.state}{': ' + report.state_reason if report.state_reason else ''})")
        print(f"  market    {report.market} at {report.market_time}")
        print(f"  cash      {report.balance} USD")
        print(f"  value     {report.total_portfolio_value or 'no price'} USD")
        print(f"  profit    {report.total_profit_loss or 'no price'} USD ({report.realised_profit} realised)")
        print(f"  limits    {', '.join(f'{key} {value}' for key, value in report.limits.items() if value) or 'none'}")
        print(f"  strategy  {one_line(report.strategy)}")
        if report.positions:
            show_table(
                ("symbol", "quantity", "average cost", "price", "value", "weight", "profit"),
                [
                    (
                        each.symbol,
                        each.quantity,
                        each.average_cost,
                        (each.price or "no price") + (" (stale)" if each.stale else ""),
                        each.value or "",
                        "" if each.weight is None else f"{float(each.weight):.1%}",
                        each.unrealised_profit or "",
                    )
                    for each in report.positions
                ],
            )
        show_table(
            ("id", "market time", "kind", "symbol", "quantity", "price", "amount", "rationale"),
            [
                (
                    str(row.id),
                    row.market_time[:16],
                    row.kind,
                    row.symbol or "",
                    row.quantity or "",
                    row.price or "",
                    row.amount,
                    row.rationale,
                )
                for row in report.transactions[:10]
            ],
        )


def reconcile_all() -> int:
    """Print every difference; 1 when there is one."""
    store, _ = existing()
    with closing(store), store.read() as connection:
        count = 0
        for difference in reconcile(connection):
            print(difference)
            count += 1
        accounts = len(list_accounts(store))
    print(f"{accounts} accounts, {count} differences")
    return 1 if count else 0


def export_csv(name: str | None, output: Path | None) -> None:
    """Raises Refused `exists` rather than overwrite, and `no_file`; a file that can't be written whole is removed."""
    store, _ = existing()
    with closing(store):
        whose = None if name is None else normalise_name(name)
        if output is None:
            _write_csv(store, whose, sys.stdout)
            return
        try:
            stream = output.open("x", newline="", encoding="utf-8")
        except FileExistsError:
            raise Refused("exists", f"{output} exists already; name a new file") from None
        except OSError as error:
            raise Refused("no_file", f"{output} can't be written: {error.strerror}") from None
        try:
            with stream:
                _write_csv(store, whose, stream)
        except BaseException as error:
            output.unlink()
            if isinstance(error, OSError):
                raise Refused("no_file", f"{output} can't be written: {error.strerror}") from error
            raise


def _write_csv(store: Store, name: str | None, stream: TextIO) -> None:
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    query = select(*(tables.transactions.c[column] for column in COLUMNS)).order_by(tables.transactions.c.id)
    with store.read() as connection:
        if name is not None:
            read_book(connection, name)
            query = query.where(tables.transactions.c.account == name)
        for row in connection.execution_options(yield_per=1_000).execute(query):
            writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> str:
    """CSV text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return iso(value)
    text = str(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def backup_store(target: Path) -> None:
    store, _ = existing()
    with closing(store):
        store.backup(target.absolute())
    print(f"a consistent copy of {store.address} is at {target.absolute()}")


def limits_of(name: str, key: str | None, value: str | None) -> None:
    store, _ = existing()
    name = normalise_name(name)
    with closing(store):
        if key is not None and value is not None:
            change_limit(store, name, key, value)
        elif key is not None:
            print(f"give a value for {key}, or `off`", file=sys.stderr)
            raise SystemExit(2)
        for each, limit in as_shown(account_limits(store, name)).items():
            print(f"{each:<24} {limit or 'off'}")
