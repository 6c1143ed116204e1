"""Macro momentum: the regime first, then the strongest few, or shelter."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.house.made import BARS, FALLING_INDEX, RISING_INDEX, book_of, climb, session, traded_before
from tests.house.paper_market import zigzag


async def test_macro_buys_the_two_strongest_while_the_index_rises() -> None:
    book = book_of({"SPY": RISING_INDEX, "AAA": climb(0.1), "BBB": climb(0.3), "CCC": climb(0.2), "DDD": climb(-0.1)})
    assert (await session("macro", book))[0] == [("buy", "BBB"), ("buy", "CCC")]


async def test_macro_stakes_a_good_fifth_and_keeps_its_shelter_larger() -> None:
    book = book_of({"SPY": RISING_INDEX, "AAA": climb(0.2)})
    await session("macro", book)
    assert Decimal(2100) < book.costs["AAA"] < Decimal(2250)
    book = book_of({"SPY": FALLING_INDEX, "TLT": climb(0.03)})
    await session("macro", book)
    assert Decimal(2900) < book.costs["TLT"] < Decimal(3050)


async def test_macro_keeps_its_risk_just_below_the_average_and_takes_none_anew() -> None:
    index = [*zigzag(100, 100, BARS - 1, 0.002), 99.5]
    book = book_of({"SPY": index, "AAA": climb(0.2), "BBB": climb(0.3)})
    fills, closing = await session("macro", book)
    assert fills == []
    assert "risk-off" in closing
    book.hold("AAA", "10", "60")
    fills, closing = await session("macro", book)
    assert fills == [("buy", "BBB")]
    assert "risk-on" in closing


async def test_macro_buys_no_strength_in_a_falling_market_but_shelter_that_rises() -> None:
    closes = {"SPY": FALLING_INDEX, "BBB": climb(0.3), "TLT": climb(0.03), "GLD": climb(-0.03)}
    book = book_of(closes)
    fills, closing = await session("macro", book)
    assert fills == [("buy", "TLT")]
    assert "risk-off" in closing


async def test_macro_sells_every_risk_in_a_falling_market_and_says_that_cash_is_its_shelter() -> None:
    book = book_of({"SPY": FALLING_INDEX, "AAA": climb(0.1), "BBB": climb(0.3)})
    book.hold("AAA", "10", "50")
    book.hold("BBB", "10", "50")
    fills, closing = await session("macro", book, "rebalance")
    assert fills == [("sell", "BBB"), ("sell", "AAA")]
    assert book.holdings == {}
    assert "no bonds or gold" in closing


async def test_macro_leaves_its_shelter_when_risk_is_on_again_or_it_falls() -> None:
    for index, shelter in ((RISING_INDEX, climb(0.05)), (FALLING_INDEX, climb(-0.1))):
        book = book_of({"SPY": index, "TLT": shelter})
        book.hold("TLT", "30", "50")
        assert (await session("macro", book, "rebalance"))[0] == [("sell", "TLT")]


@pytest.mark.parametrize(
    ("closes", "said"),
    [
        ({"SPY": RISING_INDEX, "QQQ": FALLING_INDEX}, "SPY"),
        ({"QQQ": RISING_INDEX, "BTC-USD": FALLING_INDEX}, "QQQ"),
        ({"BTC-USD": RISING_INDEX}, "BTC-USD"),
        ({}, "universe"),
    ],
)
async def test_macro_reads_the_regime_from_the_best_index_there_is(closes: dict[str, list[float]], said: str) -> None:
    book = book_of({**closes, "AAA": climb(0.1), "BBB": climb(0.2)})
    assert f"risk-on: {said}" in (await session("macro", book))[1]


async def test_macro_cuts_a_loser_and_what_lost_its_momentum() -> None:
    for path, cost, said in ((climb(0.1), "60", "past the cut"), (climb(-0.08), "47", "lost its momentum")):
        book = book_of({"SPY": RISING_INDEX, "AAA": path})
        book.hold("AAA", "10", cost)
        assert (await session("macro", book, "rebalance"))[0] == [("sell", "AAA")]
        assert said in book.fills[-1].rationale


async def test_macro_adds_to_a_winner_a_step_above_its_last_purchase_after_a_day() -> None:
    for price, days_ago, expected in (("52", 2, [("buy", "AAA")]), ("59.9", 2, []), ("52", 0.2, [])):
        book = book_of({"SPY": RISING_INDEX, "AAA": climb(0.2)})
        book.hold("AAA", "20", price)
        traded_before(book, "buy", "AAA", price, days_ago)
        assert (await session("macro", book, "rebalance"))[0] == expected, (price, days_ago)


async def test_macro_leaves_what_it_sold_alone_for_days() -> None:
    for days_ago, expected in ((1, []), (4, [("buy", "AAA")])):
        book = book_of({"SPY": RISING_INDEX, "AAA": climb(0.3)})
        traded_before(book, "sell", "AAA", "60", days_ago)
        assert (await session("macro", book))[0] == expected


async def test_macro_switches_its_weakest_for_a_much_stronger_name_when_full() -> None:
    held = {"AAA": climb(0.11), "BBB": climb(0.12), "CCC": climb(0.13), "DDD": climb(0.14)}
    for rise, bought_days_ago, expected in (
        (0.4, 10, [("sell", "AAA"), ("buy", "EEE")]),
        (0.15, 10, []),
        (0.4, 1, []),
    ):
        book = book_of({"SPY": RISING_INDEX, **held, "EEE": climb(rise)})
        for symbol, path in held.items():
            book.hold(symbol, "40", str(round(path[-1], 2)))
            traded_before(book, "buy", symbol, str(round(path[-1], 2)), bought_days_ago)
        book.cash = Decimal(500)
        assert (await session("macro", book))[0] == expected, (rise, bought_days_ago)


async def test_what_outgrew_its_limit_is_trimmed() -> None:
    rulebooks: tuple[str, ...] = ("value", "macro", "beta")
    for rulebook in rulebooks:
        book = book_of({"SPY": RISING_INDEX, "BTC-USD": zigzag(80, 100, BARS, 0.01), "AAA": climb(0.1)})
        book.hold("BTC-USD", "100", "97")
        assert (await session(rulebook, book, "rebalance"))[0] == [("sell", "BTC-USD")]
        share = book.holdings["BTC-USD"] * 100 / book.value()
        assert Decimal("0.30") < share < Decimal("0.35")
