"""Four providers on this machine, each in its own wire format, that answer from one script and keep count of tokens.

The script reads and answers as OpenAI's chat completions do; what a provider is asked is translated to that, and the
reply to what the provider would write, with usage in its own words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from types import TracebackType
from typing import Any

from autogen_core import FunctionCall

from tests.model_loopback import ModelLoopback, Raw
from tests.provider_wires import SIGNATURE, chat, judge_of, raw

Said = str | Sequence[FunctionCall]
Script = Callable[[dict[str, Any]], Said]
MODELS = {
    "openai": "gpt-6.1-terra",
    "anthropic": "claude-sonnet-5-5",
    "google": "gemini-3.6-flash",
    "deepseek": "deepseek-v4-pro",
}
CHARS_PER_TOKEN = 4
THOUGHT_TOKENS = 3


@dataclass(frozen=True)
class Rates:
    """USD for a million tokens, each provider's its own, so that no count can stand for another."""

    input_usd: Decimal
    cached_usd: Decimal
    written_usd: Decimal
    output_usd: Decimal


RATES = {
    "openai": Rates(Decimal("2.5"), Decimal("0.25"), Decimal("2.5"), Decimal("10")),
    "anthropic": Rates(Decimal("3"), Decimal("0.3"), Decimal("3.75"), Decimal("15")),
    "google": Rates(Decimal("0.7"), Decimal("0.07"), Decimal("0.7"), Decimal("3.1")),
    "deepseek": Rates(Decimal("0.6"), Decimal("0.02"), Decimal("0.6"), Decimal("1.9")),
}


@dataclass
class Bill:
    """What one provider counted: calls and tokens; `read` are all of the prompt's, cached and written ones too."""

    calls: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    def usd(self, rates: Rates) -> Decimal:
        told = self.tokens
        plain = told["read"] - told["cached"] - told["written"]
        return (
            plain * rates.input_usd + told["cached"] * rates.cached_usd + told["written"] * rates.written_usd
            + told["output"] * rates.output_usd
        ) / 1_000_000  # fmt: skip


class ManyProviders:
    """A context. `urls` by provider; `bills` what each counted; `requests` what was asked, as chat completions."""

    def __init__(self, script: Script, keys: Mapping[str, str]) -> None:
        self._script = script
        self.keys = keys
        self.urls: dict[str, str] = {}
        self.bills = {provider: Bill() for provider in MODELS}
        self.requests: list[dict[str, Any]] = []
        self.servers: dict[str, ModelLoopback] = {}
        self._open = AsyncExitStack()
        self._numbers = count()

    async def __aenter__(self) -> ManyProviders:
        for provider in MODELS:
            server = ModelLoopback(lambda request, at=provider: self._answer(at, request), judge=judge_of(provider))  # type: ignore[misc]
            self.servers[provider] = await self._open.enter_async_context(server)
            self.urls[provider] = server.base_url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, trace)

    def keys_wrongly_sent(self) -> list[str]:
        """Requests that did not carry their provider's own key, or carried another's."""
        named = {"anthropic": "x-api-key", "google": "x-goog-api-key"}
        found = []
        for provider, server in self.servers.items():
            for headers in server.headers:
                given = headers.get(named.get(provider, "authorization"), "").removeprefix("Bearer ")
                others = [key for other, key in self.keys.items() if other != provider]
                if given != self.keys[provider] or any(key in str(headers) for key in others):
                    found.append(provider)
        return found

    def _answer(self, provider: str, request: dict[str, Any]) -> Raw:
        asked = {"anthropic": _from_messages, "google": _from_contents}.get(provider, dict)(request)
        self.requests.append(asked)
        said = self._script(asked)
        read = len(json.dumps(request)) // CHARS_PER_TOKEN
        cached = read // 3
        written = read // 5 if provider == "anthropic" else 0
        text = said if isinstance(said, str) else "".join(each.name + each.arguments for each in said)
        output = len(text) // CHARS_PER_TOKEN + 1
        bill = self.bills[provider]
        bill.calls += 1
        bill.tokens.update(read=read, cached=cached, written=written, output=output + THOUGHT_TOKENS)
        calls = [] if isinstance(said, str) else [(f"call_{next(self._numbers)}", each) for each in said]
        words = said if isinstance(said, str) else None
        if provider == "anthropic":
            return raw(_message(words, calls, read, cached, written, output + THOUGHT_TOKENS))
        if provider == "google":
            return raw(_content(words, calls, read, cached, output))
        return raw(_completion(provider, words, calls, read, cached, output + THOUGHT_TOKENS))


Calls = Sequence[tuple[str, FunctionCall]]


def _completion(provider: str, text: str | None, calls: Calls, read: int, cached: int, output: int) -> dict[str, Any]:
    usage: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
    if provider == "deepseek":
        usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": read - cached}
    else:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    message: dict[str, Any] = {"content": text}
    if provider == "deepseek":
        message["reasoning_content"] = "Prices first."
    if calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call_id, call in calls
        ]
    return chat(usage, message, model=MODELS[provider])


def _message(text: str | None, calls: Calls, read: int, cached: int, written: int, output: int) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "thinking", "thinking": "Prices first.", "signature": SIGNATURE}]
    if text is not None:
        blocks.append({"type": "text", "text": text, "citations": None})
    blocks += [
        {"type": "tool_use", "id": f"toolu_{call_id}", "name": call.name, "input": json.loads(call.arguments)}
        for call_id, call in calls
    ]
    return {
        "id": "msg_01", "type": "message", "role": "assistant", "model": MODELS["anthropic"], "content": blocks,
        "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None,
        "usage": {
            "input_tokens": read - cached - written, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "output_tokens": output,
        },
    }  # fmt: skip


def _content(text: str | None, calls: Calls, read: int, cached: int, output: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [] if text is None else [{"text": text}]
    for at, (call_id, call) in enumerate(calls):
        part = {"functionCall": {"name": call.name, "args": json.loads(call.arguments), "id": call_id}}
        parts.append(part | ({"thoughtSignature": SIGNATURE} if at == 0 else {}))
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": read, "cachedContentTokenCount": cached, "candidatesTokenCount": output,
            "thoughtsTokenCount": THOUGHT_TOKENS, "totalTokenCount": read + output + THOUGHT_TOKENS,
        },
        "modelVersion": MODELS["google"],
    }  # fmt: skip


def _from_messages(request: dict[str, Any]) -> dict[str, Any]:
    system = "".join(block["text"] for block in request["system"])
    told = [{"role": "system", "content": system}]
    for message in request["messages"]:
        texts = [str(block.get("text") or block.get("content") or "") for block in message["content"]]
        told.append({"role": message["role"], "content": "\n".join(texts)})
    return {"messages": told, "tools": [{"function": {"name": each["name"]}} for each in request.get("tools", ())]}


def _from_contents(request: dict[str, Any]) -> dict[str, Any]:
    system = "".join(part["text"] for part in request["systemInstruction"]["parts"])
    told = [{"role": "system", "content": system}]
    for message in request["contents"]:
        texts = [part.get("text") or json.dumps(part.get("functionResponse", "")) for part in message["parts"]]
        role = "assistant" if message["role"] == "model" else "user"
        told.append({"role": role, "content": "\n".join(texts)})
    declared = [each for tool in request.get("tools", ()) for each in tool["functionDeclarations"]]
    return {"messages": told, "tools": [{"function": {"name": each["name"]}} for each in declared]}
