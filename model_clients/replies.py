"""What a chat completions server answers, as a Reply.

What a model does wrong stays as it is: unknown tools, malformed arguments, an empty text. Only what the next request
could not do without is added: a call's missing or repeated id becomes one of ours. What is longer than any use of it is
cut, because every later turn sends it again. An answer that is no chat completion, or counts tokens that none can have,
raises Unreadable with what was found; whoever knows what must not be shown makes a sentence of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import FinishReasons, RequestUsage

BEGINNING_BYTES = 1_000
UNREADABLE_CHARS_LEFT = 200
TEXT_CHARS_MAX = 100_000
ARGUMENTS_CHARS_MAX = 200_000
"""Of all calls in one reply."""
NAME_CHARS_MAX = 200
NESTED_MAX = 100
"""Brackets in brackets: each reader of arguments is as deep as it is called, and Python's own limit counts both."""
TOKENS_MAX = 10_000_000
"""Of one call: no model reads as many, and a session's sum stays within the store's integers."""
CALLS_MAX = 128
"""In one reply: as many as OpenAI lets a request offer tools."""
REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put a model's reasoning: DeepSeek and llama.cpp the first, Ollama and OpenRouter the second."""

_FINISH_REASONS: Mapping[str, FinishReasons] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "function_calls",
    "function_call": "function_calls",
    "content_filter": "content_filter",
}


class Unreadable(ValueError):
    """`what` is wrong with an answer, in words that a quotation of `found` can follow; an empty text is not quoted."""

    def __init__(self, what: str, found: object = "") -> None:
        super().__init__(what)
        self.what = what
        self.found = found


class Blocked(ValueError):
    """The provider's own rules keep it from answering; the text says which."""


@dataclass
class ChatUsage(RequestUsage):
    """Tokens of one call. `prompt_tokens` are all that was read: `cached_tokens` of them came from the provider's cache
    and cost less, `cache_write_tokens` were put there and may cost more. `is_estimate` when the server counted nothing.
    """

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """`said` is the assistant's message with its calls, as JSON that the server wants back; empty without calls."""

    content: str | list[FunctionCall]
    thought: str | None
    finish_reason: FinishReasons
    usage: ChatUsage | None
    said: str
    written_chars: int
    """Of texts, names and arguments, before anything was cut."""


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object that an answer is. Raises Unreadable."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] == b"<":
            raise Unreadable("the answer is a web page and no JSON; is the base URL that of an API?") from None
        beginning = body[:BEGINNING_BYTES].decode(errors="replace")
        raise Unreadable(f"the answer is no JSON ({error}); it begins", beginning) from None
    return expect_object(parsed, "the answer")


SayAgain = Callable[[Sequence[FunctionCall], Mapping[str, str | None]], str]
"""Makes `Reply.said` of calls, and of what stood beside them by the names that the server gave it."""


def read_reply(body: Mapping[str, Any], taken_ids: Collection[str], turn: int, say_again: SayAgain) -> Reply:
    """The Reply that a chat completion object holds.

    `taken_ids` are the ids of the conversation's calls so far; `turn` is any number that grows with the conversation,
    and names the ids that we give. Raises Unreadable.
    """
    choices = body.get("choices")
    if choices is None and body.get("error") is not None:
        raise Unreadable("the answer claims success and holds an error", error_text(body))
    if not expect_list(choices, "choices"):
        raise Unreadable("the answer has no choices")
    choice = expect_object(body["choices"][0], "choices[0]")
    message = expect_object(choice.get("message"), "message")
    reasoning_field, reasoning = _reasoning(message)
    content, refusal = text_at(message, "content"), text_at(message, "refusal")
    text = None if content is None else bounded(content)
    calls, written_chars = calls_of(_written_calls(message.get("tool_calls")), taken_ids, turn)
    written_chars += sum(len(each) for each in (content, refusal, reasoning) if each is not None)
    reasoning = None if reasoning is None else bounded(reasoning)
    said_why = choice.get("finish_reason")
    finish_reason = _FINISH_REASONS.get(said_why, "unknown") if isinstance(said_why, str) else "unknown"
    usage = usage_in(body)
    if not calls:
        text = text or bounded(refusal or "")
    said = {"content": text} | ({} if reasoning_field is None else {reasoning_field: reasoning})
    return reply_of(calls, reasoning, text, finish_reason, usage, say_again(calls, said), written_chars)


def reply_of(
    calls: list[FunctionCall],
    reasoning: str | None,
    text: str | None,
    reason: FinishReasons,
    usage: ChatUsage | None,
    said: str,
    written_chars: int,
) -> Reply:
    """The reply of calls, or without any of `text`; `said` as in Reply."""
    if not calls:
        return Reply(text or "", reasoning or None, reason, usage, "", written_chars)
    thought = "\n\n".join(filter(None, (reasoning, text))) or None
    # some servers say stop here; length stays, because it explains arguments that break off
    reason = "function_calls" if reason == "stop" else reason
    return Reply(calls, thought, reason, usage, said, written_chars)


def status_in(error: object) -> int | None:
    """The HTTP status that an error object names as its code, None without one."""
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def error_text(body: Mapping[str, Any]) -> str:
    """The sentence of an error object, in any of the forms that compatible servers use."""
    error = body.get("error", body)
    found = error.get("message", error) if isinstance(error, Mapping) else error
    return found if isinstance(found, str) else as_json(found)


WrittenCall = tuple[object, str, object]
"""Id, name and arguments of a call as a server wrote them."""


