"""What answers a search: one Protocol for every provider, the hits that it returns, and the one way it fails.

"Nothing was found" is an answer. A provider that could not ask raises SearchUnavailable, with a reason and without a
key or any text of the engine's. Text of hits is as strangers wrote it: the server bounds it, nobody here believes it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from urllib.parse import urlsplit

Freshness = Literal["day", "week", "month", "year"]

WINDOWS: dict[Freshness, timedelta] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=365),
}
ADDRESS_CHARS_MAX = 1000

_AGO = re.compile(r"\b(\d{1,3})\s*(minute|hour|day|week|month|year)s?\s+ago\b", re.IGNORECASE)
_UNITS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}


class SearchUnavailable(RuntimeError):
    """A provider could not ask its engine, or got what is no answer. The text is the reason, in a sentence."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. `source` is who published it, as far as the engine says; `published` is aware UTC."""

    title: str
    url: str
    snippet: str
    source: str
    published: datetime | None


class SearchProvider(Protocol):
    """Finds pages and news. `is_live`: it asks today's web, so its `now` is wall time; otherwise market time.

    `note` is what a reader of its results has to know, or empty. Both searches return at most `count` hits, best or
    newest first, no address twice, with http(s) addresses or ones that name the provider, none published after `now`.
    They end within the provider's deadline, and can be cancelled. Raise SearchUnavailable.
    """

    name: str
    is_live: bool
    note: str

    async def web(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """Pages that fit `query`."""

    async def news(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """News that fits `query`."""


def host_of(url: object) -> str | None:
    """The host of an http(s) address that can be followed as it stands; None for anything else.

    Controls, blanks, more than ADDRESS_CHARS_MAX characters and other schemes (`javascript:`, `file:`) make it None.
    """
    if not isinstance(url, str) or len(url) > ADDRESS_CHARS_MAX or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return host if host and parts.scheme in ("http", "https") else None


def published_at(text: object, now: datetime) -> datetime | None:
    """When a page says that it was published: ISO 8601, or `3 hours ago`; None where it does not say.

    A time without a zone is taken for UTC. A time after `now` can't be true and is None.
    """
    if not isinstance(text, str):
        return None
    words = text.strip()[:64]
    try:
        moment = datetime.fromisoformat(words)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        ago = _AGO.search(words)
        if ago is None:
            return None
        moment = now - int(ago[1]) * _UNITS[ago[2].lower()]
    return moment if moment <= now else None


def one_line(text: str, chars_max: int) -> str:
    """`text` as one line of at most `chars_max` characters, cut with a mark.

    Controls, format characters (which reorder or hide text) and what Unicode has not assigned are left out.
    """
    head = text[: chars_max * 8]
    kept = "".join(each if each.isspace() else "" if unicodedata.category(each)[0] == "C" else each for each in head)
    line = " ".join(kept.split())
    return line if len(line) <= chars_max else line[: chars_max - 1].rstrip() + "…"
