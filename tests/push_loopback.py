"""A server on this machine that speaks three services' forms, keeps what it got, and fails when it is told to.

Pushover: a form to `/1/messages.json`, answered `{"status": 1, ...}`, or 400 with its errors. ntfy: JSON to `/`, or the
text of an attachment to `/{topic}`, answered with the message as JSON, or an error with ntfy's code. Mattermost, a
service without titles whose answer is no JSON: JSON to `/hooks/{token}`, answered `ok`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs

Service = Literal["pushover", "ntfy", "mattermost"]
Fault = Literal[
    "none", "error_401", "error_403", "error_404", "error_500", "error_502", "error_503", "limit_429",
    "limit_429_with_a_wait", "html", "truncated", "empty_object", "wrong_types", "empty_list", "deep", "bomb", "reset",
    "hangup", "silent", "drip", "redirect",
]  # fmt: skip
BODIES: dict[str, bytes] = {
    "html": b"<html><h1>Please log in to the hotel's network</h1></html>",
    "truncated": b'{"status":1,"event":"message","requ',
    "empty_object": b"{}",
    "wrong_types": b'{"status":"yes","event":["message"],"errors":{"a":1},"error":7}',
    "empty_list": b"[]",
    "deep": b"[" * 200_000,
    "bomb": gzip.compress(bytes(20_000_000)),
}
"""What stands in an answer of status 200 that is no answer of the service's."""

DRIP_S = 0.02


@dataclass(frozen=True, slots=True)
class Push:
    """One request: its fields as the service's form has them, and whether the answer said that it was taken."""

    service: Service
    title: str
    message: str
    fields: dict[str, str]
    headers: dict[str, str]
    is_taken: bool


@dataclass
class PushLoopback:
    """`with PushLoopback() as loopback`: a server at `loopback.url`. Keys that are set are the only ones it knows."""

    pushover_token: str | None = None
    pushover_user: str | None = None
    ntfy_password: str | None = None
    faults: dict[Service, Fault] = field(default_factory=dict)
    elsewhere: str = "/elsewhere"
    received: list[Push] = field(default_factory=list)

    def __enter__(self) -> PushLoopback:
        self.stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Host and port, for an ntfy:// URL."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """For PUSHOVER_BASE_URL."""
        return f"http://{self.address}"

    def taken(self, service: Service | None = None) -> list[Push]:
        return [push for push in self.received if push.is_taken and service in (None, push.service)]


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, loopback: PushLoopback) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.loopback = loopback


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        service: Service = "ntfy"
        if self.path == "/1/messages.json":
            service = "pushover"
            fields = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
            code, answer = self._pushover(fields)
        elif self.path.startswith("/hooks/"):
            service = "mattermost"
            fields = {"message": json.loads(body)["text"]}
            code, answer = 200, None
        else:
            fields = {"topic": self.path.strip("/").partition("?")[0], "attachment": body.decode()}
            if self.path == "/":
                fields = {name: str(value) for name, value in json.loads(body).items()}
            code, answer = self._ntfy(fields)
        fault = self.server.loopback.faults.get(service, "none")
        self._record(service, fields, is_taken=fault == "none" and code == 200)
        if fault != "none":
            self._fail(fault, service)
        elif answer is None:
            self._answer(code, "text/plain", b"ok")
        else:
            self._answer(code, "application/json", json.dumps(answer).encode())

    def _pushover(self, fields: dict[str, str]) -> tuple[int, dict[str, Any] | None]:
        known = self.server.loopback
        wrong = {
            "token": "application token is invalid",
            "user": "user identifier is not a valid user, group, or subscribed user key",
        }
        for name, allowed in (("token", known.pushover_token), ("user", known.pushover_user)):
            if name not in fields or allowed not in (None, fields[name]):
                errors = [f"{wrong[name]}, see https://pushover.net/api"]
                return 400, {name: "invalid", "errors": errors, "status": 0, "request": "loopback"}
        if not fields.get("message"):
            errors = ["message cannot be blank"]
            return 400, {"message": "cannot be blank", "errors": errors, "status": 0, "request": "loopback"}
        return 200, {"status": 1, "request": "loopback"}

    def _ntfy(self, fields: dict[str, str]) -> tuple[int, dict[str, Any] | None]:
        password = self.server.loopback.ntfy_password
        sent = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ") or b"").decode()
        if password is not None and sent.partition(":")[2] != password:
            return 401, {"code": 40101, "http": 401, "error": "unauthorized", "link": "https://ntfy.sh/docs/publish/"}
        number = len(self.server.loopback.received)
        return 200, {
            "id": f"loopback{number}", "time": 1_700_000_000, "expires": 1_700_043_200, "event": "message",
            "topic": fields["topic"], "message": fields.get("message", "triggered"),
        }  # fmt: skip

    def _record(self, service: Service, fields: dict[str, str], *, is_taken: bool) -> None:
        title, message = fields.get("title", ""), fields.get("message", "")
        self.server.loopback.received.append(
            Push(service, title, message, fields, dict(self.headers.items()), is_taken)
        )

    def _fail(self, fault: Fault, service: Service) -> None:
        if fault.startswith("error_"):
            self._answer(int(fault.removeprefix("error_")), "text/plain", b"something is wrong")
        elif fault.startswith("limit_429"):
            pushover = {"status": 0, "errors": ["application is over its monthly message limit"]}
            ntfy = {"code": 42901, "http": 429, "error": "limit reached: too many requests"}
            body = json.dumps(pushover if service == "pushover" else ntfy).encode()
            wait = {"Retry-After": "3600"} if fault == "limit_429_with_a_wait" else {}
            self._answer(429, "application/json", body, wait)
        elif fault in BODIES:
            kind = "text/html; charset=utf-8" if fault == "html" else "application/json"
            packed = {"Content-Encoding": "gzip"} if fault == "bomb" else {}
            self._answer(200, kind, BODIES[fault], packed)
        elif fault == "redirect":
            self._answer(307, "text/plain", b"", {"Location": self.server.loopback.elsewhere})
        elif fault == "hangup":
            self.close_connection = True
        elif fault == "silent":
            self.server.loopback.stopping.wait()
        elif fault == "reset":
            self._begin(1000)
            self.wfile.write(b'{"status":1,')
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "drip":
            self._begin(100_000)
            try:
                while not self.server.loopback.stopping.wait(DRIP_S):
                    self.wfile.write(b" ")
            except OSError:
                return

    def _begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _answer(self, code: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may have read enough of it
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test reads `received`."""
