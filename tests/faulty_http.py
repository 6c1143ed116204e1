"""HTTP services on this machine that fail in every way that a real one does: replies, and the server that gives them.

A service of its own subclasses `Loopback` and says what it usually answers; a test puts replies before that.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it came: `path` without the query, `headers` with names in lower case, `at` a monotonic time."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    at: float = 0.0


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
    handler.service.over.wait()
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Send one byte at a time, each well before any read would time out, without an end."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while not handler.service.over.wait(0.02):
        handler.wfile.write(b" ")


def reset(handler: Handler) -> None:
    """Break the connection with a reset instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.connection.close()
    handler.close_connection = True


def reset_midway(handler: Handler) -> None:
    """Begin an answer, and break the connection in its body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.wfile.write(b'{"status": "OK", "results": [')
    handler.wfile.flush()
    reset(handler)


def bomb(megabytes: int = 64, **headers: str) -> Reply:
    """A small body that would be `megabytes` of blanks if it were unpacked."""
    return answer(gzip.compress(b" " * (megabytes << 20), 9), 200, Content_Encoding="gzip", **headers)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Loopback

    def setup(self) -> None:
        super().setup()
        self.service.connections.append(self.connection)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(
            parts.path, dict(parse_qsl(parts.query)), {k.lower(): v for k, v in self.headers.items()}, time.monotonic()
        )
        try:
            self.service.take(asked)(self)
        except ConnectionError:
            self.close_connection = True  # the client has seen enough

    def log_message(self, format: str, *args: Any) -> None:
        """The test reads `requests` instead."""


class Loopback:
    """The service, as a context. It answers `script` in order, one reply a request, and after it as it usually does."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.script: deque[Reply] = deque()
        self.connections: list[socket.socket] = []
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"service": self}))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="loopback")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def usual(self, asked: Asked) -> Reply:
        """What is answered when the script is at its end."""
        raise NotImplementedError

    def take(self, asked: Asked) -> Reply:
        """Note a request, and say what to do with it."""
        self.requests.append(asked)
        return self.script.popleft() if self.script else self.usual(asked)

    def __enter__(self) -> Self:
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


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone has seen enough; anything else is a fault of the test's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