def calls_of(written: Iterable[WrittenCall], taken_ids: Collection[str], turn: int) -> tuple[list[FunctionCall], int]:
    """The calls, and how many characters were written for them. Raises Unreadable for more than CALLS_MAX."""
    parts = list(written)
    if len(parts) > CALLS_MAX:
        raise Unreadable(f"the reply has {len(parts)} calls; at most {CALLS_MAX} are taken")
    calls: list[FunctionCall] = []
    new_ids: set[str] = set()
    written_chars, room = 0, ARGUMENTS_CHARS_MAX
    for at, (given_id, name, given_arguments) in enumerate(parts):
        ids = _ids(given_id, f"call_{turn}_{at}")
        call_id = next(each for each in ids if each not in taken_ids and each not in new_ids)
        new_ids.add(call_id)
        arguments = _arguments(given_arguments)
        written_chars += len(name) + len(arguments)
        kept = _kept(arguments, room)
        room -= len(kept)
        calls.append(FunctionCall(id=call_id, name=bounded(name, NAME_CHARS_MAX), arguments=kept))
    return calls, written_chars


def _written_calls(found: object) -> Iterator[WrittenCall]:
    for part in expect_list(found, "tool_calls"):
        call = expect_object(part, "a tool call")
        function = expect_object(call.get("function") or {}, "a tool call's function")
        yield call.get("id"), text_at(function, "name") or "", function.get("arguments")


def _ids(given: object, ours: str) -> Iterator[str]:
    """The id that a call came with, if there is one, and then those that it may have from us."""
    if isinstance(given, str) and 0 < len(given) <= NAME_CHARS_MAX:
        yield readable(given)
    yield ours
    for again in count(2):
        yield f"{ours}_{again}"


def _arguments(given: object) -> str:
    """As the model wrote them. Servers write an empty text, or nothing, for a call without arguments."""
    if given is None or given == "":
        return "{}"
    return readable(given) if isinstance(given, str) else as_json(given)


def _kept(arguments: str, room: int) -> str:
    """Themselves, or a malformed beginning of what is too long or can't be read by all who will read it.

    A number of thousands of digits, or brackets a thousand deep, would stop more than this call: AutoGen expects no
    other error of JSON than malformed text, and would wait for ever.
    """
    fits = len(arguments) <= room
    try:
        fits = fits and not _is_nested(json.loads(arguments), NESTED_MAX)
    except json.JSONDecodeError:
        pass  # AutoGen will tell the model so
    except (ValueError, RecursionError):
        fits = False
    return arguments if fits else arguments[:UNREADABLE_CHARS_LEFT] + "…"


def _is_nested(value: object, most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep."""
    if not isinstance(value, list | dict):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_nested(each, most - 1) for each in inside)


def _reasoning(message: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The field that holds the reasoning, and the reasoning. What is no text there is not ours to read."""
    for name in REASONING_FIELDS:
        reasoning = message.get(name)
        if isinstance(reasoning, str):
            return name, reasoning
    return None, None


def usage_in(body: Mapping[str, Any]) -> ChatUsage | None:
    found = body.get("usage")
    if found is None:
        return None
    usage = expect_object(found, "usage")
    details = expect_object(usage.get("prompt_tokens_details") or {}, "prompt_tokens_details")
    written = expect_object(usage.get("completion_tokens_details") or {}, "completion_tokens_details")
    prompt, completion = count_at(usage, "prompt_tokens"), count_at(usage, "completion_tokens")
    reasoning = count_at(written, "reasoning_tokens")
    if reasoning and count_at(usage, "total_tokens") == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning beside the completion, all others as a part of it
    # DeepSeek has a name of its own for what came from its cache
    cached = count_at(details, "cached_tokens") or count_at(usage, "prompt_cache_hit_tokens")
    return ChatUsage(prompt, completion, min(cached, prompt), min(count_at(details, "cache_write_tokens"), prompt))


def count_at(holder: Mapping[str, Any], name: str) -> int:
    """A count of tokens, 0 where there is none. Raises Unreadable."""
    value = holder.get(name) or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= TOKENS_MAX:
        raise Unreadable(f"{name} should be a whole number of tokens, at most {TOKENS_MAX:,}, and is", value)
    return value


def as_json(value: object) -> str:
    """JSON of a part of an answer. Raises Unreadable."""
    try:
        return json.dumps(value)
    except RecursionError:
        raise Unreadable("the answer is nested too deeply") from None


def expect_object(value: object, name: str) -> dict[str, Any]:
    """`value`, called `name` in what is said of it. Raises Unreadable."""
    if not isinstance(value, dict):
        raise Unreadable(f"{name} should be an object and is", value)
    return value


def expect_list(value: object, name: str) -> list[Any]:
    """`value`, where none at all is an empty list. Raises Unreadable."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"{name} should be a list and is", value)
    return value


def text_at(holder: Mapping[str, Any], name: str) -> str | None:
    """The text of a field, None where there is none. Raises Unreadable."""
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{name} should be a text and is", value)
    return value


def readable(text: str) -> str:
    """`text` that every store and screen can take: halves of a character are joined, and a lone one is replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def bounded(text: str, most: int = TEXT_CHARS_MAX) -> str:
    """`text`, readable, and where it is longer than `most` its beginning with a mark that says so."""
    left_out = len(text) - most
    return readable(text if left_out <= 0 else f"{text[:most]}… [{left_out:,} characters left out]")
