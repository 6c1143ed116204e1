"""What stands before the page: who may ask, for what, and how an answer may be used.

Only the addresses that the page itself asks for pass; what else Gradio offers (files, uploads, its API, a proxy) is
not there. Without a password the guard answers this machine's own names alone, so that no site can make its name point
here; with one, nothing but the login answers without its cookie. What another site made a browser ask is refused. It
declines TLS: that is a proxy's on the same machine, which says `X-Forwarded-Proto`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from dashboard.login import ICON, POLICY, login_page
from dashboard.password import Password
from dashboard.request import LOOK, Request, Scope
from values.settings import is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

SESSION_S = 12 * 3600.0
SESSIONS_MAX = 32
LOGIN_BYTES_MAX = 4096
LOGIN_READ_S = 10.0
BODY_BYTES_MAX = 256 * 1024
SEND = frozenset({"POST"})
# Everything that the page asks for, found by watching it in a browser.
PASSES: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = tuple(
    (methods, re.compile(path))
    for methods, path in (
        (LOOK, r"/"),
        (LOOK, r"/theme\.css"),
        (LOOK, r"/assets/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+"),
        (LOOK, r"/static/js/iframeResizer\.contentWindow\.min\.js"),
        (LOOK, r"/gradio_api/heartbeat/[a-z0-9]{1,32}"),
        (SEND, r"/updates"),
        (SEND, r"/gradio_api/run/predict"),
        (SEND, r"/gradio_api/component_server/"),
    )
)
CACHED = re.compile(r"/assets/.+|/static/.+|/theme\.css")
# Gradio's HTML component compiles its template and its script, so `unsafe-eval` can't go; inline handlers can.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' "
    "data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
NO_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OURS = {name for name, _ in ALWAYS} | {b"content-security-policy", b"cache-control", b"server"}
_INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


class Guard:
    """An ASGI app before `inner`. `host` is where it listens; `scripts` are those that the page adds to itself."""

    def __init__(
        self,
        inner: Asgi,
        host: str,
        password: Password | None,
        scripts: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._host = host.lower().strip("[]")
        self._password = password
        self._scripts = [_source(script.encode()) for script in scripts]
        self._now = now
        self._sessions: dict[bytes, float] = {}  # the token's digest and when it ends; oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(Request.of(scope), scope, receive, send)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        if request.host is None:
            await _say(send, 400, "a request names one host")
        elif self._password is None and not (is_loopback(request.host) or request.host == self._host):
            await _say(send, 403, "without DASHBOARD_PASSWORD the dashboard answers to this machine's own names alone")
        elif not request.is_own:
            await _say(send, 403, "another site asked for this: open the dashboard's own address")
        elif request.path == "/favicon.ico" and request.method in LOOK:
            await _respond(send, 200, ICON, "image/svg+xml")
        elif self._password is not None and request.path == "/login" and request.method == "GET":
            await (_go(send, "/") if self._session(request) else _respond(send, 200, login_page(), policy=POLICY))
        elif self._password is not None and request.path == "/login" and request.method == "POST":
            await self._log_in(self._password, request, receive, send)
        elif self._password is not None and self._session(request) is None:
            await (_go(send, "/login") if request.is_visit else _say(send, 401, "log in at /login first"))
        elif self._password is not None and request.path == "/logout" and request.method == "POST":
            self._sessions.pop(self._session(request) or b"", None)
            await _go(send, "/login", _cookie(request, "", 0))
        else:
            await self._pass(request, scope, receive, send)

    async def _pass(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [methods for methods, path in PASSES if request.is_plain and path.fullmatch(request.path)]
        if not allowed:
            await _say(send, 404, "the dashboard has no such page")
        elif request.method not in allowed[0]:
            await _say(send, 405, f"expected {' or '.join(sorted(allowed[0]))}")
        elif request.method in SEND and not re.fullmatch(r"[0-9]{1,9}", request.headers.get("content-length", "")):
            await _say(send, 411, "say the length of what you send")
        elif request.method in SEND and int(request.headers["content-length"]) > BODY_BYTES_MAX:
            await _say(send, 413, f"at most {BODY_BYTES_MAX} bytes are taken")
        elif request.path == "/":
            await self._show_page({**scope, "query_string": b""}, receive, send)
        else:
            cache = b"private, max-age=86400" if CACHED.fullmatch(request.path) else b"no-store"
            dressed = _Dressed(send, NO_POLICY, cache)
            await _run(self._inner, {**scope, "query_string": b""}, receive, dressed)

    async def _show_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page as a whole, so that its policy can name each script that stands in it."""
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await _run(self._inner, {**scope, "headers": plain}, receive, _Dressed(keep, "", b""))
        start, body = messages[0], b"".join(message.get("body", b"") for message in messages[1:])
        scripts = [*self._scripts, *(_source(script) for script in _INLINE.findall(body))]
        dressed = _Dressed(send, PAGE_POLICY.format(scripts=" ".join(scripts)), b"no-store")
        await dressed(start)
        await dressed({"type": "http.response.body", "body": body})

    async def _log_in(self, password: Password, request: Request, receive: Receive, send: Send) -> None:
        body = await _body(receive, LOGIN_BYTES_MAX)
        if body is None:
            await _say(send, 413, f"at most {LOGIN_BYTES_MAX} bytes are taken, within {LOGIN_READ_S:.0f} s")
            return
        verdict = password.check(_field(body, "password"), request.client)
        if verdict == "right":
            token, now = secrets.token_urlsafe(32), self._now()
            self._sessions = {each: ends for each, ends in self._sessions.items() if ends > now}
            while len(self._sessions) >= SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[sha256(token.encode()).digest()] = now + SESSION_S
            await _go(send, "/", _cookie(request, token, int(SESSION_S)))
        elif verdict == "wrong":
            await _respond(send, 401, login_page("That is not the password. Try again."), policy=POLICY)
        else:
            told = login_page("There were too many wrong tries. Wait a minute, then try again.")
            await _respond(send, 429, told, policy=POLICY, more=((b"retry-after", b"60"),))

    def _session(self, request: Request) -> bytes | None:
        """The session that the request's cookie stands for, by its key; None without one."""
        for part in request.headers.get("cookie", "").split(";")[:50]:
            name, _, token = part.strip().partition("=")
            if name == _cookie_name(request):
                digest = sha256(token.encode("latin-1", "replace")).digest()
                for key, ends in self._sessions.items():
                    if hmac.compare_digest(key, digest) and ends > self._now():
                        return key
        return None


