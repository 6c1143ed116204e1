"""An HTTP request as the guard judges it: what it asks for, under which name, and who made it ask."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]

LOOK = frozenset({"GET", "HEAD"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, without its body. A header that came twice has no value: nobody knows which was meant."""

    method: str
    path: str
    is_plain: bool  # the path came as it reads, without a percent sign
    headers: dict[str, str]
    client: str
    scheme: str
    port: int

    @classmethod
    def of(cls, scope: Scope) -> Request:
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            if name == "cookie" and name in headers:
                value = f"{headers[name]}; {value}"  # HTTP/2 may part it
            elif name in headers:
                value = ""
            headers[name] = value
        path: str = scope["path"]
        raw_path = scope.get("raw_path")
        is_plain = path.isascii() and raw_path in (None, path.encode())
        client, server = scope.get("client"), scope.get("server")
        return cls(
            scope["method"], path, is_plain, headers, client[0] if client else "", scope.get("scheme", "http"),
            (server[1] if server else 0) or 0,
        )  # fmt: skip

    @property
    def host(self) -> str | None:
        """The name that was asked for, without its port; None when there is no proper one."""
        match = _HOST.fullmatch(self.headers.get("host", ""))
        return match[1].lower().strip("[]") if match else None

    @property
    def is_own(self) -> bool:
        """Whether the page itself, a person or a program asks - not a page of another site."""
        is_look = self.method in LOOK
        site = self.headers.get("sec-fetch-site")
        if site is not None:
            is_visit = self.headers.get("sec-fetch-mode") == "navigate" and (
                self.headers.get("sec-fetch-dest") == "document"
            )
            return site == "same-origin" or (is_look and (site == "none" or is_visit))
        if "origin" in self.headers:
            origin = urlsplit(self.headers["origin"])
            return origin.scheme in ("http", "https") and origin.netloc.lower() == self.headers.get("host", "").lower()
        return is_look

    @property
    def is_visit(self) -> bool:
        return self.method == "GET" and "text/html" in self.headers.get("accept", "")
