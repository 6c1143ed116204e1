"""A search engine on this machine: it speaks Brave Search's format, and every fault that a test asks of it.

Answers, parameters, headers and errors follow the vendor's reference (api-dashboard.search.brave.com, api-reference
web/search/get and news/news_search/get, and documentation/web-search/response-headers) and its repository
brave/brave-search-skills, whose examples have `page_age` without a zone and the error under `error`.
"""

from __future__ import annotations

from tests.faulty_http import (
    Asked,
    Loopback,
    Reply,
    answer,
    bomb,
    cut_short,
    drip,
    raw,
    redirect,
    reset,
    reset_midway,
    silence,
)

__all__ = [
    "KEY",
    "NEWS",
    "WEB",
    "Asked",
    "Reply",
    "SearchLoopback",
    "answer",
    "bomb",
    "cut_short",
    "drip",
    "error",
    "raw",
    "redirect",
    "reset",
    "reset_midway",
    "silence",
]  # fmt: skip

KEY = "BSA-loopback-canary-7f3a9c"
"""The one key that the engine accepts."""

WEB = {
    "type": "search",
    "query": {"original": "nvidia", "more_results_available": True},
    "web": {
        "type": "search",
        "results": [
            {
                "title": "<strong>NVIDIA</strong> &amp; the data centre",
                "url": "https://example.com/nvidia?a=1&b=2",
                "description": "Revenue of <strong>NVIDIA</strong> rose; R&amp;D stayed &lt; 10 % of &#x27;it&#x27;.",
                "page_age": "2026-03-01T14:30:00",
                "age": "1 day ago",
                "language": "en",
                "meta_url": {"scheme": "https", "netloc": "example.com", "hostname": "example.com", "path": "› nvidia"},
            },
            {
                "title": "An undated page",
                "url": "https://www.example.org/undated",
                "description": "Nothing is known of its age.",
                "meta_url": {"scheme": "https", "netloc": "example.org", "hostname": "www.example.org", "path": ""},
            },
        ],
        "family_friendly": True,
    },
    "mixed": {"type": "mixed", "main": [{"type": "web", "index": 0, "all": False}], "top": [], "side": []},
}
NEWS = {
    "type": "news",
    "query": {"original": "nvidia", "spellcheck_off": False},
    "results": [
        {
            "type": "news_result",
            "title": "Chip maker guides higher",
            "url": "https://news.example.com/chips",
            "description": "The company <strong>raised</strong> its outlook&hellip;",
            "age": "2 hours ago",
            "page_age": "2026-03-02T13:00:00",
            "source": {"name": "News Daily", "url": "https://news.example.com"},
            "meta_url": {
                "scheme": "https",
                "netloc": "news.example.com",
                "hostname": "news.example.com",
                "path": "› c",
            },
        },
        {
            "type": "news_result",
            "title": "An older item",
            "url": "https://news.example.com/older",
            "description": "It has an age, but no date.",
            "age": "3 days ago",
            "meta_url": {"scheme": "https", "netloc": "news.example.com", "hostname": "news.example.com", "path": ""},
        },
    ],
}


def error(status: int, code: str, **headers: str) -> Reply:
    """An error in Brave's form."""
    said = {"id": "5d832250", "code": code, "detail": f"The detail of {code}.", "status": status, "meta": {}}
    return answer({"type": "ErrorResponse", "error": said, "time": 1773685964}, status, **headers)


class SearchLoopback(Loopback):
    """The engine, as a context. It answers `script` in order, one reply a request, and after it as Brave would."""

    def usual(self, asked: Asked) -> Reply:
        if asked.headers.get("x-subscription-token") != KEY:
            return error(422, "SUBSCRIPTION_TOKEN_INVALID")
        return answer({"/res/v1/web/search": WEB, "/res/v1/news/search": NEWS}.get(asked.path, {"type": "none"}))
