"""Recomputes what models cost from the record: each call by its rates, each session and each day by its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal

from sqlalchemy import Connection, func, literal_column, or_, select

from ledger.difference import Difference
from store import tables
from values.money import ZERO, plain
from values.usage import Rates, Tokens


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What language models have cost on a wall day, calls under way at their most; and, of all time, which share of the
    tokens that they read came from providers' caches (None before the first call that was counted)."""

    today_usd: Decimal
    cached_share: float | None


def model_use(connection: Connection, day: date) -> ModelUse:
    spending, sessions = tables.spending.c, tables.sessions.c
    today = connection.execute(
        select(spending.cost_usd).where(spending.day == day, spending.account == "")
    ).scalar_one_or_none()
    sums = select(func.sum(sessions.cached_tokens), func.sum(sessions.input_tokens)).where(sessions.cost_usd > ZERO)
    cached, read = connection.execute(sums).one()
    return ModelUse(today or ZERO, float(cached / read) if read else None)


_SUMMED = ("input_tokens", "output_tokens", "cached_tokens", "cost_usd")


def cost_differences(connection: Connection) -> Iterator[Difference]:
    """Every difference between what is kept and what the calls make it. Calls without rates are of an older version,
    and are not counted to a day. Reads the calls as a stream."""
    by_day: defaultdict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for row in connection.execution_options(yield_per=1_000).execute(select(tables.model_calls)):
        if row.input_usd is None:
            continue
        rates = Rates(row.input_usd, row.cached_usd, row.cache_write_usd, row.output_usd)
        tokens = Tokens(row.input_tokens, row.output_tokens, row.cached_tokens, row.cache_write_tokens)
        if row.cost_usd != rates.cost(tokens):
            yield Difference(
                row.account, f"the cost of model call {row.id}", plain(row.cost_usd), plain(rates.cost(tokens))
            )
        _count(by_day, row.wall_time.astimezone(UTC).date(), row.account, row.cost_usd)
    for row in connection.execute(select(tables.reservations)):
        _count(by_day, row.wall_time.astimezone(UTC).date(), row.account, row.cost_usd)
    yield from _days(connection, by_day)
    yield from _sessions(connection)


def _count(by_day: defaultdict[tuple[date, str], Decimal], day: date, account: str, usd: Decimal) -> None:
    by_day[day, account] += usd
    by_day[day, ""] += usd


def _days(connection: Connection, by_day: defaultdict[tuple[date, str], Decimal]) -> Iterator[Difference]:
    kept = {(row.day, row.account): row.cost_usd for row in connection.execute(select(tables.spending))}
    for day, account in sorted({*by_day, *kept}):
        found, expected = kept.get((day, account), ZERO), by_day[day, account]
        if found != expected:
            yield Difference(account or "the floor", f"model spending on {day}", plain(found), plain(expected))


def _sessions(connection: Connection) -> Iterator[Difference]:
    calls, sessions = tables.model_calls.c, tables.sessions.c
    sums = (
        select(calls.session_id, *(func.sum(calls[name]).label(name) for name in _SUMMED))
        .group_by(calls.session_id)
        .subquery()
    )
    made = {name: func.coalesce(sums.c[name], literal_column("0")) for name in _SUMMED}
    query = (
        select(
            sessions.id, sessions.account, *(sessions[name] for name in _SUMMED), *(sums.c[name] for name in _SUMMED)
        )
        .outerjoin(sums, sums.c.session_id == sessions.id)
        .where(or_(*(sessions[name] != made[name] for name in _SUMMED)))
        .order_by(sessions.id)
    )
    for row in connection.execute(query):
        for at, name in enumerate(_SUMMED):
            found, expected = row[2 + at], row[2 + len(_SUMMED) + at] or 0
            if found != expected:
                yield Difference(row.account, f"{name} of session {row.id}", str(found), str(expected))
