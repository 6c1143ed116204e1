"""Texts as services take them: plain, and cut with a mark to what fits."""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_left
from typing import Any

MARK = "… [cut]"
_NTFY_BYTES_MAX = 4096  # ntfy makes a file of a longer message, or refuses it
_NTFY_FIELDS_BYTES = 200  # what the topic and the fields' names add to ntfy's JSON
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain_text(text: str) -> str:
    """`text` without controls, bidirectional overrides and lone surrogates; line breaks and tabs stay."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (each for each in lines if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs"))
    return "".join(each for each in kept if each not in _BIDI).strip()


def shortened(text: str, chars_max: int) -> str:
    """`text`, or as much of it as leaves room for the mark."""
    return text if len(text) <= chars_max else text[: max(0, chars_max - len(MARK))] + MARK


def fitted(service: Any, title: str, message: str) -> tuple[str, str, int | None]:
    """Title and message within the service's limits, cut with the mark; how many characters were kept, None for all."""
    body_max = service.body_maxlen
    heading = shortened(title, service.title_maxlen if service.title_maxlen > 0 else body_max // 3)
    if service.title_maxlen <= 0 or service.overflow_amalgamate_title:
        body_max -= len(heading) + len("\r\n")
    lines_max = service.body_max_line_count or len(message)
    json_max = getattr(service, "ntfy_json_upstream_size_limit", None)

    def fits(text: str) -> bool:
        if len(text) > body_max or text.count("\n") >= lines_max:
            return False
        # beyond either size an ntfy message would arrive as a file
        return json_max is None or (
            len(text.encode()) <= _NTFY_BYTES_MAX and len(json.dumps([heading, text])) + _NTFY_FIELDS_BYTES <= json_max
        )

    if fits(message):
        return heading, message, None
    kept = bisect_left(range(1, len(message) + 1), True, key=lambda chars: not fits(message[:chars] + MARK))
    return heading, message[:kept] + MARK, kept
