"""The client of language models, against a server on this machine that speaks the real wire format."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import TextMessage
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    ModelInfo,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from pydantic import BaseModel, SecretStr

from model_clients.chat_completions import ChatCompletionsClient
from model_clients.chat_format import ChatFormat
from model_clients.failures import BadReply, ModelFailed, ModelUnavailable, RateLimited, RequestRefused
from model_clients.patience import FIRST_WAIT_S, LONGEST_WAIT_S, Patience
from model_clients.replies import ChatUsage, read_reply
from tests.model_loopback import Answer, Hang, ModelLoopback, Raw, Reply, Reset, too_many, tool_call
from values.errors import BadSetting, Refused

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CANARY = "sk-canary-7f3a9b/+=._-~c41d"
BEGIN: list[LLMMessage] = [UserMessage(content="Begin.", source="user")]
TOOLS: list[ToolSchema] = [
    {"name": name, "parameters": {"type": "object", "properties": {}}} for name in ("get_price", "get_balance")
]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


class Time:
    """Time that passes only where the client sleeps. `slept` are its waits."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.slept: list[float] = []
        self.patience = Patience(self.sleep, lambda: sum(self.slept), lambda: jitter, lambda: NOON)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@asynccontextmanager
async def opened(
    script: Any = ("Hello.",),
    *,
    time: Time | None = None,
    key: str | None = None,
    timeout_s: float = 55,
    model_info: ModelInfo = ChatFormat.info,
    **server: Any,
) -> AsyncIterator[tuple[ModelLoopback, ChatCompletionsClient]]:
    async with ModelLoopback(script, **server) as loopback:
        client = ChatCompletionsClient(
            "qwen3",
            base_url=loopback.base_url,
            api_key=None if key is None else SecretStr(key),
            timeout_s=timeout_s,
            model_info=model_info,
            patience=(time or Time()).patience,
        )
        try:
            yield loopback, client
        finally:
            await client.close()


async def streamed(client: ChatCompletionsClient, **given: Any) -> tuple[list[str], CreateResult]:
    *texts, last = [each async for each in client.create_stream(BEGIN, **given)]
    assert isinstance(last, CreateResult)
    return [text for text in texts if isinstance(text, str)], last


def calls_of(result: CreateResult) -> list[FunctionCall]:
    assert isinstance(result.content, list)
    return result.content


def after(result: CreateResult) -> list[LLMMessage]:
    """The messages that AutoGen adds for an answer with calls."""
    calls = calls_of(result)
    answers = [FunctionExecutionResult(content="done", name=call.name, call_id=call.id) for call in calls]
    said = AssistantMessage(content=list(calls), thought=result.thought, source="trader")
    return [said, FunctionExecutionResultMessage(content=answers)]


