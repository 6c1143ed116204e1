"""The guard before the page: by raw ASGI calls with any request at all, before the real page, and as a process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dashboard.guard import BODY_BYTES_MAX, LOGIN_BYTES_MAX, SESSION_S, SESSIONS_MAX, Guard, Message, Receive, Send
from dashboard.password import WINDOW_S, WRONG_MAX, WRONG_PER_CLIENT_MAX, Password
from dashboard.request import Scope
from database import Store
from market import open_store
from tests.dashboard_stage import HOUSE, stage_of
from tests.processes import still_running
from tests.shelf import ShelfVenue
from values.errors import BadSetting
from values.settings import PROJECT, DashboardSettings, MarketSettings, load

SECRET = "correct horse battery"
HOST = ("host", "127.0.0.1:7860")
FETCHED = ("sec-fetch-site", "same-origin")
FORM = ("content-type", "application/x-www-form-urlencoded")
ALWAYS = ("content-security-policy", "cache-control", "x-content-type-options", "referrer-policy", "x-frame-options")
OFFERED = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/theme.css"),
    ("GET", "/assets/index-DphvyggB.js"),
    ("GET", "/static/js/iframeResizer.contentWindow.min.js"),
    ("GET", "/gradio_api/heartbeat/44fjt5wo24b"),
    ("POST", "/updates"),
    ("POST", "/gradio_api/run/predict"),
    ("POST", "/gradio_api/component_server/"),
]


@dataclass
class Inner:
    """The page's stand-in: it keeps what reached it, and answers everything with a script of its own."""

    reached: list[tuple[str, str, bytes]] = field(default_factory=list)
    fails: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append((scope["type"], scope["path"], scope.get("query_string", b"")))
        if self.fails:
            raise RuntimeError("out of order")
        headers = [(b"content-type", b"text/html"), (b"access-control-allow-origin", b"*"), (b"x-frame-options", b"?")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<script>one()</script>", "more_body": True})
        await send({"type": "http.response.body", "body": b'<script src="a.js"></script>'})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cookie(self) -> tuple[str, str]:
        return "cookie", self.headers["set-cookie"].partition(";")[0]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def guard_of(inner: Inner, password: str | None = SECRET, clock: Clock | None = None, host: str = "127.0.0.1") -> Guard:
    clock = clock or Clock()
    return Guard(inner, host, None if password is None else Password(password, clock), ["two()"], clock)


async def ask(
    guard: Guard,
    method: str,
    path: str,
    *headers: tuple[str, str],
    body: bytes = b"",
    kind: str = "http",
    scheme: str = "http",
    client: str = "127.0.0.1",
    raw_path: bytes | None = None,
) -> Answer:
    """One request; a body without a length of its own gets one."""
    names = {name.lower() for name, _ in headers}
    if method == "POST" and not names & {"content-length", "transfer-encoding"}:
        headers = (*headers, ("content-length", str(len(body))))
    scope: dict[str, Any] = {
        "type": kind, "method": method, "path": path, "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": b"deep_link=..", "scheme": scheme, "client": (client, 5000), "server": ("127.0.0.1", 7860),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await guard(scope, receive, send)
    if kind == "websocket":
        assert [message["type"] for message in sent] == ["websocket.close"]
        return Answer(0, {}, b"")
    assert sent[0]["type"] == "http.response.start"
    told = [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]
    assert len({name for name, _ in told}) == len(told), "no header twice"
    assert all(message["type"] == "http.response.body" for message in sent[1:])
    return Answer(sent[0]["status"], dict(told), b"".join(message.get("body", b"") for message in sent[1:]))


async def log_in(guard: Guard, password: str = SECRET, **more: Any) -> Answer:
    return await ask(guard, "POST", "/login", HOST, FETCHED, FORM, body=f"password={password}".encode(), **more)


odd_paths = st.sampled_from(
    ["/", "//", "/.", "/%2e", "/%2e%2e/config", "/login/", "/login/../config", "/config", "/login%00", "/Login",
     "/logout",
     "//login", "/gradio_api/info", "/gradio_api/queue/data", "/gradio_api/file=/etc/passwd", "/openapi.json",
     "/gradio_api/upload", "/favicon.ico/..", "/favicon.icox", "/gradio_api/proxy=http://x", "/assets/index-1.js",
     "/gradio_api/run/predict", "/gradio_api/component_server/", "/gradio_api/heartbeat/abc", "/theme.css", ""]
)  # fmt: skip
methods = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "get", "login", ""])
names = st.sampled_from(
    ["host", "accept", "cookie", "origin", "referer", "sec-fetch-site", "x-forwarded-host", "x-http-method-override",
     "x-original-url", "authorization", "content-length", "transfer-encoding", "upgrade", "connection", "x-rewrite-url"]
)  # fmt: skip
values = st.sampled_from(
    ["text/html", "same-origin", "none", "127.0.0.1:7860", "POST", "/login", "floor_session_7860=", "websocket",
     "chunked", "floor_session_7860=x; floor_session_7860=y", "floor_session_0=x", "Basic b3duZXI6", "7", "null"]
)  # fmt: skip
some_headers = st.lists(st.tuples(names, values | st.text(st.characters(max_codepoint=255), max_size=40)), max_size=8)


