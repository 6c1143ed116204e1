"""Value and patience: steady shares at a discount, bought slowly, sold when dear."""

from __future__ import annotations

from decimal import Decimal

from tests.house.made import BARS, FLAT, book_of, dipped, session, traded_before
from tests.house.paper_market import DAY, HOUR, zigzag

STEADY_MARKET = {"AAA": FLAT, "BBB": zigzag(100, 101, BARS, 0.01), "CCC": zigzag(100, 102, BARS, 0.01)}


async def test_value_buys_the_deepest_discount_among_the_steady() -> None:
    book = book_of({**STEADY_MARKET, "DEEP": dipped(0.12), "LESS": dipped(0.07)})
    assert (await session("value", book))[0] == [("buy", "DEEP")]
    assert Decimal(400) < book.costs["DEEP"] < Decimal(600)
    assert "below its average" in book.fills[0].rationale


async def test_value_leaves_a_discount_that_swings_wildly() -> None:
    book = book_of({**STEADY_MARKET, "WILD": dipped(0.12, swing=0.05)})
    assert (await session("value", book))[0] == []


async def test_value_leaves_what_swings_a_little_more_than_a_little_more_than_usual() -> None:
    for swing, expected in ((0.0105, [("buy", "EDGE")]), (0.014, [])):
        book = book_of({**STEADY_MARKET, "EDGE": dipped(0.12, swing)})
        assert (await session("value", book))[0] == expected


async def test_value_passes_over_a_share_too_dear_for_its_part_to_the_next() -> None:
    book = book_of({**STEADY_MARKET, "DEAR": dipped(0.14, level=2000), "LESS": dipped(0.12)})
    assert (await session("value", book))[0] == [("buy", "LESS")]


async def test_value_adds_nothing_to_a_full_holding_and_opens_nothing_in_a_full_book() -> None:
    book = book_of({**STEADY_MARKET, "DEEP": dipped(0.14)})
    book.hold("DEEP", "20", "95")
    traded_before(book, "buy", "DEEP", "95", 30)
    assert (await session("value", book))[0] == []
    names = [f"H{chr(65 + at)}" for at in range(12)]
    for full, expected in ((12, []), (11, [("buy", "DEEP")])):
        book = book_of({**dict.fromkeys(names, FLAT), "DEEP": dipped(0.14)})
        for name in names[:full]:
            book.hold(name, "2", "100")
        assert (await session("value", book))[0] == expected


async def test_value_says_how_far_what_it_leaves_is_from_its_average() -> None:
    book = book_of({"AAA": zigzag(100, 100, BARS, 0), "BBB": [*[100.0] * (BARS - 1), 110]})
    await session("value", book)
    assert (
        "110.00 is +9.9% from its average of 100 bars; watched"
        in {decision["symbol"]: decision["rationale"] for decision in book.decisions}["BBB"]
    )


async def test_value_leaves_a_discount_that_the_spread_would_eat() -> None:
    for depth, expected in ((0.008, []), (0.02, [("buy", "DEEP")])):
        book = book_of({"AAA": zigzag(100, 100, BARS, 0.001), "DEEP": dipped(depth, swing=0.001)})
        assert (await session("value", book))[0] == expected
    assert "is 1.8% below its average" in book.fills[0].rationale


async def test_value_leaves_a_collapse() -> None:
    calm = [100 + 0.05 * (at % 2) for at in range(BARS - 4)]
    book = book_of({**STEADY_MARKET, "GONE": [*calm, 97, 94, 91, 88]})
    assert (await session("value", book))[0] == []


async def test_value_buys_once_a_day() -> None:
    book = book_of({**STEADY_MARKET, "DEEP": dipped(0.14), "LESS": dipped(0.12)})
    await session("value", book)
    book.market.now += HOUR
    assert (await session("value", book))[0] == []
    book.market.now += DAY
    assert (await session("value", book))[0] == [("buy", "LESS")]


async def test_value_adds_to_a_holding_only_after_days_and_below_its_last_purchase() -> None:
    for days_ago, price, expected in ((12, "95", [("buy", "DEEP")]), (5, "95", []), (12, "80", [])):
        book = book_of({**STEADY_MARKET, "DEEP": dipped(0.12)})
        book.hold("DEEP", "2", price)
        traded_before(book, "buy", "DEEP", price, days_ago)
        assert (await session("value", book))[0] == expected, (days_ago, price)


async def test_value_sells_half_of_what_became_dear_at_a_profit_and_then_waits() -> None:
    risen = [*zigzag(100, 100, 80, 0.01), *zigzag(100, 150, 20, 0.01)]
    for cost, expected in (("100", [("sell", "DEAR")]), ("149", [])):
        book = book_of({**STEADY_MARKET, "DEAR": risen})
        book.hold("DEAR", "10", cost)
        assert (await session("value", book, "rebalance"))[0] == expected
    book = book_of({**STEADY_MARKET, "DEAR": risen})
    book.hold("DEAR", "10", "100")
    traded_before(book, "sell", "DEAR", "140", 10)
    assert (await session("value", book, "rebalance"))[0] == []


async def test_value_opens_nothing_in_a_rebalance_session() -> None:
    book = book_of({**STEADY_MARKET, "DEEP": dipped(0.12)})
    assert (await session("value", book, "rebalance"))[0] == []


async def test_value_takes_shares_before_coins_and_says_so_where_there_are_none() -> None:
    coins = {"AAA-USD": FLAT, "BBB-USD": FLAT, "DEEP-USD": dipped(0.12)}
    book = book_of({**STEADY_MARKET, **coins})
    assert (await session("value", book))[0] == []
    book = book_of(coins)
    fills, closing = await session("value", book)
    assert fills == [("buy", "DEEP-USD")]
    assert "no shares" in closing
    assert "no shares" in book.fills[0].rationale
