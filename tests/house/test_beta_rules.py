"""Crypto beta: dips in uptrends among what moves most, and a word where coins are missing."""

from __future__ import annotations

from decimal import Decimal

from tests.house.made import BARS, FLAT, book_of, session, traded_before
from tests.house.paper_market import zigzag


def dip_in_uptrend(rise: float = 0.9, depth: float = 0.06) -> list[float]:
    """Up all along, with a swing, then a dip over the last three bars."""
    path = zigzag(100, 100 * (1 + rise), BARS - 3, 0.015)
    return [*path, *(path[-1] * (1 - depth * part / 3) for part in (1, 2, 3))]


CRYPTO = {"BTC-USD": zigzag(80, 100, BARS, 0.01), "ETH-USD": FLAT, "SOL-USD": FLAT, "IBIT": FLAT, "AAA": FLAT}


async def test_beta_buys_a_dip_within_an_uptrend() -> None:
    book = book_of({**CRYPTO, "SOL-USD": dip_in_uptrend()})
    fills, closing = await session("beta", book)
    assert fills == [("buy", "SOL-USD")]
    assert "dips" in book.fills[0].rationale
    assert Decimal(1300) < book.costs["SOL-USD"] <= Decimal(1400)
    assert "Note:" not in closing


async def test_beta_tells_the_figures_of_what_it_holds_and_waits_for() -> None:
    book = book_of({**CRYPTO, "ETH-USD": zigzag(100, 190, BARS, 0.015), "SOL-USD": zigzag(140, 100, BARS, 0.03)})
    book.hold("BTC-USD", "10", "99")
    await session("beta", book)
    said = {decision["symbol"]: decision["rationale"] for decision in book.decisions}
    assert set(said) == {"BTC-USD", "SOL-USD"}
    assert "beta 1.0" in said["BTC-USD"]
    assert "kept" in said["BTC-USD"]
    assert "no uptrend to buy a dip in" in said["SOL-USD"]


async def test_beta_waits_for_a_dip_once_it_holds_something() -> None:
    for path, expected in ((dip_in_uptrend(), [("buy", "SOL-USD")]), (zigzag(100, 190, BARS, 0.015), [])):
        book = book_of({**CRYPTO, "SOL-USD": path})
        book.hold("BTC-USD", "10", "99")
        assert (await session("beta", book))[0] == expected


async def test_beta_buys_no_dip_while_bitcoin_falls() -> None:
    falling = {"BTC-USD": zigzag(100, 70, BARS, 0.01), "ETH-USD": CRYPTO["BTC-USD"], "SPY": CRYPTO["BTC-USD"]}
    book = book_of({**CRYPTO, **falling, "SOL-USD": dip_in_uptrend()})
    book.hold("ETH-USD", "10", "99")
    assert (await session("beta", book))[0] == []


async def test_beta_opens_nothing_in_a_full_book() -> None:
    names = [f"C{at}-USD" for at in range(7)]
    for full, expected in ((7, []), (6, [("buy", "SOL-USD")])):
        book = book_of({**CRYPTO, **dict.fromkeys(names, FLAT), "SOL-USD": dip_in_uptrend()})
        for name in names[:full]:
            book.hold(name, "1", "100")
        assert (await session("beta", book))[0] == expected


async def test_beta_buys_no_dip_without_an_uptrend() -> None:
    fall = zigzag(140, 100, BARS, 0.015)
    book = book_of({**CRYPTO, "SOL-USD": fall})
    book.hold("BTC-USD", "10", "99")
    assert (await session("beta", book))[0] == []


async def test_beta_starts_an_empty_book_in_the_strongest_uptrend_unless_it_has_just_sold() -> None:
    assert (await session("beta", book_of(CRYPTO)))[0] == [("buy", "BTC-USD")]
    book = book_of(CRYPTO)
    traded_before(book, "sell", "ETH-USD", "100", 2)
    assert (await session("beta", book))[0] == []


async def test_beta_takes_a_third_of_a_large_gain_and_then_waits() -> None:
    for sold_days_ago, expected in ((30.0, [("sell", "BTC-USD")]), (3.0, [])):
        book = book_of(CRYPTO)
        book.hold("BTC-USD", "10", "80")
        traded_before(book, "sell", "BTC-USD", "95", sold_days_ago)
        assert (await session("beta", book, "rebalance"))[0] == expected
    book = book_of(CRYPTO)
    book.hold("BTC-USD", "10", "80")
    await session("beta", book, "rebalance")
    assert book.holdings["BTC-USD"] == Decimal("6.6")


async def test_beta_leaves_a_broken_trend_and_a_large_loss() -> None:
    broken = [*zigzag(80, 100, BARS - 10, 0.01), *zigzag(100, 80, 10, 0.01)]
    for path, cost, said in ((broken, "82", "broken"), (CRYPTO["BTC-USD"], "120", "past the cut")):
        book = book_of({**CRYPTO, "SOL-USD": path})
        book.hold("SOL-USD", "10", cost)
        assert (await session("beta", book, "rebalance"))[0] == [("sell", "SOL-USD")]
        assert said in book.fills[0].rationale


async def test_beta_takes_the_most_volatile_names_without_coins_and_says_so() -> None:
    wild = [value * (1 + 0.02 * (at % 2)) for at, value in enumerate(zigzag(100, 140, BARS, 0.02))]
    index = zigzag(100, 105, BARS, 0.004)
    book = book_of({"QQQ": index, "CALM": zigzag(100, 105, BARS, 0.003), "DULL": index, "WILD": wild})
    fills, closing = await session("beta", book)
    assert fills == [("buy", "WILD")]
    assert "most volatile names are the nearest offered" in closing
    assert "most volatile names are the nearest offered" in book.fills[0].rationale
