"""What the search server needs to know."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from values.environment import Address, Key
from values.market_settings import MarketSettings


class SearchSettings(MarketSettings):
    """What the search server needs."""

    search_provider: Literal["brave", "ddgs", "polygon", "simulated", "none"] | None = Field(
        None,
        description="who answers searches: `brave`, `ddgs`, `polygon` (news alone), `simulated` or `none`; unset, "
        "`simulated` on a simulated market, `none` on a replay, and on a live market `brave` with its key, else "
        "`polygon`",
    )
    brave_api_key: Key | None = Field(None, description="a key of Brave Search, which makes live searches real")
    brave_base_url: Address = Field(
        "https://api.search.brave.com", description="where Brave Search, or what stands in for it, is reached"
    )
    allow_live_research: bool = Field(
        False,
        description="`true` allows live searches and pages on simulated and replay markets: they may leak the future",
    )
