"""Orders fit: whatever the cash, the limits, the prices and what is held, the book refuses none of them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from model_clients.house import HouseModel
from tests.house.paper_floor import PaperBench, PaperBook, PaperFill, run_session, task_text
from tests.house.paper_market import START, PaperMarket, days_of, zigzag
from values.money import ZERO

RULEBOOKS: tuple[str, ...] = ("value", "macro", "trend", "beta")
BARS = 45
SHAPES = {
    "SPY": zigzag(1, 1.1, BARS, 0.003), "GLD": zigzag(1, 1.02, BARS, 0.003), "AAA": zigzag(1, 1.3, BARS, 0.01),
    "BBB": [*zigzag(1, 1, BARS - 9, 0.004), *zigzag(1, 0.92, 9, 0.004)], "CCC": zigzag(1.3, 1, BARS, 0.01),
    "BTC-USD": zigzag(1, 1.2, BARS, 0.01), "SOL-USD": [*zigzag(1, 1.8, BARS - 2, 0.015), 1.75, 1.7],
}  # fmt: skip

usd = st.decimals(min_value=0, max_value=20_000, places=2)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_position_share": st.decimals(min_value=Decimal("0.01"), max_value=1, places=2).map(str) | st.none(),
        "max_order_usd": st.decimals(min_value=0, max_value=5000, places=2).map(str) | st.none(),
        "min_cash_usd": usd.map(str) | st.none(),
        "max_trades_per_session": st.integers(0, 5).map(str) | st.none(),
        "max_trades_per_day": st.integers(0, 5).map(str) | st.none(),
    },
)


def floor(level: Decimal, cash: Decimal, kept: dict[str, str | None], held: dict[str, int]) -> PaperBook:
    bars = {symbol: days_of([float(level) * close for close in shape]) for symbol, shape in SHAPES.items()}
    quotes = {symbol: path[-1].close for symbol, path in bars.items()}
    book = PaperBook(PaperMarket(bars, START, "day", quotes=quotes), dict(kept), cash)
    for symbol, quantity in held.items():
        book.hold(symbol, str(quantity), str(level))
    return book


@settings(max_examples=40, deadline=None)
@given(
    rulebook=st.sampled_from(RULEBOOKS),
    level=st.decimals(min_value=Decimal("0.5"), max_value=3000, places=2),
    cash=usd,
    kept=limits,
    held=st.dictionaries(st.sampled_from(sorted(SHAPES)), st.integers(1, 40), max_size=3),
    mode=st.sampled_from(["trade", "rebalance"]),
    today=st.integers(0, 3),
)
async def test_no_order_ever_exceeds_cash_or_limits(
    rulebook: str,
    level: Decimal,
    cash: Decimal,
    kept: dict[str, str | None],
    held: dict[str, int],
    mode: str,
    today: int,
) -> None:
    book = floor(level, cash, kept, held)
    earlier = PaperFill("buy", "CCC", Decimal(1), Decimal(1), START - timedelta(hours=2), "earlier")
    book.fills = [earlier] * today
    await run_session(HouseModel(rulebook), PaperBench(book), task_text(book, mode))
    assert book.refusals == []
    assert book.cash >= min(cash, book.limit("min_cash_usd") or ZERO)


async def test_the_limits_bind_each_purchase() -> None:
    for kept, most in (
        ({"max_order_usd": "300"}, 300),
        ({"max_position_share": "0.02"}, 200),
        ({"min_cash_usd": "9750"}, 250),
    ):
        for rulebook in ("value", "macro", "beta"):
            book = floor(Decimal(10), Decimal(10_000), dict[str, str | None](kept), {})
            await run_session(HouseModel(rulebook), PaperBench(book), task_text(book))
            assert book.fills, (kept, rulebook)
            assert all(fill.price * fill.quantity <= most for fill in book.fills), (kept, rulebook)


async def test_an_exit_is_whole_though_it_is_larger_than_any_order_may_be() -> None:
    book = floor(Decimal(10), Decimal(100), {"max_order_usd": "50", "max_position_share": "0.9"}, {"CCC": 40})
    await run_session(HouseModel("trend"), PaperBench(book), task_text(book, "rebalance"))
    assert [(fill.side, fill.symbol, fill.quantity) for fill in book.fills] == [("sell", "CCC", Decimal(40))]


async def test_a_limit_that_can_not_be_read_allows_no_purchase_and_is_named() -> None:
    book = floor(Decimal(10), Decimal(10_000), {}, {"CCC": 5})
    task = task_text(book, limits={"max_order_usd": "plenty"})
    closing = await run_session(HouseModel("trend"), PaperBench(book), task)
    assert {fill.side for fill in book.fills} == {"sell"}
    assert "max_order_usd in the task can't be read" in closing


async def test_the_proceeds_of_a_sale_pay_for_the_purchase_after_it() -> None:
    book = floor(Decimal(10), Decimal(30), {}, {"CCC": 400})
    await run_session(HouseModel("trend"), PaperBench(book), task_text(book))
    sides = [fill.side for fill in book.fills]
    assert sides[0] == "sell"
    assert "buy" in sides


async def test_a_sale_counts_against_the_number_of_orders() -> None:
    for most, sides in (("1", ["sell"]), ("2", ["sell", "buy"])):
        book = floor(Decimal(10), Decimal(9000), {"max_trades_per_session": most}, {"CCC": 40})
        closing = await run_session(HouseModel("trend"), PaperBench(book), task_text(book))
        assert [fill.side for fill in book.fills] == sides
        assert "the number of orders is used up" in closing


async def test_one_share_may_cost_up_to_half_as_much_again_as_was_to_be_spent() -> None:
    for level, bought in ((Decimal(2400), True), (Decimal(2600), False)):
        book = floor(level, Decimal(10_000), {}, {})
        await run_session(HouseModel("macro"), PaperBench(book), task_text(book))
        assert ("AAA" in book.holdings) == bought, book.fills


async def test_shares_are_bought_whole_and_coins_in_parts() -> None:
    book = floor(Decimal(90), Decimal(10_000), {}, {})
    await run_session(HouseModel("trend"), PaperBench(book), task_text(book))
    bought = {fill.symbol: fill.quantity for fill in book.fills}
    assert bought["AAA"] == bought["AAA"].to_integral_value()
    assert bought["BTC-USD"] != bought["BTC-USD"].to_integral_value()


async def test_a_share_that_costs_more_than_its_part_is_left_with_the_reason() -> None:
    book = floor(Decimal(9000), Decimal(10_000), {}, {})
    closing = await run_session(HouseModel("macro"), PaperBench(book), task_text(book))
    assert {fill.symbol for fill in book.fills} <= {"BTC-USD", "SOL-USD"}
    assert "nothing fits" in closing
