"""Brave Search over its REST API. Needs a key, which goes into one header and nowhere else.

Everything about an answer is bounded: its time, its size, one retry. Nothing that Brave sends in an error is repeated
to the reader, redirects are not followed, and neither proxies nor passwords are taken from the environment.
Formats follow the vendor's reference: api-dashboard.search.brave.com/api-reference/web/search/get and .../news.
"""

from __future__ import annotations

import html
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal

import anyio
import httpx2
from pydantic import SecretStr

from research.pace import BLOCKED_MAX_S, WAIT_MAX_S, Pace, numbers, used_up
from research.provider import Freshness, Hit, SearchUnavailable, host_of, published_at

BASE_URL = "https://api.search.brave.com"
DEADLINE_S = 20.0
CONNECT_S = 5.0
BODY_BYTES_MAX = 2_000_000

_FRESHNESS: dict[Freshness, str] = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>")
_TEXT_CHARS_MAX = 20_000

_BAD_KEY = "does not accept the key; look at BRAVE_API_KEY"
_SENTENCES: dict[int | str, str] = {
    "SUBSCRIPTION_TOKEN_INVALID": _BAD_KEY,
    "SUBSCRIPTION_NOT_FOUND": "knows no subscription for this key that includes this search",
    "QUOTA_LIMITED": "has no more searches left in the plan of this key",
    401: _BAD_KEY,
    403: "does not let this key make this search; look at its plan",
    404: "has no such search at this address; look at BRAVE_BASE_URL and at the plan of the key",
    422: "does not accept the search; it takes a key, and queries of at most 400 characters and 50 words",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def parsed(self) -> object:
        """The body as JSON. Raises SearchUnavailable."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise SearchUnavailable("Brave Search answered with something other than JSON") from None

    def code(self) -> object:
        """Brave's own code of an error, which the reference has under `errors` and the service under `error`."""
        try:
            said = self.parsed()
        except SearchUnavailable:
            return None
        if not isinstance(said, dict):
            return None
        several = said.get("errors")
        error = said.get("error") or (several[0] if isinstance(several, list) and several else None)
        return error.get("code") if isinstance(error, dict) else None

    def wait_s(self, wall: datetime) -> float | None:
        """How long Brave asks to wait: Retry-After, else the window that is used up by X-RateLimit-*; or None."""
        after = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}", after):
            return float(after)
        if after:
            try:
                moment = parsedate_to_datetime(after)
                return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - wall).total_seconds())
            except (ValueError, OverflowError):
                return None
        waits, resets = used_up(self.headers), numbers(self.headers.get("x-ratelimit-reset", ""))
        return float(max(waits)) if waits else float(min(resets)) if resets else None


