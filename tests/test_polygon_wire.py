"""What our loopback of the vendor answers is what the vendor's own client reads, and what it can't do for us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from massive import RESTClient

from tests import faulty_http as http
from tests.polygon_loopback import (
    DIVIDENDS,
    EVENTS,
    KEY,
    SPLITS,
    TICKERS,
    PolygonLoopback,
    Told,
    aware,
    close_of,
)  # fmt: skip

OPEN = aware("2026-03-03 11:00")


@pytest.fixture
def vendor() -> Iterator[PolygonLoopback]:
    told = Told(OPEN, plan="realtime", splits=SPLITS, dividends=DIVIDENDS, events=EVENTS, tickers=TICKERS, page_rows=1)
    with PolygonLoopback(told) as service:
        yield service


@pytest.fixture
def client(vendor: PolygonLoopback) -> Iterator[Any]:
    made = RESTClient(KEY, base=vendor.base_url, retries=0, pagination=False)
    yield made
    made.client.clear()


def test_the_vendors_own_client_reads_every_answer(client: Any) -> None:
    from datetime import date

    monday = date(2026, 3, 2)
    [first, *_] = client.get_grouped_daily_aggs("2026-03-02", adjusted=False)
    assert (first.ticker, first.close) == ("AAPL", close_of("AAPL", monday))
    bars = client.get_aggs("AAPL", 1, "day", "2026-02-02", "2026-03-02")
    assert bars[-1].close == close_of("AAPL", monday)
    trade = client.get_last_trade("AAPL")
    assert (trade.ticker, trade.price, trade.sip_timestamp // 10**9) == (
        "AAPL", close_of("AAPL", OPEN.date()), int(OPEN.timestamp()),
    )  # fmt: skip
    shot = client.get_snapshot_ticker("stocks", "AAPL")
    assert (shot.ticker, shot.last_trade.price, shot.prev_day.close) == ("AAPL", *[close_of("AAPL", OPEN.date())] * 2)
    assert client.get_market_status().exchanges.nyse == "open"
    assert [each.ticker for each in client.list_tickers(active=True)] == ["A"]
    assert client.get_ticker_details("A").composite_figi == "BBG000C2V3D6"
    assert [each.split_to for each in client.list_splits(execution_date_gte="2022-06-01", order="asc")] == [4]
    assert [each.cash_amount for each in client.list_dividends()] == [0.59375]
    assert [each["date"] for each in client.get_ticker_events("BBG000MM2P62").events] == ["2022-06-11", "2012-05-18"]
    [news] = client.list_ticker_news("NFLX")
    assert (news.published_utc, news.publisher.name) == ("2022-04-28T17:08:00Z", "MarketWatch")


def test_its_client_takes_what_it_can_not_read_for_an_empty_answer(vendor: PolygonLoopback, client: Any) -> None:
    """Why the product has a client of its own."""
    vendor.script.append(http.answer({}))
    assert client.get_grouped_daily_aggs("2026-03-02") == []
