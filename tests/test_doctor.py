"""`trading-floor doctor`: what it finds, what it leaves alone, and that it shows no key."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from accounts import Account, open_account
from commands import doctor
from commands.checks import Finding, StoreExamination, disk_finding, folder_finding, port_finding, sqlite_finding
from commands.upstreams import UPSTREAMS, ask_all
from database import NewRun, Store, read_account, write_log
from desks.servers import SERVERS, ServerRow
from market import Market, open_market, open_store
from values.address import StoreAddress
from values.clock import wall_now
from values.log import LogRow
from values.settings import PROJECT, PROVIDER_NAMES, FloorSettings, MarketSettings, load

PAGE = 4096
CANARY = "canary-4f1d"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a simulated run's store is to be; no server is started, so that a test is quick."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/accounts.db")
    monkeypatch.setenv("MARKET_SEED", "7")
    monkeypatch.setattr(doctor, "SERVERS", ())
    return tmp_path / "accounts.db"


@pytest.fixture
def told(given: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, str]]]:
    """Run the doctor: its exit code, and of each subject the last line, with the one that mends it."""

    def run(*, online: bool = False) -> tuple[int, dict[str, str]]:
        code = doctor.run_doctor(online)
        printed = capsys.readouterr().out.replace("\n" + " " * 17, " ")
        assert "Traceback" not in printed
        assert all(re.match(r"(ok|note|warn|FAIL) +\S+ +\S|(no|\d+) failure", line) for line in printed.splitlines())
        return code, {line[6:].split()[0]: line for line in printed.splitlines()}

    return run


def examined(path: Path) -> tuple[bool, dict[str, Finding]]:
    examination = StoreExamination(StoreAddress.of_file(path))
    found = {finding.subject: finding for finding in examination.findings()}
    assert all(finding.mend for finding in found.values() if finding.state in ("warn", "FAIL"))
    return examination.is_sound, found


def test_every_server_of_the_table_starts_and_the_owners_files_stay_as_they_are(given: Path) -> None:
    with closing(open_store(load(MarketSettings))):
        pass
    before = given.read_bytes()
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "DATABASE_URL", "MARKET_SEED")}
    done = subprocess.run(
        [sys.executable, str(PROJECT / "trading_floor.py"), "doctor"],
        env=environment | {"POLYGON_API_KEY": CANARY, "BRAVE_API_KEY": CANARY},
        capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for row in SERVERS:
        assert re.search(rf"^ok    server     {row.name}(-server)? starts and has [1-9]", done.stdout, re.MULTILINE)
    assert "POLYGON_API_KEY or MASSIVE_API_KEY is set" in done.stdout
    assert "BRAVE_API_KEY is set" in done.stdout
    assert "PUSHOVER_TOKEN is not set" in done.stdout
    assert CANARY not in done.stdout
    assert "SIMULATED (seed 7), because the store was made for it" in done.stdout
    assert "house (rule-based), because MODEL is not set" in done.stdout
    assert given.read_bytes() == before
    assert {each.name for each in given.parent.iterdir()} <= {
        "accounts.db", "accounts.db.lock", "accounts.db.floor.lock"
    }  # fmt: skip


def test_without_a_store_it_makes_none(given: Path, told: Callable[..., tuple[int, dict[str, str]]]) -> None:
    code, lines = told()
    assert code == 0
    assert "none yet" in lines["store"]
    assert "SIMULATED, which a new store gets" in lines["market"]
    assert list(given.parent.iterdir()) == []


def test_a_server_that_does_not_start_is_a_failure_with_its_last_words(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ServerRow("absent", "no_such_module", "trader", frozenset(), trusted=False)
    monkeypatch.setattr(doctor, "SERVERS", (row,))
    code, lines = told()
    assert code == 1
    assert "absent-server does not start" in lines["server"]
    assert "No module named no_such_module" in lines["server"]
    assert f"-> mend what it says; `{sys.executable} -m no_such_module` shows the whole" in lines["server"]


def test_a_server_that_never_answers_is_a_failure_after_the_deadline(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SERVERS", (ServerRow("mute", "tests.told_server", "floor", frozenset(), True),))
    monkeypatch.setattr(doctor, "SERVER_START_S", 0.2)
    code, lines = told()
    assert (code, lines["server"][:4]) == (1, "FAIL")


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ((3, 36, 0), "FAIL"), ((3, 37, 0), "warn"),
        ((3, 40, 0), "warn"), ((3, 44, 5), "warn"), ((3, 44, 6), "ok"), ((3, 45, 0), "warn"),
        ((3, 50, 6), "warn"), ((3, 50, 7), "ok"), ((3, 51, 2), "warn"), ((3, 51, 3), "ok"), ((3, 53, 1), "ok"),
    ],
)  # fmt: skip
def test_the_versions_of_sqlite_with_the_wal_fault_are_named(version: tuple[int, ...], state: str) -> None:
    finding = sqlite_finding(version)
    assert finding.state == state
    assert ("WAL reset" in finding.found) == (state == "warn")
    assert bool(finding.mend) == (state != "ok")


@pytest.mark.parametrize(("free", "state"), [(99_999_999, "FAIL"), (100_000_000, "warn"), (1_000_000_000, "ok")])
def test_a_full_disk_is_seen_before_it_is_full(free: int, state: str) -> None:
    assert disk_finding(free).state == state


def test_a_folder_that_is_not_there_is_a_failure_with_the_command_that_makes_it(tmp_path: Path) -> None:
    finding = folder_finding(tmp_path / "away" / "accounts.db")
    assert (finding.state, finding.mend) == ("FAIL", f"mkdir -p {tmp_path / 'away'}, or change DATABASE_URL")


def test_a_taken_port_is_a_note() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert port_finding(taken.getsockname()[1]).state == "note"
        free = taken.getsockname()[1]
    assert port_finding(free).state == "ok"


def test_a_clock_behind_the_record_is_a_warning(given: Path, told: Callable[..., tuple[int, dict[str, str]]]) -> None:
    with closing(open_store(load(MarketSettings))) as store:
        write_log(store, [LogRow("trace", "warren", "written early", wall_now() + timedelta(hours=3))])
        code, lines = told()
    assert (code, lines["clock"][:4]) == (0, "warn")
    assert "behind the store's newest record" in lines["clock"]


def test_a_running_floor_is_named(given: Path, told: Callable[..., tuple[int, dict[str, str]]]) -> None:
    with closing(open_store(load(MarketSettings))) as store:
        assert "not running" in told()[1]["floor"]
        held = store.hold_floor()
        assert held is not None
        assert f"running: process {os.getpid()}" in told()[1]["floor"]
        held.release()


def test_books_that_were_touched_are_a_failure_that_names_the_account(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]]
) -> None:
    settings = load(MarketSettings)
    with closing(open_store(settings)) as store:
        open_account(store, open_market(store, settings), "me")
    assert told()[0] == 0
    with closing(sqlite3.connect(given)) as raw, raw:
        raw.execute("UPDATE accounts SET cash = cash + 1 WHERE name = 'me'")
    code, lines = told()
    assert (code, lines["books"][:4]) == (1, "FAIL")
    assert "me: cash is 10000.000001, and the record makes it 10000" in lines["books"]


def test_more_transactions_than_are_quickly_recomputed_are_left_to_reconcile(store: Store, market: Market) -> None:
    open_account(store, market, "me")
    examination = StoreExamination(store.address, reconciled_max=0)
    [books] = [finding for finding in examination.findings() if finding.subject == "books"]
    assert (books.state, examination.is_sound) == ("note", True)
    assert "1 transaction, the newest record of" in books.found


def altered(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(statement)


def cut_in_half(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // (2 * PAGE) * PAGE])


def one_page_overwritten(path: Path) -> None:
    """A page that none of the doctor's own questions reads."""
    with closing(sqlite3.connect(path)) as raw:
        [page] = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'model_calls'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


