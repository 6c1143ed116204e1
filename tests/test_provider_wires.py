"""Every provider in its own wire format: an agent's session against a server on this machine, and what it charges."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema

from model_clients.content_schema import parameters_of
from model_clients.failures import ModelUnavailable, RateLimited, RequestRefused
from model_clients.language_model import LanguageModel
from model_clients.providers import Providers
from model_clients.replies import ChatUsage
from tests.model_loopback import ModelLoopback, Raw, Reply
from tests.provider_wires import CALLS, NAMES, SIGNATURE, TEXTS, error, judge_of, raw, schema_complaint
from tests.test_chat_completions import Time, calls_of
from values.errors import Refused
from values.settings import PROVIDER_NAMES, ModelSettings, load

KEY = "sk-canary-2f8c1d"
PRICE: ToolSchema = {
    "name": "get_price",
    "description": "The last price.",
    "parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}, "required": ["symbol"]},
}
NOW: ToolSchema = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
BEGIN: list[LLMMessage] = [SystemMessage(content="You trade."), UserMessage(content="Begin.", source="user")]


@asynccontextmanager
async def opened(
    provider: str, script: Sequence[Reply], *, time: Time | None = None, name: str = "", **server: Any
) -> AsyncIterator[tuple[ModelLoopback, LanguageModel]]:
    async with ModelLoopback(script, judge=judge_of(provider), **server) as loopback:
        given: dict[str, Any] = {f"{provider}_base_url": loopback.base_url}
        if provider != "ollama":
            given[f"{provider}_api_key"] = KEY
        settings = load(ModelSettings, **given)
        providers = Providers(settings, (time or Time()).patience)
        client = providers.client(f"{provider}/{name or NAMES.get(provider, 'large')}")
        assert isinstance(client, LanguageModel)
        try:
            yield loopback, client
        finally:
            await client.close()


def answered(calls: Sequence[FunctionCall], thought: str | None = None) -> list[LLMMessage]:
    results = [
        FunctionExecutionResult(content=f"result {at}", name=call.name, call_id=call.id, is_error=False)
        for at, call in enumerate(calls)
    ]
    said = AssistantMessage(content=list(calls), thought=thought, source="trader")
    return [said, FunctionExecutionResultMessage(content=results)]


USAGES = {
    "anthropic": ChatUsage(1_900, 10, 1_024, 100),
    "openrouter": ChatUsage(1_900, 10, 1_024, 100),
    "ollama": ChatUsage(1_900, 10),
    "compatible": ChatUsage(1_900, 10),
}


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
async def test_a_session_of_two_turns_is_understood_by_both_sides(provider: str) -> None:
    async with opened(provider, [raw(CALLS[provider]), raw(TEXTS[provider])]) as (server, client):
        asked = await client.create(BEGIN, tools=[PRICE, NOW])
        calls = calls_of(asked)
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [
            ("get_price", {"symbol": "NVDA"}),
            ("get_price", {"symbol": "SPY"}),
        ]
        assert asked.finish_reason == "function_calls"
        told = await client.create([*BEGIN, *answered(calls, asked.thought)], tools=[PRICE, NOW])
        assert (told.content, told.finish_reason) == ("I hold.", "stop")
        assert told.usage == USAGES.get(provider, ChatUsage(1_900, 10, 1_024))
        assert client.total_usage().prompt_tokens == 3_800
        assert server.complaints == []
        last = json.dumps(server.requests[-1])
        assert last.index("result 0") < last.index("result 1")
        carried = {"anthropic": "x-api-key", "google": "x-goog-api-key"}.get(provider, "authorization")
        assert (KEY in server.headers[0].get(carried, "")) == (provider != "ollama")
        assert not any(KEY.encode() in body for body in server.bodies)


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
async def test_every_request_caps_its_answer_and_its_bytes_are_known_before(provider: str) -> None:
    async with opened(provider, [raw(TEXTS[provider])]) as (server, client):
        await client.create(BEGIN, tools=[PRICE])
        request = server.requests[0]
        where = {"anthropic": "max_tokens", "openai": "max_completion_tokens"}
        where |= dict.fromkeys(("grok", "groq"), "max_completion_tokens")
        found = request["generationConfig"]["maxOutputTokens"] if provider == "google" else (
            request[where.get(provider, "max_tokens")])  # fmt: skip
        assert found == client.output_tokens_max == 8_000
        assert client.request_bytes(BEGIN, [PRICE]) == pytest.approx(len(server.bodies[0]), abs=2)
        assert client.count_tokens(BEGIN, tools=[PRICE]) == -(-client.request_bytes(BEGIN, [PRICE]) // 4)


async def test_anthropic_reads_all_but_the_news_from_its_cache() -> None:
    mark = {"type": "ephemeral"}
    async with opened("anthropic", [raw(CALLS["anthropic"]), raw(TEXTS["anthropic"])]) as (server, client):
        asked = await client.create(BEGIN, tools=[NOW, PRICE])
        await client.create([*BEGIN, *answered(calls_of(asked), asked.thought)], tools=[NOW, PRICE])
        first, second = server.requests
        assert [tool.get("cache_control") for tool in first["tools"]] == [None, mark]
        assert first["system"] == [{"type": "text", "text": "You trade.", "cache_control": mark}]
        assert first["messages"][0]["content"] == [{"type": "text", "text": "Begin.", "cache_control": mark}]
        assert (first["tools"], first["system"]) == (second["tools"], second["system"])
        assert list(second).index("tools") < list(second).index("system") < list(second).index("messages")
        assert "cache_control" not in second["messages"][0]["content"][0]
        results = second["messages"][2]
        assert (results["role"], [each["type"] for each in results["content"]]) == ("user", ["tool_result"] * 2)
        assert [each.get("cache_control") for each in results["content"]] == [None, mark]


async def test_anthropic_gets_its_thinking_back_as_it_came() -> None:
    async with opened("anthropic", [raw(CALLS["anthropic"]), raw(TEXTS["anthropic"])]) as (server, client):
        asked = await client.create(BEGIN, tools=[PRICE])
        assert asked.thought == "Prices first.\n\nI look."
        await client.create([*BEGIN, *answered(calls_of(asked), asked.thought)], tools=[PRICE])
        sent = server.requests[-1]["messages"][1]["content"]
        came = copy.deepcopy(CALLS["anthropic"]["content"])
        assert [each["type"] for each in sent] == [each["type"] for each in came]
        assert sent[:2] == came[:2]
        assert sent[3:] == came[3:]


@pytest.mark.parametrize(("name", "signature"), [("gemini-3.8-flash", SIGNATURE), ("gemini-2.5-flash", SIGNATURE)])
async def test_gemini_gets_its_signatures_back_as_they_came(name: str, signature: str) -> None:
    async with opened("google", [raw(CALLS["google"]), raw(TEXTS["google"])], name=name) as (server, client):
        asked = await client.create(BEGIN, tools=[PRICE, NOW])
        await client.create([*BEGIN, *answered(calls_of(asked), asked.thought)], tools=[PRICE, NOW])
        request = server.requests[-1]
        assert request["systemInstruction"] == {"parts": [{"text": "You trade."}]}
        assert request["contents"][1]["parts"] == CALLS["google"]["candidates"][0]["content"]["parts"]
        assert [each["functionResponse"]["id"] for each in request["contents"][2]["parts"]] == ["fc-8f2a", "fc-8f2b"]
        assert request["tools"][0]["functionDeclarations"][1] == {"name": "get_time", "description": ""}
        assert server.complaints == []


async def test_gemini_is_told_of_no_id_that_it_did_not_give() -> None:
    answer = copy.deepcopy(CALLS["google"])
    for part in answer["candidates"][0]["content"]["parts"][1:]:
        del part["functionCall"]["id"]
    async with opened("google", [raw(answer), raw(TEXTS["google"])]) as (server, client):
        asked = await client.create(BEGIN, tools=[PRICE])
        assert len({call.id for call in calls_of(asked)}) == 2
        await client.create([*BEGIN, *answered(calls_of(asked), asked.thought)], tools=[PRICE])
        assert '"id"' not in json.dumps(server.requests[-1]["contents"])
        assert server.complaints == []


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
async def test_a_history_that_another_provider_began_is_taken_up(provider: str) -> None:
    history = [
        *BEGIN,
        *answered([FunctionCall("call:1/ä", '{"symbol": "NV', "get price!"), FunctionCall("x", "[]", "")], "I look."),
        AssistantMessage(content="", source="trader"),
        UserMessage(content=" ", source="user"),
        *answered([FunctionCall("call_4_0", "{}", "get_price")]),
    ]
    async with opened(provider, [raw(TEXTS[provider])]) as (server, client):
        assert (await client.create(history, tools=[PRICE])).content == "I hold."
        assert server.complaints == []
        if provider == "deepseek":
            said = [
                each for each in server.requests[0]["messages"] if each["role"] == "assistant" and "tool_calls" in each
            ]
            assert [each["reasoning_content"] for each in said] == ["", ""]


@pytest.mark.parametrize("provider", ["anthropic", "google"])
async def test_a_tool_may_be_demanded_forbidden_or_named(provider: str) -> None:
    from autogen_core.tools import FunctionTool

    async def get_price(symbol: str) -> str:
        return symbol

    tool = FunctionTool(get_price, "The last price.")
    async with opened(provider, [raw(TEXTS[provider])]) as (server, client):
        for choice in ("auto", "required", "none", tool):
            await client.create(BEGIN, tools=[tool], tool_choice=choice)
        made = [each.get("tool_choice") or each["toolConfig"]["functionCallingConfig"] for each in server.requests]
        assert (
            made
            == {
                "anthropic": [
                    {"type": "auto"},
                    {"type": "any"},
                    {"type": "none"},
                    {"type": "tool", "name": "get_price"},
                ],
                "google": [
                    {"mode": "AUTO"},
                    {"mode": "ANY"},
                    {"mode": "NONE"},
                    {"mode": "ANY", "allowedFunctionNames": ["get_price"]},
                ],
            }[provider]
        )
        with pytest.raises(ValueError, match="tool_choice is 'some'"):
            await client.create(BEGIN, tools=[tool], tool_choice="some")  # type: ignore[arg-type]
        with pytest.raises(Refused, match="needs json_output"):
            await client.create(BEGIN, json_output=True)
        with pytest.raises(ValueError, match="which the client sets itself"):
            await client.create(BEGIN, extra_create_args={"contents": 1, "messages": 1})
        [text, last] = [each async for each in client.create_stream(BEGIN)]
        assert (text, last.content) == ("I hold.", "I hold.")  # type: ignore[union-attr]


ENDS: Sequence[tuple[str, dict[str, Any], str, str]] = [
    ("anthropic", {"stop_reason": "max_tokens"}, "I hold.", "length"),
    ("anthropic", {"stop_reason": "model_context_window_exceeded"}, "I hold.", "length"),
    ("anthropic", {"stop_reason": "refusal", "content": []}, "", "content_filter"),
    ("anthropic", {"stop_reason": "pause_turn"}, "I hold.", "unknown"),
    ("google", {"finishReason": "MAX_TOKENS", "content": {"role": "model"}}, "", "length"),
    ("google", {"finishReason": "SAFETY", "content": None}, "", "content_filter"),
    ("google", {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "call:x"}, "I hold.", "unknown"),
    ("google", {"finishReason": "MALFORMED_FUNCTION_CALL", "content": {}}, "", "unknown"),
]


@pytest.mark.parametrize(("provider", "change", "text", "reason"), ENDS)
async def test_why_an_answer_ended_is_passed_on(provider: str, change: dict[str, Any], text: str, reason: str) -> None:
    answer = copy.deepcopy(TEXTS[provider])
    (answer["candidates"][0] if provider == "google" else answer).update(change)
    async with opened(provider, [raw(answer)]) as (_, client):
        result = await client.create(BEGIN)
        assert (result.content, result.finish_reason) == (text, reason)


async def test_a_prompt_that_gemini_blocks_is_refused_with_its_reason() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}}
    async with opened("google", [raw(blocked)]) as (_, client):
        with pytest.raises(RequestRefused, match=r"won't answer this: the prompt is blocked \(PROHIBITED_CONTENT\)"):
            await client.create(BEGIN)


SPENT = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": [
    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
        {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}]},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}]}  # fmt: skip
BAD_KEY = {"code": 400, "message": f"API key not valid: {KEY}", "status": "INVALID_ARGUMENT", "details": [
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}  # fmt: skip
OVERLOADED = raw(error("anthropic", 529, "Overloaded"), 529)


@pytest.mark.parametrize(
    ("provider", "reply", "failure", "sentence"),
    [
        ("google", raw({"error": SPENT}, 429), RateLimited, "no quota left for this key; check plan"),
        ("google", raw({"error": BAD_KEY}, 400), RequestRefused, r"refuses the API key \(400\); check the key"),
        ("deepseek", raw(error("deepseek", 402, "Insufficient Balance"), 402), RateLimited, "no quota left.*Balance"),
        ("openrouter", raw(error("openrouter", 402, "Add credits"), 402), RateLimited, "no quota left.*Add credits"),
        ("anthropic", raw(error("anthropic", 400, "Your credit balance is too low", "invalid_request_error"), 400),
         RateLimited, "no quota left.*credit balance"),
        ("anthropic", raw(error("anthropic", 200, "spent", "billing_error")), RateLimited, "no quota left.*spent"),
        ("grok", raw(error("grok", 403, f"Incorrect API key {KEY}"), 400), RequestRefused, r"\(400\).*Incorrect API"),
    ],
)  # fmt: skip
async def test_what_only_its_owner_can_mend_is_said_at_once(
    provider: str, reply: Raw, failure: type[Exception], sentence: str
) -> None:
    async with opened(provider, [reply]) as (server, client):
        with pytest.raises(failure, match=sentence) as caught:
            await client.create(BEGIN)
        assert KEY not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("provider", "reply", "sentence"),
    [
        ("anthropic", OVERLOADED, r"failed \(529\): 'Overloaded'; tried 3"),
        ("anthropic", raw(error("anthropic", 529, "Overloaded")), r"failed \(529\): 'Overloaded'; tried 3"),
        ("openrouter", raw(error("openrouter", 502, "upstream died")), r"failed \(502\): 'upstream died'; tried 3"),
        ("openrouter", raw({"choices": [error("openrouter", 503, "gone") | {"finish_reason": "error"}]}),
         r"failed \(503\): 'gone'; tried 3"),
        ("groq", raw(error("groq", 400, "Failed to call a function.", "tool_use_failed"), 400),
         r"could not read its model's own call \(400\): 'Failed to call a function.'; tried 3"),
    ],
)  # fmt: skip
async def test_what_may_pass_is_asked_again(provider: str, reply: Raw, sentence: str) -> None:
    time = Time()
    async with opened(provider, [reply, raw(TEXTS[provider])], time=time) as (_, client):
        assert (await client.create(BEGIN)).content == "I hold."
        assert len(time.slept) == 1
    async with opened(provider, [reply]) as (server, client):
        with pytest.raises(Exception, match=sentence) as caught:
            await client.create(BEGIN)
        assert isinstance(caught.value, ModelUnavailable) or provider == "groq"
        assert len(server.requests) == 3


async def test_an_openai_model_that_takes_tools_only_without_reasoning_is_asked_so_from_then_on() -> None:
    """developers.openai.com: gpt-5.4 and later, in chat completions; older models don't know the word `none`."""
    told = (
        "Function tools with reasoning_effort are not supported for gpt-5.6-terra in /v1/chat/completions. "
        "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
    )
    script = [raw(error("openai", 400, told), 400), raw(CALLS["openai"]), raw(TEXTS["openai"])]
    async with opened("openai", script) as (server, client):
        for _ in range(2):
            await client.create(BEGIN, tools=[PRICE])
        await client.create(BEGIN)
        assert [each.get("reasoning_effort") for each in server.requests] == [None, "none", "none", None]
    async with opened("openai", [raw(error("openai", 400, told), 400)]) as (server, client):
        with pytest.raises(RequestRefused, match="set reasoning_effort"):
            await client.create(BEGIN, tools=[PRICE])
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "const": "x"}, "b": {"type": ["number", "null"]}}},
        {"type": "object", "additionalProperties": False, "$defs": {"S": {"enum": ["buy", "sell"], "type": "string"}},
         "properties": {"side": {"$ref": "#/$defs/S"}, "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
        {"type": "object", "properties": {"q": {"anyOf": [{"type": "number", "exclusiveMinimum": 0},
                                                          {"type": "string", "format": "decimal"}]}}},
        {"type": "object", "properties": {"any": {"type": "object"}, "list": {"type": "array"}, "e": {"enum": [1, 2]}}},
        {"type": "object", "properties": {"loop": {"$ref": "#/properties/loop"}, "all": {"allOf": [{"$ref": "#"}]}}},
    ],
)  # fmt: skip
def test_a_tools_schema_is_said_in_geminis_words(schema: dict[str, Any]) -> None:
    made = parameters_of(schema)
    assert made is not None
    assert list(made["properties"]) == list(schema["properties"])
    assert schema_complaint(made) is None
