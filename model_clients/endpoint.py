"""One model's endpoint over HTTP, in any wire format: asked within a deadline, and asked again where that can help.

Keeps one pool of at most 100 connections until `close`. The key goes into one request header and into no sentence,
log or repr. Declines redirects, cookies, answers over 8 MB, and asking twice for an answer that had begun: it may be
charged. Bytes that a server writes after an answer's end may be read as its next answer: traders don't share endpoints.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
from pydantic import SecretStr

from model_clients.failures import BadReply, ModelDown, ModelFailed, ModelUnavailable, RateLimited, RequestRefused
from model_clients.gate import Gate, Passage, TooLong
from model_clients.limits import Told, limits_told
from model_clients.patience import Patience
from model_clients.replies import Unreadable, read_json
from model_clients.streams import EventData
from model_clients.wire_format import Complaint, StreamedAnswer, WireFormat
from values.errors import BadSetting

logger = logging.getLogger("floor.models")

TRIES = 3
CONNECTIONS_MAX = 100
IDLE_S = 30.0
ANSWER_BYTES_MAX = 8_000_000
ERROR_BYTES_MAX = 16_000
QUOTED_CHARS_MAX = 300
_KEY = re.compile(r"[!#-&(-\[\]-~]+")
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


class Endpoint:
    """`base_url`, asked for `model` in its wire format. Close it in the event loop that used it.

    Requests go through `gate`, which the endpoints of one provider and key share.
    Raises BadSetting for a base URL, key or timeout that can't be used.
    """

    def __init__(
        self,
        model: str,
        wire: WireFormat,
        base_url: str,
        api_key: SecretStr | None,
        timeout_s: float,
        patience: Patience,
        gate: Gate,
    ) -> None:
        url = checked_url(base_url)
        check_key(api_key)
        if not timeout_s > 0:
            raise BadSetting("timeout_s", timeout_s, "seconds, more than 0")
        self._url = str(url)
        self._wire = wire
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._patience = patience
        self._gate = gate
        self.where = self.hidden(f"{model} at {url}")
        self._http = httpx2.AsyncClient(
            # the call's own deadline covers connecting, waiting for a free connection, sending and reading
            timeout=None,
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_S),
            follow_redirects=False,
            trust_env=url.host not in _THIS_MACHINE,  # no proxy leads back to this machine
            verify=_tls(),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self, body: bytes, costs: Mapping[str, float], on_text: Callable[[str], None] | None
    ) -> dict[str, Any]:
        """The JSON object that answers a request. `on_text` gets the texts of a stream as they come.

        `costs` are what it takes of the provider's limits. Ends within the timeout, waits included. Raises ModelFailed.
        """
        deadline = self._patience.monotonic() + self._timeout_s
        tries, failure = 0, None
        while True:
            tries += 1
            try:
                async with self._gate.passage(costs, deadline, is_again=tries > 1) as passage:
                    try:
                        async with asyncio.timeout(deadline - self._patience.monotonic()):
                            return await self._try(body, passage, on_text)
                    except TimeoutError:
                        raise ModelUnavailable(self._sentence(f"did not answer within {self._timeout_s:g} s")) from None
                    except Unreadable as wrong:
                        raise self.bad_reply(wrong) from None
                    except _TryAgain as again:
                        failure, wait_s = again.failure, self._wait_s(again, tries, passage)
            except TooLong as long:
                raise self._too_long(long, failure) from None
            if tries == TRIES:
                raise type(failure)(f"{failure}; tried {TRIES} times")
            wait_s = max(wait_s, self._gate.wait_s(costs, is_again=True))
            if wait_s >= deadline - self._patience.monotonic():
                raise self._too_long(TooLong(wait_s), failure)
            logger.warning("%s; trying again in %.1f s", failure, wait_s)
            await self._patience.sleep(wait_s)

    def _wait_s(self, again: _TryAgain, tries: int, passage: Passage) -> float:
        """How long to wait before the next try; a refusal tells the gate, for all who share it."""
        wait_s = self._patience.wait_s(tries, again.retry_after) if again.wait_s is None else again.wait_s
        if isinstance(again.failure, RateLimited):
            is_told = again.wait_s is not None or again.retry_after is not None
            self._gate.refused(passage, again.told, wait_s, is_told=is_told, a_minute=again.a_minute)
        return wait_s

    def _too_long(self, long: TooLong, failure: ModelFailed | None) -> ModelFailed:
        """A call that has no time left to wait, after the failure that it waits for, or before it was ever asked."""
        limit = f"a call may take {self._timeout_s:g} s"
        if failure is not None and long.wait_s is not None:
            return type(failure)(f"{failure}; the next try would be {long.wait_s:.1f} s away, and {limit}")
        if failure is not None:
            return type(failure)(f"{failure}; others wait for the next try too, and {limit}")
        away = "does not come" if long.wait_s is None else f"is {long.wait_s:.1f} s away"
        what = f"takes no request for now: this one's turn in the queue of its key {away}, and {limit}"
        return RateLimited(self._sentence(f"{what}; fewer traders, a larger plan or another model would do"))

    def bad_reply(self, wrong: Unreadable) -> BadReply:
        return BadReply(self._sentence(f"gave no {self._wire.answer_is}: {wrong.what}", wrong.found))

    def blocked(self, why: str) -> RequestRefused:
        return RequestRefused(self._sentence(f"won't answer this: {why}"))

    async def _try(self, body: bytes, passage: Passage, on_text: Callable[[str], None] | None) -> dict[str, Any]:
        key = None if self._api_key is None else self._api_key.get_secret_value()
        headers = {"content-type": "application/json", "accept-encoding": "identity", **self._wire.headers(key)}
        url = self._url + self._wire.path(is_streamed=on_text is not None)
        request = self._http.build_request("POST", url, content=body, headers=headers)
        try:
            response = await self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            what = "can't be reached; is it running?" if isinstance(error, httpx2.ConnectError) else "hung up"
            kind = ModelDown if isinstance(error, httpx2.ConnectError) else ModelUnavailable
            raise _TryAgain(kind(self._sentence(what, _words(error)))) from None
        try:
            if not response.is_success:
                raise await self._failure(response)
            answer = await _read(response, self._wire.streamed() if on_text is not None else None, on_text)
        except httpx2.RequestError as error:
            raise ModelUnavailable(self._sentence("broke off in the middle of its answer", _words(error))) from None
        finally:
            await response.aclose()
        status = self._wire.hidden_failure(answer)
        if status is not None:
            raise self._judged(status, self._wire.complaint(answer), response.headers)
        self._gate.answered(passage, limits_told(response.headers, self._patience.wall()))
        return answer

    async def _failure(self, response: httpx2.Response) -> Exception:
        """What a status other than success means."""
        status = response.status_code
        if response.is_redirect:
            return RequestRefused(self._sentence(f"redirects ({status}), which is not followed; mend the base URL"))
        if status in (401, 403):  # such answers quote the key, in part or masked
            return self._judged(status, Complaint(), response.headers)
        answer, unread = await _error_of(response)
        said = Complaint(unread) if answer is None else self._wire.complaint(answer)
        return self._judged(status, said, response.headers)

    def _judged(self, status: int, said: Complaint, headers: Mapping[str, str]) -> Exception:
        detail = said.text
        if status in (401, 403) or said.is_key:
            return RequestRefused(self._sentence(f"refuses the API key ({status}); check the key and what it may use"))
        if status == 402 or said.is_spent:
            return RateLimited(self._sentence("has no quota left for this key; check plan and billing", detail))
        if said.is_chance:
            return _TryAgain(BadReply(self._sentence(f"could not read its model's own call ({status})", detail)))
        if status == 404:
            return RequestRefused(self._sentence("is not there (404); check the model's name and the base URL", detail))
        failure: ModelFailed
        if status == 429:
            failure = RateLimited(self._sentence("takes no more requests for now (429)", detail))
        elif status == 408 or status >= 500:
            failure = ModelDown(self._sentence(f"failed ({status})", detail))
        else:
            return RequestRefused(self._sentence(f"refuses the request ({status})", detail))
        told = limits_told(headers, self._patience.wall())
        return _TryAgain(failure, headers.get("retry-after"), said.wait_s, said.a_minute, told)

    def _sentence(self, what: str, quoted: object = "") -> str:
        """Which model, where, what happened; then what the server said, without the key and cut short."""
        if quoted == "":
            return f"{self.where} {what}"
        try:
            text = self.hidden(ascii(quoted))
        except RecursionError:
            text = "brackets in brackets"
        return f"{self.where} {what}: {text if len(text) <= QUOTED_CHARS_MAX else text[:QUOTED_CHARS_MAX] + '…'}"

    def hidden(self, text: str) -> str:
        """`text` without the key."""
        return text if self._api_key is None else text.replace(self._api_key.get_secret_value(), "[key]")


class _TryAgain(Exception):
    """A failure that another try may not meet; `failure` is what to raise when there is none. The rest is what the
    server said of waiting: nothing here holds its words."""

    def __init__(
        self,
        failure: ModelFailed,
        retry_after: str | None = None,
        wait_s: float | None = None,
        a_minute: float | None = None,
        told: Mapping[str, Told] | None = None,
    ) -> None:
        self.failure = failure
        self.retry_after = retry_after
        self.wait_s = wait_s
        self.a_minute = a_minute
        self.told: Mapping[str, Told] = told or {}


@cache
def _tls() -> ssl.SSLContext:
    """The certificates to trust, read once: that takes a tenth of a second."""
    return httpx2.create_ssl_context()


def check_key(key: SecretStr | None, name: str = "api_key") -> None:
    """Raises BadSetting, under `name`, for a key that no header can carry."""
    if key is not None and not _KEY.fullmatch(key.get_secret_value()):
        raise BadSetting(name, "[secret]", "one line of ASCII without spaces or quotes")


def checked_url(base_url: str, name: str = "base_url") -> httpx2.URL:
    """The base URL without a slash at its end. Raises BadSetting, under `name`, for one that can't be used."""
    allowed = "an address such as https://api.openai.com/v1, without user, query or fragment"
    try:
        url = httpx2.URL(base_url.strip().rstrip("/"))
    except httpx2.InvalidURL:
        raise BadSetting(name, "[unreadable]", allowed) from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise BadSetting(name, f"{url.scheme}://{url.host}", allowed)
    return url