class _Dressed:
    """Sends answers on under our headers."""

    def __init__(self, send: Send, policy: str, cache: bytes) -> None:
        self._send, self._policy, self._cache = send, policy, cache
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            kept = [(name, value) for name, value in message.get("headers", ()) if not _is_replaced(name.lower())]
            ours = ((b"content-security-policy", self._policy.encode()), (b"cache-control", self._cache))
            message = {**message, "headers": [*kept, *ours, *ALWAYS]}
        await self._send(message)


def _is_replaced(name: bytes) -> bool:
    return name in _OURS or name.startswith(b"access-control-")


async def _run(inner: Asgi, scope: Scope, receive: Receive, send: _Dressed) -> None:
    try:
        await inner(scope, receive, send)
    except Exception:
        if send.has_begun:
            raise
        logger.exception("the page failed at %s", scope["path"])
        await _say(send, 500, "the page failed; the dashboard's own output says why")


async def _body(receive: Receive, limit_bytes: int) -> bytes | None:
    """The request's body, None when it is too long or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(LOGIN_READ_S):
            while True:
                message = await receive()
                part = message.get("body", b"")
                size += len(part)
                if message["type"] != "http.request" or size > limit_bytes:
                    return None
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return None


def _field(body: bytes, name: str) -> str:
    try:
        return parse_qs(body.decode(), max_num_fields=4).get(name, [""])[0]
    except ValueError:
        return ""


def _source(script: bytes) -> str:
    """How a policy names a script."""
    return f"'sha256-{b64encode(sha256(script).digest()).decode()}'"


def _cookie_name(request: Request) -> str:
    # a browser sends a cookie to every port of a host, so two dashboards need two names
    return f"floor_session_{request.port}"


def _cookie(request: Request, token: str, age_s: int) -> tuple[bytes, bytes]:
    secure = "; Secure" if request.scheme == "https" else ""
    return (
        b"set-cookie",
        f"{_cookie_name(request)}={token}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}".encode(),
    )


async def _go(send: Send, where: str, *more: tuple[bytes, bytes]) -> None:
    await _respond(send, 303, "", more=((b"location", where.encode()), *more))


async def _say(send: Send, status: int, sentence: str) -> None:
    await _respond(send, status, sentence + "\n", "text/plain")


async def _respond(
    send: Send,
    status: int,
    text: str,
    kind: str = "text/html",
    policy: str = NO_POLICY,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    dressed = _Dressed(send, policy, b"no-store")
    await dressed({"type": "http.response.start", "status": status, "headers": headers})
    await dressed({"type": "http.response.body", "body": body})