STORES: list[tuple[str, Callable[[Path], object], str, str, str]] = [
    ("older", lambda path: altered(path, "UPDATE alembic_version SET version_num = '0000'"), "schema", "note", "keeps"),
    ("newer", lambda path: altered(path, "UPDATE alembic_version SET version_num = '9999'"), "store", "FAIL", "newer"),
    ("emptied", lambda path: altered(path, "DELETE FROM run"), "store", "FAIL", "never set up"),
    ("empty", lambda path: path.write_bytes(b""), "store", "FAIL", "never set up"),
    ("text", lambda path: path.write_text("no database" * PAGE), "store", "FAIL", "not an SQLite database"),
    ("another's", lambda path: altered(path, "DROP TABLE alembic_version"), "store", "FAIL", "is not this floor's"),
    ("a bad page", one_page_overwritten, "store", "FAIL", "damaged"),
    ("half", cut_in_half, "store", "FAIL", "damaged"),
    ("a folder", made_a_folder, "store", "FAIL", "can't be opened"),
]


@pytest.mark.parametrize(
    ("spoil", "subject", "state", "text"), [case[1:] for case in STORES], ids=[c[0] for c in STORES]
)
def test_a_store_that_cannot_be_used_as_it_is_is_told_and_left_alone(
    given: Path,
    told: Callable[..., tuple[int, dict[str, str]]],
    spoil: Callable[[Path], object],
    subject: str,
    state: str,
    text: str,
) -> None:
    with closing(open_store(load(MarketSettings))):
        pass
    spoil(given)
    before = None if given.is_dir() else given.read_bytes()
    code, lines = told()
    assert (code, lines[subject][:4]) == (int(state == "FAIL"), state)
    assert text in lines[subject]
    assert "in a store made for this check" in lines["market"]
    assert before is None or given.read_bytes() == before


