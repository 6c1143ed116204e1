"""The worked example of the documentation: its arithmetic is right, and the product does what it says."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import accounts_server
from accounts import open_account
from analysis.performance import max_drawdown
from database import Store
from ledger.valuation import record_values
from market import Market
from tests.conftest import START
from tests.shelf import ShelfVenue
from tests.tool_checks import calling

PAGE = (Path(__file__).parent.parent / "docs" / "worked-example.md").read_text("utf-8")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the first table under a heading, by column."""
    lines = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def arithmetic() -> list[str]:
    return [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def worked_out(text: str) -> Fraction:
    """What a sum comes to, exactly."""

    def value(node: ast.expr, source: str) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left, source), value(node.right, source))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand, source)
        return Fraction(ast.get_source_segment(source, node) or "")

    return value(ast.parse(text, mode="eval").body, text)


@pytest.mark.parametrize("line", arithmetic())
def test_each_line_of_the_arithmetic_is_right(line: str) -> None:
    sum_text, said = line.split(" = ")
    result = worked_out(sum_text)
    if said.endswith("..."):
        digits = said.removesuffix("...")
        last = Fraction(1, 10 ** len(digits.split(".")[1]))
        assert Fraction(digits) <= result < Fraction(digits) + last
    else:
        assert result == Fraction(said)


async def test_the_product_does_what_the_page_says(store: Store, market: Market, venue: ShelfVenue) -> None:
    open_account(store, market, "warren")
    fills, recorded = {}, 0
    async with calling(accounts_server.build(store, market, bound="warren")) as caller:
        for step in table("What happens"):
            for symbol in ("AAPL", "BTC-USD"):
                venue.prices[symbol] = Decimal(step[f"{symbol} quote"])
            if step["what"] == "record":
                store.anchor(START + timedelta(hours=recorded), 1, timedelta(0))
                recorded += 1
                record_values(store, market, recorded)
                continue
            side, quantity, symbol = step["what"].split()
            order = {"name": "warren", "symbol": symbol, "quantity": quantity, "rationale": "the worked example"}
            fill = await caller.ok(f"{side}_shares", **order)
            positions = {each["symbol"]: each for each in (await caller.ok("get_holdings", name="warren"))["positions"]}
            fills[step["step"]] = as_row(step["step"], fill, positions[symbol])
        account = await caller.ok("get_account", name="warren")
    assert list(fills.values()) == table("The fills")
    assert at_the_end(account) == {row["what"]: row["USD"] for row in table("The account at the end")}
    values = [float(each["value"]) for each in account["portfolio_value_time_series"]]
    said = re.search(r"maximum drawdown is ([\d.]+) of the peak, or ([\d.]+) %", PAGE)
    assert said is not None
    assert (f"{max_drawdown(values):.6f}", f"{max_drawdown(values):.2%}") == (said[1], f"{said[2]}%")


def as_row(step: str, fill: dict[str, Any], position: dict[str, Any]) -> dict[str, str]:
    """A fill as the page's table has it."""
    return {
        "step": step,
        "price": fill["price"],
        "amount": fill["amount"],
        "cash after": fill["balance"],
        "held after": fill["holding"],
        "average cost after": position["average_cost"],
        "realised": fill["realised_profit"],
    }


def at_the_end(account: dict[str, Any]) -> dict[str, str]:
    """The account's figures under the page's names."""
    first, second = (each["value"] for each in account["portfolio_value_time_series"])
    by_symbol = {f"unrealised profit of {each['symbol']}": each["unrealised_profit"] for each in account["positions"]}
    assert account["total_portfolio_value"] == second
    return {
        "first recorded value": first,
        "second recorded value": second,
        "realised profit": account["realised_profit"],
        **by_symbol,
        "unrealised profit": account["unrealised_profit"],
        "total profit": account["total_profit_loss"],
    }


def test_every_number_of_the_tables_is_worked_out_in_the_text() -> None:
    inputs = {row[column] for row in table("What happens") for column in ("AAPL quote", "BTC-USD quote")}
    shown = {
        number for row in table("The fills") + table("The account at the end") for key, number in row.items()
        if key not in ("step", "what") and number != "0"
    }  # fmt: skip
    results = [Fraction(number) for line in arithmetic() for number in re.findall(r"-?\d+(?:\.\d+)?", line)]
    for number in shown - inputs:
        exact = abs(Fraction(number))
        unit = Fraction(1, 10**8)
        assert any(abs(abs(each) - exact) < unit for each in results), number