def agent(client: ChatCompletionsClient, **given: Any) -> tuple[AssistantAgent, list[str]]:
    asked: list[str] = []

    async def get_price(symbol: str) -> str:
        """The last price."""
        asked.append(symbol)
        return f"{symbol} costs 187.42"

    trader = AssistantAgent(
        "trader", client, tools=[get_price], system_message="You trade.", max_tool_iterations=10, **given
    )
    return trader, asked


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_trades_its_way_through_a_session(stream: bool) -> None:
    script: list[Reply] = [
        Answer("First I look.", [tool_call("get_price", "c1", symbol="NVDA")]),
        Answer(calls=[tool_call("get_price", "c2", symbol="AAPL"), tool_call("get_price", "c3", symbol="SPY")]),
        Answer("I hold.", cached_tokens=64),
    ]
    async with opened(script) as (server, client):
        trader, asked = agent(client, model_client_stream=stream)
        result = await trader.run(task="Begin.")
        assert isinstance(result.messages[-1], TextMessage)
        assert result.messages[-1].content == "I hold."
        assert asked == ["NVDA", "AAPL", "SPY"]
        assert server.complaints == []
        roles = [message["role"] for message in server.requests[-1]["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "tool"]
        answers = [each for each in server.requests[-1]["messages"] if each["role"] == "tool"]
        assert [(each["tool_call_id"], each["content"]) for each in answers] == [
            ("c1", "NVDA costs 187.42"),
            ("c2", "AAPL costs 187.42"),
            ("c3", "SPY costs 187.42"),
        ]
        assert client.total_usage().prompt_tokens == server.usage.prompt_tokens
        assert client.total_usage().completion_tokens == server.usage.completion_tokens


async def test_malformed_arguments_are_answered_by_autogen_and_the_session_goes_on() -> None:
    broken = {"id": "c1", "type": "function", "function": {"name": "get_price", "arguments": '{"symbol": "NV'}}
    script = [Answer(calls=[broken]), Answer(calls=[tool_call("get_price", "c2", symbol="NVDA")]), "I hold."]
    async with opened(script) as (server, client):
        trader, asked = agent(client)
        await trader.run(task="Begin.")
        assert asked == ["NVDA"]
        assert server.complaints == []
        assert "Unterminated string" in server.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize("arguments", ['{"quantity": ' + "1" * 5_000, "[" * 100_000], ids=["digits", "brackets"])
async def test_a_model_that_writes_without_end_does_not_hang_its_session(arguments: str) -> None:
    endless = {"id": "c1", "type": "function", "function": {"name": "get_price", "arguments": arguments}}
    async with opened([Answer(calls=[endless]), "I hold."]) as (server, client):
        trader, asked = agent(client)
        await asyncio.wait_for(trader.run(task="Begin."), timeout=20)
        assert asked == []
        assert server.requests[1]["messages"][-1]["content"].startswith("Error: ")


@pytest.mark.parametrize("depth", [400, 800, 900])
async def test_brackets_in_brackets_fail_like_any_bad_reply_however_deep_the_caller_is(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    call = f'{{"function": {{"name": "t", "arguments": {nested}}}}}'
    replies = [
        Raw(f'{{"choices": [{{"message": {{"content": {nested}}}}}]}}'),
        Raw(f'{{"choices": [{{"message": {{"tool_calls": [{call}]}}}}]}}'),
    ]

    async def ask(frames: int) -> CreateResult:
        return await (ask(frames - 1) if frames else client.create(BEGIN))

    async with opened(replies) as (_, client):
        with pytest.raises(BadReply, match="should be a text"):
            await ask(frames=300)
        try:
            told = calls_of(await ask(frames=300))[0].arguments
        except BadReply as failed:
            told = str(failed)
        assert told == nested[:200] + "…" or "nested too deeply" in told


@pytest.mark.parametrize("where", ["finish_reason", "logprobs", "index"])
@pytest.mark.parametrize("stream", [False, True])
async def test_brackets_in_fields_that_nobody_needs_do_no_harm(where: str, stream: bool) -> None:
    nested = "[" * 900 + "]" * 900
    part = '{"content": "I hold."}' if where != "index" else (
        f'{{"tool_calls": [{{"index": {nested}, "id": {nested}, "function": {{"name": "t"}}}}]}}'
    )  # fmt: skip
    field = f'"{where}": {nested}, ' if where != "index" else ""
    whole = f'{{"choices": [{{{field}"{"delta" if stream else "message"}": {part}}}]}}'
    events = {"content-type": "text/event-stream"}
    reply = Raw(f"data: {whole}\n\ndata: [DONE]\n\n", headers=events) if stream else Raw(whole)

    async def ask(frames: int) -> CreateResult:
        if frames:
            return await ask(frames - 1)
        return (await streamed(client))[1] if stream else await client.create(BEGIN)

    async with opened([reply]) as (_, client):
        result = await ask(frames=200)
        assert result.content == "I hold." or [call.name for call in calls_of(result)] == ["t"]


async def test_what_is_longer_than_any_use_of_it_is_cut_and_counted_whole() -> None:
    long = "x" * 300_000
    calls = [
        {"id": long, "function": {"name": long, "arguments": json.dumps({"a": long})}},
        {"id": "b", "function": {"name": "t", "arguments": f'{{"a": {long}'}},
        tool_call("t", "c", a="x" * 150_000),
        tool_call("t", "d", a="x" * 150_000),
    ]
    async with opened([Answer(long, calls, {"reasoning": long}, counts=False), Answer(long)]) as (server, client):
        result = await client.create(BEGIN, tools=TOOLS)
        shown = [(call.id, call.name[:2], len(call.name), len(call.arguments)) for call in calls_of(result)]
        assert shown == [
            ("call_1_0", "xx", 231, 201),
            ("b", "t", 1, 201),
            ("c", "t", 1, 150_009),
            ("d", "t", 1, 201),
        ]
        assert result.thought is not None
        assert len(result.thought) < 210_000
        assert result.usage.completion_tokens > 1_500_000 / 4
        assert str((await client.create([*BEGIN, *after(result)])).content).endswith("x… [200,000 characters left out]")
        assert len(server.bodies[-1]) < 400_000
        assert server.complaints == []


async def test_the_request_says_what_is_asked() -> None:
    class Verdict(BaseModel):
        buy: bool

    info = ChatFormat.info | {"structured_output": True}
    async with opened(model_info=ModelInfo(**info)) as (server, client):
        await client.create(BEGIN, extra_create_args={"temperature": 0})
        await client.create(BEGIN, tools=TOOLS, tool_choice="none", json_output=True)
        await client.create(BEGIN, json_output=Verdict)
        await streamed(client, tools=TOOLS)
        plain, in_json, structured, in_stream = server.requests
        begun = [{"role": "user", "content": "Begin."}]
        assert plain == {"model": "qwen3", "temperature": 0, "max_tokens": 8_000, "messages": begun}
        assert in_json["tool_choice"] == "none"
        assert in_json["response_format"] == {"type": "json_object"}
        assert structured["response_format"]["type"] == "json_schema"
        assert structured["response_format"]["json_schema"]["name"] == "Verdict"
        assert list(structured["response_format"]["json_schema"]["schema"]["properties"]) == ["buy"]
        assert in_stream["stream"] is True
        assert in_stream["stream_options"] == {"include_usage": True}
        assert in_stream["tool_choice"] == "auto"
        assert server.complaints == []


async def test_what_the_client_sets_itself_cannot_be_set_from_outside() -> None:
    async with opened() as (server, client):
        with pytest.raises(ValueError, match="sets messages, stream, which the client sets itself"):
            await client.create(BEGIN, extra_create_args={"messages": [], "stream": True})
        assert server.requests == []


async def test_what_the_model_is_declared_without_is_refused_before_it_is_asked() -> None:
    blind = ModelInfo(
        vision=False, function_calling=False, json_output=False, family="unknown", structured_output=False
    )
    picture = UserMessage(content=["look", Image(Picture.new("RGB", (1, 1)))], source="user")
    async with opened(model_info=blind) as (server, client):
        with pytest.raises(Refused, match="needs function_calling, and qwen3 is declared without it"):
            await client.create(BEGIN, tools=TOOLS)
        with pytest.raises(Refused, match="needs json_output"):
            await client.create(BEGIN, json_output=True)
        with pytest.raises(Refused, match="needs structured_output"):
            await client.create(BEGIN, json_output=BaseModel)
        with pytest.raises(Refused, match="has an image, and the model is declared without vision"):
            await client.create([picture])
        assert server.requests == []


async def test_tokens_are_estimated_from_characters() -> None:
    async with opened() as (_, client):
        short = client.count_tokens([SystemMessage(content="x" * 400)])
        long = client.count_tokens([SystemMessage(content="x" * 800)])
        assert long - short == 100
        assert client.count_tokens(BEGIN, tools=TOOLS) > client.count_tokens(BEGIN)
        assert client.remaining_tokens(BEGIN) == 128_000 - client.count_tokens(BEGIN)
        assert client.remaining_tokens([SystemMessage(content="x" * 1_000_000)]) == 0


ANSWERS: Mapping[str, Answer] = {
    "text": Answer("Grüße, 世界 🎉 — I hold."),
    "empty": Answer(""),
    "null": Answer(None),
    "refusal": Answer(None, fields={"refusal": "I won't."}),
    "cut": Answer("I would", finish_reason="length"),
    "filtered": Answer(None, finish_reason="content_filter"),
    "strange end": Answer("Well.", finish_reason="eos_token"),
    "reasoning": Answer("Hold.", fields={"reasoning_content": "Let me see."}),
    "calls": Answer(None, [tool_call("get_price", "a", symbol="NVDA"), tool_call("get_balance", "b")]),
    "text and calls": Answer("I look.", [tool_call("get_price", "a", symbol="NVDA")]),
    "reasoning and calls": Answer(None, [tool_call("get_price", "a")], {"reasoning": "Prices first."}),
    "all of it": Answer("I look.", [tool_call("get_price", "a")], {"reasoning_content": "Prices first."}),
    "calls that say stop": Answer(None, [tool_call("get_price", "a")], finish_reason="stop"),
    "same ids": Answer(None, [tool_call("get_price", "a"), tool_call("get_balance", "a")]),
    "no ids": Answer(None, [tool_call("get_price", None), tool_call("get_balance", None)]),
    "objects": Answer(None, [{"id": "a", "function": {"name": "get_price", "arguments": {"symbol": "NVDA"}}}]),
    "no arguments": Answer(None, [{"id": "a", "function": {"name": "get_balance"}}]),
    "empty arguments": Answer(None, [{"id": "a", "function": {"name": "get_balance", "arguments": ""}}]),
    "broken arguments": Answer(None, [{"id": "a", "function": {"name": "get_price", "arguments": '{"symbol": "N'}}]),
    "unknown tool": Answer(None, [tool_call("multi_tool_use.parallel", "a")]),
    "half a character": Answer("half \ud83d and more"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize(
    "shape", [{}, {"line_end": "\r\n", "comments": True, "write_bytes": 3}], ids=["openai", "in crumbs"]
)
async def test_a_streamed_answer_is_the_answer(case: str, shape: Mapping[str, Any]) -> None:
    async with opened([ANSWERS[case]], **shape) as (server, client):
        whole = await client.create(BEGIN, tools=TOOLS)
        texts, last = await streamed(client, tools=TOOLS)
        assert (last.content, last.thought, last.finish_reason) == (whole.content, whole.thought, whole.finish_reason)
        assert isinstance(whole.content, list) or "".join(texts) == whole.content
        assert last.usage.completion_tokens == whole.usage.completion_tokens
        assert server.complaints == []


READ: Sequence[tuple[str, str | list[FunctionCall], str | None, str]] = [
    ("empty", "", None, "stop"),
    ("null", "", None, "stop"),
    ("refusal", "I won't.", None, "stop"),
    ("cut", "I would", None, "length"),
    ("filtered", "", None, "content_filter"),
    ("strange end", "Well.", None, "unknown"),
    ("reasoning", "Hold.", "Let me see.", "stop"),
    ("text and calls", [FunctionCall("a", '{"symbol": "NVDA"}', "get_price")], "I look.", "function_calls"),
    ("reasoning and calls", [FunctionCall("a", "{}", "get_price")], "Prices first.", "function_calls"),
    ("all of it", [FunctionCall("a", "{}", "get_price")], "Prices first.\n\nI look.", "function_calls"),
    ("calls that say stop", [FunctionCall("a", "{}", "get_price")], None, "function_calls"),
    ("objects", [FunctionCall("a", '{"symbol": "NVDA"}', "get_price")], None, "function_calls"),
    ("no arguments", [FunctionCall("a", "{}", "get_balance")], None, "function_calls"),
    ("empty arguments", [FunctionCall("a", "{}", "get_balance")], None, "function_calls"),
    ("broken arguments", [FunctionCall("a", '{"symbol": "N', "get_price")], None, "function_calls"),
    ("unknown tool", [FunctionCall("a", "{}", "multi_tool_use.parallel")], None, "function_calls"),
    ("half a character", "half \ufffd and more", None, "stop"),
]


@pytest.mark.parametrize(("case", "content", "thought", "finish_reason"), READ, ids=[each[0] for each in READ])
async def test_what_a_model_says_is_passed_on_as_it_is(
    case: str, content: str | list[FunctionCall], thought: str | None, finish_reason: str
) -> None:
    async with opened([ANSWERS[case]]) as (_, client):
        result = await client.create(BEGIN, tools=TOOLS)
        assert (result.content, result.thought, result.finish_reason) == (content, thought, finish_reason)


@pytest.mark.parametrize("given", ["a", None, ""])
async def test_no_two_calls_of_a_conversation_share_an_id_and_the_wire_agrees(given: str | None) -> None:
    twice = Answer(None, [tool_call("get_price", given), tool_call("get_balance", given)])
    async with opened([twice]) as (server, client):
        history = list(BEGIN)
        for _ in range(3):
            history += after(await client.create(history, tools=TOOLS))
        ids = [call["id"] for message in server.requests[-1]["messages"] for call in message.get("tool_calls", ())]
        assert len(ids) == 4
        assert len(set(ids)) == 4
        assert server.complaints == []


@given(given_ids=st.lists(st.lists(st.sampled_from(["a", "call_1_0", "call_1_1", "call_3_0", None]), max_size=3)))
def test_ids_stay_unique_whatever_a_model_makes_up(given_ids: list[list[str | None]]) -> None:
    taken: list[str] = []
    for turn, ids in enumerate(given_ids):
        message = {"tool_calls": [tool_call("t", each) for each in ids]}
        reply = read_reply({"choices": [{"message": message}]}, taken, turn * 2 + 1, ChatFormat().say_again)
        taken += [call.id for call in reply.content if isinstance(call, FunctionCall)]
    assert len(set(taken)) == len(taken) == sum(map(len, given_ids))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("text and calls", {"content": "I look."}),
        ("reasoning and calls", {"content": None, "reasoning": "Prices first."}),
        ("all of it", {"content": "I look.", "reasoning_content": "Prices first."}),
    ],
)
async def test_reasoning_goes_back_where_it_came_from_and_text_as_text(case: str, said: dict[str, Any]) -> None:
    async with opened([ANSWERS[case]]) as (server, client):
        await client.create([*BEGIN, *after(await client.create(BEGIN, tools=TOOLS))], tools=TOOLS)
        [message] = [each for each in server.requests[-1]["messages"] if each["role"] == "assistant"]
        assert {name: value for name, value in message.items() if name not in ("role", "tool_calls")} == said


async def test_usage_tells_what_the_provider_had_cached() -> None:
    async with opened([Answer("Hi.", cached_tokens=12)]) as (server, client):
        result = await client.create(BEGIN)
        assert result.usage == ChatUsage(server.usage.prompt_tokens, server.usage.completion_tokens, 12)


async def test_usage_that_a_server_does_not_count_is_an_estimate_that_says_so() -> None:
    async with opened([Answer("x" * 40, counts=False)]) as (server, client):
        results = await client.create(BEGIN), (await streamed(client))[1]
        for result, body in zip(results, server.bodies, strict=True):
            assert isinstance(result.usage, ChatUsage)
            assert result.usage.is_estimate
            assert result.usage.completion_tokens == 10
            assert result.usage.prompt_tokens == -(-len(body) // 4)


async def test_one_index_for_all_calls_does_not_mix_them_up() -> None:
    deltas = [
        {"index": 0, "id": "a", "function": {"name": "get_price", "arguments": '{"symbol": "NVDA"}'}},
        {"index": 0, "id": "b", "function": {"name": "get_balance", "arguments": "{}"}},
        {"id": "c", "function": {"name": "get_price", "arguments": '{"symbol": '}},
        {"function": {"arguments": '"SPY"}'}},
        {"function": {"name": "get_balance", "arguments": "{}"}},
    ]
    events = [{"choices": [{"delta": {"tool_calls": [delta]}}]} for delta in deltas]
    stream = "".join(f"data:{json.dumps(event)}\n\n" for event in events) + "data: [DONE]"  # no empty line at the end
    async with opened([Raw(stream, headers={"content-type": "text/event-stream"})]) as (_, client):
        calls = calls_of((await streamed(client, tools=TOOLS))[1])
        assert [(call.name, call.arguments) for call in calls] == [
            ("get_price", '{"symbol": "NVDA"}'),
            ("get_balance", "{}"),
            ("get_price", '{"symbol": "SPY"}'),
            ("get_balance", "{}"),
        ]


async def test_a_stream_is_over_when_it_says_so_and_its_last_count_holds() -> None:
    counted = {"choices": [{"delta": {"content": "Hold."}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    ended = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None}
    events = "".join(f"data: {each}\n\n" for each in (json.dumps(counted), json.dumps(ended), "[DONE]"))
    async with opened([Hang(STREAM_HEAD + events.encode())], timeout_s=5) as (_, client):
        texts, last = await streamed(client)
        assert (texts, last.content, last.finish_reason) == (["Hold."], "Hold.", "stop")
        assert last.usage == ChatUsage(3, 2)


async def test_a_server_that_does_not_stream_is_understood() -> None:
    whole = json.dumps({"choices": [{"message": {"content": "Hold."}, "finish_reason": "stop"}]})
    async with opened([Raw(whole)]) as (_, client):
        assert (await streamed(client))[1].content == "Hold."


async def test_too_many_requests_waits_as_long_as_it_is_told() -> None:
    time = Time()
    date = format_datetime(NOON + timedelta(seconds=9), usegmt=True)
    async with opened([too_many("7"), too_many(date), "Hello."], time=time) as (server, client):
        assert (await client.create(BEGIN)).content == "Hello."
        assert time.slept == [7, 9]
        assert server.bodies[0] == server.bodies[1] == server.bodies[2]


@pytest.mark.parametrize("header", [None, "soon", "-3", "nan", "Mon, 99 Foo 2026"])
async def test_without_a_time_that_can_be_read_waits_grow(header: str | None) -> None:
    time = Time(jitter=1)
    async with opened([too_many(header), Raw("", 503), "Hello."], time=time) as (_, client):
        assert (await client.create(BEGIN)).content == "Hello."
        assert time.slept == [FIRST_WAIT_S, FIRST_WAIT_S * 2]


async def test_a_time_that_is_past_is_no_wait() -> None:
    time = Time()
    async with opened([too_many("Mon, 02 Mar 2026 11:00:00 -0000"), "Hello."], time=time) as (_, client):
        await client.create(BEGIN)
        assert time.slept == [0]


@given(tries=st.integers(1, 60), jitter=st.floats(0, 1))
def test_a_wait_is_half_to_all_of_its_step_and_never_long(tries: int, jitter: float) -> None:
    step = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tries - 1))
    assert step / 2 <= Patience(jitter=lambda: jitter).wait_s(tries) <= step


async def test_a_wait_that_a_call_has_no_time_for_ends_it_at_once() -> None:
    time = Time()
    async with opened([too_many("600")], time=time) as (server, client):
        with pytest.raises(RateLimited, match=r"the next try would be 600\.0 s away, and a call may take 55 s"):
            await client.create(BEGIN)
        assert time.slept == []
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "failure", "sentence"),
    [
        (too_many("1"), RateLimited, r"no more requests for now \(429\): 'Rate limit reached.*tried 3 times"),
        (Raw('{"error": "out of memory"}', 500), ModelUnavailable, r"failed \(500\): 'out of memory'; tried 3 times"),
        (Raw("<html>Bad gateway</html>", 502), ModelUnavailable, r"failed \(502\).*tried 3 times"),
        (Raw("", 408), ModelUnavailable, r"failed \(408\); tried 3 times"),
        (Reset(), ModelUnavailable, r"hung up: '\w+Error.*'; tried 3 times"),
    ],
)
async def test_what_may_pass_is_tried_three_times(reply: Reply, failure: type[ModelFailed], sentence: str) -> None:
    time = Time()
    async with opened([reply, reply, reply, "too late"], time=time) as (server, client):
        with pytest.raises(failure, match=sentence):
            await client.create(BEGIN)
        assert len(server.requests) == 3
        assert len(time.slept) == 2


QUOTA = json.dumps({"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}})
LATE = b"data: " + json.dumps({"choices": [{"delta": {"content": "Hel"}}]}).encode() + b"\n\n"


def good(**message: Any) -> Raw:
    return Raw(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))


@pytest.mark.parametrize(
    ("reply", "failure", "sentence"),
    [
        (Raw('{"error": {"message": "no"}}', 400), RequestRefused, r"refuses the request \(400\): 'no'"),
        (Raw("", 401), RequestRefused, r"refuses the API key \(401\); check the key"),
        (Raw("", 403), RequestRefused, r"refuses the API key \(403\)"),
        (Raw('{"message": "no model qwen3"}', 404), RequestRefused, r"model's name and the base URL: 'no model qwen3'"),
        (Raw(QUOTA, 429), RateLimited, "no quota left.*check plan and billing"),
        (Raw("", 307, {"location": "http://127.0.0.1:1/"}), RequestRefused, r"redirects \(307\).*mend the base URL"),
        (Reset(HEAD + b'{"choices"'), ModelUnavailable, "broke off in the middle"),
        (Raw('{"choi', claimed_bytes=900), ModelUnavailable, "broke off in the middle"),
        (Raw("<!doctype html><html>"), BadReply, "web page and no JSON"),
        (Raw('{"choices": [{"mess'), BadReply, r"no JSON \(Unterminated.*it begins: '{\"choices"),
        (Raw(b"\xff\xfe\xfd"), BadReply, "no JSON"),
        (Raw("[" * 100_000), BadReply, "no JSON"),
        (Raw("[]"), BadReply, r"the answer should be an object and is: \[\]"),
        (Raw('{"error": {"message": "overloaded"}}'), BadReply, "claims success and holds an error: 'overloaded'"),
        (Raw('{"choices": []}'), BadReply, "no choices"),
        (Raw('{"choices": {}}'), BadReply, "choices should be a list and is: {}"),
        (Raw('{"choices": [{"message": null}]}'), BadReply, "message should be an object and is: None"),
        (good(content=5), BadReply, "content should be a text and is: 5"),
        (good(tool_calls="x"), BadReply, "tool_calls should be a list and is: 'x'"),
        (good(tool_calls=[{"function": {"name": 5}}]), BadReply, "name should be a text and is: 5"),
        (good(tool_calls=[{}] * 129), BadReply, "129 calls; at most 128"),
        (Raw('{"choices": [{"message": {}}], "usage": {"prompt_tokens": -1}}'), BadReply, "prompt_tokens should be"),
        (
            Raw('{"choices": [{"message": {}}], "usage": {"completion_tokens": 1' + "0" * 30 + "}}"),
            BadReply,
            "completion_tokens should be a whole number of tokens, at most 10,000,000, and is: 10000",
        ),
        (Raw('{"choices": [{"message": {}}], "usage": {"prompt_tokens": NaN}}'), BadReply, "and is: nan"),
        (Raw(b" " * 8_000_001), BadReply, "larger than 8,000,000 bytes"),
    ],
)
async def test_what_will_not_pass_is_said_at_once(reply: Reply, failure: type[ModelFailed], sentence: str) -> None:
    time = Time()
    async with opened([reply], time=time) as (server, client):
        with pytest.raises(failure, match=sentence) as caught:
            await client.create(BEGIN)
        assert str(caught.value).startswith(f"qwen3 at {server.base_url} ")
        assert len(str(caught.value)) < 600
        assert len(server.requests) == 1
        assert time.slept == []


@pytest.mark.parametrize(
    ("reply", "failure", "sentence"),
    [
        (Raw("", 401), RequestRefused, "refuses the API key"),
        (Raw(LATE, headers={"content-type": "text/event-stream"}), BadReply, "broke off before"),
        (Reset(STREAM_HEAD + LATE), ModelUnavailable, "broke off in the middle"),
        (
            Raw(b'data: {"error": {"message": "died"}}\n\n', headers={"content-type": "text/event-stream"}),
            BadReply,
            "ends with an error: 'died'",
        ),
        (Raw("data: [DONE]\n\n", headers={"content-type": "text/event-stream"}), BadReply, "no choices"),
        (Raw("data: {\n\n", headers={"content-type": "text/event-stream"}), BadReply, "no JSON"),
        (Raw("<html>"), BadReply, "web page"),
    ],
)
async def test_a_stream_fails_as_plainly(reply: Reply, failure: type[ModelFailed], sentence: str) -> None:
    async with opened([reply]) as (server, client):
        with pytest.raises(failure, match=sentence):
            await streamed(client)
        assert len(server.requests) == 1


async def test_refusals_leave_no_connection_behind() -> None:
    async with opened([Raw("x" * 100_000, 401)], timeout_s=5) as (server, client):
        for _ in range(101):
            with pytest.raises(RequestRefused):
                await client.create(BEGIN)
        server.script = ["Hello."]
        assert (await client.create(BEGIN)).content == "Hello."


async def test_a_server_that_is_not_there_is_named() -> None:
    async with opened() as (server, _):
        url = server.base_url
    client = ChatCompletionsClient("qwen3", base_url=url, api_key=None, patience=Time().patience)
    with pytest.raises(ModelUnavailable, match=f"qwen3 at {url} can't be reached; is it running"):
        await client.create(BEGIN)
    await client.close()


@pytest.mark.parametrize("first", [b"", HEAD, HEAD + b'{"choices": [', STREAM_HEAD + LATE])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hung_connection_ends_at_the_deadline_and_is_closed(first: bytes, stream: bool) -> None:
    async with opened([Hang(first)], timeout_s=0.15) as (server, client):
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.15 s"):
            await (streamed(client) if stream else client.create(BEGIN))
        assert loop.time() - began < 1.15
        await asyncio.wait_for(server.left.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_hangs_up(stream: bool) -> None:
    async with opened([Hang(), "Hello."], timeout_s=5) as (server, client):
        token = CancellationToken()
        given = {"cancellation_token": token}
        call = asyncio.ensure_future(streamed(client, **given) if stream else client.create(BEGIN, **given))  # type: ignore[arg-type]
        await server.asked.wait()
        token.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.left.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await client.create(BEGIN, **given)  # type: ignore[arg-type]
        assert len(server.requests) == 1
        assert (await client.create(BEGIN)).content == "Hello."


async def test_a_task_that_is_cancelled_hangs_up() -> None:
    async with opened([Hang()], timeout_s=5) as (server, client):
        call = asyncio.ensure_future(client.create(BEGIN))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.left.wait(), 5)


async def test_a_stream_that_nobody_reads_on_hangs_up() -> None:
    async with opened([Hang(STREAM_HEAD + LATE)]) as (server, client):
        stream = client.create_stream(BEGIN)
        assert await anext(stream) == "Hel"
        await asyncio.wait_for(stream.aclose(), 5)
        await asyncio.wait_for(server.left.wait(), 5)


async def first_answer(server: ModelLoopback, client: ChatCompletionsClient) -> None:
    """The first request of a key goes alone: its answer tells what the others may do."""
    script, server.script = server.script, ["Hello."]
    await client.create(BEGIN)
    server.script = script


async def test_fifty_at_once_are_all_under_way_and_get_their_own_answers() -> None:
    together = asyncio.Event()

    async def echo(request: dict[str, Any]) -> Reply:
        if server.open_now == 50:
            together.set()
        await together.wait()
        return str(request["messages"][0]["content"])

    async with opened(echo) as (server, client):
        asked = [[UserMessage(content=f"I am {number}", source="user")] for number in range(50)]
        await first_answer(server, client)
        answers = await asyncio.gather(*(client.create(messages) for messages in asked))
        assert [answer.content for answer in answers] == [f"I am {number}" for number in range(50)]


async def test_at_most_a_hundred_connections_are_open_and_turns_share_them() -> None:
    full = asyncio.Event()

    async def wait_for_a_hundred(_: dict[str, Any]) -> Reply:
        if server.open_now == 100:
            full.set()
        await full.wait()
        return "Hello."

    async with opened(wait_for_a_hundred) as (server, client):
        await first_answer(server, client)
        await asyncio.gather(*(client.create(BEGIN) for _ in range(110)))
        assert server.open_most == 100
        assert server.connections == 100


async def test_the_turns_of_a_session_share_one_connection() -> None:
    async with opened() as (server, client):
        for _ in range(3):
            await client.create(BEGIN)
        assert server.connections == 1


async def test_a_servers_cookies_are_not_kept() -> None:
    async with opened([Raw(good(content="Hi.").body, headers={"set-cookie": "a=" + "x" * 4_000 + "; Path=/"})]) as (
        server,
        client,
    ):
        for _ in range(3):
            await client.create(BEGIN)
        assert all("cookie" not in headers for headers in server.headers)
        assert server.connections == 1


async def test_a_closed_client_says_so() -> None:
    async with opened() as (_, client):
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.create(BEGIN)


async def test_the_key_is_in_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpcore2")
    echo = json.dumps({"error": {"message": f"Bearer {CANARY} {'x' * 250} {CANARY}"}})
    replies: list[Reply] = [
        "Hello.",
        Raw(echo, 400),
        Raw(echo, 401),
        Raw(echo, 403),
        Raw(echo, 404),
        Raw(echo, 500),
        Raw(echo),
        Raw(CANARY),
        Raw(CANARY, 418),
        Raw(json.dumps({"choices": CANARY})),
        Raw(echo, 302, {"location": "http://127.0.0.1/"}),
        Reset(HEAD),
        Raw(f"data: {echo}\n\n", headers={"content-type": "text/event-stream"}),
    ]
    seen: list[str] = []
    async with opened(replies, key=CANARY) as (server, client):
        seen.append(repr(client) + str(client) + repr(vars(client)))
        for reply in replies:
            server.script = [reply]
            for call in (client.create(BEGIN), streamed(client)):
                try:
                    seen.append(repr(await call))
                except ModelFailed as failed:
                    seen.append(repr(failed) + str(failed.__cause__) + repr(failed.__context__))
        assert {headers["authorization"] for headers in server.headers} == {f"Bearer {CANARY}"}
        assert not any(CANARY.encode() in body for body in server.bodies)
    assert len(seen) > 2 * len(replies)
    assert "[key]" in "".join(seen)
    assert CANARY not in "".join(seen)
    assert CANARY[:12] not in "".join(seen)
    ours = "".join(record.getMessage() for record in caplog.records)
    assert "trying again" in ours
    assert CANARY not in ours


async def test_a_gateway_that_shows_the_key_in_a_good_answer_tells_it_to_nobody_else() -> None:
    """What a model says goes on record, into the next prompt and to the owner's phone."""
    told = f"you sent Bearer {CANARY}"
    fields = {"reasoning_content": told, "content": told}
    replies: list[Reply] = [
        Answer(told, fields={"reasoning_content": told}),
        Answer(None, calls=[tool_call("push", CANARY, message=told), tool_call(CANARY)], fields=fields),
    ]
    async with opened(replies, key=CANARY) as (server, client):
        for reply in replies:
            server.script = [reply]
            result = await client.create(BEGIN, tools=TOOLS)
            assert "[key]" in repr(result)
            assert CANARY not in repr(result)
        assert not isinstance(result.content, str)
        done = AssistantMessage(content=result.content, thought=result.thought, source="m")
        answered = [
            FunctionExecutionResult(content="done", name=each.name, call_id=each.id, is_error=False)
            for each in result.content
        ]
        server.script = ["Hello."]
        await client.create([*BEGIN, done, FunctionExecutionResultMessage(content=answered)])
        assert not any(CANARY.encode() in body for body in server.bodies)


async def test_a_wrong_key_is_named_as_what_to_check_and_none_sends_no_header() -> None:
    async with opened(key="sk-wrong-one-of-mine") as (server, client):
        server.key = "right"
        with pytest.raises(RequestRefused, match="check the key and what it may use") as caught:
            await client.create(BEGIN)
        assert "sk-wrong" not in str(caught.value)
    async with opened() as (server, client):
        await client.create(BEGIN)
        assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("key", ["sk-abc\n", "sk abc", "", "sk-\u2026", 'sk-"abc"'])
def test_a_key_that_is_no_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(BadSetting, match="one line of ASCII") as caught:
        ChatCompletionsClient("m", base_url="http://127.0.0.1/v1", api_key=SecretStr(key))
    assert "sk" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:11434", "ftp://x/v1", "http:///v1", "http://u:secret@x/v1", "http://x/?secret"]
)
def test_a_base_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match=r"base_url is .*allowed: an address such as") as caught:
        ChatCompletionsClient("m", base_url=url, api_key=None)
    assert "secret" not in str(caught.value)


def test_a_call_needs_some_time() -> None:
    with pytest.raises(BadSetting, match="timeout_s is 0; allowed: seconds, more than 0"):
        ChatCompletionsClient("m", base_url="http://127.0.0.1/v1", api_key=None, timeout_s=0)
