"""The table of parts: what is real under which settings, told alike by doctor, by init and on the page."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from commands import doctor
from commands.parts import Part, parts_of, record_parts
from commands.phone import push_test
from dashboard.notices import render_parts
from dashboard.queries import PARTS, of
from dashboard.reader import NOTHING
from dashboard.view import PartLine
from database import NewRun, Store
from tests.push.desk import CANARIES, PASSWORD, TOKEN, USER, ntfy, pushover, rows
from tests.push_loopback import PushLoopback
from values.settings import FloorSettings, MarketKind, load

KEY = "canary-key-4f1d9"


def states(market: MarketKind, **given: Any) -> dict[str, str]:
    return {each.name: each.state for each in parts_of(load(FloorSettings, **given), None, market)}


@pytest.mark.parametrize(
    ("market", "given", "expected"),
    [
        ("simulated", {}, {"prices": "simulated", "models": "simulated", "search": "simulated", "news": "simulated",
                           "pages": "off", "messages": "off", "extra servers": "off", "database": "real"}),
        ("replay", {}, {"prices": "recorded", "search": "off", "news": "off", "pages": "off"}),
        ("live", {}, {"prices": "real", "search": "off", "pages": "real"}),
        ("live", {"brave_api_key": KEY}, {"search": "real", "news": "real"}),
        ("simulated", {"brave_api_key": KEY}, {"search": "simulated"}),
        ("simulated", {"brave_api_key": KEY, "search_provider": "brave"}, {"search": "off"}),
        ("simulated", {"search_provider": "brave", "allow_live_research": True}, {"search": "off", "pages": "real"}),
        ("replay", {"search_provider": "ddgs", "allow_live_research": True}, {"search": "real", "pages": "real"}),
        ("live", {"search_provider": "none", "brave_api_key": KEY}, {"search": "off"}),
        ("simulated", {"model": "ollama/qwen3"}, {"models": "real"}),
        ("simulated", {"push_urls": "ntfy://localhost/topic"}, {"messages": "real"}),
        ("simulated", {"pushover_user": KEY}, {"messages": "off"}),
    ],
)  # fmt: skip
def test_a_part_is_what_the_settings_and_the_market_make_it(
    market: MarketKind, given: dict[str, Any], expected: dict[str, str]
) -> None:
    found = states(market, **given)
    assert {name: found[name] for name in expected} == expected


def test_what_is_not_real_says_why_and_names_no_key() -> None:
    settings = load(FloorSettings, brave_api_key=KEY, push_urls=f"json://user:{KEY}@localhost/x", pushover_user=KEY)
    table = parts_of(settings, None, "simulated")
    assert all(each.why for each in table)
    assert [each.name for each in table if each.state != "real" and not each.change] == []
    assert KEY not in str(table)


def test_doctor_shows_it_for_the_store_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/accounts.db")
    monkeypatch.setattr(doctor, "SERVERS", ())
    Store(tmp_path / "accounts.db", NewRun("simulated", 7)).close()
    assert doctor.run_doctor(online=False) == 0
    printed = capsys.readouterr().out
    assert "part       prices: simulated: the simulated market, seed 7: the store was made for it" in printed
    assert "-> `trading-floor init`, or MODEL=provider/NAME and the key for it" in printed


def test_the_page_shows_what_the_floor_wrote_and_escapes_it(store: Store) -> None:
    told = [Part("prices", "simulated", "<b>seed</b>", "x"), Part("database", "real", "an SQLite file")]
    record_parts(store, [*told, *told])
    record_parts(store, told)
    with store.read() as connection:
        lines = tuple(of(PartLine, row) for row in connection.execute(PARTS))
    assert [(each.name, each.state) for each in lines] == [("prices", "simulated"), ("database", "real")]
    page = render_parts(NOTHING.__class__(None, (), {}, (), NOTHING.health, (), lines))
    assert "prices simulated" in page
    assert "&lt;b&gt;seed&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "the floor writes it when it starts" in render_parts(NOTHING)


class TestPushTest:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/accounts.db")

    def given(self, monkeypatch: pytest.MonkeyPatch, loopback: PushLoopback) -> None:
        for name, value in {**pushover(loopback), "push_urls": ntfy(loopback)}.items():
            monkeypatch.setenv(name.upper(), value)

    def test_every_target_says_what_became_of_it_and_the_store_has_a_row(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Store(tmp_path / "accounts.db", NewRun("simulated", 7)).close()
        monkeypatch.setenv("PUSH_QUIET_HOURS", "22:00-07:00")
        with PushLoopback(TOKEN, USER, PASSWORD) as loopback:
            self.given(monkeypatch, loopback)
            assert push_test() == 0
            loopback.faults = {"ntfy": "error_503"}
            assert push_test() == 1
            assert [push.message for push in loopback.taken("pushover")] == ["This device hears the trading floor."] * 2
        printed = capsys.readouterr().out
        assert printed.count("pushover     took the message") == 2
        assert "ntfy         took the message" in printed
        assert "ntfy         did not take it: " in printed
        assert "on           halt, budget, error, digest" in printed
        assert "quiet        22:00-07:00 UTC, but for halts and errors" in printed
        assert not any(canary in printed for canary in CANARIES)
        with closing(Store(tmp_path / "accounts.db")) as store:
            assert [(row.account, row.state) for row in rows(store)] == [
                ("operator", "sent"), ("operator", "partly_sent"),
            ]  # fmt: skip

    def test_it_makes_no_store(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with PushLoopback(TOKEN, USER, PASSWORD) as loopback:
            self.given(monkeypatch, loopback)
            assert push_test() == 0
        assert list(tmp_path.iterdir()) == []

    def test_without_a_target_it_says_how_to_get_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert push_test() == 1
        assert "`trading-floor init` asks for Pushover's keys" in capsys.readouterr().out