@given(
    methods | st.text(max_size=8), odd_paths | st.text(max_size=40).map(lambda text: "/" + text), some_headers,
    st.sampled_from(["http", "websocket"]), st.binary(max_size=30), st.booleans(),
)  # fmt: skip
def test_without_the_cookie_nothing_that_is_asked_reaches_the_page(
    method: str, path: str, headers: list[tuple[str, str]], kind: str, body: bytes, is_own: bool
) -> None:
    inner = Inner()
    own = (HOST, FETCHED) if is_own else ()
    raw_path = path.encode("utf-8", "surrogatepass")
    answer = asyncio.run(ask(guard_of(inner), method, path, *own, *headers, body=body, kind=kind, raw_path=raw_path))
    assert inner.reached == []
    if answer.status == 200:
        assert (path, method) in (("/login", "GET"), ("/favicon.ico", "GET"), ("/favicon.ico", "HEAD"))


@pytest.mark.parametrize(("method", "path"), OFFERED)
async def test_a_page_navigation_is_led_to_the_login_and_all_else_is_unauthorised(method: str, path: str) -> None:
    guard = guard_of(Inner())
    visit = await ask(guard, method, path, HOST, FETCHED, ("accept", "text/html,*/*"))
    other = await ask(guard, method, path, HOST, FETCHED, ("accept", "*/*"))
    assert other.status == 401
    assert (visit.status, visit.headers.get("location")) == ((303, "/login") if method == "GET" else (401, None))


@pytest.mark.parametrize("password", [SECRET, None])
@pytest.mark.parametrize(("method", "path"), OFFERED)
async def test_what_the_page_asks_for_passes_and_loses_its_query(method: str, path: str, password: str | None) -> None:
    inner = Inner()
    guard = guard_of(inner, password)
    cookie = (await log_in(guard)).cookie if password else ("accept", "*/*")
    answer = await ask(guard, method, path, HOST, FETCHED, cookie)
    assert answer.status == 200
    assert inner.reached == [("http", path, b"")]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-frame-options"] == "DENY"


NOT_OFFERED = [
    ("GET", "/config", 404), ("GET", "/gradio_api/info", 404), ("GET", "/openapi.json", 404), ("GET", "/docs", 404),
    ("GET", "/gradio_api/file=/etc/passwd", 404), ("GET", "/gradio_api/proxy=http://x", 404), ("GET", "//", 404),
    ("POST", "/gradio_api/upload", 404), ("POST", "/gradio_api/queue/join", 404), ("GET", "/monitoring", 404),
    ("POST", "/gradio_api/run/predict/", 404), ("POST", "/gradio_api/run/../upload", 404), ("GET", "/assets/", 404),
    ("GET", "/assets/../config", 404), ("GET", "/assets/a.js\n", 404), ("GET", "/assets/..", 404),
    ("POST", "/", 405), ("GET", "/gradio_api/run/predict", 405), ("DELETE", "/theme.css", 405), ("get", "/", 405),
]  # fmt: skip


