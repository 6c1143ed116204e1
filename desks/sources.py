"""What a session has seen of the world: the addresses that its tools brought, and how often it may still look.

A finding that goes to memory and a claim in an appraisal name their page; here is found out whether the session has
seen that page, and where it has not, the text says so. Whether a page says what is claimed is for a reader to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from values.errors import Refused

SEEN_MAX = 5_000
NOT_SEEN = "[not seen in this session]"
NO_SOURCE = "[no source]"
_ADDRESS = re.compile(r"\b(?:https?|simulated)://[^\s<>\"'`\\\[\](){}|^]{1,1000}", re.IGNORECASE)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_PAGES = frozenset({"web_search", "news_search", "fetch"})
_GUESTS = "__"
"""In the name of every tool of a server that the owner added; what it brings may be a page."""
_FINDINGS = frozenset({"create_entities", "add_observations"})
_TEXTS = {"entities": "observations", "observations": "contents"}
"""Of the memory server's two arguments that bring findings: the key of their texts."""


class Sources:
    """One session's. `date` is the market date, as soon as it is known."""

    def __init__(self, looks_max: int) -> None:
        self._looks_max = looks_max
        self._looks = 0
        self._seen: set[str] = set()
        self.date = ""

    def spend(self, tool: str) -> None:
        """Count a call of a tool that brings pages, or raise Refused `over_limit`."""
        if not _brings_pages(tool):
            return
        if self._looks >= self._looks_max:
            raise Refused(
                "over_limit",
                f"{self._looks_max} searches and pages were asked for in this session, which is the most "
                "(SESSION_SEARCHES); answer from what you have",
            )
        self._looks += 1

    def saw(self, tool: str, arguments: Mapping[str, Any] | None, text: str) -> None:
        """A tool has answered. One that was asked for a page brought that, not what it links to."""
        if not _brings_pages(tool):
            return
        asked = arguments.get("url") if isinstance(arguments, Mapping) else None
        for address in _addresses(asked if isinstance(asked, str) else text):
            if len(self._seen) < SEEN_MAX:
                self._seen.add(_known_as(address))

    def checked(self, text: str) -> str:
        """`text` with a mark behind each address that the session has not seen."""

        def marked(match: re.Match[str]) -> str:
            address = _whole(match[0])
            rest = match[0][len(address) :]
            return match[0] if _known_as(address) in self._seen else f"{address} {NOT_SEEN}{rest}"

        return _ADDRESS.sub(marked, text)

    def with_source(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a researcher is about to remember, each text dated, its source checked or marked as not there."""
        if tool not in _FINDINGS:
            return arguments
        return {
            name: [self._row(row, _TEXTS[name]) for row in rows] if name in _TEXTS and isinstance(rows, list) else rows
            for name, rows in arguments.items()
        }

    def _row(self, row: Any, key: str) -> Any:
        if not isinstance(row, dict) or not isinstance(row.get(key), list):
            return row  # the memory server says what is wrong with it
        return row | {key: [self._finding(each) if isinstance(each, str) else each for each in row[key]]}

    def _finding(self, text: str) -> str:
        marks = [] if _ADDRESS.search(text) else [NO_SOURCE]
        if self.date and not _DATE.search(text):
            marks.append(f"[noted {self.date}]")
        return " ".join([self.checked(text), *marks])


def _brings_pages(tool: str) -> bool:
    return tool in _PAGES or _GUESTS in tool


def _addresses(text: str) -> Iterator[str]:
    return (_whole(match[0]) for match in _ADDRESS.finditer(text))


def _whole(found: str) -> str:
    """Without the stop of the sentence that it stands in."""
    return found.rstrip(".,;:!?*_")


def _known_as(address: str) -> str:
    """The same for all ways to write an address of one page."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}{query}"
