"""The house model as AutoGen sees it: a chat client that keeps nothing, costs nothing and says what it is."""

from __future__ import annotations

import asyncio
import json

import pytest
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema
from hypothesis import given, settings
from hypothesis import strategies as st

from model_clients.house import RULEBOOKS, HouseModel
from tests.house.paper_floor import PARAMETERS, PaperBench, PaperBook, run_session, task_text
from tests.house.paper_market import START, PaperMarket, days_of, zigzag
from values.errors import BadSetting

NAMES: tuple[str, ...] = ("value", "macro", "trend", "beta")


def book() -> PaperBook:
    bars = {name: days_of(zigzag(100, 120, 60, 0.01)) for name in ("SPY", "AAPL", "MSFT")}
    return PaperBook(PaperMarket(bars, START, "day", quotes=dict.fromkeys(bars, bars["SPY"][-1].close)))


def asked(text: str) -> list[LLMMessage]:
    return [SystemMessage(content="You are a trader."), UserMessage(content=text, source="floor")]


async def test_its_first_reply_looks_at_the_market() -> None:
    tools = await PaperBench(book()).list_tools()
    result = await HouseModel("value").create(asked(task_text(book())), tools=tools)
    assert isinstance(result.content, list)
    assert [call.name for call in result.content] == ["find_symbols", "get_market_status", "get_transactions"]
    assert result.finish_reason == "function_calls"


async def test_the_same_conversation_gets_the_same_reply_whatever_was_asked_before() -> None:
    tools = await PaperBench(book()).list_tools()
    used, fresh = HouseModel("macro"), HouseModel("macro")
    await run_session(used, PaperBench(book()), task_text(book()))
    first = await used.create(asked(task_text(book())), tools=tools)
    assert first.content == (await fresh.create(asked(task_text(book())), tools=tools)).content


async def test_a_conversation_without_a_task_is_answered_in_words_and_without_tools() -> None:
    for text in ("Hello.", "```json\n[1]\n```", '```json\n{"session": {}}\n```', "```json\n{broken", ""):
        bench = PaperBench(book())
        closing = await run_session(HouseModel("trend"), bench, text)
        assert "rule-based" in closing
        assert bench.calls == []


async def test_only_the_newest_task_of_a_conversation_counts() -> None:
    bench = PaperBench(book())
    old = asked(task_text(book()))
    call = FunctionCall(id="1", name="find_symbols", arguments="{}")
    old.append(AssistantMessage(content=[call], source="trader"))
    result = FunctionExecutionResult(content='{"symbols": []}', name="find_symbols", call_id="1", is_error=False)
    old.append(FunctionExecutionResultMessage(content=[result]))
    conversation = [*old, UserMessage(content=task_text(book()), source="floor")]
    reply = await HouseModel("value").create(conversation, tools=await bench.list_tools())
    assert isinstance(reply.content, list)
    assert [call.name for call in reply.content] == ["find_symbols", "get_market_status", "get_transactions"]


async def test_call_ids_are_unique_in_a_conversation() -> None:
    seen: list[str] = []

    class Recording(HouseModel):
        async def create(self, *args: object, **kwargs: object) -> CreateResult:
            result = await super().create(*args, **kwargs)  # type: ignore[arg-type]
            seen.extend(call.id for call in result.content if isinstance(call, FunctionCall))
            return result

    await run_session(Recording("trend"), PaperBench(book()), task_text(book()))
    assert len(seen) > 5
    assert len(set(seen)) == len(seen)


async def test_it_names_the_account_only_where_the_tool_asks_for_a_name() -> None:
    for bound in (True, False):
        bench = PaperBench(book(), bound=bound)
        await run_session(HouseModel("trend"), bench, task_text(book()))
        named = {given.get("name") for tool, given in bench.calls if tool in ("buy_shares", "record_decision")}
        assert named == ({None} if bound else {"warren"})


async def test_without_tool_use_it_closes_at_once() -> None:
    tools = await PaperBench(book()).list_tools()
    reply = await HouseModel("value").create(asked(task_text(book())), tools=tools, tool_choice="none")
    assert isinstance(reply.content, str)
    assert "Rule-based" in reply.content