@pytest.mark.parametrize("password", [SECRET, None])
@pytest.mark.parametrize(("method", "path", "status"), NOT_OFFERED)
async def test_what_the_page_does_not_need_is_not_there_in_either_mode(
    method: str, path: str, status: int, password: str | None
) -> None:
    inner = Inner()
    guard = guard_of(inner, password)
    cookie = (await log_in(guard)).cookie if password else ("accept", "*/*")
    answer = await ask(guard, method, path, HOST, FETCHED, cookie)
    assert (answer.status, inner.reached) == (status, [])


async def test_a_path_that_reads_otherwise_than_it_came_does_not_pass() -> None:
    inner = Inner()
    answer = await ask(guard_of(inner, None), "GET", "/theme.css", HOST, raw_path=b"/theme%2ecss")
    assert (answer.status, inner.reached) == (404, [])


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("localhost:7860", True), ("LOCALHOST", True), ("127.0.0.1", True), ("127.8.8.8:1", True), ("[::1]:7860", True),
        ("floor.test", False), ("127.0.0.1.floor.test", False), ("localhost.floor.test:7860", False), ("", False),
        ("10.0.0.1:7860", False), ("localhost@floor.test", False), ("[::1", False), ("localhost:7860:1", False),
    ],
)  # fmt: skip
async def test_without_a_password_a_name_of_another_machine_is_refused(name: str, passes: bool) -> None:
    inner = Inner()
    await ask(guard_of(inner, None), "GET", "/", ("host", name))
    assert bool(inner.reached) is passes


async def test_a_request_names_one_host() -> None:
    inner = Inner()
    for password in (SECRET, None):
        twice = await ask(guard_of(inner, password), "GET", "/", HOST, ("host", "localhost"))
        none = await ask(guard_of(inner, password), "GET", "/")
        assert (twice.status, none.status, inner.reached) == (400, 400, [])


PREDICT = "/gradio_api/run/predict"


@pytest.mark.parametrize(
    ("method", "path", "headers", "passes"),
    [
        ("POST", PREDICT, [("origin", "http://127.0.0.1:7860")], True),
        ("POST", PREDICT, [("sec-fetch-site", "same-origin")], True),
        ("POST", PREDICT, [], False),
        ("POST", PREDICT, [("origin", "http://127.0.0.1:3000")], False),
        ("POST", PREDICT, [("origin", "null")], False),
        ("POST", PREDICT, [("origin", "https://floor.test")], False),
        ("POST", PREDICT, [("origin", "http://127.0.0.1:7860"), ("sec-fetch-site", "cross-site")], False),
        ("POST", PREDICT, [("sec-fetch-site", "same-site")], False),
        ("POST", PREDICT, [("sec-fetch-site", "none")], False),
        ("GET", "/", [], True),
        ("GET", "/", [("sec-fetch-site", "none")], True),
        ("GET", "/", [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], False),
        ("GET", "/", [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"),
                      ("sec-fetch-dest", "document")], True),
        ("GET", "/", [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"),
                      ("sec-fetch-dest", "iframe")], False),
        ("GET", "/theme.css", [("origin", "http://127.0.0.1:3000")], False),
    ],
)  # fmt: skip
async def test_what_another_site_makes_a_browser_ask_is_refused(
    method: str, path: str, headers: Sequence[tuple[str, str]], passes: bool
) -> None:
    inner = Inner()
    answer = await ask(guard_of(inner, None), method, path, HOST, *headers)
    assert bool(inner.reached) is passes
    assert answer.status == (200 if passes else 403)


async def test_the_cookie_is_the_browsers_alone_and_secure_over_https() -> None:
    guard = guard_of(Inner())
    plain, secure = await log_in(guard), await log_in(guard, scheme="https")
    assert (plain.status, plain.headers["location"]) == (303, "/")
    match = re.fullmatch(
        r"floor_session_7860=([\w-]{43}); Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", plain.headers["set-cookie"]
    )
    assert match
    assert secure.headers["set-cookie"].endswith("; Secure")
    assert plain.cookie != secure.cookie
    assert match[1] not in repr(vars(guard)), "the token itself is not kept"


