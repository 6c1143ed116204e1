"""The newest market time on record, from which a floor goes on whatever the machine's clock has done since."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from database import Store, no_earlier
from store import tables


def newest(store: Store) -> datetime:
    """The latest market time of the run's clock, its transactions, values and sessions. Reads every session."""
    anchored = store.run().anchor.market
    values, sessions = tables.portfolio_values.c, tables.sessions.c
    with store.read() as connection:
        valued = connection.execute(select(values.market_time).order_by(values.id.desc()).limit(1)).scalar_one_or_none()
        opened = connection.execute(select(func.max(sessions.market_time))).scalar_one()
        return no_earlier(connection, max(filter(None, (anchored, valued, opened))))