class BraveSearch:
    """Brave Search. `sleep` is how it waits when Brave asks it to."""

    name = "brave"
    is_live = True
    note = ""

    def __init__(
        self,
        key: SecretStr,
        base_url: str = BASE_URL,
        *,
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._pace = Pace(sleep, monotonic)

    async def web(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """Pages in Brave's order. Raises SearchUnavailable."""
        said = await self._ask("web", query, count, freshness, now)
        found = said.get("web", {"results": []} if said.get("type") == "search" else None)
        return _hits(found.get("results") if isinstance(found, dict) else None, count, now)

    async def news(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """News in Brave's order. Raises SearchUnavailable."""
        said = await self._ask("news", query, count, freshness, now)
        return _hits(said.get("results", [] if said.get("type") == "news" else None), count, now)

    async def _ask(
        self, kind: Literal["web", "news"], query: str, count: int, freshness: Freshness | None, now: datetime
    ) -> dict[str, Any]:
        params = {"q": query, "count": str(count)} | ({"freshness": _FRESHNESS[freshness]} if freshness else {})
        url = f"{self._base_url}/res/v1/{kind}/search"
        # httpx2 could bound each read, not the whole: an engine that sends a byte at a time would hold it for ever
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        try:
            with anyio.fail_after(self._deadline_s):
                await self._pace.turn()
                async with httpx2.AsyncClient(
                    verify=_tls(), timeout=timeout, follow_redirects=False, trust_env=False
                ) as client:
                    answer = await self._get(client, url, params)
                    self._learn(answer, now)
                    if answer.status == 429:
                        answer = await self._once_more(client, url, params, answer, now)
        except TimeoutError:
            raise SearchUnavailable(f"Brave Search did not answer within {self._deadline_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SearchUnavailable(
                f"Brave Search can't be reached ({type(error).__name__}); look at the network and BRAVE_BASE_URL"
            ) from None
        if answer.status != 200:
            raise SearchUnavailable(_refusal(answer, now))
        said = answer.parsed()
        if not isinstance(said, dict):
            raise SearchUnavailable("Brave Search answered in a form that is not its own")
        return said

    async def _once_more(
        self, client: httpx2.AsyncClient, url: str, params: Mapping[str, str], refused: _Answer, now: datetime
    ) -> _Answer:
        """What a second request gives, after the wait that Brave asks for; `refused` itself where that is too long."""
        wait_s = refused.wait_s(now)
        if wait_s is None or wait_s > WAIT_MAX_S or refused.code() == "QUOTA_LIMITED":
            return refused
        await self._sleep(wait_s)
        answer = await self._get(client, url, params)
        self._learn(answer, now)
        return answer

    def _learn(self, answer: _Answer, now: datetime) -> None:
        wait_s = None
        if answer.status == 429:
            wait_s = BLOCKED_MAX_S if answer.code() == "QUOTA_LIMITED" else answer.wait_s(now)
        self._pace.learn(answer.headers, wait_s)

    async def _get(self, client: httpx2.AsyncClient, url: str, params: Mapping[str, str]) -> _Answer:
        key = self._key.get_secret_value()
        headers = {"X-Subscription-Token": key, "Accept": "application/json", "Accept-Encoding": "identity"}
        async with client.stream("GET", url, params=params, headers=headers) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise SearchUnavailable("Brave Search sent a compressed answer, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise SearchUnavailable(f"Brave Search sent more than {BODY_BYTES_MAX:,} bytes")
            # a gateway may show in its answer what it was asked with
            return _Answer(response.status_code, response.headers, bytes(body).replace(key.encode(), b"[key]"))


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Made once: it reads every root certificate, in 20 ms."""
    return httpx2.create_ssl_context()


def _refusal(answer: _Answer, now: datetime) -> str:
    """Why there is no result, in a sentence that holds nothing of what was sent."""
    code, status = answer.code(), answer.status
    if isinstance(code, str) and code in _SENTENCES:
        return f"Brave Search {_SENTENCES[code]} (status {status})"
    if status == 429:
        wait_s = answer.wait_s(now)
        when = "" if wait_s is None else f"; it asks to wait {wait_s:,.0f} s"
        return f"Brave Search gets more requests than the plan of this key allows (status 429){when}"
    if 300 <= status < 400:
        return f"Brave Search points to another address (status {status}), which is not followed"
    what = _SENTENCES.get(status, "failed on its side" if status >= 500 else "gave no answer")
    return f"Brave Search {what} (status {status})"


def _hits(results: object, count: int, now: datetime) -> tuple[Hit, ...]:
    """The results that can be read. Raises SearchUnavailable where there should be some and none can."""
    if not isinstance(results, list):
        raise SearchUnavailable("Brave Search answered in a form that is not its own")
    hits: dict[str, Hit] = {}
    for each in results:
        if not isinstance(each, dict):
            continue
        url, title, host = each.get("url"), _text(each.get("title")), host_of(each.get("url"))
        if host is None or not isinstance(url, str) or not title:
            continue
        parts = each.get("meta_url")
        source = _text(parts.get("hostname") if isinstance(parts, dict) else None) or host
        published = published_at(each.get("page_age"), now) or published_at(each.get("age"), now)
        hits.setdefault(url, Hit(title, url, _text(each.get("description")), source, published))
    if results and not hits:
        raise SearchUnavailable("Brave Search answered with results that can't be read")
    return tuple(hits.values())[:count]


def _text(marked: object) -> str:
    """What Brave's marked text says: `<strong>` and the like taken away, then entities read once."""
    return html.unescape(_TAG.sub("", marked[:_TEXT_CHARS_MAX])).strip() if isinstance(marked, str) else ""
