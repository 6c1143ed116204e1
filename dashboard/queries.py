"""What the dashboard asks of the store: rows for what is shown, whole numbers for what is added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Table, case, func, literal, select, type_coerce

from dashboard.view import Decision, LogLine, Notification, PartLine, StrategyChange, Trade
from database import AccountRecord
from ledger.book import Book, Holding
from store import tables

NOTIFICATIONS_KEPT = 200
SESSIONS_LOOKED_AT = 20
"""Of each account, the newest: so many can't begin between two looks."""
LOGS_LOOKED_THROUGH = 20_000
"""How far back the first look goes for tool calls."""
_PART = 5_000
_LATE = timedelta(hours=2)
"""A session's model calls are written when it ends, an hour after they were made at most."""
_INT64_MAX, _SPLIT = 2**63 - 1, 10**9
FILLS = ("buy", "sell")
ENDED_BADLY = ("failed", "timed_out", "over_budget", "halted", "interrupted")


def raw(column: Column[Any]) -> Any:
    """A decimal column as the whole number that the store keeps."""
    return type_coerce(column, BigInteger).label(f"raw_{column.name}")


def _columns(table: Table, kind: type[Any], *more: str) -> list[Column[Any]]:
    return [table.c[name] for name in (*(field.name for field in fields(kind)), *more)]


_T, _V, _M, _S = tables.transactions.c, tables.portfolio_values.c, tables.model_calls.c, tables.sessions.c
_RAW_FILL = (raw(_T.price), raw(_T.quote_price), raw(_T.quantity), raw(_T.realised))
TRADES = select(*_columns(tables.transactions, Trade), *_RAW_FILL)
DECISIONS = select(*_columns(tables.decisions, Decision, "account"))
LOGS = select(*_columns(tables.logs, LogLine, "account"))
PARTS = select(*_columns(tables.parts, PartLine)).order_by(tables.parts.c.place)
NOTIFICATIONS = select(*_columns(tables.notifications, Notification))
VALUES = select(_V.id, _V.account, raw(_V.value), _V.market_time)
REFUSALS = select(
    *(tables.refusals.c[name] for name in ("id", "account", "tool", "code", "sentence", "session_id", "wall_time"))
)
MODEL_CALLS = select(
    _M.id, _M.account, raw(_M.cost_usd), _M.input_tokens, _M.cached_tokens, _M.output_tokens, _M.wall_time
)
SESSIONS = select(_S.id, _S.account, _S.model, _S.outcome, _S.reason, _S.wall_time, _S.ended_wall_time)


_NAMES = {
    kind: tuple(field.name for field in fields(kind))
    for kind in (AccountRecord, Decision, LogLine, Notification, PartLine, StrategyChange, Trade)
}


def of(kind: type[Any], row: Any) -> Any:
    """The row as one of the view's values, which have the columns' names."""
    return kind(*(getattr(row, name) for name in _NAMES[kind]))


def streamed(connection: Connection, query: Any) -> Iterator[Any]:
    """All rows, some thousand at a time."""
    for part in connection.execute(query.execution_options(yield_per=_PART)).partitions():
        yield from part


@dataclass(frozen=True, slots=True)
class Fills:
    """An account's buys, or sales, of one symbol: their number, how many won, and the spread they paid in 1e-16 USD."""

    account: str
    kind: str
    symbol: str
    count: int
    wins: int
    spread: int


