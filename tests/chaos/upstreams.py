"""Upstreams on this machine that tell whoever asks what they were asked with: a model, a search engine, push services.

`Indiscreet` answers every request by its way of failing, and what it says holds the request's own keys: as they came,
and as the user and password that a Basic header stands for. It keeps what a stranger would see of each request: all
but the places where a key belongs.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

KEY_HEADERS = frozenset({"authorization", "x-subscription-token", "x-api-key", "x-goog-api-key"})
KEY_FIELDS = frozenset({"token", "user"})
MODEL_PATH, SEARCH_PATHS, PUSHOVER_PATH, TRACES_PATH = (
    "/v1/chat/completions",
    "/res/v1/",
    "/1/",
    "/v1/traces",
)
FAULTS = ("none", "refuses", "fails", "no_json", "tells")
"""`refuses` is a 400, `fails` a 500, `no_json` a 200 of text, `tells` a good answer that holds the key."""

Speak = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass
class Indiscreet:
    """`with Indiscreet(speak, faults) as upstream`: it listens at `address`.

    `speak` makes the model's message of a request; `faults` say how the model, the search and the push fail, the
    model's by what stands in its request. `seen` is what left the floor, by service; `failed` counts faults.
    """

    speak: Speak
    faults: Mapping[str, str]
    on_model: Callable[[], None] = lambda: None
    seen: dict[str, list[bytes]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = _Server(type("Bound", (_Handler,), {"upstream": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="indiscreet")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Indiscreet:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._server.broken and kind is None:
            raise AssertionError("an upstream failed by itself") from self._server.broken[0]

    def keep(self, service: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        shown = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in KEY_HEADERS]
        self.seen.setdefault(service, []).append("\n".join([path, *shown]).encode() + b"\n" + body)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128  # a floor asks many things at once

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.broken: list[BaseException] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone has seen enough; anything else is a fault of ours, which leaving the context tells."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.broken.append(error)


class _Handler(BaseHTTPRequestHandler):
    upstream: Indiscreet

    def do_GET(self) -> None:
        self.upstream.keep("search", self.path, dict(self.headers.items()), b"")
        said = _told(dict(self.headers.items()), {})
        hit = {"title": said, "url": "https://example.com/", "description": said}
        self._give("search", "search", {"type": "search", "web": {"results": [hit]}}, {"error": {"detail": said}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.startswith(MODEL_PATH):
            self._model(body)
        elif self.path.startswith(TRACES_PATH):
            self.upstream.keep("traces", self.path, dict(self.headers.items()), body)
            self._answer(200, b"")
        elif self.path.startswith(PUSHOVER_PATH):
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            public = {name: value for name, value in form.items() if name not in KEY_FIELDS}
            self.upstream.keep("pushover", self.path, dict(self.headers.items()), json.dumps(public).encode())
            said = _told(dict(self.headers.items()), form)
            self._give("pushover", "push", {"status": 1}, {"status": 0, "errors": [said]})
        else:
            self.upstream.keep(
                "ntfy", "/", dict(self.headers.items()), json.dumps(json.loads(body) | {"topic": ""}).encode()
            )
            said = _told(dict(self.headers.items()), json.loads(body))
            self._give("ntfy", "push", {"event": "message"}, {"code": 40000, "error": said})

    def _model(self, body: bytes) -> None:
        self.upstream.keep("model", self.path, dict(self.headers.items()), body)
        self.upstream.on_model()
        request = json.loads(body)
        message = self.upstream.speak(request)
        said = _told(dict(self.headers.items()), {})
        account = re.search(r"account `(\w+)`", str(request["messages"]))
        fault = f"model {account[1]}" if account else "model"
        if self.upstream.faults.get(fault) == "tells":
            message = _with_key(message, said)
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        whole = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        # what fails at the first request would keep all others from being made
        late = sum(each["role"] == "assistant" for each in request["messages"]) >= 2
        self._give("model", fault if late else "", whole, {"error": {"message": said, "code": said}})

    def _give(self, service: str, fault: str, good: Mapping[str, Any], bad: Mapping[str, Any]) -> None:
        how = self.upstream.faults.get(fault, "none")
        if how != "none":
            self.upstream.failed.append(f"{service} {how}")
        if how in ("refuses", "fails"):
            self._answer(400 if how == "refuses" else 500, json.dumps(bad).encode())
        elif how == "no_json":
            self._answer(200, f"no json: {json.dumps(bad)}".encode())
        else:
            self._answer(200, json.dumps(good).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the proof reads `seen`."""


def _told(headers: Mapping[str, str], fields: Mapping[str, str]) -> str:
    """Every key of a request, as it came and decoded."""
    keys = [value for name, value in headers.items() if name.lower() in KEY_HEADERS]
    basic = [base64.b64decode(key.removeprefix("Basic ")).decode() for key in keys if key.startswith("Basic ")]
    return f"you sent {' '.join([*keys, *basic, *map(str, fields.values())])}"


def _with_key(message: dict[str, Any], said: str) -> dict[str, Any]:
    """The message with the key in its text and in the arguments of its calls."""
    if "tool_calls" not in message:
        return {**message, "content": f"{message['content']} {said}"}
    calls = []
    for each in message["tool_calls"]:
        function = dict(each["function"])
        arguments = json.loads(function["arguments"])
        for name in ("message", "rationale", "query", "question"):
            if name in arguments:
                arguments[name] += f" {said}"
        calls.append({**each, "function": {**function, "arguments": json.dumps(arguments)}})
    return {**message, "tool_calls": calls}
