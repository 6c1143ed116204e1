"""A server at an address, over MCP's streamable HTTP: bounded in time and size, and nobody else gets its headers.

Redirects are followed within the address's own origin alone (the SDK's rule), so none leads to another machine or to a
private address. Neither proxies nor passwords are taken from the environment; TLS is checked.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from desks.launch import GUEST_BYTES_MAX, Remote

# it writes what a server sent, tracebacks included, to the terminal; the call itself tells what went wrong
logging.getLogger("mcp").addHandler(logging.NullHandler())

CONNECT_S = 10.0
READ_S = 60.0


class TooMuch(httpx2.StreamError):
    """The server sent more in one answer than may be read, or in a form that was not asked for."""


class _Bounded(httpx2.AsyncByteStream):
    """A body of which no more than GUEST_BYTES_MAX is read. A stream of events may go on, each event being bounded."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > GUEST_BYTES_MAX:
                raise TooMuch(f"more than {GUEST_BYTES_MAX:,} bytes in one answer")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise TooMuch("a compressed answer, which was not asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response


class HttpLink:
    """Connects to the address, one life after another."""

    pid = None
    is_up = True

    def last_words(self) -> str:
        return ""

    def kill(self) -> None:
        """There is no process of ours; leaving `connect` closes every connection."""

    @asynccontextmanager
    async def connect(self, remote: Remote) -> AsyncIterator[Any]:
        """The transport that the MCP client takes."""
        async with httpx2.AsyncClient(
            transport=_Transport(trust_env=False),
            headers={"Accept-Encoding": "identity", **remote.headers},
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
        ) as client:
            yield streamable_http_client(remote.url, http_client=client, max_sse_event_size=GUEST_BYTES_MAX)
