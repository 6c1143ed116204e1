"""Each rule of each rulebook fires where it should and is silent where it should not, on short made histories.

A market is a table of closes; a test runs one session of AutoGen's agent over it and reads the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from model_clients.house import HouseModel, RulebookName
from model_clients.rulebooks.trend import TARGET_VOLATILITY, risk_budget
from tests.house.paper_floor import PaperBench, PaperBook, PaperFill, run_session, task_text
from tests.house.paper_market import DAY, HOUR, START, PaperMarket, days_of, zigzag
from values.instrument import Kind

BARS = 100
FLAT = zigzag(100, 100, BARS, 0.01)


def book_of(closes: Mapping[str, Sequence[float]], kinds: Mapping[str, Kind] | None = None) -> PaperBook:
    """A fresh account in a market of daily bars that end now, quoted at the last close."""
    bars = {symbol: days_of(path) for symbol, path in closes.items()}
    quotes = {symbol: path[-1].close for symbol, path in bars.items()}
    return PaperBook(PaperMarket(bars, START, "day", quotes=quotes, kinds=dict(kinds or {})))


def traded_before(book: PaperBook, side: str, symbol: str, price: str, days_ago: float) -> None:
    """Put an earlier fill on the book's record."""
    at = book.market.now - timedelta(days=days_ago)
    book.fills.append(PaperFill("buy" if side == "buy" else "sell", symbol, Decimal(1), Decimal(price), at, "earlier"))


async def session(rulebook: RulebookName, book: PaperBook, mode: str = "trade") -> tuple[list[tuple[str, str]], str]:
    """The session's own fills as (side, symbol), and its closing text. Nothing may be refused."""
    before = len(book.fills)
    closing = await run_session(HouseModel(rulebook), PaperBench(book), task_text(book, mode))
    assert book.refusals == []
    return [(fill.side, fill.symbol) for fill in book.fills[before:]], closing


def dipped(depth: float, swing: float = 0.01, level: float = 100) -> list[float]:
    """Steady, then down by `depth` over the last twenty bars."""
    return [*zigzag(level, level, BARS - 20, swing), *zigzag(level, level * (1 - depth), 20, swing)]


# value


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


# macro

RISING_INDEX = zigzag(100, 120, BARS, 0.002)
FALLING_INDEX = zigzag(120, 100, BARS, 0.002)


def climb(rise: float, level: float = 50) -> list[float]:
    """Flat, then up by `rise` over the last twenty bars."""
    return [*zigzag(level, level, BARS - 20, 0.004), *zigzag(level, level * (1 + rise), 20, 0.004)]


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


# trend

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


# beta


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
    falling = {"BTC-USD": zigzag(100, 70, BARS, 0.01), "ETH-USD": CRYPTO["BTC-USD"]}
    book = book_of({**CRYPTO, **falling, "SOL-USD": dip_in_uptrend()})
    book.hold("ETH-USD", "10", "99")
    assert (await session("beta", book))[0] == []


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


async def test_what_outgrew_its_limit_is_trimmed() -> None:
    rulebooks: tuple[RulebookName, ...] = ("value", "macro", "beta")
    for rulebook in rulebooks:
        book = book_of({"SPY": RISING_INDEX, "BTC-USD": zigzag(80, 100, BARS, 0.01), "AAA": climb(0.1)})
        book.hold("BTC-USD", "100", "97")
        assert (await session(rulebook, book, "rebalance"))[0] == [("sell", "BTC-USD")]
        share = book.holdings["BTC-USD"] * 100 / book.value()
        assert Decimal("0.30") < share < Decimal("0.35")
