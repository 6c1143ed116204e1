"""The most tokens that a prompt can have, known before it is sent.

No token is shorter than a byte. In a conversation that goes on, what its last request had plus the bytes added since is
a closer bound, because the provider has counted the rest.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import cast

from autogen_core.models import LLMMessage, RequestUsage
from autogen_core.tools import Tool, ToolSchema

from model_clients.replies import ChatUsage
from model_clients.routing import Bounded, Candidate

UNSEEN_TOKENS = 1_000
"""What a provider puts before a request by itself: how tools are called, and how a conversation is written."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request that is about to be sent: `most` is the tokens that the provider can't count more of."""

    conversation: Hashable
    messages: int
    size: int
    most: int


@dataclass(slots=True)
class PromptBounds:
    """Of one session. A conversation is known by its model, its first two messages and its tools."""

    _seen: dict[Hashable, tuple[Prompt, int]] = field(default_factory=dict)

    def of(self, candidate: Candidate, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]) -> Prompt:
        size = cast(Bounded, candidate.client).request_bytes(messages, tools)
        first = tuple((each.type, str(each.content)) for each in messages[:2])
        offered = tuple(tool["name"] if isinstance(tool, dict) else tool.name for tool in tools)
        conversation = (candidate.model, first, offered)
        most = size + UNSEEN_TOKENS
        if conversation in self._seen:
            before, tokens = self._seen[conversation]
            if before.messages <= len(messages) and before.size <= size:
                most = min(most, tokens + size - before.size)
        return Prompt(conversation, len(messages), size, most)

    def learn(self, prompt: Prompt, usage: RequestUsage) -> None:
        """Remember what an answered request had."""
        if isinstance(usage, ChatUsage) and not usage.is_estimate and usage.prompt_tokens > 0:
            self._seen[prompt.conversation] = (prompt, usage.prompt_tokens)