async def test_a_session_ends_after_twelve_hours_at_its_logout_and_when_it_was_never_begun() -> None:
    inner, clock = Inner(), Clock()
    guard = guard_of(inner, clock=clock)
    first, second = (await log_in(guard)).cookie, (await log_in(guard)).cookie
    forged = (first[0], first[1][:-1] + ("a" if first[1][-1] != "a" else "b"))
    assert (await ask(guard, "GET", "/", HOST, forged)).status == 401
    out = await ask(guard, "POST", "/logout", HOST, FETCHED, first)
    assert (out.status, out.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await ask(guard, "GET", "/", HOST, first)).status == 401
    assert (await ask(guard, "GET", "/", HOST, second)).status == 200
    clock.now += SESSION_S
    assert (await ask(guard, "GET", "/", HOST, second)).status == 401
    assert len(inner.reached) == 1


async def test_a_logout_from_another_site_ends_nothing() -> None:
    guard = guard_of(Inner())
    cookie = (await log_in(guard)).cookie
    assert (await ask(guard, "POST", "/logout", HOST, cookie, ("origin", "https://floor.test"))).status == 403
    assert (await ask(guard, "GET", "/", HOST, cookie)).status == 200


async def test_only_so_many_are_logged_in_and_the_oldest_has_to_again() -> None:
    guard = guard_of(Inner())
    cookies = [(await log_in(guard)).cookie for _ in range(SESSIONS_MAX + 1)]
    statuses = [(await ask(guard, "GET", "/", HOST, each)).status for each in cookies]
    assert statuses == [401] + [200] * SESSIONS_MAX


async def test_guessing_is_stopped_for_one_and_for_all_until_a_minute_has_passed() -> None:
    clock = Clock()
    guard = guard_of(Inner(), clock=clock)
    wrong = [(await log_in(guard, "guess")).status for _ in range(WRONG_PER_CLIENT_MAX)]
    waiting = await log_in(guard)
    assert (set(wrong), waiting.status, waiting.headers["retry-after"]) == ({401}, 429, "60")
    assert b"too many wrong tries" in waiting.body
    assert "set-cookie" not in waiting.headers, "not even the password itself"
    assert (await log_in(guard, client="10.0.0.2")).status == 303
    others = [
        (await log_in(guard, "guess", client=f"10.1.0.{number}")).status
        for number in range(WRONG_MAX - WRONG_PER_CLIENT_MAX)
    ]
    assert set(others) == {401}
    assert (await log_in(guard, client="10.0.0.2")).status == 429
    clock.now += WINDOW_S
    assert (await log_in(guard)).status == 303


@pytest.mark.parametrize(
    "body",
    [b"", b"password=", b"password", b"PASSWORD=" + SECRET.encode(), b"\xff\xfe", b"a=1&b=2&c=3&d=4&e=5&password=x",
     b'{"password": "correct horse battery"}'],
)  # fmt: skip
async def test_a_body_that_is_no_login_is_a_wrong_password(body: bytes) -> None:
    answer = await ask(guard_of(Inner()), "POST", "/login", HOST, FETCHED, body=body)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


async def test_a_long_login_and_a_long_question_are_refused() -> None:
    inner = Inner()
    guard = guard_of(inner)
    long = b"password=" + b"x" * LOGIN_BYTES_MAX
    assert (await ask(guard, "POST", "/login", HOST, FETCHED, body=long)).status == 413
    cookie = (await log_in(guard)).cookie
    asked = (HOST, FETCHED, cookie)
    for length, status in ((str(BODY_BYTES_MAX + 1), 413), ("x", 411), ("-1", 411), ("", 411), ("9" * 30, 411)):
        assert (await ask(guard, "POST", PREDICT, *asked, ("content-length", length))).status == status
    assert (await ask(guard, "POST", PREDICT, *asked, ("transfer-encoding", "chunked"))).status == 411
    assert inner.reached == []


