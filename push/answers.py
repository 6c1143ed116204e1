"""What a service answers: whether it took the message, and if not, why, in its own words where it has any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_TAKEN: dict[str, tuple[str, object]] = {"NotifyPushover": ("status", 1), "NotifyNtfy": ("event", "message")}
"""What the JSON of a service that took a message says."""


def strange_answer(service: Any, answers: Sequence[Any]) -> str:
    """How a 200 differs from what this service answers when it takes a message; empty when it does not."""
    field = _TAKEN.get(type(service).__name__)
    for answer in answers:
        if field is not None and not isinstance(answer, Exception) and answer.status_code == 200:
            told = _json_object(answer)
            if told.get(field[0]) != field[1]:
                kind = str(answer.headers.get("Content-Type", "no content type")).partition(";")[0]
                return f"HTTP 200 with {kind} that is no answer of {service.service_name}'s; the message may be lost"
    return ""


def _json_object(answer: Any) -> dict[str, Any]:
    try:
        told = answer.json()
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def reason(answers: Sequence[Any], said: Sequence[str]) -> str:
    """Why a send failed: the service's own words, then what broke, then Apprise's words."""
    last = answers[-1] if answers else None
    if isinstance(last, Exception):
        return _breakage(last)
    if last is not None:
        told = _json_object(last)
        errors = told.get("errors", told.get("error"))
        words = "; ".join(str(each) for each in (errors if isinstance(errors, list) else [errors]) if each)
        if words:
            return f"HTTP {last.status_code}, it says {json.dumps(words, ensure_ascii=False)}"
    return "; ".join(said) or "it gave no reason"


def _breakage(error: Exception) -> str:
    kinds = {each.__name__ for each in type(error).__mro__}
    if "Timeout" in kinds:
        return "no answer in time; it may still arrive"
    if "ContentDecodingError" in kinds:
        return "its answer is too long or can't be unpacked; the message may have arrived"
    if "SSLError" in kinds:
        return "no secure connection could be made"
    if "ConnectionError" in kinds and type(error.args[0] if error.args else None).__name__ == "MaxRetryError":
        return "no connection could be made"
    if kinds & {"ConnectionError", "ChunkedEncodingError"}:
        return "the connection broke before the answer was whole; it may have arrived"
    return type(error).__name__
