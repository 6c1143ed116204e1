"""Web and news through the ddgs library, which asks public search engines as a browser would and needs no key.

What it gives is best effort: engines may refuse such a guest without a word, and then "nothing was found" and "nobody
answered" look alike, which its note says. It reads answers of any size; its parser and our deadline are the limits. A
search that outlives its deadline is left behind in its thread, and SEARCHES_MAX of those stop new ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import anyio
import anyio.to_thread

from research.provider import Freshness, Hit, SearchUnavailable, host_of, published_at
from values.errors import shown

DEADLINE_S = 20.0
ENGINE_S = 8
SEARCHES_MAX = 4

_FRESHNESS: dict[Freshness, str] = {"day": "d", "week": "w", "month": "m", "year": "y"}
_NOTHING = "No results found."
"""What the library raises, as a DDGSException, when no engine failed and none had a result."""


class Library(Protocol):
    """The part of `ddgs.DDGS` that is used."""

    def text(self, query: str, **options: Any) -> Sequence[dict[str, Any]]:
        """Dictionaries with title, href and body."""

    def news(self, query: str, **options: Any) -> Sequence[dict[str, Any]]:
        """Dictionaries with date, title, body, url, image and source."""


def installed_library() -> Library:
    """The ddgs library, ready for one search. It takes 0.1 s to import, so only a process that searches does."""
    from ddgs import DDGS

    class AtTheirPlace(DDGS):
        """An engine is asked where it is: the library would follow it anywhere, to a private address too."""

        def _get_engines(self, category: str, backend: str) -> list[Any]:
            engines = super()._get_engines(category, backend)
            for engine in engines:
                engine.http_client.client.follow_redirects = False
            return engines

    return AtTheirPlace(timeout=ENGINE_S)


class Metasearch:
    """Many engines through ddgs. `library` makes the object that is asked, a new one for each search."""

    name = "ddgs"
    is_live = True
    note = "public engines, asked without a key; when nothing is found, they may also have refused to answer"

    def __init__(self, library: Callable[[], Library] = installed_library, *, deadline_s: float = DEADLINE_S) -> None:
        self._library = library
        self._deadline_s = deadline_s
        self._places = threading.BoundedSemaphore(SEARCHES_MAX)

    async def web(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """Pages in the library's order; they have no date. Raises SearchUnavailable."""
        rows = await self._ask(lambda library, options: library.text(query, **options), count, freshness)
        return _hits(rows, "href", count, now)

    async def news(self, query: str, count: int, freshness: Freshness | None, now: datetime) -> tuple[Hit, ...]:
        """News in the library's order. Raises SearchUnavailable."""
        rows = await self._ask(lambda library, options: library.news(query, **options), count, freshness)
        return _hits(rows, "url", count, now)

    async def _ask(
        self,
        search: Callable[[Library, dict[str, Any]], Sequence[dict[str, Any]]],
        count: int,
        freshness: Freshness | None,
    ) -> Sequence[object]:
        options = {"max_results": count, "timelimit": _FRESHNESS[freshness] if freshness else None}

        def ask() -> Sequence[object]:
            if not self._places.acquire(blocking=False):
                raise SearchUnavailable(f"ddgs is still busy with {SEARCHES_MAX} earlier searches; try again later")
            try:
                return search(self._library(), options)
            finally:
                self._places.release()

        try:
            with anyio.fail_after(self._deadline_s):
                return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
        except TimeoutError:
            raise SearchUnavailable(f"ddgs found nothing within {self._deadline_s:g} s") from None
        except SearchUnavailable:
            raise
        except Exception as error:
            if str(error) == _NOTHING:
                return ()
            raise SearchUnavailable(f"ddgs failed: {type(error).__name__}, {shown(str(error), 120)}") from error


def _hits(rows: object, address: str, count: int, now: datetime) -> tuple[Hit, ...]:
    """The rows that can be read. Raises SearchUnavailable where there should be some and none can."""
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise SearchUnavailable("ddgs answered in a form that is not its own")
    hits: dict[str, Hit] = {}
    for row in rows:
        if not isinstance(row, dict):
            continue
        url, title, host = row.get(address), _text(row.get("title")), host_of(row.get(address))
        if host is None or not isinstance(url, str) or not title:
            continue
        source, published = _text(row.get("source")) or host, published_at(row.get("date"), now)
        hits.setdefault(url, Hit(title, url, _text(row.get("body")), source, published))
    if rows and not hits:
        raise SearchUnavailable("ddgs answered with results that can't be read")
    return tuple(hits.values())[:count]


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