async def test_every_answer_has_the_headers_and_the_login_has_no_script() -> None:
    inner = Inner()
    guard = guard_of(inner)
    login = await ask(guard, "GET", "/login", HOST)
    cookie = (await log_in(guard)).cookie
    answers = [
        login, await ask(guard, "GET", "/", HOST), await ask(guard, "GET", "/", HOST, cookie), await log_in(guard, "x"),
        await ask(guard, "GET", "/x", HOST, cookie), await ask(guard, "GET", "/favicon.ico", HOST),
        await ask(guard, "GET", "/theme.css", HOST, cookie),
    ]  # fmt: skip
    for answer in answers:
        assert set(ALWAYS) <= set(answer.headers)
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 6 + ["private, max-age=86400"]
    style = re.search(rb"<style>(.*?)</style>", login.body, re.DOTALL)
    assert style
    assert f"style-src {source(style[1])};" in login.headers["content-security-policy"]
    assert b"<script" not in login.body


def source(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


async def test_the_pages_policy_names_each_script_that_stands_in_it_and_allows_no_other() -> None:
    answer = await ask(guard_of(Inner(), None), "GET", "/", HOST)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["script-src"] == f"'self' 'unsafe-eval' {source(b'two()')} {source(b'one()')}"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"


async def test_a_page_that_fails_is_said_without_its_reason() -> None:
    inner = Inner(fails=True)
    for path in ("/", "/theme.css"):
        answer = await ask(guard_of(inner, None), "GET", path, HOST)
        assert (answer.status, b"out of order" in answer.body) == (500, False)
        assert set(ALWAYS) <= set(answer.headers)


# ---- before the real page


@contextlib.asynccontextmanager
async def visitor(store: Store, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch, **given: Any) -> AsyncIterator[Any]:
    from dashboard import site

    stage = stage_of(store, venue)
    monkeypatch.setattr(site, "open_market", lambda *_: stage.market)
    settings = load(DashboardSettings, **given)
    made = site.Site(store, settings, HOUSE)
    transport = httpx2.ASGITransport(app=made.application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
        yield client, made


def gradio_routes(found: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of every route, whatever it is mounted or included in."""
    for route in found:
        inner = getattr(route, "app", None) or getattr(route, "original_router", None)
        if inner is not None and hasattr(inner, "routes"):
            yield from gradio_routes(inner.routes)
        else:
            for method in sorted(getattr(route, "methods", None) or {"GET"}):
                yield method, re.sub(r"\{[^}]*\}", "x", route.path)


async def test_before_the_real_page_every_route_of_gradio_is_shut_or_needed(
    store: Store, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with visitor(store, venue, monkeypatch, dashboard_password=SecretStr(SECRET)) as (client, made):
        routes = list(gradio_routes(made.application._inner.routes))
        assert len(routes) > 60
        own = {"origin": "http://127.0.0.1:7860"}
        for method, path in [*routes, ("GET", "/openapi.json"), ("POST", "/gradio_api/component_server")]:
            answer = await client.request(method, path, headers=own)
            is_open = (method, path) in (("GET", "/login"), ("GET", "/favicon.ico"), ("HEAD", "/favicon.ico"))
            assert answer.status_code == (200 if is_open else 401), (method, path)
        logged_in = await client.post("/login", data={"password": SECRET}, headers=own)
        assert logged_in.status_code == 303
        opened = set()
        for method, path in routes:
            if "heartbeat" in path:
                continue  # it would never end
            answer = await client.request(method, path, headers=own, content=b"")
            if answer.status_code not in (404, 405) and path not in ("/login", "/favicon.ico"):
                opened.add((method, path))
        page = {("GET", "/"), ("HEAD", "/"), ("GET", "/theme.css"), ("POST", "/updates")}
        page |= {("POST", "/gradio_api/component_server/")}
        assert opened == page


async def test_the_real_page_comes_whole_under_a_policy_that_names_its_scripts(
    store: Store, venue: ShelfVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with visitor(store, venue, monkeypatch) as (client, _):
        answer = await client.get("/")
        assert answer.status_code == 200
        assert "Below the peak" in answer.text
        assert "Log out" not in answer.text, "there is no login"
        scripts = re.findall(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", answer.content, re.DOTALL)
        assert len(scripts) >= 3
        policy = answer.headers["content-security-policy"]
        assert all(source(script) in policy for script in scripts)
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


# ---- the process


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"DASHBOARD_HOST": "0.0.0.0"}, "DASHBOARD_PASSWORD is set"),
        ({"DASHBOARD_HOST": "floor.test"}, "DASHBOARD_PASSWORD is set"),
        ({"DASHBOARD_HOST": "http://127.0.0.1"}, "without a port"),
        ({"DASHBOARD_CONTROLS": "true"}, "DASHBOARD_PASSWORD is set"),
        ({"DASHBOARD_PASSWORD": "seven77"}, "8 to 200 characters"),
        ({"DASHBOARD_PORT": "65536"}, "0 to 65535"),
    ],
)
def test_a_setting_that_would_open_the_page_to_others_is_refused(
    given: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as caught:
        load(DashboardSettings)
    assert says in caught.value.sentence
    assert "seven77" not in caught.value.sentence


def test_with_a_password_the_page_may_be_open_to_others_and_controls_be_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASHBOARD_PASSWORD", SECRET)
    settings = load(DashboardSettings, dashboard_host="0.0.0.0", dashboard_controls=True)
    assert (settings.dashboard_host, settings.dashboard_controls) == ("0.0.0.0", True)
    assert SECRET not in repr(settings)
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        monkeypatch.delenv("DASHBOARD_PASSWORD", raising=False)
        assert load(DashboardSettings, dashboard_host=host).dashboard_password is None


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    told = {"DATABASE_URL": f"sqlite:///{tmp_path}/accounts.db", "MARKET_SEED": "7", "DASHBOARD_PORT": "0"}
    return kept | told


def test_no_store_and_a_taken_port_are_each_a_sentence_and_exit_code_one(environment: dict[str, str]) -> None:
    command = [sys.executable, str(PROJECT / "app.py")]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60, cwd="/")
    assert (done.returncode, "`make floor` makes it" in done.stderr) == (1, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = environment | {"DASHBOARD_PORT": port}
        done = subprocess.run(command, env=told, text=True, capture_output=True, timeout=60, cwd="/")
    assert (done.returncode, f"port {port}" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def lines_until(floor: subprocess.Popen[str], *texts: str) -> Iterator[str]:
    assert floor.stdout is not None
    wanted = set(texts)
    for line in floor.stdout:
        yield line
        wanted -= {text for text in wanted if text in line}
        if not wanted:
            return


def test_a_floor_shows_its_page_and_goes_on_without_it(environment: dict[str, str]) -> None:
    told = environment | {"DASHBOARD_PASSWORD": SECRET}
    command = [sys.executable, str(PROJECT / "trading_floor.py"), "run", "--dashboard"]
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True, cwd="/") as floor:
        said = list(lines_until(floor, "cycle 1,", "dashboard http"))
        [address] = [line.split()[-1] for line in said if "dashboard http" in line]
        assert httpx2.get(f"{address}config").status_code == 401
        children = psutil.Process(floor.pid).children(recursive=True)
        pages = [each for each in children if "--with-floor" in each.cmdline()]
        assert len(pages) == 1
        seeing = [each.pid for each in children if "DASHBOARD_PASSWORD" in each.environ()]
        assert seeing == [pages[0].pid], "no server sees the password"
        pages[0].kill()
        assert any(
            "the dashboard ended (exit code -9), the floor goes on" in line for line in lines_until(floor, "ended (")
        )
        assert floor.poll() is None
        floor.send_signal(signal.SIGTERM)
        assert floor.wait(timeout=30) == 0
    assert still_running(children) == []


@pytest.mark.parametrize("end", ["a signal", "its floor's end"])
def test_a_page_ends_by_a_signal_and_with_its_floor_though_a_tab_is_open(environment: dict[str, str], end: str) -> None:
    open_store(load(MarketSettings, database_url=environment["DATABASE_URL"], market="simulated")).close()
    command = [sys.executable, str(PROJECT / "trading_floor.py"), "dashboard"]
    if end != "a signal":
        command = [sys.executable, "-m", "app", "--with-floor"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as page:
        [line] = lines_until(page, "dashboard http")
        with httpx2.stream("GET", f"{line.split()[-1]}gradio_api/heartbeat/abc") as tab:
            assert next(tab.iter_lines()) == "data: ALIVE"
            if end == "a signal":
                page.send_signal(signal.SIGINT)
            else:
                assert page.stdin is not None
                page.stdin.close()
            assert page.wait(timeout=3) == 0
