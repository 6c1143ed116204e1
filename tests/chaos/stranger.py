"""All strangers of one session behind one address: a web site, a search engine and a push service, each on HTTP.

They say the same `text` wherever they may say anything, and keep every request. The push service refuses the message
that `quotes` names, quoting `text` in its reason, and takes all others.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote_plus

PAGE, CLOSED_PAGE = "/news.txt", "/closed/news.txt"
NO_ROBOTS = "User-agent: *\nDisallow: /closed/\n"


@dataclass
class Stranger:
    """`with Stranger() as stranger`: it listens at `address`. `heard` are its requests, decoded; `pushes` the texts."""

    text: str = ""
    quotes: str = ""
    heard: list[str] = field(default_factory=list)
    pushes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"stranger": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="stranger")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Stranger:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def search_results(self) -> dict[str, Any]:
        hit = {"title": "What is new", "url": f"http://{self.address}{PAGE}", "description": self.text}
        return {"type": "search", "web": {"type": "search", "results": [hit]}}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128  # a flood of pushes comes at once


class _Handler(BaseHTTPRequestHandler):
    stranger: Stranger

    def do_GET(self) -> None:
        self.stranger.heard.append(unquote_plus(self.path))
        if self.path == "/robots.txt":
            self._answer(200, "text/plain", f"{NO_ROBOTS}Sitemap: /none\n\n{self.stranger.text}\n")
        elif self.path.startswith("/res/v1/"):
            self._answer(200, "application/json", json.dumps(self.stranger.search_results()))
        else:
            self._answer(200, "text/plain", f"Markets today.\n{self.stranger.text}\n")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True)
        [message] = form["message"]
        self.stranger.heard.append(message)
        self.stranger.pushes.append(message)
        if message == self.stranger.quotes:
            self._answer(400, "application/json", json.dumps({"status": 0, "errors": [self.stranger.text]}))
        else:
            self._answer(200, "application/json", json.dumps({"status": 1, "request": "stranger"}))

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the run reads `heard`."""
