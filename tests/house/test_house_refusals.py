"""Tools that refuse, fail half way or answer with garbage: the rules react once and come to an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.tools import TextResultContent, ToolResult
from hypothesis import given, settings
from hypothesis import strategies as st

from model_clients.house import HouseModel
from tests.house.made import RULEBOOKS, count_replies, every_rulebook, floor
from tests.house.paper_floor import PaperBench, PaperBook, run_session, task_text

REPLIES_MAX = 12


class Contrary(PaperBench):
    """Refuses the first order of each symbol with what would fit, and then with the same again."""

    def __init__(self, book: PaperBook, sentence: str) -> None:
        super().__init__(book, page=4)
        self.sentence = sentence

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        if name not in ("buy_shares", "sell_shares"):
            return await super().call_tool(name, arguments, cancellation_token, call_id)
        self.calls.append((name, dict(arguments or {})))
        text = self.sentence.format(**(arguments or {}))
        return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=True)


@every_rulebook
@pytest.mark.parametrize(
    ("sentence", "again"),
    [
        ("over_limit: buying it costs 7,511.79 USD; 0.0005 would fit", "0.0005"),
        ("over_limit: too much; 0.0002 shares would fit", "0.0002"),
        ("insufficient_cash: there is too little; 0.0001 {symbol} would fit", "0.0001"),
        ("insufficient_cash: too much; none would fit", None),
        ("insufficient_cash: too much; 0.0005 USD would fit", None),
        ("over_limit: too many; 1000000 would fit", None),
        ("busy: try again", None),
    ],
)
async def test_a_refused_order_is_tried_once_more_with_what_would_fit_and_never_again(
    rulebook: str, sentence: str, again: str | None
) -> None:
    book = floor()
    book.hold("NVDA", "20", "400")
    bench = Contrary(book, sentence)
    used = await count_replies(HouseModel(rulebook), bench, task_text(book))
    assert used <= REPLIES_MAX
    orders: dict[str, list[str]] = {}
    for tool, arguments in bench.calls:
        if tool in ("buy_shares", "sell_shares"):
            orders.setdefault(arguments["symbol"], []).append(arguments["quantity"])
    assert orders
    for quantities in orders.values():
        assert quantities[1:] == ([again] if again else [])
    refused = [decision for decision in book.decisions if "was refused" in decision["rationale"]]
    assert refused
    assert {decision["action"] for decision in book.decisions} == {"hold"}


@every_rulebook
async def test_the_longest_session_has_a_dozen_replies(rulebook: str) -> None:
    book = floor(bars=30, interval="hour")
    book.hold("NVDA", "20", "400")
    bench = Contrary(book, "over_limit: no; 0.0005 would fit")
    used = await count_replies(HouseModel(rulebook), bench, task_text(book))
    assert used <= REPLIES_MAX


GARBAGE = (
    "", "{}", "[]", "null", '{"bars": [{"close": "x"}], "price": null, "symbols": [{}, 3]}', "oops: no", "{" * 3000,
)  # fmt: skip


class Garbling(PaperBench):
    """Answers some calls with garbage, as `choices` say in turn."""

    def __init__(self, book: PaperBook, choices: list[int]) -> None:
        super().__init__(book)
        self.choices = choices

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        result = await super().call_tool(name, arguments, cancellation_token, call_id)
        choice = self.choices[len(self.calls) % len(self.choices)]
        if choice >= len(GARBAGE):
            return result
        text = TextResultContent(content=GARBAGE[choice])
        return ToolResult(name=name, result=[text], is_error=choice % 2 == 0)


@settings(max_examples=25, deadline=None)
@given(rulebook=st.sampled_from(RULEBOOKS), choices=st.lists(st.integers(0, 3 * len(GARBAGE)), min_size=1, max_size=9))
async def test_garbage_from_tools_never_stops_a_session_nor_breaks_a_limit(rulebook: str, choices: list[int]) -> None:
    book = floor()
    book.hold("MSFT", "2", "390")
    closing = await run_session(HouseModel(rulebook), Garbling(book, choices), task_text(book))
    assert closing.startswith("Rule-based appraisal")
    assert book.refusals == []