def state_of(path: Path) -> tuple[list[object], list[object]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("SELECT name, cash FROM accounts").fetchall(), raw.execute(
            "SELECT id, account, amount FROM transactions"
        ).fetchall()


def test_a_copy_torn_between_two_transactions_never_passes_for_a_third_state(
    store: Store, market: Market, tmp_path: Path
) -> None:
    """A raw copy that ran while the floor wrote: its first pages of one time, the others of another."""
    open_account(store, market, "me")
    account = Account(store, market, "me", "operator")

    def pages() -> bytes:
        altered(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
        return store.path.read_bytes()

    account.buy_shares("AAPL", 1, "first")
    early = pages()
    account.buy_shares("AAPL", 2, "second")
    late = pages()
    copy, states = tmp_path / "copy.db", []
    for whole in (early, late):
        copy.write_bytes(whole)
        assert examined(copy)[0]
        states.append(state_of(copy))
    changed = [at for at in range(0, len(late), PAGE) if early[at : at + PAGE] != late[at : at + PAGE]]
    found = 0
    for at in changed:
        copy.write_bytes(early[:at] + late[at:])
        is_sound, findings = examined(copy)
        assert is_sound or "FAIL" in {finding.state for finding in findings.values()}
        assert not is_sound or state_of(copy) in states
        found += not is_sound
    assert found


def test_a_copy_without_its_wal_is_found_or_says_how_old_it_is(store: Store, market: Market, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(Store(tmp_path / "fresh.db", NewRun("replay", 1))) as fresh:
        shutil.copy(fresh.path, copy)  # so new that all of it is in the -wal still
    is_sound, findings = examined(copy)
    assert (is_sound, findings["store"].state) == (False, "FAIL")
    assert "without its -wal" in findings["store"].found

    altered(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    open_account(store, market, "me")
    for each in tmp_path.glob("copy.db*"):
        each.unlink()
    shutil.copy(store.path, copy)
    is_sound, findings = examined(copy)
    assert is_sound
    assert findings["books"].found == "0 transactions recomputed, no difference"
    assert read_account(store, "me") is not None


def test_settings_that_do_not_fit_are_told_once_with_what_is_allowed(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET", "moon")
    code, lines = told()
    assert code == 1
    assert "MARKET is 'moon' -> set it to 'simulated', 'replay' or 'live'" in lines["settings"]
    assert "market" not in lines
    assert "1 failure" in " ".join(lines.values())
    monkeypatch.delenv("MARKET")
    with closing(open_store(load(MarketSettings))):
        pass
    monkeypatch.setenv("MARKET_SEED", "8")
    code, lines = told()
    assert code == 1
    assert "was made for the seed 7, not 8" in lines["market"]
    assert "none was started" in lines["server"]


def test_a_check_that_breaks_is_a_line_and_the_others_go_on(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[object]:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(doctor, "known_variables", broken)
    code, lines = told()
    assert code == 1
    assert "the check itself failed: RuntimeError: no such luck" in lines["keys"]
    assert "port" in lines


@pytest.mark.parametrize(
    ("variables", "subject", "state", "text"),
    [
        ({"MODEL": "ollama/qwen3"}, "model", "ok", "ollama/qwen3, because MODEL says so"),
        ({"MODEL": "openai/gpt-5"}, "model", "FAIL", "OPENAI_API_KEY is None -> set it to a key of openai"),
        ({"MODEL": "oracle"}, "settings", "FAIL", "MODEL is 'oracle' -> set it to house, provider/NAME"),
        ({"PUSH_URLS": f"json://user:{CANARY}@127.0.0.1/x"}, "push", "ok", "messages go to json"),
        ({"PUSH_URLS": f"nothing://{CANARY}"}, "push", "FAIL", "entry 1 of PUSH_URLS is 'nothing://[secret]'"),
        ({"PUSHOVER_TOKEN": CANARY}, "push", "FAIL", "PUSHOVER_USER is None"),
    ],
)
def test_a_model_and_push_targets_that_the_floor_would_not_start_with_are_failures(
    given: Path,
    told: Callable[..., tuple[int, dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    subject: str,
    state: str,
    text: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, lines = told()
    assert (code, lines[subject][:4].strip()) == (int(state == "FAIL"), state)
    assert text in lines[subject]
    assert CANARY not in str(lines)


@dataclass
class Services:
    """A server that answers each path as it is told, and remembers what it was asked with."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    silent: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def services(**answers: tuple[int, str]) -> Iterator[Services]:
    """`models=(200, body)` answers the path that ends in it; a status of 0 never answers."""
    served = Services(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            served.asked.append((self.path, f"{self.headers}{body}"))
            name = re.split(r"[/.]", self.path.partition("?")[0].removesuffix(".json"))[-1]
            status, text = served.answers[name]
            if status == 0:
                served.silent.wait()
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Tests keep their output clean."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # all are asked at once, and who finds no place knocks again after a second

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.silent.set()
        server.shutdown()
        thread.join()
        server.server_close()


def settings_for(url: str) -> FloorSettings:
    secret = SecretStr(CANARY)
    models: dict[str, Any] = {f"{name}_api_key": secret for name in PROVIDER_NAMES if name != "ollama"}
    models |= {f"{name}_base_url": f"{url}/{name}/v1/" for name in PROVIDER_NAMES}
    return FloorSettings(
        model="ollama/qwen3", **models,
        brave_api_key=secret, brave_base_url=url, pushover_user=secret, pushover_token=secret, pushover_base_url=url,
        polygon_api_key=secret, polygon_plan="paid", polygon_base_url=url,
    )  # fmt: skip


GOOD = {
    "models": (200, '{"object":"list","data":[],"models":[]}'),
    "key": (200, '{"data":{"limit_remaining":null}}'),
    "search": (200, '{"type":"search","web":{"results":[]}}'),
    "validate": (200, '{"status":1,"devices":["phone"]}'),
    "SPY": (200, '{"status":"DELAYED","request_id":"1","ticker":{}}'),
}


async def test_online_asks_each_service_with_its_key_and_shows_none() -> None:
    with services(**GOOD) as served:
        found = await ask_all(settings_for(served.url))
    assert [(each.subject, each.state) for each in found] == [(each.name, "ok") for each in UPSTREAMS]
    asked = dict(served.asked)
    named = {"anthropic": "x-api-key: ", "google": "x-goog-api-key: "}
    for name in PROVIDER_NAMES:
        said = asked[f"/{name}/v1/{'key' if name == 'openrouter' else 'models'}"].lower()
        assert (f"{named.get(name, 'authorization: bearer ')}{CANARY}".lower() in said) == (name != "ollama")
    assert CANARY in asked["/res/v1/web/search?q=market&count=1"]
    assert f"Bearer {CANARY}" in asked["/v2/snapshot/locale/us/markets/stocks/tickers/SPY"]
    assert f"token={CANARY}&user={CANARY}" in asked["/1/users/validate.json"]
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        ((401, CANARY), "FAIL", "refuses the key"),
        ((429, ""), "warn", "too many requests"),
        ((503, ""), "FAIL", "failed on its side"),
        ((302, ""), "FAIL", "not the service's"),
        ((200, "<html>log in to this network</html>"), "FAIL", "not the service's"),
        ((200, json.dumps({"status": 0})), "FAIL", "not the service's"),
        ((0, ""), "FAIL", "did not answer within 0.2 s"),
    ],
    ids=["a wrong key", "too many", "a fault", "a redirect", "a portal", "a refusal", "silence"],
)
async def test_online_says_what_is_wrong_with_a_service(answer: tuple[int, str], state: str, text: str) -> None:
    with services(models=answer, key=answer, search=answer, validate=answer, SPY=answer) as served:
        found = await ask_all(settings_for(served.url), deadline_s=0.2 if answer[0] == 0 else 10.0)
    assert len(found) == len(UPSTREAMS)
    for finding in found:
        assert (finding.state, bool(finding.mend)) == (state, True)
        assert text in finding.found
        assert CANARY not in f"{finding}"


async def test_online_tells_of_an_address_where_nobody_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for finding in await ask_all(settings_for(f"http://user:{CANARY}@127.0.0.1:{port}")):
        assert (finding.state, "127.0.0.1 can't be reached" in finding.found) == ("FAIL", True)
        assert CANARY not in f"{finding}"


def test_online_without_a_key_asks_nobody(
    given: Path, told: Callable[..., tuple[int, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with services() as served:
        for name in ("BRAVE_BASE_URL", "PUSHOVER_BASE_URL"):
            monkeypatch.setenv(name, served.url)
        code, lines = told(online=True)
    assert (code, served.asked) == (0, [])
    keyed = [name for name in PROVIDER_NAMES if name not in ("ollama", "compatible")]
    for name in (*keyed, "brave", "pushover"):
        assert "skipped: no key" in lines[name]
