"""Column types - Decimals as scaled integers, aware UTC times, foreign text, the key of an append-only table - and the
metadata that all tables belong to, which names their constraints.

What a column can't keep exactly is refused on the way in; on the way out the caller gets the same value back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, String, Text
from sqlalchemy.types import TypeDecorator

from values.money import CASH_DECIMALS, PRICE_DECIMALS, QUANTITY_DECIMALS, from_scaled, to_scaled

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers rows by itself only for a column declared INTEGER
RowId = BigInteger().with_variant(Integer, "sqlite")


def name(chars: int) -> String:
    """A text that rows are put in order by, the same on every database: by its characters' numbers."""
    return String(chars).with_variant(String(chars, collation="C"), "postgresql")


class Words(TypeDecorator[str]):
    """Text of any length from anywhere. What no database can keep, a NUL or half a surrogate pair, becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


class Scaled(TypeDecorator[Decimal]):
    """A Decimal kept as a 64-bit integer of 10**-decimals units. Refused `out_of_range` for what does not fit."""

    impl = BigInteger
    cache_ok = True

    def __init__(self, decimals: int, what: str) -> None:
        super().__init__()
        self.decimals = decimals
        self.what = what

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return None if value is None else to_scaled(value, self.decimals, self.what)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else from_scaled(value, self.decimals)


def cash() -> Scaled:
    return Scaled(CASH_DECIMALS, "amount")


def price() -> Scaled:
    return Scaled(PRICE_DECIMALS, "price")


def quantity() -> Scaled:
    return Scaled(QUANTITY_DECIMALS, "quantity")


class Moment(TypeDecorator[datetime]):
    """An aware UTC time. A naive one is refused, so that no local time can enter the record."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the store keeps aware UTC times")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
