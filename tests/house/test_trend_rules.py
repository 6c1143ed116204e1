"""Trend with a risk budget: a fixed set, long what trends up, traded back to target outside a band."""

from __future__ import annotations

from decimal import Decimal

import pytest

from model_clients.house import HouseModel
from model_clients.rulebooks.trend import TARGET_VOLATILITY, risk_budget
from tests.house.made import BARS, FLAT, book_of, session
from tests.house.paper_floor import PaperBench, run_session, task_text
from tests.house.paper_market import HOUR, zigzag

SET = dict.fromkeys(("AAA", "BBB", "CCC", "DDD"), FLAT)


async def test_trend_buys_what_trends_up_and_sells_what_fell_out_of_its_channel() -> None:
    broken = [*zigzag(80, 100, BARS - 1, 0.005), 80]
    book = book_of({**SET, "UPP": zigzag(80, 100, BARS, 0.005), "OUT": broken})
    book.hold("OUT", "10", "90")
    fills, _ = await session("trend", book)
    assert fills == [("sell", "OUT"), ("buy", "UPP")]


async def test_trend_buys_a_break_above_the_channel_though_the_averages_lie_together() -> None:
    book = book_of({**SET, "BRK": [*FLAT[:-1], 104]})
    assert (await session("trend", book))[0] == [("buy", "BRK")]
    assert "broke out" in book.fills[0].rationale


async def test_trend_sells_when_the_averages_cross_down() -> None:
    path = [*zigzag(90, 110, 50, 0.005), *zigzag(109, 98, 40, 0.002), *zigzag(98, 99, 10, 0.002)]
    book = book_of({**SET, "SAG": path})
    book.hold("SAG", "10", "100")
    assert (await session("trend", book))[0] == [("sell", "SAG")]
    assert "trend is over" in book.fills[0].rationale


async def test_trend_gives_each_part_the_same_risk() -> None:
    calm, wild = zigzag(95, 100, BARS, 0.01), zigzag(80, 100, BARS, 0.03)
    book = book_of({"AAA": calm, "BBB": wild, "CCC": calm, "DDD": wild})
    await session("trend", book)
    assert book.costs["AAA"] > 2 * book.costs["BBB"] > 0


def test_the_risk_budgets_of_correlated_parts_add_up_to_the_target() -> None:
    assert risk_budget(1) == pytest.approx(TARGET_VOLATILITY)
    parts, budget = 4, risk_budget(4)
    variance = parts * budget**2 + parts * (parts - 1) * 0.5 * budget**2
    assert variance == pytest.approx(TARGET_VOLATILITY**2)


async def test_trend_trades_to_its_target_and_not_within_the_band() -> None:
    closes = {**SET, "UPP": zigzag(80, 100, BARS, 0.01)}
    book = book_of(closes)
    await session("trend", book)
    target = book.holdings["UPP"]
    assert (await session("trend", book))[0] == []
    book.holdings["UPP"], book.costs["UPP"] = target * 2, book.costs["UPP"] * 2
    assert (await session("trend", book, "rebalance"))[0] == [("sell", "UPP")]
    assert abs(book.holdings["UPP"] - target) <= 3
    book.holdings["UPP"] = Decimal(2)
    assert (await session("trend", book, "rebalance"))[0] == [("buy", "UPP")]


async def test_trend_says_of_each_part_that_it_leaves_why() -> None:
    book = book_of({"AAA": zigzag(80, 100, BARS, 0.01), "BBB": FLAT})
    await session("trend", book)
    await session("trend", book)
    said = {decision["symbol"]: decision["rationale"] for decision in book.decisions[2:]}
    assert "left as it is" in said["AAA"]
    assert "no position" in said["BBB"]


async def test_trend_opens_nothing_in_a_rebalance_session() -> None:
    book = book_of({**SET, "UPP": zigzag(80, 100, BARS, 0.01)})
    assert (await session("trend", book, "rebalance"))[0] == []


async def test_trend_reads_the_same_diversified_set_in_every_session() -> None:
    names = [f"A{chr(65 + at // 26)}{chr(65 + at % 26)}" for at in range(60)]
    book = book_of({**dict.fromkeys(names, FLAT), "SPY": FLAT, "TLT": FLAT, "BTC-USD": FLAT})
    book.market.sectors = {names[7]: "Energy", names[12]: "Energy", names[40]: "Utilities"}
    read = []
    for _ in range(3):
        bench = PaperBench(book)
        await run_session(HouseModel("trend"), bench, task_text(book))
        read.append(sorted({given["symbol"] for tool, given in bench.calls if tool == "get_price_history"}))
        book.market.now += HOUR
    assert read[0] == read[1] == read[2]
    assert len(read[0]) == 12
    assert {"SPY", "TLT", "BTC-USD", names[7], names[40]} <= set(read[0])
    assert names[12] not in read[0]
    assert max(names.index(symbol) for symbol in read[0] if symbol in names) > 48


async def test_trend_says_what_its_set_lacks() -> None:
    assert "no bonds or gold" in (await session("trend", book_of(SET)))[1]
    assert "coins alone" in (await session("trend", book_of({"BTC-USD": FLAT, "ETH-USD": FLAT})))[1]
    assert "Note:" not in (await session("trend", book_of({**SET, "TLT": FLAT})))[1]
