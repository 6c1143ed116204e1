"""Apprise, imported at the first send and not at the start, and watched: each answer is kept, and bounded.

An answer is read to ANSWER_BYTES_MAX bytes, unpacked, and until its send's deadline; what is longer or slower is a
failure, so that no service can fill this process's memory or keep a thread for ever.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

ANSWER_BYTES_MAX = 1_000_000
_PART_BYTES = 4_096


@dataclass(slots=True)
class Send:
    """One send on its way. `ends` is a monotonic time; `answers` are responses, or the errors in their place."""

    ends: float
    answers: list[Any] = field(default_factory=list)


sending: ContextVar[Send | None] = ContextVar("push_send", default=None)
_loading = threading.Lock()


def apprise_library(every_service: bool = False) -> ModuleType:
    """Apprise, imported once; with `every_service` also its 130 plugins, without which it knows no address."""
    with _loading:
        library = _import_apprise()
        if every_service:
            _load_every_service()
    return library


@cache
def _import_apprise() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of its own
        import apprise
    # its warnings hold topics and keys: each send captures its own and tells them redacted, and no other handler may
    logging.getLogger("apprise").propagate = False
    module: ModuleType = apprise
    return module


@cache
def _load_every_service() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _import_apprise().Apprise.instantiate("json://localhost")


class _Witness:
    """Stands for `requests` in a plugin's module: hands every call on, and keeps its answer or error for this send."""

    def __init__(self, requests: ModuleType) -> None:
        self._requests = requests

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def post(self, *given: Any, **named: Any) -> Any:
        send = sending.get()
        if send is None:
            return self._requests.post(*given, **named)
        try:
            answer = self._read(self._requests.post(*given, **{**named, "stream": True}), send.ends)
        except self._requests.RequestException as error:
            send.answers.append(error)
            raise
        send.answers.append(answer)
        return answer

    def _read(self, answer: Any, ends: float) -> Any:
        """The answer with its whole body. Raises a RequestException for one that is too long, or too late."""
        body = bytearray()
        try:
            for part in answer.iter_content(_PART_BYTES):
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise self._requests.exceptions.ContentDecodingError("too long")
                if time.monotonic() > ends:
                    raise self._requests.exceptions.ReadTimeout("too late")
        finally:
            answer.close()
        answer._content = bytes(body)  # what `content` would have read; requests has no other way to bound it
        return answer


def watch(plugin: ModuleType) -> None:
    """Keep what the plugin's requests are answered. A second time changes nothing."""
    requests = getattr(plugin, "requests", None)
    if isinstance(requests, ModuleType):
        vars(plugin)["requests"] = _Witness(requests)
