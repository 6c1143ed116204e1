"""The services that settings make real, each asked one question by `doctor --online` and `init`: does the key do?

An answer is a Finding. No key, no address with a password in it and nothing that a service says gets into one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from commands.checks import Finding
from values.clock import wall_now
from values.settings import PROVIDER_NAMES, FloorSettings
from venues.polygon import plan_question

DEADLINE_S = 10.0
ANSWER_BYTES_MAX = 8_000_000
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


Requested = tuple[str, str, dict[str, str], dict[str, str]]
"""Method, path below the base URL, headers, and fields: a GET's parameters or a POST's form."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One service. `variables` make it work, `skipped` says why it is not asked, `is_its` knows its answer's JSON."""

    name: str
    variables: str
    base_url: Callable[[FloorSettings], str]
    skipped: Callable[[FloorSettings], str | None]
    request: Callable[[FloorSettings], Requested]
    is_its: Callable[[dict[str, Any]], bool]


def _brave(settings: FloorSettings) -> Requested:
    headers = {"X-Subscription-Token": _plain(settings.brave_api_key), "Accept": "application/json"}
    return "GET", "res/v1/web/search", headers, {"q": "market", "count": "1"}


def _polygon(settings: FloorSettings) -> Requested:
    """The smallest request that only the plan that is set may make."""
    path, fields = plan_question(settings.polygon_plan, wall_now())
    return "GET", path.removeprefix("/"), {"Authorization": f"Bearer {_plain(settings.polygon_api_key)}"}, fields


def _pushover(settings: FloorSettings) -> Requested:
    form = {"token": _plain(settings.pushover_token), "user": _plain(settings.pushover_user)}
    return "POST", "1/users/validate.json", {}, form


def _language_models(provider: str) -> Upstream:
    """A provider of language models, asked which it has; OpenRouter tells that to anyone, but only the key's owner
    what is left of a key."""
    upper = provider.upper()

    def skipped(settings: FloorSettings) -> str | None:
        from model_clients.providers import Providers  # AutoGen takes a second, which only --online needs

        if Providers(settings).has_key(provider) or (settings.model or "").startswith(f"{provider}/"):
            return None
        return (
            "MODEL is no ollama/NAME"
            if provider == "ollama"
            else "no address"
            if provider == "compatible"
            else "no key"
        )

    def request(settings: FloorSettings) -> Requested:
        from model_clients.providers import PROVIDERS

        key = getattr(settings, f"{provider}_api_key", None)
        headers = PROVIDERS[provider].wire("", 1).headers(None if key is None else _plain(key))
        return "GET", "key" if provider == "openrouter" else "models", headers, {}

    listed = {"google": "models"}.get(provider, "data")
    return Upstream(
        provider,
        f"{upper}_BASE_URL" if provider == "ollama" else f"{upper}_API_KEY and {upper}_BASE_URL",
        lambda settings: str(getattr(settings, f"{provider}_base_url") or ""),
        skipped,
        request,
        lambda said: isinstance(said.get(listed), dict if provider == "openrouter" else list),
    )


UPSTREAMS: Sequence[Upstream] = (
    *map(_language_models, PROVIDER_NAMES),
    Upstream(
        "brave",
        "BRAVE_API_KEY and BRAVE_BASE_URL",
        lambda given: given.brave_base_url,
        lambda given: None if given.brave_api_key else "no key",
        _brave,
        lambda said: said.get("type") == "search",
    ),
    Upstream(
        "polygon",
        "POLYGON_API_KEY, POLYGON_PLAN and POLYGON_BASE_URL",
        lambda given: given.polygon_base_url,
        lambda given: None if given.polygon_api_key else "no key",
        _polygon,
        lambda said: "request_id" in said and said.get("status") in ("OK", "DELAYED"),
    ),
    Upstream(
        "pushover",
        "PUSHOVER_USER, PUSHOVER_TOKEN and PUSHOVER_BASE_URL",
        lambda given: given.pushover_base_url,
        lambda given: None if given.pushover_user and given.pushover_token else "no key",
        _pushover,
        lambda said: said.get("status") == 1,
    ),
)


async def ask_all(settings: FloorSettings, deadline_s: float = DEADLINE_S) -> list[Finding]:
    """Every service's answer, asked at once, in the order of the table."""
    return list(await asyncio.gather(*(ask(each, settings, deadline_s) for each in UPSTREAMS)))


async def ask(upstream: Upstream, settings: FloorSettings, deadline_s: float = DEADLINE_S) -> Finding:
    """One service's answer; a note where there is nothing to ask it with."""
    if why := upstream.skipped(settings):
        return Finding("note", upstream.name, f"skipped: {why}")
    look = f"look at {upstream.variables}"
    host = "its address"
    try:
        host = urlsplit(upstream.base_url(settings)).hostname or host
        async with asyncio.timeout(deadline_s):
            status, body = await _ask(upstream, settings, is_near=host in _THIS_MACHINE)
    except TimeoutError:
        return Finding(
            "FAIL", upstream.name, f"{host} did not answer within {deadline_s:g} s", f"check the network; {look}"
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        return Finding(
            "FAIL", upstream.name, f"{host} can't be reached ({type(error).__name__})", f"check the network; {look}"
        )
    if status == 200 and _is_its(upstream, body):
        return Finding("ok", upstream.name, f"{host} answers, and takes what is set")
    if status == 429:
        return Finding(
            "warn", upstream.name, f"{host} gets too many requests for this key", "wait, or look at its plan"
        )
    if status >= 500:
        return Finding("FAIL", upstream.name, f"{host} failed on its side (status {status})", "try again later")
    if status in (400, 401, 403, 422):
        return Finding("FAIL", upstream.name, f"{host} refuses the key (status {status})", look)
    return Finding("FAIL", upstream.name, f"{host} gave an answer that is not the service's (status {status})", look)


async def _ask(upstream: Upstream, settings: FloorSettings, *, is_near: bool) -> tuple[int, bytes]:
    """Status and body, cut at ANSWER_BYTES_MAX; no proxy leads back to this machine."""
    method, path, headers, fields = upstream.request(settings)
    url = f"{upstream.base_url(settings).rstrip('/')}/{path}"
    async with (
        httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=not is_near, verify=_tls()) as client,
        client.stream(
            method,
            url,
            headers=headers,
            params=fields if method == "GET" else None,
            data=fields if method == "POST" else None,
        ) as response,
    ):
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                break
        return response.status_code, bytes(body)


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificate authorities takes longer than asking: once for all services."""
    return httpx2.create_ssl_context()


def _is_its(upstream: Upstream, body: bytes) -> bool:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and upstream.is_its(said)


def _plain(key: SecretStr | None) -> str:
    assert key is not None
    return key.get_secret_value()
