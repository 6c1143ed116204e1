"""Which market a store gets with a key, who is given the key, and news of the live market's vendor in a search."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from commands.run import _opening_lines, _server_settings
from commands.seats import Models
from commands.warming import warm_history
from database import NewRun, Store
from desks.servers import SERVERS
from market import Market, open_market, open_store
from research.polygon import PolygonNews
from research.provider import SearchUnavailable
from research.server import choose_provider
from tests import faulty_http as http
from tests.live import live_store, polygon
from tests.polygon_loopback import KEY, NEWS, PolygonLoopback, Told, aware
from values.clock import FixedClock
from values.errors import BadSetting, Refused, StoreUnusable
from values.settings import FloorSettings, SearchSettings, load
from venues.polygon import PolygonVenue

OPEN = aware("2026-03-03 11:00")
APRIL = aware("2022-04-28 14:00")


def settings(path: Path, **given: Any) -> FloorSettings:
    return load(FloorSettings, database_url=f"sqlite:///{path}", **given)


@pytest.mark.parametrize(
    ("given", "market"),
    [
        ({"polygon_api_key": KEY}, "live"),
        ({}, "simulated"),
        ({"polygon_api_key": KEY, "market": "simulated"}, "simulated"),
        ({"polygon_api_key": KEY, "market": "live"}, "live"),
    ],
)
def test_a_new_store_is_live_with_a_key_and_simulated_without(
    tmp_path: Path, given: dict[str, Any], market: str
) -> None:
    told = settings(tmp_path / "new.db", **given)
    with closing(open_store(told)) as store:
        assert store.run().market == market
        assert open_market(store, told).name == market


def test_a_live_market_without_a_key_is_a_sentence(tmp_path: Path) -> None:
    told = settings(tmp_path / "none.db", market="live")
    with pytest.raises(BadSetting, match="POLYGON_API_KEY is None; allowed: a key of Polygon"):
        open_store(told)
    Store(tmp_path / "none.db", NewRun("live")).close()
    with (
        closing(open_store(told)) as store,
        pytest.raises(BadSetting, match="POLYGON_API_KEY is None; allowed: a key of Polygon"),
    ):
        open_market(store, told)


def test_a_store_that_is_there_keeps_its_market_and_a_key_that_it_does_not_use_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    Store(path, NewRun("simulated", 7)).close()
    told = settings(path, polygon_api_key=KEY)
    with closing(open_store(told)) as store:
        assert open_market(store, told).name == "simulated"
        [line] = [line for line in _opening_lines(store, told, Models([], told)) if "POLYGON_API_KEY" in line]
        assert "which does not use it" in line
        assert KEY not in line
        assert "POLYGON_API_KEY" not in _server_settings(store, told)
    with pytest.raises(StoreUnusable, match="made for the market simulated, not live"):
        open_store(settings(path, polygon_api_key=KEY, market="live"))


def test_a_live_floor_names_its_plan_and_gives_the_key_to_those_that_price_or_search(tmp_path: Path) -> None:
    told = settings(tmp_path / "live.db", polygon_api_key=KEY, polygon_plan="paid")
    with closing(open_store(told)) as store:
        assert "market LIVE (Polygon, plan paid)" in next(iter(_opening_lines(store, told, Models([], told))))
        given = _server_settings(store, told)
    assert (given["POLYGON_API_KEY"], given["POLYGON_PLAN"], given["MARKET"]) == (KEY, "paid", "live")
    assert {row.name for row in SERVERS if "POLYGON_API_KEY" in row.environment} == {"market", "accounts", "search"}


def test_a_key_that_can_not_stand_in_a_header_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as refusal:
        settings(tmp_path / "a.db", polygon_api_key="a key\nwith blanks")
    assert "with blanks" not in str(refusal.value)
    with pytest.raises(BadSetting, match="POLYGON_PLAN is 'gold'; allowed: 'free', 'paid' or 'realtime'"):
        settings(tmp_path / "a.db", polygon_plan="gold")


# --- news


@pytest.fixture
def vendor() -> Iterator[PolygonLoopback]:
    with PolygonLoopback(Told(OPEN)) as service:
        yield service


@pytest.fixture
def news(vendor: PolygonLoopback, tmp_path: Path) -> Iterator[PolygonNews]:
    with closing(live_store(tmp_path / "news.db")) as store:
        venue = polygon(store, vendor)
        yield PolygonNews(venue.answers, venue.instruments())


async def test_news_come_with_the_time_of_their_publication_and_never_from_the_future(news: PolygonNews) -> None:
    [hit] = await news.news("NFLX earnings", 10, None, APRIL)
    assert hit.source == "MarketWatch"
    assert hit.url.startswith("https://www.marketwatch.com/story/")
    assert hit.published == aware("2022-04-28 13:08")
    assert await news.news("NFLX earnings", 10, None, aware("2022-04-28 13:00")) == ()
    assert await news.news("NFLX earnings", 10, "week", APRIL + timedelta(days=8)) == ()


async def test_a_query_names_its_shares_by_ticker_or_by_company(news: PolygonNews, vendor: PolygonLoopback) -> None:
    for query, tickers in (
        ("What does the CEO of Netflix say?", ["NFLX"]),
        ("AAPL against MSFT", ["AAPL", "MSFT"]),
        ("inflation and the government", [None]),
    ):
        vendor.requests.clear()
        assert len(await news.news(query, 10, None, APRIL)) == 1
        assert [asked.params.get("ticker") for asked in vendor.requests] == tickers
    assert await news.news("unrelated words", 10, None, APRIL) == ()


async def test_news_that_can_not_be_had_are_a_sentence_and_pages_are_elsewhere(
    news: PolygonNews, vendor: PolygonLoopback
) -> None:
    with pytest.raises(SearchUnavailable, match="news and no pages"):
        await news.web("NVDA", 10, None, APRIL)
    vendor.script.append(http.answer(b"", 503))
    with pytest.raises(SearchUnavailable, match="Polygon failed on its side"):
        await news.news("NVDA", 10, None, APRIL)


async def test_an_article_that_is_none_is_left_out(news: PolygonNews, vendor: PolygonLoopback) -> None:
    good = NEWS["results"][0]
    bad: list[dict[str, Any]] = [
        {**good, "title": 7}, {**good, "article_url": None}, {**good, "published_utc": "yesterday"},
        {**good, "article_url": "javascript:alert(1)"}, {**good, "published_utc": "2022-04-28T17:08:00"},
    ]  # fmt: skip
    vendor.script.append(http.answer({**NEWS, "results": [*bad, good]}))
    assert [hit.url for hit in await news.news("NFLX", 10, None, APRIL)] == [good["article_url"]]
    vendor.script.append(http.answer({**NEWS, "results": bad[:3]}))
    with pytest.raises(SearchUnavailable, match="news that can't be read"):
        await news.news("TSN", 10, None, APRIL)


def test_a_live_market_searches_with_its_own_key_until_there_is_a_better_one(tmp_path: Path) -> None:
    told = load(SearchSettings, database_url=f"sqlite:///{tmp_path / 'live.db'}", polygon_api_key=KEY)
    with closing(open_store(told)) as store:
        market = open_market(store, told)
        assert isinstance(market.venue, PolygonVenue)
        provider, _ = choose_provider(told, market)
        assert isinstance(provider, PolygonNews)
        with_brave = told.model_copy(update={"brave_api_key": SecretStr("brave-key-0")})
        assert getattr(choose_provider(with_brave, market)[0], "name", None) == "brave"
    other = load(
        SearchSettings, database_url=f"sqlite:///{tmp_path / 'sim.db'}", market="simulated",
        search_provider="polygon", allow_live_research=True,
    )  # fmt: skip
    with closing(open_store(other)) as store, pytest.raises(Refused, match="brave, ddgs or none on a simulated market"):
        choose_provider(other, open_market(store, other))


def test_history_is_there_before_a_trader_asks_for_it_though_some_of_it_fails(tmp_path: Path) -> None:
    asked = threading.Semaphore(0)

    class Heard(PolygonLoopback):
        def take(self, request: http.Asked) -> http.Reply:
            asked.release()
            return super().take(request)

    with Heard(Told(aware("2026-03-03 11:00"))) as vendor, closing(live_store(tmp_path / "live.db")) as store:
        vendor.script.append(http.answer({"ticker": "of another"}))  # to the first
        listed = polygon(store, vendor).instruments()
        market = Market(polygon(store, vendor), FixedClock(vendor.told.now))
        with warm_history(market, again_s=0.0):
            for _ in listed:
                assert asked.acquire(timeout=30)
        trader = Market(polygon(store, vendor), FixedClock(vendor.told.now))
        for instrument in listed[1:-1]:
            assert len(trader.bars(instrument.symbol, "day", 30)) == 30
        assert len(vendor.requests) == len(listed)