def all_fills(connection: Connection) -> list[Fills]:
    """Every fill of the record, added up by the database; products that 64 bits can't hold are multiplied here."""
    key = (_T.account, _T.kind, _T.symbol)
    price, quote_price, quantity, realised = (
        type_coerce(column, BigInteger) for column in (_T.price, _T.quote_price, _T.quantity, _T.realised)
    )
    gap = func.coalesce(func.abs(price - quote_price), 0)
    fits = quantity <= literal(_INT64_MAX, BigInteger) // case((gap == 0, 1), else_=gap)
    paid = case((fits, gap * quantity), else_=0)
    wins = func.sum(case((realised > 0, 1), else_=0))
    sums = select(*key, func.count(), wins, func.sum(paid // _SPLIT), func.sum(paid % _SPLIT))
    found = {}
    for account, kind, symbol, count, won, high, low in connection.execute(
        sums.where(_T.kind.in_(FILLS)).group_by(*key)
    ):
        spread = int(high) * _SPLIT + int(low)
        found[account, kind, symbol] = Fills(account, kind, symbol, count, int(won), spread)
    for *whose, distance, units in connection.execute(select(*key, gap, quantity).where(_T.kind.in_(FILLS), ~fits)):
        known = found[tuple(whose)]
        found[tuple(whose)] = replace(known, spread=known.spread + distance * units)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account now; `day_value` is what it was worth when `day` opened, None when nobody has said."""

    book: Book
    raw_deposited: int
    day: date | None
    day_value: Decimal | None


def open_accounts(connection: Connection) -> dict[str, OpenAccount]:
    table, held = tables.accounts.c, tables.holdings.c
    holdings: dict[str, dict[str, Holding]] = {}
    for row in connection.execute(select(tables.holdings).order_by(held.account, held.symbol)):
        holdings.setdefault(row.account, {})[row.symbol] = Holding(row.symbol, row.quantity, row.cost)
    own = _columns(tables.accounts, AccountRecord)
    query = select(*own, raw(table.deposited), table.day, table.day_open_value).order_by(table.name)
    return {
        row.name: OpenAccount(
            Book(of(AccountRecord, row), holdings.get(row.name, {})), row.raw_deposited, row.day, row.day_open_value
        )
        for row in connection.execute(query)
    }


def newest_of(connection: Connection, query: Any, table: Table, account: str, limit_rows: int) -> list[Any]:
    """The account's rows with the highest ids."""
    mine = query.where(table.c.account == account).order_by(table.c.id.desc()).limit(limit_rows)
    return list(connection.execute(mine).all())


def newest_calls(connection: Connection, newest_log: int, limit_rows: int) -> list[Any]:
    """The newest tool calls among the newest log rows, oldest first."""
    table = tables.logs.c
    query = LOGS.where(table.id > newest_log - LOGS_LOOKED_THROUGH, table.type == "function")
    return list(reversed(connection.execute(query.order_by(table.id.desc()).limit(limit_rows)).all()))


def newest_sessions(connection: Connection, account: str) -> list[Any]:
    mine = SESSIONS.where(_S.account == account).order_by(_S.wall_time.desc()).limit(SESSIONS_LOOKED_AT)
    return list(connection.execute(mine).all())


def sessions_that_ended_badly(connection: Connection, limit_rows: int) -> list[Any]:
    query = SESSIONS.where(_S.outcome.in_(ENDED_BADLY)).order_by(_S.ended_wall_time.desc()).limit(limit_rows)
    return list(connection.execute(query).all())


def strategy_changes(connection: Connection, accounts: Iterable[str]) -> dict[str, StrategyChange]:
    """How each account came to its present strategy."""
    table = tables.strategies.c
    found = {}
    for name in accounts:
        query = select(*_columns(tables.strategies, StrategyChange)).where(table.account == name)
        row = connection.execute(query.order_by(table.id.desc()).limit(1)).one_or_none()
        if row is not None:
            found[name] = of(StrategyChange, row)
    return found


def model_use(connection: Connection) -> list[Any]:
    """Cost and tokens by account, of all time."""
    sums = [
        func.sum(column).label(name)
        for name, column in (
            ("cost", raw(_M.cost_usd)), ("read", _M.input_tokens), ("cached", _M.cached_tokens),
            ("written", _M.output_tokens),
        )
    ]  # fmt: skip
    return list(connection.execute(select(_M.account, *sums).group_by(_M.account)).all())


def spent_since(connection: Connection, day: datetime) -> int:
    """What model calls have cost since `day` began, in 1e-6 USD. Reads no more than they are."""
    before = select(_M.id).where(_M.wall_time < day - _LATE).order_by(_M.id.desc()).limit(1)
    last = connection.execute(before).scalar_one_or_none() or 0
    query = select(func.sum(raw(_M.cost_usd))).where(_M.id > last, _M.wall_time >= day)
    return int(connection.execute(query).scalar_one() or 0)


def refusal_counts(connection: Connection, accounts: Sequence[str]) -> dict[str, int]:
    table = tables.refusals.c
    query = select(table.account, func.count()).where(table.account.in_(accounts)).group_by(table.account)
    return {row[0]: row[1] for row in connection.execute(query)}


def signs_of_change(connection: Connection) -> tuple[Any, ...]:
    """What differs once anything but a log row has changed: small enough to be asked twice a second."""
    newest = [
        select(func.max(table.c.id)).scalar_subquery()
        for table in (
            tables.transactions, tables.portfolio_values, tables.model_calls, tables.refusals, tables.decisions,
            tables.strategies, tables.limits, tables.controls,
        )
    ]  # fmt: skip
    table, run = tables.accounts.c, tables.run.c
    return (
        tuple(connection.execute(select(run.made_at, run.cycle, run.factor, *newest)).one()),
        tuple(connection.execute(select(_S.id).where(_S.outcome == "open").order_by(_S.id)).scalars()),
        tuple(
            tuple(row) for row in connection.execute(select(table.name, table.state, table.paused).order_by(table.name))
        ),
    )