async def test_a_stream_ends_with_the_result_and_gives_a_closing_text_before_it() -> None:
    model = HouseModel("value")
    chunks = [chunk async for chunk in model.create_stream(asked("Hello."))]
    assert isinstance(chunks[-1], CreateResult)
    assert chunks[:-1] == [chunks[-1].content]
    tools = await PaperBench(book()).list_tools()
    called = [chunk async for chunk in model.create_stream(asked(task_text(book())), tools=tools)]
    assert len(called) == 1
    assert isinstance(called[0], CreateResult)


async def test_usage_is_estimated_from_characters_and_adds_up() -> None:
    model = HouseModel("value")
    messages = asked("x" * 400)
    assert model.count_tokens(messages) == -(-(400 + len("You are a trader.")) // 4)
    schema = ToolSchema(name="find_symbols", description="d" * 400)
    assert model.count_tokens(messages, tools=[schema]) > model.count_tokens(messages) + 100
    first = await model.create(messages)
    assert first.usage.prompt_tokens == model.count_tokens(messages)
    assert first.usage.completion_tokens == -(-len(str(first.content)) // 4)
    await model.create(messages)
    assert model.actual_usage() == first.usage
    assert model.total_usage().prompt_tokens == 2 * first.usage.prompt_tokens
    assert model.remaining_tokens(messages) < model.remaining_tokens([])


def test_it_says_what_it_is() -> None:
    model = HouseModel("beta")
    assert model.name == "house/beta"
    assert model.model_info["function_calling"]
    assert not model.model_info["structured_output"]
    assert model.model_info["family"] == "unknown"


def test_a_rulebook_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(BadSetting, match="value, macro, trend, beta"):
        HouseModel("luck")


async def test_a_cancelled_call_is_cancelled() -> None:
    token = CancellationToken()
    token.cancel()
    with pytest.raises(asyncio.CancelledError):
        await HouseModel("value").create(asked("Hello."), cancellation_token=token)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1e999", "-5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = ("symbols", "symbol", "kind", "open", "bars", "close", "high", "low", "start", "price", "amount", "next_cursor")
ANSWERS = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4).map(json.dumps) | st.text(max_size=40)
ACCOUNTS = st.fixed_dictionaries(
    {"name": st.just("warren"), "balance": st.sampled_from(["100", "-1", "1e18", 5])},
    optional={
        "state": JSON, "holdings": JSON | st.dictionaries(st.sampled_from(["AAPL", "X-USD", "!"]), JSON, max_size=2),
        "positions": st.lists(st.dictionaries(st.sampled_from(["symbol", "price", "value", "average_cost"]), JSON)),
        "total_portfolio_value": JSON, "limits": st.dictionaries(st.sampled_from(["max_order_usd", "x"]), JSON),
        "transactions": JSON, "strategy": JSON,
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    rulebook=st.sampled_from(NAMES),
    account=ACCOUNTS,
    turn_limit=JSON,
    exchanges=st.lists(st.tuples(st.sampled_from([*PARAMETERS, "other"]), JSON, ANSWERS, st.booleans()), max_size=6),
)
def test_no_conversation_makes_it_raise(
    rulebook: str,
    account: dict[str, object],
    turn_limit: object,
    exchanges: list[tuple[str, object, str, bool]],
) -> None:
    session = {"id": "t", "mode": "trade", "time": "2025-10-01T14:00:00Z", "turn_limit": turn_limit}
    messages = asked(f"```json\n{json.dumps({'session': session, 'account': account})}\n```")
    for at, (tool, arguments, answer, is_error) in enumerate(exchanges):
        call = FunctionCall(id=str(at % 2), name=tool, arguments=json.dumps(arguments))
        messages.append(AssistantMessage(content=[call], source="trader"))
        result = FunctionExecutionResult(content=answer, name=tool, call_id=str(at % 2), is_error=is_error)
        messages.append(FunctionExecutionResultMessage(content=[result] * (at % 3)))
    tools = [ToolSchema(name=name) for name in PARAMETERS]
    reply = asyncio.run(HouseModel(rulebook).create(messages, tools=tools))
    assert reply.content


def test_every_rulebook_is_offered_under_its_own_name() -> None:
    assert tuple(RULEBOOKS) == NAMES
    assert [rules.name for rules in RULEBOOKS.values()] == list(NAMES)
