"""Which store a process opens, and which market it prices things in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field

from values.address import StoreAddress
from values.environment import PROJECT, Address, Key, Settings

MarketKind = Literal["simulated", "replay", "live"]
PolygonPlan = Literal["free", "paid", "realtime"]


def _checked_store(url: str) -> str:
    """Raises ValueError for what is no store's address."""
    StoreAddress.parse(url, PROJECT)
    return url


class StoreSettings(Settings):
    """What every process that opens the store needs."""

    database_url: Annotated[str, AfterValidator(_checked_store)] = Field(
        "sqlite:///accounts.db",
        description="where the store is: an SQLite file (a relative path is in the project's folder), or a PostgreSQL "
        "database as `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`",
    )

    @property
    def store_address(self) -> StoreAddress:
        return StoreAddress.parse(self.database_url, PROJECT)


class MarketSettings(StoreSettings):
    """What a process that prices things needs: which market a new store is made for."""

    market: MarketKind | None = Field(
        None,
        description="the market of a new store: `simulated`, `replay` or `live`; unset, an existing store decides, and "
        "a new one is `live` with `POLYGON_API_KEY`, `replay` with a price file, else `simulated`",
    )
    replay_history: Path | None = Field(
        None, description="the price file of a replay: CSV or CSV.gz with symbol,time,open,high,low,close,volume"
    )
    market_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None, description="the seed of a new simulated market, 0 to 4294967295; unset, one is drawn and recorded"
    )
    polygon_api_key: Key | None = Field(
        None,
        validation_alias=AliasChoices("polygon_api_key", "massive_api_key"),
        description="a key of Polygon (now Massive), which makes live prices of United States shares real",
    )
    polygon_plan: PolygonPlan = Field(
        "free",
        description="what the key's plan gives: `free` the last trading day's closes (5 requests a minute), `paid` "
        "prices 15 minutes old, `realtime` last trades",
    )
    polygon_base_url: Address = Field(
        "https://api.massive.com", description="where Polygon, or what stands in for it, is reached"
    )
    run_even_when_market_is_closed: bool = Field(
        False, description="`true` runs sessions and fills orders while the market is closed"
    )

    @property
    def history_path(self) -> Path | None:
        return None if self.replay_history is None else PROJECT / self.replay_history
