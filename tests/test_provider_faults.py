"""Every fault of the wire at every provider: answered within the call's deadline, in one sentence, without the key."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from model_clients.failures import BadReply, ModelDown, ModelFailed, ModelUnavailable, RateLimited, RequestRefused
from model_clients.language_model import LanguageModel
from model_clients.providers import PROVIDERS
from tests.model_loopback import Drip, Hang, ModelLoopback, Raw, Reply, Reset
from tests.provider_wires import NAMES, TEXTS, error, judge_of, raw
from tests.test_chat_completions import Time
from tests.test_provider_wires import BEGIN, KEY, PRICE
from values.settings import PROVIDER_NAMES

TIMEOUT_S = 0.25
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
BOMB = gzip.compress(bytes(16_000_000), 6)
LISTED = {"anthropic": "content", "google": "candidates"}
"""Where an answer's text is; `choices` for all others."""

Make = Callable[[str], Reply]
TELLS = f"you sent {KEY}"


def wrong(provider: str, **change: Any) -> Raw:
    """A good answer with something else where its text should be, or in its count."""
    answer = json.loads(json.dumps(TEXTS[provider]))
    if "text" in change:
        answer[LISTED.get(provider, "choices")] = change["text"]
    if "usage" in change:
        answer["usageMetadata" if provider == "google" else "usage"] = change["usage"]
    return raw(answer)


def counts(provider: str) -> dict[str, Any]:
    name = {"anthropic": "output_tokens", "google": "candidatesTokenCount"}.get(provider, "completion_tokens")
    return {name: "many"}


def status(code: int, **headers: str) -> Make:
    return lambda provider: raw(error(provider, code, TELLS), code, **headers)


FAULTS: Mapping[str, tuple[Make, type[ModelFailed], str, int]] = {
    # name: the reply, what is raised, what it says, how often the server is asked
    "429": (status(429), RateLimited, r"\(429\).*tried 3 times", 3),
    "429 that says when": (status(429, retry_after="2"), RateLimited, r"\(429\).*tried 3 times", 3),
    "429 for an hour": (status(429, retry_after="3600"), RateLimited, r"3600\.0 s away", 1),
    "401": (status(401), RequestRefused, r"refuses the API key \(401\)", 1),
    "403": (status(403), RequestRefused, r"refuses the API key \(403\)", 1),
    "404": (status(404), RequestRefused, r"is not there \(404\)", 1),
    "400": (status(400), RequestRefused, r"refuses the request \(400\)", 1),
    "500": (status(500), ModelDown, r"failed \(500\).*tried 3 times", 3),
    "502 of HTML": (lambda _: Raw(f"<html>{TELLS}", 502), ModelDown, r"failed \(502\).*tried 3", 3),
    "503": (status(503, retry_after="1"), ModelDown, r"failed \(503\).*tried 3 times", 3),
    "HTML with 200": (lambda _: Raw(f"<!doctype html>{TELLS}"), BadReply, "web page and no JSON", 1),
    "truncated JSON": (lambda p: Raw(json.dumps(TEXTS[p])[:60]), BadReply, "no JSON", 1),
    "{}": (lambda _: Raw("{}"), BadReply, r"gave no [\w ]+: the answer has no", 1),
    "a list": (lambda _: Raw("[]"), BadReply, "should be an object", 1),
    "an error with 200": (lambda _: raw({"error": {"message": TELLS}}), BadReply, "claims success and holds", 1),
    "text of a number": (lambda p: wrong(p, text=7), BadReply, "should be a list and is: 7", 1),
    "a list of null": (lambda p: wrong(p, text=[None]), BadReply, "should be an object and is: None", 1),
    "tokens in words": (lambda p: wrong(p, usage=counts(p)), BadReply, "should be a whole number of tokens", 1),
    "usage of a list": (lambda p: wrong(p, usage=[1]), BadReply, "should be an object", 1),
    "a gzip bomb": (lambda _: Raw(BOMB, headers={"content-encoding": "gzip"}), BadReply, "larger than 8,000,000", 1),
    "a slow drip": (lambda _: Drip(HEAD, b" "), ModelUnavailable, "did not answer within 0.25 s", 1),
    "no answer": (lambda _: Hang(), ModelUnavailable, "did not answer within 0.25 s", 1),
    "a reset": (lambda _: Reset(), ModelUnavailable, "hung up.*tried 3 times", 3),
    "a reset in mid-body": (lambda _: Reset(HEAD + b'{"id"'), ModelUnavailable, "in the middle", 1),
    "a redirect inside": (lambda _: Raw("", 307, {"location": "http://169.254.169.254/"}), RequestRefused,
                          r"redirects \(307\), which is not followed", 1),
}  # fmt: skip
SLOW = ("a slow drip", "no answer")
LASTING = ("429 for an hour", "a gzip bomb")
"""What keeps a provider, or a core of this machine, busy for longer than a test."""


def client_at(provider: str, url: str, timeout_s: float) -> LanguageModel:
    name = NAMES.get(provider, "large")
    return LanguageModel(
        name, PROVIDERS[provider].wire(name, 8_000), base_url=url, api_key=SecretStr(KEY), output_tokens_max=8_000,
        timeout_s=timeout_s, patience=Time().patience,
    )  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
async def test_every_fault_ends_in_its_time_and_in_one_sentence(provider: str) -> None:
    async def meet(name: str) -> None:
        make, failure, sentence, asked = FAULTS[name]
        async with ModelLoopback([make(provider)], judge=judge_of(provider)) as server:
            timeout_s = TIMEOUT_S if name in SLOW else 55
            client = client_at(provider, server.base_url, timeout_s)
            began = asyncio.get_running_loop().time()
            with pytest.raises(failure, match=sentence) as caught:
                await client.create(BEGIN, tools=[PRICE])
            assert asyncio.get_running_loop().time() - began < timeout_s + 1, name
            said = str(caught.value)
            assert type(caught.value) is failure, name
            assert said.startswith(f"{NAMES.get(provider, 'large')} at {server.base_url} "), name
            assert "\n" not in said
            assert len(said) < 700
            assert KEY not in said + repr(caught.value.__context__) + repr(caught.value.__cause__), name
            # on a machine that has other things to do, a short deadline may come before the connection
            assert len(server.requests) == asked or (name in SLOW and not server.requests), name
            assert server.complaints == [], name
            await client.close()

    assert len(FAULTS) >= 15
    await asyncio.gather(*(meet(name) for name in FAULTS if name not in SLOW))
    # their deadlines are short: no other fault's work comes between
    await asyncio.gather(*(meet(name) for name in SLOW))


@pytest.mark.parametrize("provider", PROVIDER_NAMES)
async def test_a_provider_is_well_again_after_any_fault(provider: str) -> None:
    replies = [make(provider) for name, (make, *_) in FAULTS.items() if name not in (*SLOW, *LASTING)]
    async with ModelLoopback(replies, judge=judge_of(provider)) as server:
        client = client_at(provider, server.base_url, 55)
        for reply in replies:
            server.script = [reply]
            with pytest.raises(ModelFailed):
                await client.create(BEGIN)
        server.script = [raw(TEXTS[provider])]
        assert (await client.create(BEGIN)).content == "I hold."
        await client.close()
