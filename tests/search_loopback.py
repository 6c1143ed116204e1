"""A search engine on this machine: it speaks Brave Search's format, and every fault that a test asks of it.

Answers, parameters, headers and errors follow the vendor's reference (api-dashboard.search.brave.com, api-reference
web/search/get and news/news_search/get, and documentation/web-search/response-headers) and its repository
brave/brave-search-skills, whose examples have `page_age` without a zone and the error under `error`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "BSA-loopback-canary-7f3a9c"
"""The one key that the engine accepts."""

WEB = {
    "type": "search",
    "query": {"original": "nvidia", "more_results_available": True},
    "web": {
        "type": "search",
        "results": [
            {
                "title": "<strong>NVIDIA</strong> &amp; the data centre",
                "url": "https://example.com/nvidia?a=1&b=2",
                "description": "Revenue of <strong>NVIDIA</strong> rose; R&amp;D stayed &lt; 10 % of &#x27;it&#x27;.",
                "page_age": "2026-03-01T14:30:00",
                "age": "1 day ago",
                "language": "en",
                "meta_url": {"scheme": "https", "netloc": "example.com", "hostname": "example.com", "path": "› nvidia"},
            },
            {
                "title": "An undated page",
                "url": "https://www.example.org/undated",
                "description": "Nothing is known of its age.",
                "meta_url": {"scheme": "https", "netloc": "example.org", "hostname": "www.example.org", "path": ""},
            },
        ],
        "family_friendly": True,
    },
    "mixed": {"type": "mixed", "main": [{"type": "web", "index": 0, "all": False}], "top": [], "side": []},
}
NEWS = {
    "type": "news",
    "query": {"original": "nvidia", "spellcheck_off": False},
    "results": [
        {
            "type": "news_result",
            "title": "Chip maker guides higher",
            "url": "https://news.example.com/chips",
            "description": "The company <strong>raised</strong> its outlook&hellip;",
            "age": "2 hours ago",
            "page_age": "2026-03-02T13:00:00",
            "source": {"name": "News Daily", "url": "https://news.example.com"},
            "meta_url": {
                "scheme": "https",
                "netloc": "news.example.com",
                "hostname": "news.example.com",
                "path": "› c",
            },
        },
        {
            "type": "news_result",
            "title": "An older item",
            "url": "https://news.example.com/older",
            "description": "It has an age, but no date.",
            "age": "3 days ago",
            "meta_url": {"scheme": "https", "netloc": "news.example.com", "hostname": "news.example.com", "path": ""},
        },
    ],
}


@dataclass(frozen=True)
class Asked:
    """One request as the engine got it: `path` without the query, `headers` with names in lower case."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]


Reply = Callable[["Handler"], None]
"""What the engine does with one request."""


def answer(body: object, status: int = 200, **headers: str) -> Reply:
    """`body` as JSON, or as it is where it is bytes. Underscores in header names stand for hyphens."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {"Content_Type": "application/json", "Content_Length": str(len(content))}

    def reply(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in (usual | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def error(status: int, code: str, **headers: str) -> Reply:
    """An error in Brave's form."""
    said = {"id": "5d832250", "code": code, "detail": f"The detail of {code}.", "status": status, "meta": {}}
    return answer({"type": "ErrorResponse", "error": said, "time": 1773685964}, status, **headers)


def cut_short(body: object) -> Reply:
    """JSON that ends before it should, in a whole HTTP message."""
    return answer(json.dumps(body).encode()[:-20])


def raw(content: bytes) -> Reply:
    """`content` in place of an HTTP message."""

    def reply(handler: Handler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    return reply


def redirect(location: str) -> Reply:
    return answer(b"", 302, Location=location)


def silence(handler: Handler) -> None:
    """Take the request and never answer."""
    handler.engine.over.wait()
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Send one byte at a time, each well before any read would time out, without an end."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while not handler.engine.over.wait(0.02):
        handler.wfile.write(b" ")


def reset(handler: Handler) -> None:
    """Break the connection with a reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.connection.close()
    handler.close_connection = True


def cut_by_reset(handler: Handler) -> None:
    """Begin a body, then break the connection with a reset in the middle of it."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"type": "news", "results": [')
    reset(handler)


def bomb(megabytes: int) -> Reply:
    """A small body that swells when it is unpacked."""
    packed = gzip.compress(b" " * megabytes * 1_000_000)
    return answer(packed, Content_Encoding="gzip", Content_Type="text/html")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: SearchLoopback

    def setup(self) -> None:
        super().setup()
        self.engine.connections.append(self.connection)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(parts.path, dict(parse_qsl(parts.query)), {k.lower(): v for k, v in self.headers.items()})
        try:
            self.engine.take(asked)(self)
        except ConnectionError:
            self.close_connection = True  # the client has seen enough

    def log_message(self, format: str, *args: Any) -> None:
        """The test reads `requests` instead."""


class SearchLoopback:
    """The engine, as a context. It answers `script` in order, one reply a request, and after it as Brave would."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.script: deque[Reply] = deque()
        self.connections: list[socket.socket] = []
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"engine": self}))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="search-loopback")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, asked: Asked) -> Reply:
        """Note a request, and say what to do with it."""
        self.requests.append(asked)
        if self.script:
            return self.script.popleft()
        if asked.headers.get("x-subscription-token") != KEY:
            return error(422, "SUBSCRIPTION_TOKEN_INVALID")
        return answer({"/res/v1/web/search": WEB, "/res/v1/news/search": NEWS}.get(asked.path, {"type": "none"}))

    def __enter__(self) -> SearchLoopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        for each in self.connections:  # a client may keep one open as long as it lives
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