async def _read(
    response: httpx2.Response, streamed: StreamedAnswer | None, on_text: Callable[[str], None] | None
) -> dict[str, Any]:
    """The answering object, streamed or whole: some servers don't stream, whatever they are asked."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        streamed = None
    events = EventData()
    whole: list[bytes] = []
    size = 0

    def take(streamed: StreamedAnswer, data: bytes) -> None:
        text = streamed.add(data)
        if text and on_text is not None:
            on_text(text)

    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > ANSWER_BYTES_MAX:
                raise Unreadable(f"the answer is larger than {ANSWER_BYTES_MAX:,} bytes")
            if streamed is None:
                whole.append(chunk)
                continue
            for data in events.feed(chunk):
                take(streamed, data)
            if streamed.is_done:
                return streamed.whole()
    if streamed is None:
        return read_json(b"".join(whole))
    for data in events.end():
        take(streamed, data)
    return streamed.whole()


async def _error_of(response: httpx2.Response) -> tuple[dict[str, Any] | None, object]:
    """The object of an error answer, from as much of it as a sentence needs; else what was found in its place."""
    body = b""
    try:
        async with aclosing(response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > ERROR_BYTES_MAX:
                    break
        return read_json(body), ""
    except httpx2.RequestError:  # the status alone says what to do
        return None, ""
    except Unreadable as wrong:
        return None, wrong.found


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
