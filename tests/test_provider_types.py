"""The fixtures, and our own requests, held against the types of the vendors' packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anthropic.types as anthropic_types
import pytest
from anthropic.types.shared import ErrorResponse
from google.genai import types as google_types
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter

from model_clients.providers import TIERS
from tests.provider_wires import CALLS, SIGNATURE, TEXTS, error, raw
from tests.test_chat_completions import calls_of
from tests.test_provider_wires import BEGIN, NOW, PRICE, answered, opened
from values.settings import PROVIDER_NAMES

CHAT = [name for name in PROVIDER_NAMES if name not in ("anthropic", "google")]


@pytest.mark.parametrize("answers", [TEXTS, CALLS], ids=["text", "calls"])
def test_every_fixture_is_one_of_its_vendors_answers(answers: Mapping[str, dict[str, Any]]) -> None:
    for provider in CHAT:
        chat = ChatCompletion.model_validate(answers[provider])
        assert chat.usage is not None
        assert chat.usage.prompt_tokens == 1_900
    message = anthropic_types.Message.model_validate(answers["anthropic"])
    assert message.usage.cache_read_input_tokens == 1_024
    content = google_types.GenerateContentResponse.model_validate(answers["google"])
    assert content.usage_metadata is not None
    assert content.usage_metadata.thoughts_token_count == 4


def test_the_blocks_of_a_turn_with_calls_are_what_their_vendors_types_say() -> None:
    kinds = [block.type for block in anthropic_types.Message.model_validate(CALLS["anthropic"]).content]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    parts = google_types.GenerateContentResponse.model_validate(CALLS["google"]).candidates[0].content.parts  # type: ignore[index, union-attr]
    assert parts is not None
    assert parts[1].function_call is not None
    assert (parts[1].function_call.id, bool(parts[1].thought_signature)) == ("fc-8f2a", True)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 529])
def test_the_errors_are_anthropics(status: int) -> None:
    assert ErrorResponse.model_validate(error("anthropic", status, "no")).error.message == "no"


async def test_our_requests_are_what_the_vendors_types_take() -> None:
    for provider in ("anthropic", "google"):
        async with opened(provider, [raw(CALLS[provider]), raw(TEXTS[provider])]) as (server, client):
            asked = await client.create(BEGIN, tools=[PRICE, NOW])
            await client.create([*BEGIN, *answered(calls_of(asked), asked.thought)], tools=[PRICE, NOW])
            request = server.requests[-1]
        if provider == "anthropic":
            text = json.dumps(request["messages"])
            blocks = TypeAdapter(list[anthropic_types.MessageParam]).validate_json(text)
            assert [each["role"] for each in blocks] == ["user", "assistant", "user"]
            tools = TypeAdapter(list[anthropic_types.ToolParam]).validate_json(json.dumps(request["tools"]))
            assert [each["name"] for each in tools] == ["get_price", "get_time"]
            TypeAdapter(list[anthropic_types.TextBlockParam]).validate_python(request["system"])
            TypeAdapter(anthropic_types.ToolChoiceParam).validate_python(request["tool_choice"])
            continue
        contents = [google_types.Content.model_validate(each) for each in request["contents"]]
        assert contents[1].parts is not None
        assert sum(part.function_call is not None for part in contents[1].parts) == 2
        assert SIGNATURE in json.dumps(request["contents"])
        google_types.Content.model_validate(request["systemInstruction"])
        google_types.ToolConfig.model_validate(request["toolConfig"])
        google_types.GenerationConfig.model_validate(request["generationConfig"])
        [tool] = [google_types.Tool.model_validate(each) for each in request["tools"]]
        assert [each.name for each in tool.function_declarations or ()] == ["get_price", "get_time"]


def test_the_tiers_name_models_that_anthropics_package_knows() -> None:
    known = anthropic_types.Model.__args__[0].__args__  # type: ignore[attr-defined]
    assert set(TIERS["anthropic"].values()) <= set(known)
