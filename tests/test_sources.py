"""What a session looked up: how often it may, and that what it cites and remembers says whether it saw it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx
import mcp_server_fetch.server as public_fetch  # type: ignore[import-untyped]
import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent, Tool
from opentelemetry.trace import NoOpTracer

from desks.researcher import researcher
from desks.sources import NO_SOURCE, NOT_SEEN, Sources
from desks.workbench import Shelf
from research.brave import BraveSearch
from research.pace import BLOCKED_MAX_S, Pace
from research.provider import SearchUnavailable
from tests import search_loopback as loopback
from tests.scripted import ScriptedModel, call
from tests.search_loopback import SearchLoopback
from tests.test_search import SECRET, START

HIT = "https://news.example.com/chips?a=1"
FOUND = json.dumps({"results": [{"url": HIT, "title": "Chips"}, {"url": "simulated://news/NVDA/2026-03-02T14:00Z"}]})


class Answers:
    """A server in the place of a connection: what it was called with, and one answer to everything."""

    def __init__(self, name: str, *tools: str, text: str = FOUND, is_error: bool = False) -> None:
        self.name = name
        self.tools = tuple(Tool(name=each, input_schema={"type": "object"}) for each in tools)
        self.called: list[tuple[str, dict[str, Any]]] = []
        self._result = CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)

    async def call_tool(self, tool: str, arguments: dict[str, Any], *_: Any) -> CallToolResult:
        self.called.append((tool, arguments))
        return self._result


def shelves(**servers: Any) -> dict[str, Shelf]:
    return {name: Shelf(server, trusted=False) for name, server in servers.items()}


async def asked(sources: Sources, given: dict[str, Shelf], *turns: Any) -> ScriptedModel:
    """A researcher that has made its turns; each `research` call is another of the same session."""
    model = ScriptedModel(*turns)
    tool = researcher(model, given, "trace_test", NoOpTracer(), "warren", sources)
    await tool.run({"question": "What of chips?"}, SimpleNamespace(link_future=lambda _: None))  # type: ignore[arg-type]
    return model


async def test_a_sessions_searches_and_pages_are_limited_over_all_its_questions() -> None:
    search, fetch = Answers("search", "web_search", "news_search"), Answers("fetch", "fetch", text="A page.")
    memory = Answers("memory", "search_nodes", text="[]")
    given = shelves(search=search, fetch=fetch, memory=memory)
    sources = Sources(3)
    await asked(sources, given, [call("web_search", query="a"), call("news_search", query="b")], "Done.")
    model = await asked(
        sources, given,
        [
            call("fetch", url=HIT), call("search_nodes", query="a"), call("news_search", query="c"),
            call("fetch", url=HIT),
        ],
        "Done.",
    )  # fmt: skip
    told = model.last_results()
    assert [text.partition(":")[0] for text in told[2:]] == ["over_limit", "over_limit"]
    assert "3 searches and pages were asked for in this session, which is the most (SESSION_SEARCHES)" in told[2]
    assert (len(search.called), len(fetch.called), len(memory.called)) == (2, 1, 1), "a refused look asks nobody"


async def test_an_appraisals_addresses_are_marked_where_the_session_has_not_seen_them() -> None:
    search = Answers("search", "web_search")
    fetch = Answers("fetch", "fetch", text="It links to https://linked.example/page")
    sources = Sources(9)
    given = shelves(search=search, fetch=fetch)
    await asked(sources, given, [call("web_search", query="a"), call("fetch", url="https://Page.example/x/")], "Done.")
    said = f"Up, says {HIT}, and (https://page.example/x). See simulated://news/NVDA/2026-03-02T14:00Z."
    assert sources.checked(said) == said
    assert sources.checked("So says https://linked.example/page.") == f"So says https://linked.example/page {NOT_SEEN}."
    assert sources.checked(f"{HIT}&b=2") == f"{HIT}&b=2 {NOT_SEEN}"
    assert sources.checked("http://page.example/x") == f"http://page.example/x {NOT_SEEN}", "another scheme"


async def test_a_page_that_could_not_be_had_was_not_seen() -> None:
    fetch = Answers("fetch", "fetch", text="refused", is_error=True)
    sources = Sources(9)
    await asked(sources, shelves(fetch=fetch), [call("fetch", url=HIT)], "Done.")
    assert NOT_SEEN in sources.checked(HIT)


async def test_findings_go_to_memory_with_their_source_checked_and_dated() -> None:
    search, memory = (
        Answers("search", "web_search"),
        Answers("memory", "create_entities", "add_observations", text="[]"),
    )
    sources = Sources(9)
    sources.date = "2026-03-02"
    await asked(
        sources, shelves(search=search, memory=memory),
        [call("web_search", query="a")],
        [
            call("create_entities", entities=[{"name": "NVDA", "entityType": "company", "observations": [
                f"Guides higher ({HIT}, 2026-03-01)", "It can only rise", "So says https://made.up/page", 7,
            ]}]),
            call("add_observations", observations=[{"entityName": "NVDA", "contents": [f"Up again: {HIT}"]}, "odd"]),
        ],
        "Done.",
    )  # fmt: skip
    [(_, created), (_, added)] = memory.called
    assert created["entities"][0]["observations"] == [
        f"Guides higher ({HIT}, 2026-03-01)",
        f"It can only rise {NO_SOURCE} [noted 2026-03-02]",
        f"So says https://made.up/page {NOT_SEEN} [noted 2026-03-02]",
        7,
    ]
    assert added["observations"] == [
        {"entityName": "NVDA", "contents": [f"Up again: {HIT} [noted 2026-03-02]"]},
        "odd",
    ], "what is wrong is the memory server's to refuse"


class Times:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))


POLICY = {"x-ratelimit-policy": "1;w=1, 15000;w=2592000", "x-ratelimit-limit": "1, 15000"}


async def test_four_searches_at_once_on_a_small_plan_are_a_second_apart() -> None:
    times = Times()
    pace = Pace(times.sleep, times.monotonic)
    for _ in range(4):
        await pace.turn()
    assert times.slept == [1.0, 2.0, 3.0]


async def test_a_large_plan_is_asked_as_often_as_its_headers_say() -> None:
    times = Times()
    pace = Pace(times.sleep, times.monotonic)
    unlimited = {"x-ratelimit-policy": "20;w=1, 0;w=2592000", "x-ratelimit-limit": "20, 0"}
    left = {"x-ratelimit-remaining": "19, 0", "x-ratelimit-reset": "1, 1419704"}
    await pace.turn()
    times.now += 1
    pace.learn(unlimited | left, None)
    for _ in range(3):
        await pace.turn()
    assert times.slept == [0.05, 0.1], "a month without a limit is not a month that is used up"


async def test_a_month_that_is_used_up_is_not_asked_again_for_an_hour_and_says_so() -> None:
    times = Times()
    pace = Pace(times.sleep, times.monotonic)
    pace.learn(POLICY | {"x-ratelimit-remaining": "1, 0", "x-ratelimit-reset": "1, 1419704"}, None)
    with pytest.raises(SearchUnavailable, match="for 3,600 s more, as it said; nothing was sent"):
        await pace.turn()
    times.now += BLOCKED_MAX_S + 1
    await pace.turn()
    assert times.slept == []


async def test_brave_learns_from_every_answer_and_then_sends_nothing() -> None:
    times = Times()
    with SearchLoopback() as engine:
        brave = BraveSearch(SECRET, engine.base_url, sleep=times.sleep, monotonic=times.monotonic)
        engine.script.append(
            loopback.answer(
                loopback.NEWS, X_RateLimit_Policy="1;w=1, 5;w=2592000", X_RateLimit_Remaining="1, 0",
                X_RateLimit_Reset="1, 99",
            )
        )  # fmt: skip
        assert await brave.news("nvidia", 10, None, START)
        with pytest.raises(SearchUnavailable, match="takes no request from this key for 99 s more"):
            await brave.news("nvidia", 10, None, START)
        assert len(engine.requests) == 1
        times.now += 100
        engine.script.append(loopback.error(429, "QUOTA_LIMITED"))
        with pytest.raises(SearchUnavailable, match="no more searches left"):
            await brave.news("nvidia", 10, None, START)
        with pytest.raises(SearchUnavailable, match="for 3,600 s more"):
            await brave.news("nvidia", 10, None, START)


PRIVATE = (
    "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/", "http://192.168.1.1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/",
)  # fmt: skip


def web(monkeypatch: pytest.MonkeyPatch, *redirects: str) -> list[str]:
    """The installed fetch server's web: each host is public unless it is an address; what was really asked for."""
    reached: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        reached.append(str(request.url))
        if request.url.path == "/robots.txt" or not redirects:
            return httpx.Response(404 if request.url.path == "/robots.txt" else 200, text="a secret page")
        return httpx.Response(302, headers={"Location": redirects[0]})

    monkeypatch.setattr(
        public_fetch, "make_client", lambda _proxy: httpx.AsyncClient(transport=httpx.MockTransport(answer))
    )
    resolve = public_fetch._resolve_host

    async def resolved(host: str) -> list[str]:
        return ["93.184.215.14"] if host.endswith(".example") else await resolve(host)

    monkeypatch.setattr(public_fetch, "_resolve_host", resolved)
    return reached


async def fetched(url: str) -> CallToolResult:
    async with Client(public_fetch.create_server()) as client:
        return await client.call_tool("fetch", {"url": url})


@pytest.mark.parametrize("url", PRIVATE)
async def test_the_installed_fetch_server_keeps_from_private_addresses(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    reached = web(monkeypatch)
    result = await fetched(url)
    assert result.is_error
    assert "not a public address" in str(result.content[0])
    assert reached == []


async def test_the_installed_fetch_server_follows_no_redirect_to_a_private_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached = web(monkeypatch)
    assert "a secret page" in str((await fetched("http://public.example/")).content[0]), "the stand-in does answer"
    reached = web(monkeypatch, PRIVATE[3])
    result = await fetched("http://public.example/")
    assert result.is_error
    assert "not a public address" in str(result.content[0])
    assert not any("169.254" in each for each in reached)
